"""What may follow in a ``sql`` command: databases, options, and inside the statement tables, columns and functions."""

from __future__ import annotations

import re
from typing import Final

from edgelake.command.names import Names
from edgelake.errors import EdgeLakeError
from edgelake.query.options import DESTINATIONS, FORMATS, OPTIONS, split_statement

_WORDS: Final = (
    "select from where and or not in is null like between group order by asc desc limit having as distinct case when "
    "then else end join left on using"
)
_FUNCTIONS: Final = (
    "count sum avg min max range increments period now date timestamp round abs coalesce lower upper length substr"
)
WORDS: Final = tuple(_WORDS.split())
FUNCTIONS: Final = tuple(f"{name}(" for name in _FUNCTIONS.split())
_OPTION_VALUES: Final = {
    "format": tuple(FORMATS),
    "dest": tuple(sorted(DESTINATIONS)),
    "nodes": ("all", "main"),
    "output": ("none",),
    **dict.fromkeys(("stat", "incomplete", "committed", "drop", "pass_through", "test"), ("true", "false")),
}
_TOKEN: Final = re.compile(r"'(?:[^']|'')*'|[\w.]+|\S")
_TABLE_AHEAD: Final = frozenset({"from", "join", "into", "update"})
_CLAUSES: Final = frozenset({"select", "from", "where", "group", "order", "having", "on", "limit", "set", "values"})
_NAMED: Final = re.compile(r"\b(?:from|join|into|update)\s+(?:(\w+)\.)?(\w+)((?:\s*,\s*(?:\w+\.)?\w+)*)", re.IGNORECASE)


def sql_words(names: Names, before: str, after: str = "") -> list[str]:
    """What may stand behind ``before``.

    Args:
        before: what follows the word ``sql``, up to the word that is typed.
        after: what follows that word in the line.
    """
    dbms, blank, rest = before.lstrip().partition(" ")
    if not blank:
        return sorted(names.databases())
    dbms = dbms.lower()
    try:
        written, _ = split_statement(rest)
    except EdgeLakeError:
        return _options(names, dbms, rest)
    return _in_statement(names, dbms, rest[len(written) :], after)


def _options(names: Names, dbms: str, text: str) -> list[str]:
    """Keys and values in front of the statement, or the word that begins it."""
    tokens = _TOKEN.findall(text)
    last = tokens[-1].lower() if tokens else ""
    if last == "=" and len(tokens) > 1:
        key = tokens[-2].lower()
        return sorted(names.tables(dbms)) if key == "include" else list(_OPTION_VALUES.get(key, ()))
    if last in ('"', "'"):
        return ["select"]
    if not tokens or last == "and":
        return [*(f"{key} =" for key in OPTIONS), '"select', "select"]
    return ["and", '"select', "select"]


def _in_statement(names: Names, dbms: str, statement: str, after: str) -> list[str]:
    statement = statement.lstrip()
    if statement[:1] in "\"'":
        statement = statement[1:]
    if statement.count("'") % 2:
        return []  # inside a text
    tokens = [token.lower() for token in _TOKEN.findall(statement)]
    last = tokens[-1] if tokens else ""
    clause = next((token for token in reversed(tokens) if token in _CLAUSES), "")
    if last in _TABLE_AHEAD or (last == "," and clause == "from"):
        others = {f"{other}.{table}" for other in names.databases() - {dbms} for table in names.tables(other)}
        return sorted(names.tables(dbms)) + sorted(others)
    columns: list[str] = []
    named = tables_in(statement) + tables_in(after)
    for other, table in named:
        columns += names.columns(other or dbms, table)
    if not named:
        for table in sorted(names.tables(dbms)):
            columns += names.columns(dbms, table)
    return [*dict.fromkeys(columns), *FUNCTIONS, *WORDS]


def tables_in(statement: str) -> list[tuple[str, str]]:
    """Tables that a statement names, each as (database or empty, table), in lower case."""
    found = []
    for dbms, table, more in _NAMED.findall(statement.lower()):
        found.append((dbms, table))
        for other in filter(None, (part.strip() for part in more.split(","))):
            left, dot, right = other.partition(".")
            found.append((left, right) if dot else ("", left))
    return found
