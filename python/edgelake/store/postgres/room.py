"""The room that tables of a PostgreSQL database take, and what they give back."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import psycopg

from edgelake.store.base import TableInfo
from edgelake.store.postgres.names import quote
from edgelake.store.postgres.types import literal

Raw = psycopg.Connection[Any]


def size(raw: Raw, name: str) -> int:
    """Bytes of a table with its indexes; 0 = there is none."""
    row = raw.execute(f"SELECT pg_total_relation_size(to_regclass({literal(quote(name))}))".encode()).fetchone()
    return int(row[0] or 0) if row else 0


def days(raw: Raw, info: TableInfo, column: str) -> dict[int, int]:
    """Rows by day: days since 1970-01-01 UTC."""
    day = f"floor(extract(epoch FROM coalesce({quote(column)}, insert_timestamp)) / 86400)::bigint"
    found = raw.execute(f"SELECT coalesce({day}, 0), count(*) FROM {quote(info.name)} GROUP BY 1".encode()).fetchall()
    return {int(number): int(rows) for number, rows in found}


def give_back(raw: Raw, names: Sequence[str]) -> int:
    """Let new rows have the room of deleted ones; free pages at the end go back to the disk: bytes."""
    before = sum(size(raw, name) for name in names)
    for name in names:
        raw.execute(f"VACUUM {quote(name)}".encode())
    return max(before - sum(size(raw, name) for name in names), 0)


def last_row(raw: Raw, name: str) -> int:
    """The highest row id; 0 = there are no rows."""
    row = raw.execute(f"SELECT coalesce(max(row_id), 0) FROM {quote(name)}".encode()).fetchone()
    return int(row[0]) if row else 0
