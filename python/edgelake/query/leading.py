"""Leading queries: ``{select ...}`` in a statement runs first, and its value is pasted in (spec: query, section 3)."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Any, Final

from edgelake._rust import Select
from edgelake.errors import error

_OPENING: Final = re.compile(r"""'(?:[^']|'')*'|"[^"]*"|\{\s*(?=select\b)""", re.IGNORECASE)
_INSIDE: Final = re.compile(r"""'(?:[^']|'')*'|"[^"]*"|[{}]""")
_FROM: Final = re.compile(r"""'(?:[^']|'')*'|"[^"]*"|\b(?:from|where)\b""", re.IGNORECASE)
MOST: Final = 16
"""Leading queries of one statement."""

Value = Callable[[str], Awaitable[Any]]
"""Runs a select of one row and one column; raises EdgeLakeError 166 for another one."""


def split(sql: str) -> list[str]:
    """Texts of a statement and the leading queries between them, in turns: one text when there are none.

    Raises EdgeLakeError 166 for a query that does not end, and for too many.
    """
    parts: list[str] = []
    start = at = 0
    while found := _OPENING.search(sql, at):
        at = found.end()
        if found[0][0] != "{":
            continue
        end = _closing(sql, at)
        parts += [sql[start : found.start()], sql[at:end].strip()]
        start = at = end + 1
    if len(parts) > 2 * MOST:
        raise error(166, f"{len(parts) // 2} leading queries", hint=f"at most {MOST}")
    return [*parts, sql[start:]]


def _closing(sql: str, at: int) -> int:
    depth = 1
    for found in _INSIDE.finditer(sql, at):
        depth += {"{": 1, "}": -1}.get(found[0], 0)
        if depth == 0:
            return found.start()
    raise error(166, f"'{sql[at : at + 60]}': the closing brace is missing")


def without(sql: str) -> str:
    """The statement with null in place of its leading queries: what it looks like to who asks for its tables."""
    return "null".join(split(sql)[::2])


async def resolved(sql: str, value: Value) -> str:
    """The statement with the values of its leading queries. One without ``from`` reads the statement's own table."""
    parts = split(sql)
    for at in range(1, len(parts), 2):
        parts[at] = literal(await value(_with_table(parts[at], sql)))
    return "".join(parts)


def _with_table(query: str, sql: str) -> str:
    words = [found for found in _FROM.finditer(query) if found[0][0] not in "'\""]
    if any(found[0].lower() == "from" for found in words):
        return query
    tables = Select(without(sql)).tables
    if not tables:
        raise error(166, f"'{query[:60]}' names no table", hint="write {select max(value) from table}")
    dbms, table = tables[0]
    at = words[0].start() if words else len(query)
    return f"{query[:at]} from {f'{dbms}.{table}' if dbms else table} {query[at:]}"


def literal(value: Any) -> str:
    """A value as statements write it."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, datetime):
        return f"'{value.astimezone(UTC):%Y-%m-%dT%H:%M:%S.%fZ}'"
    if isinstance(value, int | float):
        return repr(value)
    return "'" + str(value).replace("'", "''") + "'"
