"""Rows of tables as files of JSON lines, and the dates of partitions."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import apsw

from edgelake.errors import error
from edgelake.store.base import ColumnInfo, TableInfo
from edgelake.store.engine import literal, quote
from edgelake.store.partition import shown_dates
from edgelake.store.schema import time_text
from edgelake.store.store import Store


def partition_dates(info: TableInfo) -> dict[str, dict[str, str]]:
    """First and last day of each partition, by name."""
    dates = {p.name: shown_dates(p.name, p.start_us, p.end_us) for p in info.partitions}
    return {name: {"start": start, "end": end} for name, (start, end) in dates.items()}


async def write(store: Store, info: TableInfo, names: Sequence[str], directory: Path) -> list[tuple[Path, int]]:
    """Write each physical table to ``<dbms>.<table>[.<partition>].json``; the files and their rows.

    A file appears under its name when it is complete. Raises EdgeLakeError 63 when it can't be written.
    """
    return await store.read(lambda db: [_write_one(db, info, name, directory) for name in names])


def _write_one(db: apsw.Connection, info: TableInfo, name: str, directory: Path) -> tuple[Path, int]:
    own = info.name if name == info.name else f"{info.name}.{name}"
    path = directory / f"{info.dbms}.{own}.json"
    unfinished = path.with_suffix(".json_tmp")
    fields = ", ".join(f"{literal(c.name)}, {_value(c)}" for c in info.columns)
    rows = 0
    try:
        with unfinished.open("w", encoding="utf-8") as file:
            for (line,) in db.execute(f"SELECT json_object({fields}) FROM {quote(name)} ORDER BY row_id"):
                file.write(f"{line}\n")
                rows += 1
        unfinished.replace(path)
    except OSError as cause:
        unfinished.unlink(missing_ok=True)
        raise error(63, f"{path}: {cause}", hint="make room, or choose another directory") from cause
    return path, rows


def _value(column: ColumnInfo) -> str:
    field = quote(column.name)
    if column.kind == "timestamp":
        return f"iif(typeof({field}) = 'integer', {time_text(field, 'T')} || 'Z', {field})"
    if column.kind == "boolean":
        return f"json(iif({field} IS NULL, 'null', iif({field}, 'true', 'false')))"
    return field
