"""A logical database, whatever engine is behind it: one thread that writes, readers beside it."""

from __future__ import annotations

import asyncio
import queue
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from types import MappingProxyType
from typing import Any, ClassVar, Literal, TypeVar

import apsw

from edgelake._rust import GroupScan
from edgelake.errors import DatabaseError, TableMissingError
from edgelake.store import aggregates, catalogue, engine
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


class Store(ABC):
    """One logical database.

    All writing happens in one thread, on one connection. Readers have connections of their own and see what is
    committed; whatever the engine, they speak SQLite's SQL (``edgelake.store.engine``). ``tables`` may be read in any
    thread: it is replaced whole.
    """

    kind: ClassVar[str]
    address = "Local"
    """Where the server is, as ``get databases`` prints it."""

    groups_rows: ClassVar[bool] = False
    """Whether ``gather`` may have a server put rows together."""

    splits_scans: ClassVar[bool] = False
    """Whether several threads that read stretches of one table are faster than one."""

    integer_times: ClassVar[bool] = False
    """Whether users' statements are given times as microseconds, instead of the texts that users write."""

    def __init__(self, dbms: str, on_schema: OnSchema | None = None) -> None:
        """Opens the database. Raises DatabaseError."""
        self.dbms = dbms
        self._on_schema = on_schema
        self._tables: Mapping[str, TableInfo] = {}
        self._partitioning: Mapping[tuple[str, str], Partitioning] = {}
        self._aggregations: aggregates.Declared = {}
        self.on_posted: Callable[[], None] = lambda: None
        """Told in the writer's thread when derived rows wait for another database."""
        self._next_row_ids: dict[str, int] = {}
        self._idle: queue.LifoQueue[apsw.Connection] = queue.LifoQueue(IDLE_READERS)
        self._closed = False
        self._inserter: Inserter
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
        return False

    @property
    @abstractmethod
    def storage(self) -> str:
        """Where the data is, as ``get databases`` prints it."""

    @property
    @abstractmethod
    def configuration(self) -> str:
        """How it writes, as ``get databases`` prints it."""

    @property
    def tables(self) -> Mapping[str, TableInfo]:
        return MappingProxyType(self._tables)

    @property
    def partitioning(self) -> Mapping[tuple[str, str], Partitioning]:
        return MappingProxyType(self._partitioning)

    @property
    def aggregations(self) -> aggregates.Declared:
        return MappingProxyType(self._aggregations)

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

    async def run(self, work: Callable[[Any], T]) -> T:
        """Run ``work`` with the writer's connection in its thread, outside a transaction."""
        return await asyncio.wrap_future(self._submit(lambda: work(self._ready())))

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

    async def receive(self, notes: Sequence[aggregates.Note]) -> None:
        """Take derived rows of another database, each once. Raises StorageFullError, DatabaseError."""
        insert, now_us = self._inserter.insert_derived, time.time_ns() // 1000
        await self.change(lambda tx: aggregates.receive(tx, notes, now_us, insert))

    @abstractmethod
    async def execute(self, sql: str) -> int:
        """Run a statement of a user that changes something; returns the number of rows changed.

        INSERT, UPDATE and DELETE on a partitioned table reach its partitions.
        """

    def watermarks(self) -> dict[str, int]:
        """Journal position that each table has reached."""
        sql = "SELECT table_name, position FROM _edgelake_journal WHERE table_name <> ''"
        rows: list[Any] = self._submit(lambda: self._ready().execute(sql).fetchall()).result()
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
        connection = self._idle_reader()
        if connection is None:
            if self._closed:
                raise DatabaseError(f"{self.dbms} is closed", hint="connect the database again")
            connection = self._open_reader()
        try:
            yield connection
        except apsw.Error as error:
            raise engine.to_error(error, self.dbms) from error
        finally:
            self._give_back(connection)

    def joined_reader(self, others: Sequence[Store]) -> apsw.Connection:
        """As ``reader``, with the tables of other databases under their names; to be closed by who has it."""
        return self.open_joined(self, others)

    def gather(self, connection: apsw.Connection, table: str, scan: str, spec: str, groups: GroupScan) -> bool:
        """Have the server of the database group the rows of a scan, and take its groups in.

        Args:
            connection: of ``reader``.
            table, scan: the physical table, and how a server is to read it (``Plan.server_scans``).
            spec: of ``groups``.

        Returns: False when nothing was taken: the rows are to be scanned. Raises as ``GroupScan.scan`` does.
        """
        return False

    def asked(self, table: str, scan: str, spec: str) -> str:
        """The statement that ``gather`` has the server run; empty where it asks for none. Arguments: of ``gather``."""
        return ""

    def explain(self, sql: str) -> list[str]:
        """How the server of the database would run a statement of ``asked``, line by line. In a thread.

        Raises DatabaseError.
        """
        return []

    def open_joined(self, main: Store, others: Sequence[Store]) -> apsw.Connection:
        """A joined reader of databases of several engines, of which this is one."""
        named = ", ".join(f"{store.dbms} ({store.kind})" for store in (main, *others))
        raise DatabaseError(f"{named}: not read by one statement", hint="include tables of databases of one kind")

    async def read(self, work: Callable[[apsw.Connection], T]) -> T:
        """Run ``work`` with a reader's connection in a reader thread."""

        def job() -> T:
            with self.reader() as connection:
                return work(connection)

        return await asyncio.wrap_future(self._readers.submit(job))

    @abstractmethod
    async def size_bytes(self) -> int:
        """Bytes of the database."""

    @abstractmethod
    async def sizes(self, names: Sequence[str]) -> dict[str, int]:
        """Bytes of physical tables, with their indexes."""

    @abstractmethod
    async def days(self, info: TableInfo, column: str) -> dict[int, int]:
        """Rows of a table without partitions by the day of a time column: days since 1970-01-01 UTC."""

    @abstractmethod
    async def free_bytes(self) -> int | None:
        """Room for more rows where the database is; None = it cannot be seen from here."""

    @abstractmethod
    async def give_back(self, names: Sequence[str]) -> int:
        """Give the room of rows that are gone back, in steps; bytes that the disk got. ``names``: of shrunk tables."""

    async def row_counts(
        self, names: Sequence[str], *, whole: bool = False, with_empty_own: bool = False
    ) -> dict[str, int]:
        """Rows of tables by physical name; ``whole``: by table, partitions added up.

        ``with_empty_own``: list a partitioned table too, with its 0 rows. Raises TableMissingError.
        """
        wanted = [self.table(name) for name in names]
        physical = [name for info in wanted for name in info.physical_names]
        counted = dict(zip(physical, await self._count(physical), strict=True))
        found: dict[str, int] = {}
        for info in wanted:
            counts = {name: counted[name] for name in info.physical_names}
            if whole:
                found[info.name] = sum(counts.values())
                continue
            if with_empty_own:
                found[info.name] = 0
            found.update(counts)
        return found

    @abstractmethod
    async def last_rows(self, physical_names: Sequence[str]) -> Sequence[int]:
        """The highest row id of each physical table, 0 for an empty one: it tells whether rows have come."""

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
        """Finish what is queued, write everything down, close. Idempotent."""
        if not self._closed:
            await asyncio.to_thread(self.close_blocking)

    def close_blocking(self) -> None:
        if self._closed:
            return
        self._closed = True
        self._readers.shutdown(wait=True)
        while (connection := self._idle_reader()) is not None:
            connection.close()
        self._writer.submit(self._close).result()
        self._shut_threads()

    # --- what an engine brings; in the writer's thread, but for the readers

    @abstractmethod
    def _open(self) -> None:
        """Open the writer's connection, prepare the catalogue, read it, set ``_inserter``. Raises DatabaseError."""

    @abstractmethod
    def _close(self) -> None: ...

    @abstractmethod
    def _ready(self) -> Any:
        """The writer's connection, opened again where it was lost. Raises DatabaseError."""

    @abstractmethod
    def _begin(self, synchronous: Synchronous) -> Transaction: ...

    @abstractmethod
    def _commit(self) -> None: ...

    @abstractmethod
    def _roll_back(self) -> None: ...

    @abstractmethod
    def _refresh(self) -> None:
        """Read the catalogue again."""

    @abstractmethod
    def _checkpoint(self) -> bool: ...

    @abstractmethod
    def _open_reader(self) -> apsw.Connection: ...

    @abstractmethod
    async def _count(self, physical_names: Sequence[str]) -> Sequence[int]:
        """Rows of each table."""

    # --- inside

    def _submit(self, job: Callable[[], T]) -> Future[T]:
        if self._closed:
            raise DatabaseError(f"{self.dbms} is closed", hint="connect the database again")
        return self._writer.submit(job)

    def _transaction(self, work: Callable[[Transaction], T], synchronous: Synchronous) -> T:
        try:
            tx = self._begin(synchronous)
            tx.aggregations = self._aggregations
            result = work(tx)
            self._commit()
        except BaseException as error:
            self._roll_back()
            self._next_row_ids = {}
            if isinstance(error, apsw.Error):
                raise engine.to_error(error, self.dbms) from error
            raise
        self._take(tx)
        return result

    def _take(self, tx: Transaction) -> None:
        """Publish what a committed transaction changed."""
        self._next_row_ids.update(tx.next_row_ids)
        if tx.has_posted:
            self.on_posted()
        if tx.foreign_changes:
            self._refresh()
        elif tx.changed:
            self._tables = dict(sorted(tx.tables.items()))
        if self._on_schema is not None:
            for name, info in tx.changed.items():
                self._on_schema(self.dbms, name, None if info is None else catalogue.user_schema(info))

    def _idle_reader(self) -> apsw.Connection | None:
        try:
            return self._idle.get_nowait()
        except queue.Empty:
            return None

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

    def _shut_threads(self) -> None:
        self._writer.shutdown(wait=True)
        self._readers.shutdown(wait=True)
