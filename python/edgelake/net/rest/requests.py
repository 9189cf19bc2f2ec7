"""What a request asks for: product, header names wherever they are written, methods and commands.

Spec: "REST API", sections 1 to 4 and 7.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from urllib.parse import unquote

from msgspec import Struct

from edgelake.errors import CommandError, RequestError, error

COMMAND_PRODUCTS = frozenset({"anylog", "edgelake", "curl"})
NO_AGENT = "AnyLog-V1"  # how the reference lists calls without User-Agent

_BOTH = ("sql", "print", "wait", "subprocess")
_GET_ONLY = (
    "get",
    "help",
    "test",
    "blockchain get",
    "blockchain read",
    "query status",
    "query explain",
    "query destination",
    "job status",
    "job active",
    "time file get",
    "time file summary",
    "analyze output",
    "explain flow",
    "file get",
    "file retrieve",
    "file to",
    "file from",
)
_UPLOADS = ("file to", "file store")  # POST with the file as the body (section 12)
_ASSIGNMENT = re.compile(r"[\w.\-\[\]]+\s*=")


def product_of(headers: Mapping[str, str]) -> str:
    """Text before the slash of User-Agent (or of AnyLog-Agent), lower case; "" when there is none."""
    agent = headers.get("anylog-agent") or headers.get("user-agent") or ""
    return agent.partition("/")[0].strip().lower()


def agent_name(user_agent: str) -> str:
    """Name of a caller in ``get rest calls``: short and printable, whatever was sent."""
    if user_agent == NO_AGENT:
        return NO_AGENT
    name = user_agent.partition("/")[0].strip().lower()
    return "".join(c for c in name[:40] if c.isprintable()) or NO_AGENT


def _begins(command: str, phrases: tuple[str, ...]) -> bool:
    words = " ".join(command.lower().split()) + " "
    return any(words.startswith(phrase + " ") for phrase in phrases)


def check_method(method: str, command: str) -> None:
    """Raises error 156 when a command is sent by the wrong HTTP method."""
    reading = _begins(command, _GET_ONLY) and not _ASSIGNMENT.match(command.lstrip())
    if _begins(command, _BOTH):
        return
    if method == "GET" and not reading:
        raise error(156, "This command is sent by POST")
    if method == "POST" and reading and not _begins(command, _UPLOADS):
        raise error(156, "This command is sent by GET")


def takes_file(command: str) -> bool:
    """Whether a command of POST takes the body as its file."""
    return _begins(command, _UPLOADS)


def check_text(command: str) -> str:
    """A command is one line of text. Raises CommandError when control characters are in it."""
    text = command.strip()
    if any(ord(c) < 32 and c not in "\t\r\n" for c in text):
        raise CommandError("The command holds control characters")
    return text


class Asked(Struct, frozen=True):
    """A command request, from wherever its parts came.

    Attributes:
        values: the headers by lower-case name; those of the URL or of a JSON body on top.
        lines: commands of the body, run before the command.
    """

    method: str
    command: str
    values: Mapping[str, str]
    lines: tuple[str, ...] = ()

    @property
    def timeout_seconds(self) -> float | None:
        """The header ``timeout``, None when absent. Raises error 182 when it can't be read."""
        text = self.values.get("timeout")
        return None if text is None else parse_timeout(text)


_UNITS = {"": 1, "second": 1, "sec": 1, "minute": 60, "min": 60, "hour": 3600}
_TIMEOUT = re.compile(r"(\d{1,9}(?:\.\d{1,6})?)\s*([a-z]*)")


def parse_timeout(text: str) -> float:
    """Seconds of ``30`` or ``2 minutes``; 0 = no limit. Raises error 182."""
    found = _TIMEOUT.fullmatch(text.strip().lower())
    unit = _UNITS.get(found[2].removesuffix("s")) if found else None
    if found is None or unit is None:
        raise error(182, f"'{text[:60]}' is not a time", hint="use for example 30 or 2 minutes")
    return float(found[1]) * unit


def url_values(query: str) -> dict[str, str]:
    """Headers written in the URL: ``/?User-Agent=AnyLog/1.23?command=get status`` (section 7).

    ``?`` separates; a ``?`` inside quotes belongs to the value; ``&`` separates when no such ``?`` is there.
    Raises RequestError for a part without ``=``.
    """
    parts = [unquote(part, errors="replace") for part in _split_outside_quotes(query) if part.strip()]
    if len(parts) == 1:
        by_and = [unquote(part.replace("+", " "), errors="replace") for part in query.split("&") if part.strip()]
        if all("=" in part for part in by_and):  # else an & within the value of a single header
            parts = by_and
    values: dict[str, str] = {}
    for part in parts:
        name, sign, value = part.partition("=")
        if not sign:
            raise RequestError(f"Error in header value {part[:100]}")
        values[name.strip().lower()] = value.strip()
    return values


_URL_SIGN = re.compile(r"[?\"']|%22|%27")


def _split_outside_quotes(query: str) -> list[str]:
    """Parts between question marks; a quote may be percent-encoded. An unclosed quote quotes nothing."""
    parts: list[str] = []
    quote = ""
    begin = 0
    for sign in _URL_SIGN.finditer(query):
        c = unquote(sign[0])
        if c != "?":
            quote = "" if c == quote else quote or c
        elif not quote:
            parts.append(query[begin : sign.start()])
            begin = sign.end()
    parts.append(query[begin:])
    return parts if not quote else query.split("?")


def body_lines(text: str) -> tuple[str, ...]:
    """Commands of a body: one a line; ``<`` ... ``>`` encloses one over several lines (section 4)."""
    commands: list[str] = []
    open_parts: list[str] | None = None
    for raw in text.splitlines():
        line = raw.strip()
        if not line:
            continue
        if open_parts is not None:
            open_parts.append(line)
        elif line.startswith("<"):
            open_parts = [line]
        else:
            commands.append(line)
            continue
        if line.endswith(">"):
            commands.append(" ".join(open_parts)[1:-1].strip())
            open_parts = None
    if open_parts is not None:
        commands.append(" ".join(open_parts)[1:].strip())  # unterminated: a normal line
    return tuple(command for command in commands if command)


def json_values(body: bytes) -> dict[str, str] | None:
    """Headers of a JSON body without ``command`` header; None when the body is no JSON object."""
    try:
        found = json.loads(body)
    except (ValueError, RecursionError):
        return None
    if not isinstance(found, dict):
        return None
    values = {str(k).lower(): v if isinstance(v, str) else json.dumps(v) for k, v in found.items()}
    if "command" not in values and "dbms" in values and "sql" in values:
        sql = values["sql"] if '"' in values["sql"] else f'"{values["sql"]}"'
        values["command"] = f"sql {values['dbms']} {sql}"
        values.setdefault("destination", "network")
    return values


def to_others(command: str, values: Mapping[str, str], limit_s: float, *, named: bool = False) -> str:
    """The command as this node sends it to those that the headers ``destination`` and ``subset`` name.

    Args:
        limit_s: 0 = none.
        named: the reply of a single node, too, stands under its address.
    """
    destination = (values.get("destination") or "").strip()
    if destination.lower() in {"", "local"}:
        return command
    parts = [] if destination.lower() == "network" else [destination.removeprefix("(").removesuffix(")")]
    if parts and named:
        parts.append("named = true")
    if (subset := values.get("subset")) is not None:
        parts.append(f"subset = {subset}")
    if limit_s:
        parts.append(f"timeout = {math.ceil(limit_s)}")
    return f"run client ({', '.join(parts)}) {command}"
