"""What is left to do behind the commit of a batch of streamed rows: its archive file, its rows in the TSD table.

The note is committed with the rows and removed when all is done, so that a crash in between repeats the rest.
Source: spec "Ingestion", section 14.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import apsw
from msgspec import Struct

from edgelake.store.schema import Transaction

_FIELDS = "table_name, first, last, source, instructions, path, tsd_hash, rows"


class StoredBatch(Struct, frozen=True):
    """Rows of one table and origin, between two journal positions.

    Attributes:
        first, last: positions of the first and the last record.
        path: the archive file that is to be written, ``.gz`` when it is to be compressed; None = none, or written.
        tsd_hash: hash of the row in tsd_info that gets the number of rows; empty = none.
    """

    table: str
    first: int
    last: int
    source: str = "0"
    instructions: str = "0"
    path: Path | None = None
    tsd_hash: str = ""
    rows: int = 0


def put(tx: Transaction, batch: StoredBatch) -> None:
    path = str(batch.path) if batch.path else ""
    tx.execute(
        "INSERT INTO _edgelake_batches VALUES (?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (table_name, first) DO UPDATE SET"
        " last = excluded.last, source = excluded.source, instructions = excluded.instructions, path = excluded.path,"
        " tsd_hash = excluded.tsd_hash, rows = excluded.rows",
        (
            batch.table,
            batch.first,
            batch.last,
            batch.source,
            batch.instructions,
            path,
            batch.tsd_hash,
            batch.rows,
        ),
    )


def open_batches(db: apsw.Connection, *, limit: int = -1, with_file: bool = False) -> list[StoredBatch]:
    """Batches that are not done, oldest first; ``with_file``: those whose archive file is to be written."""
    where = "WHERE path <> ''" if with_file else ""
    rows: list[Any] = db.execute(
        f"SELECT {_FIELDS} FROM _edgelake_batches {where} ORDER BY first LIMIT ?", (limit,)
    ).fetchall()
    return [
        StoredBatch(table, first, last, source, instructions, Path(path) if path else None, tsd_hash, count)
        for table, first, last, source, instructions, path, tsd_hash, count in rows
    ]


def close(tx: Transaction, done: Sequence[StoredBatch], *, booked: bool) -> None:
    """Their files are written; ``booked``: the TSD rows are complete too, the notes can go."""
    keys = [(batch.table, batch.first) for batch in done]
    change = "DELETE FROM _edgelake_batches" if booked else "UPDATE _edgelake_batches SET path = ''"
    tx.connection.executemany(f"{change} WHERE table_name = ? AND first = ?", keys)
