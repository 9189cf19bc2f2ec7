"""Types of columns: what the node calls them, and what PostgreSQL does.

A type's name stands for three things: the column in the table, its values on the wire, and what SQLite reads.
"""

from __future__ import annotations

from typing import Final

from edgelake.store.base import ColumnInfo
from edgelake.store.statement import logical_kind

_TYPES: Final = {
    "boolean": "boolean",
    "int": "integer",
    "bigint": "bigint",
    "decimal": "numeric",
    "float": "double precision",
    "timestamp": "timestamp",
}
"""What is not here is text: char(n) is unlimited text to the node, and uuid, cidr, date and time stay as written."""


def wire_type(kind: str) -> str:
    """Type of a column that the node makes, and of its values in COPY data."""
    return _TYPES.get(kind, "text")


def declared_kind(data_type: str, length: int | None) -> str:
    """The node's name of a type in a table that others made (``information_schema.columns.data_type``)."""
    if data_type == "character":
        return f"char({length or 1})"
    return logical_kind(data_type)


def read_expression(field: str, column: ColumnInfo, *, is_own: bool) -> str:
    """SQL that gives a column as its wire type, whatever it is in a table that others made."""
    if is_own:
        return field
    wire = wire_type(column.kind)
    if wire == "timestamp":  # one with a time zone is an instant: its time in UTC, the session's zone
        return f"{field}::timestamp"
    return f"{field}::{wire}"


def literal(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"
