"""What every database of the node offers, whatever engine is behind it."""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import Struct

AUTOMATIC_COLUMNS = ("row_id", "insert_timestamp", "tsd_name", "tsd_id")
"""Columns that the node fills; they stand before the user's columns."""


class ColumnInfo(Struct, frozen=True):
    """A column: its name, logical type (``timestamp``, ``decimal``, ``char(3)`` ...) and default."""

    name: str
    kind: str
    default_now: bool = False


class PartitionInfo(Struct, frozen=True):
    """A physical table that holds the rows of a table with ``start_us <= column < end_us``."""

    name: str
    column: str
    start_us: int
    end_us: int


class TableInfo(Struct, frozen=True):
    """A logical table: all columns, the automatic ones first; ``partitions`` is empty for a plain table."""

    dbms: str
    name: str
    columns: tuple[ColumnInfo, ...]
    partitions: tuple[PartitionInfo, ...] = ()

    @property
    def user_columns(self) -> Sequence[ColumnInfo]:
        return [c for c in self.columns if c.name not in AUTOMATIC_COLUMNS]

    @property
    def is_own(self) -> bool:
        """Whether the node made it; False for a table made by plain SQL, which lacks the automatic columns."""
        return tuple(c.name for c in self.columns[: len(AUTOMATIC_COLUMNS)]) == AUTOMATIC_COLUMNS

    @property
    def physical_names(self) -> Sequence[str]:
        """Tables that hold the rows: the partitions, or the table itself."""
        return [p.name for p in self.partitions] or [self.name]
