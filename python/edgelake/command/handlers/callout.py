"""``rest get|put|post|delete``: requests to other servers (spec: REST API, section 16)."""

from __future__ import annotations

from typing import Any, Final

import msgspec

from edgelake.command.context import Context
from edgelake.command.grammar import Json, Seconds
from edgelake.command.registry import command
from edgelake.errors import CommandError, EdgeLakeError
from edgelake.model import CommandClass, Reply
from edgelake.net.callout import Answer, Call, send
from edgelake.tls import Tls

LONGEST_S: Final = 3600.0
_DEFAULT_S: Final = 20.0
_DELETE_S: Final = 10.0
_PRETTY_BYTES: Final = 1 << 18  # larger JSON is shown as the server wrote it: to read it would hold the loop
_AGENT: Final = "AnyLog/1.23"  # nodes, of the reference too, take commands from this agent

_HEADERS: Final = (
    *("type", "details", "command", "destination", "subset", "User-Agent", "Authorization", "Accept"),
    *("Cache-Control", "X-Vault-Token", "Content-Type"),
)
_OF_ROWS: Final = ("dbms", "table", "mode")


@command(
    "rest get",
    "rest delete",
    cls=CommandClass.ADMIN,
    topics=("rest", "script"),
    examples=(
        "v = rest get where url = http://10.0.0.1:8080/status",
        "rest get where url = https://10.0.0.1:32049 and ca = !pem_dir/ca.crt and command = 'get status'",
        "up = rest get where url = http://10.0.0.1:8080/health and validate = true and timeout = 3 seconds",
        "[file = !tmp_dir/items.json, key = items, show = true] = rest get where url = http://10.0.0.1:8080/list",
        "rest delete where url = http://10.0.0.1:8080/item/7 and user = admin and password = !password",
    ),
)
async def rest_get(
    ctx: Context,
    *,
    url: str,
    user: str = "",
    password: str = "",
    headers: Json | None = None,
    validate: bool = False,
    timeout: Seconds | None = None,
    ca: str = "",
    cert: str = "",
    key: str = "",
    **given: Any,
) -> Reply:
    """Ask another server for a resource, or have it delete one.

    The reply is the answer's text; JSON is printed with indents. ``[file = f, key = k, show = true] = rest get ...``
    writes it, or the value of one key, to a file. User and password are sent as Basic authentication. Headers are the
    keys type, details, command, destination, subset, User-Agent, Authorization, Accept, Cache-Control, X-Vault-Token
    and Content-Type; further ones stand in ``headers``, a JSON object. validate = true: the reply is true or false, and
    a failure is no error. A call ends after 20 seconds (delete: 10) or ``timeout``. Certificates are verified, with the
    authority of ``ca`` where it is named; cert and key are the node's own (files in PEM form).
    """
    method = ctx.phrase.split()[1].upper()
    call = Call(
        method,
        url,
        _headers({"User-Agent": _AGENT, **_named(given, _HEADERS)}, headers),
        timeout_s=_limit(timeout, _DEFAULT_S if method == "GET" else _DELETE_S),
        user=user,
        password=password,
        tls=Tls(ca, cert, key),
    )
    return await _answered(call, validate)


@command(
    "rest put",
    "rest post",
    cls=CommandClass.ADMIN,
    topics=("rest", "script"),
    examples=(
        "rest put where url = http://10.0.0.1:8080 and dbms = d and table = t and mode = streaming and body = !row",
        'rest post where url = https://10.0.0.1/hook and headers = {"X-Source": !name} and body = {"text": !alert}',
    ),
)
async def rest_put(
    ctx: Context,
    *,
    url: str,
    body: str = "",
    user: str = "",
    password: str = "",
    headers: Json | None = None,
    validate: bool = False,
    timeout: Seconds | None = None,
    ca: str = "",
    cert: str = "",
    key: str = "",
    **given: Any,
) -> Reply:
    """Send a body to another server: rows to a node, an alert to a webhook.

    References in a JSON body are filled in. dbms, table, type and mode are headers, as nodes want them; everything else
    is as with ``rest get``. The call is made once: where the answer is lost, the server may have taken it.
    """
    body = _unquoted(body)
    is_json = body[:1] in ("{", "[")
    kind = "application/json" if is_json else "text/plain; charset=utf-8"
    named = _named(given, (*_OF_ROWS, *_HEADERS))
    call = Call(
        ctx.phrase.split()[1].upper(),
        url,
        _headers({"User-Agent": _AGENT, "Content-Type": kind, **named}, headers),
        (ctx.visible.fill(body) if is_json else body).encode(),
        _limit(timeout, _DEFAULT_S),
        user,
        password,
        Tls(ca, cert, key),
    )
    return await _answered(call, validate)


def _limit(given: float | None, default: float) -> float:
    if given is None:
        return default
    if not 0 < given <= LONGEST_S:
        raise CommandError(f"timeout = {given:g} seconds: more than 0, at most {LONGEST_S:g}")
    return given


def _named(given: dict[str, Any], names: tuple[str, ...]) -> dict[str, str]:
    """Keys of the command that are headers, spelt as they are on the wire. Raises CommandError for others."""
    known = {name.lower(): name for name in names}
    for name in given:
        if name.lower() not in known:
            raise CommandError(
                f"Unknown key in EdgeLake command: {name}",
                hint='headers = {"name": "value"} sends any header; keys of headers: ' + ", ".join(names),
            )
    return {known[name.lower()]: _unquoted(_text(value)) for name, value in given.items()}


def _headers(named: dict[str, str], more: Any) -> dict[str, str]:
    """Headers of the keys, in whose place those of ``headers`` stand. Raises CommandError."""
    if more is None:
        return named
    if not isinstance(more, dict) or not all(isinstance(value, str | int | float) for value in more.values()):
        raise CommandError("headers is no JSON object of texts", hint='headers = {"X-Source": "node 1"}')
    taken = {str(name).lower() for name in more}
    kept = {name: value for name, value in named.items() if name.lower() not in taken}
    return kept | {str(name): _text(value) for name, value in more.items()}


def _unquoted(text: str) -> str:
    return text[1:-1] if len(text) > 1 and text[0] == text[-1] == "'" else text


def _text(value: object) -> str:
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()


async def _answered(call: Call, validate: bool) -> Reply:
    if not validate:
        return _shown(await send(call))
    try:
        await send(call)
    except EdgeLakeError as failure:
        if failure.number != 51:
            raise
        return Reply.of_data(False, text="false")
    return Reply.of_data(True, text="true")


def _shown(answer: Answer) -> Reply:
    """JSON as data; an assignment keeps the answer's own text, in which no number is rounded."""
    text = answer.text
    is_json = answer.media_type.endswith("json") or text.lstrip()[:1] in ("{", "[")
    if not is_json or len(answer.body) > _PRETTY_BYTES:
        return Reply.of_text(text)
    try:
        data = msgspec.json.decode(answer.body)
    except (msgspec.DecodeError, RecursionError):
        return Reply.of_text(text)
    return Reply(data=data, has_data=True, value=text)
