"""A database file: one thread that writes, connections that read, and the tables as they are."""

from __future__ import annotations

import asyncio
import queue
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal, TypeVar

import apsw

from edgelake._rust import BatchTable
from edgelake.errors import DatabaseError, TableMissingError
from edgelake.store import catalogue, direct, engine
from edgelake.store.base import TableInfo
from edgelake.store.insert import Inserted, Inserter, Insertion, Published
from edgelake.store.partition import Partitioning
from edgelake.store.schema import Transaction

OnSchema = Callable[[str, str, list[tuple[str, str, bool]] | None], None]
"""Told after each change of a table: (dbms, table, user columns; None = dropped). Runs in the writer's thread."""

Synchronous = Literal["NORMAL", "FULL"]
T = TypeVar("T")
IDLE_READERS = 4
READER_THREADS = 4


class SqliteStore:
    """One logical database in one SQLite file, or in memory.

    All writing happens in one thread, on one connection; readers have connections of their own and see what is
    committed. ``tables`` may be read in any thread: it is replaced whole.
    """

    kind = "sqlite"

    def __init__(self, dbms: str, path: Path | None, on_schema: OnSchema | None = None) -> None:
        """``path`` None = in memory: gone when the store closes."""
        self.dbms = dbms
        self.path = path
        self._location = str(path) if path else f"file:/edgelake-{id(self):x}-{dbms}?vfs=memdb"
        self._on_schema = on_schema
        self._tables: Mapping[str, TableInfo] = {}
        self._partitioning: Mapping[tuple[str, str], Partitioning] = {}
        self._next_row_ids: dict[str, int] = {}
        self._synchronous: Synchronous = "NORMAL"
        self._idle: queue.LifoQueue[apsw.Connection] = queue.LifoQueue(IDLE_READERS)
        self._closed = False
        self._writer = ThreadPoolExecutor(1, thread_name_prefix=f"store-{dbms}")
        self._readers = ThreadPoolExecutor(READER_THREADS, thread_name_prefix=f"read-{dbms}")
        try:
            self._writer.submit(self._open).result()
        except BaseException:
            self._shut_threads()
            raise

    # --- state, any thread

    @property
    def in_memory(self) -> bool:
        return self.path is None

    @property
    def storage(self) -> str:
        """Where the data is, as ``get databases`` prints it."""
        return str(self.path) if self.path else "MEMORY"

    @property
    def location(self) -> str:
        """What opens the database for another connection of this process."""
        return self._location

    @property
    def tables(self) -> Mapping[str, TableInfo]:
        return MappingProxyType(self._tables)

    @property
    def partitioning(self) -> Mapping[tuple[str, str], Partitioning]:
        return MappingProxyType(self._partitioning)

    def table(self, name: str) -> TableInfo:
        """Raises TableMissingError."""
        found = self._tables.get(name)
        if found is None:
            raise TableMissingError(f"{self.dbms}.{name}", hint=f"see: get tables where dbms = {self.dbms}")
        return found

    # --- writing

    def create_as_published(self, published: Published) -> None:
        """Tables that rows make get the columns that the network knows them by."""
        self._inserter.published = published

    async def run(self, work: Callable[[apsw.Connection], T]) -> T:
        """Run ``work`` with the writer's connection in its thread, outside a transaction."""
        return await asyncio.wrap_future(self._submit(lambda: work(self._connection)))

    def run_blocking(self, work: Callable[[apsw.Connection], T]) -> T:
        """As ``run``, from another thread than the loop's."""
        return self._submit(lambda: work(self._connection)).result()

    async def change(self, work: Callable[[Transaction], T], *, synchronous: Synchronous = "FULL") -> T:
        """Run ``work`` in one transaction: all of it or nothing. Durable on return with FULL."""
        return await asyncio.wrap_future(self._submit(lambda: self._transaction(work, synchronous)))

    def change_blocking(self, work: Callable[[Transaction], T], *, synchronous: Synchronous = "FULL") -> T:
        return self._submit(lambda: self._transaction(work, synchronous)).result()

    def store_many(
        self,
        wanted: Sequence[Insertion],
        *,
        synchronous: Synchronous = "NORMAL",
        sparing: bool = False,
        before_commit: Callable[[Sequence[Inserted]], None] | None = None,
    ) -> list[Inserted]:
        """Insert several flushes in one transaction; called from a thread other than the loop's.

        NORMAL is for rows that the journal holds: they are safe after ``checkpoint``.

        Args:
            sparing: rows that the database refuses are kept out, instead of failing all.
            before_commit: called in the writer's thread; when it fails nothing is stored.

        Raises StorageFullError and DatabaseError; nothing of it is stored then.
        """

        def work(tx: Transaction) -> list[Inserted]:
            insert = self._inserter.insert_sparing if sparing else self._inserter.insert
            done = [insert(tx, one) for one in wanted]
            if before_commit is not None:
                before_commit(done)
            return done

        return self.change_blocking(work, synchronous=synchronous)

    async def insert(
        self, wanted: Insertion, *, synchronous: Synchronous = "NORMAL", sparing: bool = False
    ) -> Inserted:
        """Insert one flush in a transaction of its own; ``sparing`` and what is raised: as ``store_many``."""
        insert = self._inserter.insert_sparing if sparing else self._inserter.insert
        return await self.change(lambda tx: insert(tx, wanted), synchronous=synchronous)

    async def execute(self, sql: str) -> int:
        """Run a statement of a user that changes something; returns the number of rows changed.

        INSERT, UPDATE and DELETE on a partitioned table reach its partitions.
        """
        return await self.change(lambda tx: direct.execute(tx, sql))

    def watermarks(self) -> dict[str, int]:
        """Journal position that each table has reached."""
        sql = "SELECT table_name, position FROM _edgelake_journal WHERE table_name <> ''"
        rows: list[Any] = self.run_blocking(lambda db: db.execute(sql).fetchall())
        return dict(rows)

    def checkpoint(self) -> bool:
        """Make every row committed so far durable. True on success; the journal may forget them then."""
        return self._submit(self._checkpoint).result()

    async def forget_file(self, name: str) -> None:
        """Remove the marker of a file that was moved away."""
        await self.change(lambda tx: tx.execute("DELETE FROM _edgelake_files WHERE name = ?", (name,)).fetchall())

    # --- reading

    @contextmanager
    def reader(self) -> Iterator[apsw.Connection]:
        """A read-only, guarded connection for one thread; a transaction left open is ended."""
        try:
            connection = self._idle.get_nowait()
        except queue.Empty:
            if self._closed:
                raise DatabaseError(f"{self.dbms} is closed", hint="connect the database again") from None
            connection = engine.open_reader(self._location)
        try:
            yield connection
        except apsw.Error as error:
            raise engine.to_error(error, self.dbms) from error
        finally:
            self._give_back(connection)

    async def read(self, work: Callable[[apsw.Connection], T]) -> T:
        """Run ``work`` with a reader's connection in a reader thread."""

        def job() -> T:
            with self.reader() as connection:
                return work(connection)

        return await asyncio.wrap_future(self._readers.submit(job))

    async def size_bytes(self) -> int:
        """Bytes of the database."""
        sql = "SELECT page_count * page_size FROM pragma_page_count, pragma_page_size"
        row: Any = await self.run(lambda db: db.execute(sql).fetchone())
        return int(row[0])

    async def row_counts(
        self, names: Sequence[str], *, whole: bool = False, with_empty_own: bool = False
    ) -> dict[str, int]:
        """Rows of tables by physical name; ``whole``: by table, partitions added up.

        ``with_empty_own``: list a partitioned table too, with its 0 rows. Raises TableMissingError.
        """
        wanted = [self.table(name) for name in names]

        def work(db: apsw.Connection) -> dict[str, int]:
            found: dict[str, int] = {}
            for info in wanted:
                counts = {name: _count(db, name) for name in info.physical_names}
                if whole:
                    found[info.name] = sum(counts.values())
                    continue
                if with_empty_own:
                    found[info.name] = 0
                found.update(counts)
            return found

        return await self.read(work)

    async def dropped_partitions(self) -> list[tuple[str, str, str]]:
        """(table, partition, UTC time of the drop), the last first."""
        sql = (
            "SELECT table_name, partition_name, strftime('%Y-%m-%d %H:%M:%S', dropped_us / 1000000, 'unixepoch')"
            " FROM _edgelake_dropped ORDER BY dropped_us DESC"
        )
        rows: list[Any] = await self.read(lambda db: db.execute(sql).fetchall())
        return rows

    # --- end

    async def close(self) -> None:
        """Finish what is queued, write everything to the file, close. Idempotent."""
        if not self._closed:
            await asyncio.to_thread(self.close_blocking)

    def close_blocking(self) -> None:
        if self._closed:
            return
        self._closed = True
        self._readers.shutdown(wait=True)
        while True:
            try:
                self._idle.get_nowait().close()
            except queue.Empty:
                break
        self._writer.submit(self._close).result()
        self._shut_threads()

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
        self._inserter = Inserter(BatchTable(self._connection.sqlite3_pointer()))

    def _close(self) -> None:
        self._connection.execute("PRAGMA optimize")
        self._connection.close()

    def _shut_threads(self) -> None:
        self._writer.shutdown(wait=True)
        self._readers.shutdown(wait=True)

    def _refresh(self) -> None:
        self._tables = catalogue.load(self._connection, self.dbms)
        self._partitioning = catalogue.load_partitioning(self._connection)
        self._next_row_ids = {}

    def _submit(self, job: Callable[[], T]) -> Future[T]:
        if self._closed:
            raise DatabaseError(f"{self.dbms} is closed", hint="connect the database again")
        return self._writer.submit(job)

    def _transaction(self, work: Callable[[Transaction], T], synchronous: Synchronous) -> T:
        connection = self._connection
        if synchronous != self._synchronous:  # no effect inside a transaction, so before it
            connection.execute(f"PRAGMA synchronous={synchronous}")
            self._synchronous = synchronous
        tx = Transaction(connection, self.dbms, self._tables, self._partitioning, self._next_row_ids)
        try:
            connection.execute("BEGIN IMMEDIATE")
            result = work(tx)
            connection.execute("COMMIT")
        except BaseException as error:
            if connection.in_transaction:  # a full disk has rolled back by itself
                connection.execute("ROLLBACK")
            self._next_row_ids = {}
            if isinstance(error, apsw.Error):
                raise engine.to_error(error, self.dbms) from error
            raise
        self._take(tx)
        return result

    def _take(self, tx: Transaction) -> None:
        """Publish what a committed transaction changed."""
        self._next_row_ids.update(tx.next_row_ids)
        if tx.foreign_changes:
            self._refresh()
        elif tx.changed:
            self._tables = dict(sorted(tx.tables.items()))
        if self._on_schema is not None:
            for name, info in tx.changed.items():
                self._on_schema(self.dbms, name, None if info is None else catalogue.user_schema(info))

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
                lambda tx: tx.execute("INSERT OR REPLACE INTO _edgelake_journal VALUES ('', ?)", (now,)), "FULL"
            )
        return True

    def _give_back(self, connection: apsw.Connection) -> None:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        try:
            if not self._closed:
                self._idle.put_nowait(connection)
                return
        except queue.Full:
            pass
        connection.close(force=True)  # a reply that nobody read to its end leaves a statement open


def _count(connection: apsw.Connection, table: str) -> int:
    row: Any = connection.execute(f"SELECT count(*) FROM {engine.quote(table)}").fetchone()
    return int(row[0])
