"""The CREATE TABLE statement of a table policy: what other nodes publish, and what this one does.

Source: spec "Ingestion", section 8. In a policy the text has ``|`` for ``"``.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

from edgelake.errors import error
from edgelake.store.base import AUTOMATIC_COLUMNS, ColumnInfo, TableInfo

_HEAD: Final = re.compile(r"create\s+table\s+(?:if\s+not\s+exists\s+)?(?P<name>[^\s(]+)\s*\(", re.IGNORECASE)
_SYNONYMS: Final = {
    "integer": "int",
    "serial": "bigint",
    "bigserial": "bigint",
    "int4": "int",
    "int8": "bigint",
    "smallint": "int",
    "bool": "boolean",
    "numeric": "decimal",
    "real": "float",
    "double": "float",
    "float8": "float",
    "text": "varchar",
    "string": "varchar",
    "datetime": "timestamp",
    "inet": "cidr",
    "character": "char",
}
_KINDS: Final = frozenset(
    {"boolean", "int", "bigint", "decimal", "float", "char", "varchar", "uuid", "cidr", "date", "time", "timestamp"}
)
_FIELD: Final = re.compile(r'(?:["\[`](?P<quoted>[^"\]`]+)["\]`]|(?P<plain>[^\s(]+))(?P<declared>.*)', re.DOTALL)
_TYPE: Final = re.compile(
    r"(?P<type>[a-z_0-9]+)\s*(?:\(\s*(?P<size>\d+)[^)]*\))?(?P<rest>.*)", re.IGNORECASE | re.DOTALL
)
_PLAIN: Final = re.compile(r"[a-z_][a-z0-9_]*", re.IGNORECASE | re.ASCII)
_RESERVED: Final = """
    add all alter and as autoincrement between case check collate commit constraint create default deferrable delete
    distinct drop else escape except exists foreign from group having in index insert intersect into is isnull join
    limit not nothing notnull null on or order primary references returning select set table then to transaction union
    unique update using values when where
"""
RESERVED: Final = frozenset(_RESERVED.split())
"""Words that SQLite takes for no name without quotes."""

_NOT_COLUMNS: Final = frozenset({"primary", "unique", "constraint", "check", "foreign", "key", "index"})


def user_columns(statement: str) -> list[ColumnInfo]:
    """User columns of the first CREATE TABLE in a statement. Raises EdgeLakeError 188 when there is none."""
    text = statement.replace("|", '"')
    head = _HEAD.search(text)
    if head is None:
        raise error(188, f"no CREATE TABLE in: {statement[:60]}")
    columns = []
    for part in _split(text[head.end() :]):
        field = _FIELD.match(part)
        if field is None:
            continue
        name = field["quoted"] or field["plain"]
        if (field["plain"] and name.lower() in _NOT_COLUMNS) or name in AUTOMATIC_COLUMNS:
            continue
        columns.append(ColumnInfo(name, *_kind(field["declared"].strip())))
    return columns


def create_statement(table: TableInfo, *, with_tsd: bool = True) -> str:
    """The statement that a table policy carries: automatic and user columns, then the indexes."""
    name = table.name
    fields = [
        "row_id SERIAL PRIMARY KEY",
        "insert_timestamp TIMESTAMP NOT NULL DEFAULT NOW()",
        "tsd_name CHAR(3)",
        "tsd_id INT",
    ]
    indexed = []
    uuid_seen = False
    for column in table.user_columns:
        default = " NOT NULL DEFAULT NOW()" if column.default_now else ""
        fields.append(f"{_quoted(column.name)} {column.kind.upper()}{default}")
        first_uuid = column.kind == "uuid" and not uuid_seen
        uuid_seen = uuid_seen or first_uuid
        if column.kind == "timestamp" or first_uuid or "sensor_id" in column.name:
            indexed.append(column.name)
    text = f"CREATE TABLE IF NOT EXISTS {_quoted(name)}( {', '.join(fields)} );"
    for column_name in [*indexed, "insert_timestamp"]:
        text += f" CREATE INDEX {_plain(name, column_name)}_index ON {_quoted(name)}({_quoted(column_name)});"
    if with_tsd:
        text += f" CREATE INDEX {_plain(name)}_tsd_index ON {_quoted(name)}(tsd_name, tsd_id);"
    return text


def _quoted(name: str) -> str:
    """A name as the statement needs it. Quotes only where there is no other way: reference nodes take them for a part
    of the name, and then know no such column."""
    return name if _PLAIN.fullmatch(name) and name.lower() not in RESERVED else f'"{name}"'


def _plain(*names: str) -> str:
    """Part of the name of an index."""
    return re.sub(r"\W", "_", "_".join(names))


def _split(text: str) -> Sequence[str]:
    """Parts of the column list up to its closing parenthesis, cut at commas of the first level."""
    parts, start, depth, quoted = [], 0, 0, False
    for at, char in enumerate(text):
        if char == '"':
            quoted = not quoted
        elif quoted:
            continue
        elif char == "(":
            depth += 1
        elif char == ")" and depth:
            depth -= 1
        elif char == "," and not depth:
            parts.append(text[start:at].strip())
            start = at + 1
        elif char == ")":
            parts.append(text[start:at].strip())
            break
    return parts


def logical_kind(declared: str) -> str:
    """The logical type that a declared type stands for; what is unknown is text."""
    return _kind(declared)[0]


def _kind(declared: str) -> tuple[str, bool]:
    found = _TYPE.match(declared)
    if found is None:
        return "varchar", False
    kind = found["type"].lower()
    kind = _SYNONYMS.get(kind, kind)
    if kind not in _KINDS:
        kind = "varchar"
    if kind == "char":
        kind = f"char({found['size'] or 1})" if "varying" not in found["rest"].lower() else "varchar"
    rest = found["rest"].lower()
    return kind, "default" in rest and ("now" in rest or "current_timestamp" in rest)
