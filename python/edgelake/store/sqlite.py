"""A database in one SQLite file, or in memory."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import apsw

from edgelake._rust import BatchTable
from edgelake.errors import DatabaseError
from edgelake.store import aggregates, catalogue, direct, engine, room
from edgelake.store.base import TableInfo
from edgelake.store.schema import Transaction
from edgelake.store.store import OnSchema, Store, Synchronous
from edgelake.store.virtual import VirtualTableInserter


class SqliteStore(Store):
    """One logical database in one SQLite file; WAL, one connection that writes."""

    kind = "sqlite"
    splits_scans = True
    integer_times = True

    def __init__(self, dbms: str, path: Path | None, on_schema: OnSchema | None = None) -> None:
        """``path`` None = in memory: gone when the store closes."""
        self.path = path
        self._location = str(path) if path else f"file:/edgelake-{id(self):x}-{dbms}?vfs=memdb"
        self._synchronous: Synchronous = "NORMAL"
        super().__init__(dbms, on_schema)

    @property
    def in_memory(self) -> bool:
        return self.path is None

    @property
    def storage(self) -> str:
        return str(self.path) if self.path else "MEMORY"

    @property
    def configuration(self) -> str:
        # The reference says "Fsync full (after each write)"; rows that the journal holds are synced at checkpoints.
        ram = "RAM, " if self.in_memory else ""
        return f"Autocommit On, {ram}Fsync full (after each write)"

    @property
    def location(self) -> str:
        """What opens the database for another connection of this process."""
        return self._location

    async def execute(self, sql: str) -> int:
        return await self.change(lambda tx: direct.execute(tx, sql))

    def joined_reader(self, others: Sequence[Store]) -> apsw.Connection:
        locations = {}
        for other in others:
            if not isinstance(other, SqliteStore):
                return other.open_joined(self, others)
            locations[other.dbms] = other.location
        return engine.open_reader(self._location, locations)

    async def size_bytes(self) -> int:
        sql = "SELECT page_count * page_size FROM pragma_page_count, pragma_page_size"
        row: Any = await self.run(lambda db: db.execute(sql).fetchone())
        return int(row[0])

    # --- readers

    def _open_reader(self) -> apsw.Connection:
        return engine.open_reader(self._location)

    async def _count(self, physical_names: Sequence[str]) -> Sequence[int]:
        return await self.read(lambda db: [_rows(db, name) for name in physical_names])

    async def last_rows(self, physical_names: Sequence[str]) -> Sequence[int]:
        return await self.read(lambda db: [_last_row(db, name) for name in physical_names])

    async def sizes(self, names: Sequence[str]) -> dict[str, int]:
        return await self.read(lambda db: room.sizes(db, names))

    async def days(self, info: TableInfo, column: str) -> dict[int, int]:
        return await self.read(lambda db: room.days(db, info, column))

    async def free_bytes(self) -> int | None:
        path = self.path
        return None if path is None else await self.run(lambda db: room.free_bytes(path, db))

    async def give_back(self, names: Sequence[str]) -> int:
        path = self.path
        if path is None:
            return 0
        before = room.file_bytes(path)
        while await self.run(room.give_back_step):
            pass
        await self.run(lambda _: self._checkpoint())
        return max(before - room.file_bytes(path), 0)

    # --- the writer's thread

    def _open(self) -> None:
        if self.path is not None:
            try:
                self.path.parent.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise DatabaseError(f"{self.path}: {error}", hint="choose another directory") from error
        self._connection = engine.open_writer(self._location)
        try:
            catalogue.prepare(self._connection)
            self._refresh()
        except apsw.Error as error:
            self._connection.close()
            raise engine.to_error(error, self._location) from error
        self._inserter = VirtualTableInserter(BatchTable(self._connection.sqlite3_pointer()))

    def _close(self) -> None:
        with contextlib.suppress(apsw.Error):  # a full disk takes no statistics
            self._connection.execute("PRAGMA optimize")
        self._connection.close()

    def _ready(self) -> apsw.Connection:
        return self._connection

    def _refresh(self) -> None:
        self._tables = catalogue.load(self._connection, self.dbms)
        self._partitioning = catalogue.load_partitioning(self._connection)
        self._aggregations = aggregates.load(self._connection)
        self._next_row_ids = {}

    def _begin(self, synchronous: Synchronous) -> Transaction:
        connection = self._connection
        if synchronous != self._synchronous:  # no effect inside a transaction, so before it
            connection.execute(f"PRAGMA synchronous={synchronous}")
            self._synchronous = synchronous
        connection.execute("BEGIN IMMEDIATE")
        return Transaction(connection, self.dbms, self._tables, self._partitioning, self._next_row_ids)

    def _commit(self) -> None:
        self._connection.execute("COMMIT")

    def _roll_back(self) -> None:
        if self._connection.in_transaction:  # a full disk has rolled back by itself
            self._connection.execute("ROLLBACK")

    def _checkpoint(self) -> bool:
        """Move the WAL into the file; where a reader holds that up, sync the WAL itself by a FULL commit."""
        try:
            in_log, moved = self._connection.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_PASSIVE)
        except apsw.BusyError:
            in_log, moved = 1, 0
        except apsw.Error as error:
            raise engine.to_error(error, self.dbms) from error
        if in_log != moved:
            now = time.time_ns() // 1000
            self._transaction(
                lambda tx: tx.execute("INSERT OR REPLACE INTO _edgelake_journal VALUES ('', ?)", (now,)).fetchall(),
                "FULL",
            )
        return True


def _last_row(connection: apsw.Connection, table: str) -> int:
    row: Any = connection.execute(f"SELECT coalesce(max(row_id), 0) FROM {engine.quote(table)}").fetchone()
    return int(row[0])


def _rows(connection: apsw.Connection, table: str) -> int:
    row: Any = connection.execute(f"SELECT count(*) FROM {engine.quote(table)}").fetchone()
    return int(row[0])
