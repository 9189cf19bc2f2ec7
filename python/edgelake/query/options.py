"""Options between the database and the statement of ``sql`` (spec: query, section 2)."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, Final, Literal

from msgspec import Struct

from edgelake.errors import EdgeLakeError, error

Format = Literal["json", "json:list", "json:output", "table", "csv"]
FORMATS: Final[dict[str, Format]] = {f: f for f in ("json", "json:list", "json:output", "table", "csv")}
DESTINATIONS: Final = frozenset({"stdout", "rest", "file", "buffer", "dbms"})
_STATEMENTS: Final = frozenset(
    {"select", "insert", "update", "delete", "create", "drop", "alter", "replace", "with", "explain", "pragma"}
)
_WORD: Final = re.compile(r"[A-Za-z_]\w*")
_CLOSING: Final = {"(": ")", '"': '"', "'": "'"}
_SECONDS: Final = re.compile(r"\s*(\d+(?:\.\d+)?)\s*(seconds?|secs?|minutes?|mins?|hours?)?\s*", re.IGNORECASE)
_FACTORS: Final = {"m": 60.0, "h": 3600.0}
_EXTEND: Final = re.compile(
    r"""(?P<what>@\w+|\+[\w-]+|!!?[\w-]+)\s*(?:\.(?P<kind>\w+))?\s*(?P<casts>(?:::\s*\w+(?:\([^)]*\))?)*)
    \s*(?:\bas\s+(?P<title>\w+))?\s*""",
    re.IGNORECASE | re.VERBOSE,
)


class ExtendItem(Struct, frozen=True):
    """A constant column: ``@table_name as t``, ``+city``, ``+disk.int``."""

    what: str
    title: str
    kind: str = "varchar"
    casts: tuple[str, ...] = ()


class Options(Struct, frozen=True):
    """What the options say; the defaults are those of an absent option.

    Attributes:
        timezone: of printed times; ``local`` is the node's.
        include: other tables, each as (database or empty, table).
        kafka, topic: of the destination ``kafka``, the address as ip:port.
        table, drop: keep the result in ``system_query.<table>``; False adds to what is there.
        all_nodes: members of a cluster are asked in turn, not the main one.
        incomplete: a member answers that does not have all data of its cluster yet.
        committed: rows alone that every member of the cluster has.
        max_time_s: longest time for the answer; None = no limit.
        test: print the answer as a test case, under ``title``; ``source`` is a file to compare it with.
    """

    format: Format = "json"
    statistics: bool = True
    timezone: str = "local"
    include: tuple[tuple[str, str], ...] = ()
    extend: tuple[ExtendItem, ...] = ()
    destination: str = ""
    kafka: str = ""
    topic: str = ""
    file: str = ""
    table: str = ""
    drop: bool = True
    all_nodes: bool = False
    incomplete: bool = False
    committed: bool = False
    max_time_s: float | None = None
    output: bool = True
    test: bool = False
    title: str = ""
    source: str = ""
    option: str = ""


def split_statement(text: str) -> tuple[str, str]:
    """Options and statement of what follows the database.

    The statement is quoted, or bare to the end of the line; it begins at the first word that begins statements.
    Raises EdgeLakeError 134 when there is none.
    """
    at = 0
    value_follows = False
    while at < len(text):
        char = text[at]
        if char == "(" or (char in "\"'" and value_follows):
            at = _closed(text, at)
            value_follows = False
            continue
        if char in "\"'":
            word = _WORD.match(text, at + 1 + len(text[at + 1 :]) - len(text[at + 1 :].lstrip()))
            if word and word[0].lower() in _STATEMENTS:
                return text[:at], _unquoted(text[at:])
            raise error(134, f"{text[at : at + 60]}", hint="a statement begins with select, insert, update, ...")
        word = _WORD.match(text, at)
        if word is None:
            value_follows = char == "=" or (value_follows and char.isspace())
            at += 1
            continue
        behind = text[word.end() :].lstrip()
        if word[0].lower() in _STATEMENTS and not behind.startswith("=") and not value_follows:
            return text[:at], text[at:]
        value_follows = False
        at = word.end()
    raise error(134, f"{text[:60]}", hint='write: sql <dbms> [options] "select ..."')


_SQL: Final = re.compile(r"\s*sql\s+\S+\s", re.IGNORECASE)


def rows_as_json(command: str) -> str:
    """A command whose answer, when it is that of a select, is JSON without statistics. Other commands stay."""
    head = _SQL.match(command)
    if head is None:
        return command
    try:
        written, _ = split_statement(command[head.end() :])
    except EdgeLakeError:
        return command  # its run tells what is wrong
    options = f"{written.strip()} and " if written.strip() else ""
    statement = command[head.end() + len(written) :]
    return f"{head[0]}{options}format = json and stat = false {statement}"


def _closed(text: str, at: int) -> int:
    """Index behind what opens at ``at``: a quoted text, or parentheses with what is nested in them."""
    closing = _CLOSING[text[at]]
    if text[at] != "(":
        end = text.find(closing, at + 1)
        return len(text) if end < 0 else end + 1
    depth, index = 0, at
    while index < len(text):
        if text[index] in "\"'":
            index = _closed(text, index)
            continue
        depth += {"(": 1, ")": -1}.get(text[index], 0)
        index += 1
        if depth == 0:
            return index
    return len(text)


def _unquoted(text: str) -> str:
    """A quoted statement without its quotes; the same quotes may stand inside it, ``"... > "2026-01-01" ..."``."""
    inner = text.strip()
    while inner[-1:] == ";":
        inner = inner[:-1].rstrip()
    quote = inner[0]
    if len(inner) > 1 and inner.endswith(quote):
        return inner[1:-1].replace('\\"', '"')
    return inner[1:]


def parse_options(text: str, translate: Callable[[str], str] = str) -> Options:
    """Read ``key = value and ...``. ``translate`` gives the value of ``!name``.

    Raises EdgeLakeError 175 for an unknown key or a wrong value.
    """
    values: dict[str, Any] = {}
    for key, value in _pairs(text, translate):
        reader = _READERS.get(key)
        if reader is None:
            raise error(175, f"'{key}'", hint=f"options: {', '.join(_READERS)}")
        read = reader(key, value)
        if key in _LISTS and key in values:  # other nodes name one table or column at a time
            read = {key: (*values[key], *read[key])}
        values.update(read)
    return Options(**values)


def _pairs(text: str, translate: Callable[[str], str]) -> list[tuple[str, str]]:
    pairs = []
    for part in _split_and(text):
        key, sign, value = part.partition("=")
        if not sign or not key.strip() or not value.strip():
            raise error(175, f"'{part.strip()}'", hint="write options as: format = table and stat = false")
        shown = value.strip()
        if shown[:1] in "\"'" and shown[-1:] == shown[:1] and len(shown) > 1:
            shown = shown[1:-1]
        elif shown[:1] == "!" and shown[:2] != "!!":
            shown = translate(shown)
            if not shown:
                raise error(175, f"{key.strip()} = {value.strip()}: the name has no value")
        pairs.append((key.strip().lower(), shown))
    return pairs


def _split_and(text: str) -> list[str]:
    parts, start, at = [], 0, 0
    while at < len(text):
        if text[at] in "(\"'":
            at = _closed(text, at)
            continue
        word = _WORD.match(text, at)
        if word and word[0].lower() == "and":
            parts.append(text[start:at])
            start = word.end()
        at = word.end() if word else at + 1
    parts.append(text[start:])
    return [part for part in parts if part.strip()]


def _wrong(key: str, value: str, allowed: str) -> EdgeLakeError:
    return error(175, f"{key} = {value}", hint=f"allowed: {allowed}")


def _list(value: str) -> list[str]:
    inner = value[1:-1] if value.startswith("(") and value.endswith(")") else value
    items, start, at = [], 0, 0
    while at < len(inner):
        if inner[at] in "(\"'":
            at = _closed(inner, at)
            continue
        if inner[at] == ",":
            items.append(inner[start:at])
            start = at + 1
        at += 1
    items.append(inner[start:])
    return [item.strip() for item in items if item.strip()]


def _format(key: str, value: str) -> dict[str, Any]:
    found = FORMATS.get(re.sub(r"\s*:\s*", ":", value.lower()))
    if found is None:
        raise _wrong(key, value, ", ".join(FORMATS))
    return {"format": found}


def _flag(name: str) -> Callable[[str, str], dict[str, Any]]:
    def read(key: str, value: str) -> dict[str, Any]:
        lowered = value.lower()
        if lowered not in {"true", "false"}:
            raise _wrong(key, value, "true, false")
        return {name: lowered == "true"} if name else {}

    return read


def _text(name: str) -> Callable[[str, str], dict[str, Any]]:
    return lambda _key, value: {name: value}


def _tables(key: str, value: str) -> dict[str, Any]:
    found = []
    for item in _list(value.lower()):
        dbms, dot, table = item.partition(".")
        found.append((dbms.strip(), table.strip()) if dot else ("", dbms.strip()))
        if not found[-1][1]:
            raise _wrong(key, value, "(table, database.table)")
    return {"include": tuple(found)}


def _extend(key: str, value: str) -> dict[str, Any]:
    items = []
    for item in _list(value):
        found = _EXTEND.fullmatch(item)
        if found is None:
            raise _wrong(key, item, "(@table_name, @ip as address, +city, +disk.int)")
        casts = tuple(c.strip() for c in found["casts"].split("::") if c.strip())
        name = found["what"].lstrip("@+!").lower()
        items.append(ExtendItem(found["what"], (found["title"] or name).lower(), found["kind"] or "varchar", casts))
    return {"extend": tuple(items)}


def _destination(key: str, value: str) -> dict[str, Any]:
    wanted = value.lower()
    if wanted.startswith("kafka@"):
        host, _, port = wanted.removeprefix("kafka@").rpartition(":")
        if not host or not port.isdecimal() or not 0 < int(port) < 65536:
            raise _wrong(key, value, "kafka@ip:port")
        return {"destination": "kafka", "kafka": f"{host}:{port}"}
    if wanted not in DESTINATIONS:
        raise _wrong(key, value, ", ".join((*sorted(DESTINATIONS), "kafka@ip:port")))
    return {"destination": wanted}


def _seconds(key: str, value: str) -> dict[str, Any]:
    found = _SECONDS.fullmatch(value)
    if found is None or float(found[1]) <= 0:
        raise _wrong(key, value, "5, 30 seconds, 2 minutes")
    return {"max_time_s": float(found[1]) * _FACTORS.get((found[2] or "s")[0].lower(), 1.0)}


def _nodes(key: str, value: str) -> dict[str, Any]:
    if value.lower() not in ("main", "all"):
        raise _wrong(key, value, "main, all")
    return {"all_nodes": value.lower() == "all"}


def _output(key: str, value: str) -> dict[str, Any]:
    if value.lower() != "none":
        raise _wrong(key, value, "none")
    return {"output": False}


_LISTS: Final = ("include", "extend")
_READERS: Final[dict[str, Callable[[str, str], dict[str, Any]]]] = {
    "format": _format,
    "stat": _flag("statistics"),
    "timezone": _text("timezone"),
    "include": _tables,
    "extend": _extend,
    "nodes": _nodes,
    "incomplete": _flag("incomplete"),
    "committed": _flag("committed"),
    "dest": _destination,
    "file": _text("file"),
    "table": lambda _key, value: {"table": value.lower()},
    "drop": _flag("drop"),
    "topic": _text("topic"),
    "max_time": _seconds,
    "pass_through": _flag(""),
    "test": _flag("test"),
    "title": _text("title"),
    "source": _text("source"),
    "option": _text("option"),
    "info": lambda _key, _value: {},
    "message": lambda _key, _value: {},  # what the reference's second stage carries
    "output": _output,
}
OPTIONS: Final = tuple(_READERS)
"""Keys of all options."""
