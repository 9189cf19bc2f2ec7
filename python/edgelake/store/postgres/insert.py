"""Rows into PostgreSQL: binary COPY of the batch, encoded natively, straight into the partition it belongs to."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from edgelake._rust import CopyBatch, Rows
from edgelake.errors import RefusedError
from edgelake.store.base import AUTOMATIC_COLUMNS, TableInfo
from edgelake.store.insert import Inserter, Insertion, order_column
from edgelake.store.postgres.names import quote
from edgelake.store.postgres.schema import PostgresTransaction
from edgelake.store.postgres.types import wire_type
from edgelake.store.schema import Transaction

_Automatic = tuple[int, int, str, int]
"""(first row id, batch time in us, TSD name, TSD id)"""


class CopyInserter(Inserter):
    """Inserts by COPY, one for each partition that a batch touches."""

    def _insert_fitted(self, tx: Transaction, info: TableInfo, rows: Rows, wanted: Insertion) -> tuple[int, list[str]]:
        assert isinstance(tx, PostgresTransaction)
        if not info.is_own:
            return self._insert_foreign(tx, info, rows, wanted)
        names = rows.names()
        if not len(rows):
            return 0, []
        declared = tx.partitioning(info)
        if declared is not None and not info.partitions:
            info = tx.gather(info, declared)
        key = order_column(info, names, declared.column if declared else None)
        batch = CopyBatch(rows, key=key, fill_us=wanted.insert_timestamp_us)
        kinds = {c.name: c.kind for c in info.columns}
        types = [wire_type(kinds[name]) for name in names]
        columns = ", ".join(quote(name) for name in (*AUTOMATIC_COLUMNS, *names))
        row_id = tx.reserve_row_ids(info, len(rows))
        used: list[str] = []
        while (time_us := batch.next_key()) is not None:
            name, end_us = info.name, None
            if declared is not None:
                info, partition = tx.add_partition(info, declared, time_us)
                name, end_us = partition.name, partition.end_us
            taken = batch.take(end_us=end_us)
            automatic = (row_id, wanted.insert_timestamp_us, wanted.tsd_name, wanted.tsd_id)
            tx.connection.copy(f"{quote(name)} ({columns})", _pieces(batch, types, automatic))
            row_id += taken
            used.append(name)
        return len(rows), used

    def _insert_foreign(
        self, tx: PostgresTransaction, info: TableInfo, rows: Rows, wanted: Insertion
    ) -> tuple[int, list[str]]:
        """Insert into a table made by plain SQL: the columns that the rows have, as the types that it gave them."""
        given = set(wanted.rows.names())
        kinds = {c.name: c.kind for c in info.columns}
        names = rows.names()
        types = [wire_type(kinds[name]) for name in names]
        batch = CopyBatch(rows)
        batch.take()
        tx.execute(f"CREATE TEMPORARY TABLE edgelake_batch ({', '.join(_field(*f) for f in enumerate(types))})")
        tx.connection.copy("edgelake_batch", _pieces(batch, types, None))
        filled = [(at, name) for at, name in enumerate(names) if name in given]
        columns = ", ".join(quote(name) for _, name in filled)
        values = ", ".join(f"c{at}::{_type_of(tx, info.name, name)}" for at, name in filled)
        tx.execute(f"INSERT INTO {quote(info.name)} ({columns}) SELECT {values} FROM edgelake_batch")
        tx.execute("DROP TABLE edgelake_batch")
        return len(rows), [info.name]


def _field(at: int, wire: str) -> str:
    return f"c{at} {wire}"


def _type_of(tx: Transaction, table: str, column: str) -> str:
    found = tx.value(
        "SELECT format_type(a.atttypid, a.atttypmod) FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid"
        " WHERE c.relname = ? AND c.relnamespace = current_schema()::regnamespace AND a.attname = ?",
        (table, column),
    )
    return str(found or "text")


def _pieces(batch: CopyBatch, types: Sequence[str], automatic: _Automatic | None) -> Iterator[bytes]:
    """COPY data of the batch's window. Raises RefusedError for a value that its column cannot take."""
    while True:
        try:
            piece = batch.piece(list(types), automatic)
        except ValueError as problem:
            raise RefusedError(str(problem)) from problem
        if piece is None:
            return
        yield piece
