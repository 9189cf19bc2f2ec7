"""Lines on the broker's port that are no MQTT: syslog and the like (spec: brokers and mapping, section 3)."""

from __future__ import annotations

from typing import Annotated, Any

from msgspec.structs import asdict

from edgelake._rust import sanitize_name
from edgelake.command.context import Context
from edgelake.command.grammar import Tail, parse_pairs
from edgelake.command.handlers.messages import clients_of
from edgelake.command.registry import command
from edgelake.command.tokenizer import tokenise
from edgelake.errors import CommandError, error
from edgelake.inputs.msg_client import LineRule
from edgelake.model import CommandClass, Reply, Table

TITLES = ("Name", "IP", "Port", "Header", "DBMS", "Table", "Format", "Extend", "Topic", "Structure")
_IF = ("ip", "port", "header")
_THEN = ("dbms", "table", "syslog", "extend", "format", "topic", "structure")


@command(
    "set msg rule",
    cls=CommandClass.ADMIN,
    topics=("broker", "configuration"),
    examples=(
        "set msg rule kiwi if ip = 10.0.0.78 and port = 1468 then dbms = logs and table = syslog and syslog = true",
        "set msg rule mac if header = al.sl.header then dbms = logs and table = lines and structure = included",
    ),
)
async def set_msg_rule(ctx: Context, name: str, rule: Annotated[str, Tail("if")]) -> Reply:
    """What becomes of lines that a connection to the message broker sends instead of MQTT.

    if: the ip and port of the sender, or the text (header) that lines begin with. then: the table of the rows; syslog =
    true, with format = IETF for that form; extend = ip adds the column source_ip; topic: the rows are mapped by the
    message client of that topic; structure = included: the first line names the columns by their places.
    """
    words = tokenise(rule).words
    at = next((word for word in words if word.is_("then")), None)
    if at is None:
        raise CommandError("a rule is: if ip = .. and port = .. and header = .. then dbms = .. and table = ..")
    given = _pairs(ctx, rule[: at.start], _IF)
    wanted = _pairs(ctx, rule[at.end :], _THEN)
    if not given:
        raise CommandError("behind 'if' stands ip, port or header")
    clients_of(ctx).set_rule(_rule(name, given, wanted))
    return Reply.done()


def _pairs(ctx: Context, text: str, allowed: tuple[str, ...]) -> dict[str, str]:
    pairs = parse_pairs(text, ctx.visible) if text.strip() else ()
    found: dict[str, str] = {}
    for key, value in pairs:
        if key not in allowed or key in found:
            raise CommandError(f"'{key}' in a msg rule", hint="each once: " + ", ".join(allowed))
        found[key] = value
    return found


def _rule(name: str, given: dict[str, str], wanted: dict[str, str]) -> LineRule:
    for key in ("dbms", "table"):
        if not wanted.get(key):
            raise CommandError(f"Missing '{key}' behind 'then'")
    port = given.get("port")
    if port is not None and not (port.isascii() and port.isdigit() and 0 < int(port) < 65536):
        raise error(21, f"port = {port}")
    is_syslog = _one_of(wanted, "syslog", {"true": True, "false": False}, False)
    form = _one_of(wanted, "format", {"bsd": "bsd", "ietf": "ietf"}, "bsd")
    if "format" in wanted and not is_syslog:
        raise CommandError("format stands with syslog = true")
    return LineRule(
        name,
        sanitize_name(wanted["dbms"]),
        sanitize_name(wanted["table"]),
        given.get("ip"),
        int(port) if port else None,
        given.get("header"),
        form if is_syslog else "plain",
        _one_of(wanted, "extend", {"ip": True}, False),
        wanted.get("topic"),
        _one_of(wanted, "structure", {"included": True}, False),
    )


def _one_of(given: dict[str, str], key: str, values: dict[str, Any], default: Any) -> Any:
    text = given.get(key)
    if text is None:
        return default
    if text.lower() not in values:
        raise CommandError(f"{key} = {text}: {' or '.join(values)}")
    return values[text.lower()]


def _shown(value: object) -> str:
    return "" if value is None else str(value)


@command(
    "get msg rules",
    "get msg rule",
    cls=CommandClass.DATA,
    topics=("broker", "status"),
    examples=("get msg rules",),
)
async def get_msg_rules(ctx: Context) -> Reply:
    """Rules for lines on the message broker's port."""
    rules = list(clients_of(ctx).rules())
    if not rules:
        return Reply.of_data([], text="No msg rules")
    rows = [
        (
            one.name,
            _shown(one.ip),
            _shown(one.port),
            _shown(one.header),
            one.dbms,
            one.table,
            one.format,
            "ip" if one.extend_ip else "",
            _shown(one.topic),
            "included" if one.included else "",
        )
        for one in rules
    ]
    return Reply.of_table(Table(TITLES, rows), data=[asdict(one) for one in rules])


@command(
    "reset msg rule",
    cls=CommandClass.ADMIN,
    topics=("broker", "configuration"),
    examples=("reset msg rule kiwi",),
)
async def reset_msg_rule(ctx: Context, name: str) -> Reply:
    """Remove a rule for lines on the message broker's port."""
    if not clients_of(ctx).remove_rule(name):
        raise CommandError(f"there is no msg rule '{name}'", hint="get msg rules")
    return Reply.done()
