"""A database of a PostgreSQL server."""

from __future__ import annotations

import asyncio
import logging
import queue
import threading
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any, Final, TypeVar

import apsw
import psycopg

from edgelake._rust import GroupScan
from edgelake.errors import DatabaseError, DatabaseMissingError
from edgelake.store import aggregates, direct
from edgelake.store import catalogue as common
from edgelake.store.base import ColumnInfo, TableInfo
from edgelake.store.postgres import catalogue, room
from edgelake.store.postgres.connection import PostgresConnection, connect, to_error
from edgelake.store.postgres.groups import gather, statement
from edgelake.store.postgres.insert import CopyInserter
from edgelake.store.postgres.names import quote
from edgelake.store.postgres.reader import MAIN, Remote, RemoteConnection, open_remote
from edgelake.store.postgres.scan import Snapshot, Source
from edgelake.store.postgres.schema import PostgresTransaction
from edgelake.store.server import Server
from edgelake.store.sqlite import SqliteStore
from edgelake.store.store import OnSchema, Store, Synchronous

log = logging.getLogger(__name__)
T = TypeVar("T")

MAINTENANCE: Final = "postgres"
"""Database from which others are made and dropped."""

IDLE_CONNECTIONS: Final = 8
LONGEST_PAUSE_S: Final = 5.0
FORGET_US: Final = 30 * 86_400_000_000
"""After this the number of a writer that was killed is removed."""

_COMMIT: Final = (
    "INSERT INTO _edgelake_commits VALUES (?, ?, ?)"
    " ON CONFLICT (writer) DO UPDATE SET number = excluded.number, at_us = excluded.at_us"
)
_OUTCOME: Final = "SELECT number FROM _edgelake_commits WHERE writer = ? FOR UPDATE"
_INTERNAL_KINDS: Final = {"text": "varchar", "bigint": "bigint"}


class PostgresStore(Store):
    """One logical database on a server.

    Rows and journal positions are committed together. Whether a commit whose answer was lost took place is asked of the
    server, so that rows are never stored twice.
    """

    kind = "psql"
    groups_rows = True

    def __init__(self, dbms: str, server: Server, on_schema: OnSchema | None = None) -> None:
        """Raises DatabaseError: the server is not there, or does not let us in."""
        self.server = server
        self.address = server.address
        self._connection: PostgresConnection | None = None
        self._keys: Mapping[str, str] = {}
        self._trouble = ""
        """Why the lost connection could not be made again."""
        self._name = uuid.uuid4().hex
        """Of this writer, whose transactions are numbered."""
        self._number = 0
        self._generation = 0
        self._ending = threading.Event()
        self._pool: queue.LifoQueue[psycopg.Connection[Any]] = queue.LifoQueue(IDLE_CONNECTIONS)
        super().__init__(dbms, on_schema)

    @property
    def storage(self) -> str:
        lost = self._trouble or (self._connection is not None and self._connection.is_lost and "connection lost")
        return f"Not connected: {lost}" if lost else "Persistent"

    @property
    def configuration(self) -> str:
        return self.server.configuration

    @classmethod
    def drop_database(cls, name: str, server: Server) -> None:
        """Delete a database with all that is in it. Raises DatabaseError, DatabaseMissingError."""
        with connect(server, MAINTENANCE) as raw:
            try:
                found = raw.execute("SELECT 1 FROM pg_database WHERE datname = $1", (name,)).fetchone()
                if found is None:
                    raise DatabaseMissingError(f"there is no database {name} at {server.address}")
                raw.execute(f"DROP DATABASE {quote(name)}".encode())
            except psycopg.Error as problem:
                raise to_error(problem, f"{name} at {server.address}") from problem

    async def execute(self, sql: str) -> int:
        return await self.change(lambda tx: direct.execute(tx, sql))

    async def size_bytes(self) -> int:
        row: Any = await self.run(lambda db: db.execute("SELECT pg_database_size(current_database())").fetchone())
        return int(row[0])

    async def sizes(self, names: Sequence[str]) -> dict[str, int]:
        return await self._beside(lambda raw: {name: room.size(raw, name) for name in names})

    async def last_rows(self, physical_names: Sequence[str]) -> Sequence[int]:
        return await self._beside(lambda raw: [room.last_row(raw, name) for name in physical_names])

    async def days(self, info: TableInfo, column: str) -> dict[int, int]:
        return await self._beside(lambda raw: room.days(raw, info, column))

    async def free_bytes(self) -> int | None:
        return None

    async def give_back(self, names: Sequence[str]) -> int:
        return await self._beside(lambda raw: room.give_back(raw, names))  # dropped partitions have given it back

    async def _beside(self, work: Callable[[psycopg.Connection[Any]], T]) -> T:
        """Run ``work`` in a reader's thread with a connection of its own: the writer goes on."""

        def job() -> T:
            try:
                with connect(self.server, self.dbms) as raw:
                    return work(raw)
            except psycopg.Error as problem:
                raise to_error(problem, self.dbms) from problem

        return await asyncio.wrap_future(self._readers.submit(job))

    def close_blocking(self) -> None:
        self._ending.set()
        super().close_blocking()
        with suppress(queue.Empty):
            while True:
                self._pool.get_nowait().close()

    # --- the writer's thread

    def _open(self) -> None:
        self._connection = self._connect_or_make()
        try:
            catalogue.prepare(self._connection)
            now_us = time.time_ns() // 1000
            self._connection.execute("DELETE FROM _edgelake_commits WHERE at_us < ?", (now_us - FORGET_US,))
            self._connection.execute(_COMMIT, (self._name, 0, now_us))  # so that a question finds a row to lock
            self._refresh()
        except BaseException:
            self._connection.close()
            raise
        self._inserter = CopyInserter()

    def _connect_or_make(self) -> PostgresConnection:
        """Connect to the database, made when it is missing."""
        try:
            return PostgresConnection(self.server, self.dbms)
        except DatabaseError as problem:
            if not _is_missing(problem):
                raise
        with connect(self.server, MAINTENANCE) as raw:
            try:
                raw.execute(f"CREATE DATABASE {quote(self.dbms)} ENCODING 'UTF8' TEMPLATE template0".encode())
            except psycopg.errors.DuplicateDatabase:
                pass
            except psycopg.Error as problem:
                raise to_error(problem, f"{self.dbms} at {self.server.address}", connecting=True) from problem
        return PostgresConnection(self.server, self.dbms)

    def _close(self) -> None:
        if self._connection is not None:
            with suppress(DatabaseError):
                self._connection.execute("DELETE FROM _edgelake_commits WHERE writer = ?", (self._name,))
            self._connection.close()

    def _ready(self) -> PostgresConnection:
        connection = self._connection
        if connection is None or connection.is_lost:
            lost = connection
            try:
                self._connection = connection = PostgresConnection(self.server, self.dbms)
            except DatabaseError as problem:
                self._trouble = problem.detail
                raise
            self._trouble = ""
            if lost is not None:
                connection.end_process(lost.process)
            self._refresh()
            log.info("database %s: connected to %s again", self.dbms, self.server.address)
        return connection

    def _refresh(self) -> None:
        assert self._connection is not None
        self._tables = catalogue.load(self._connection, self.dbms)
        self._keys = catalogue.load_keys(self._connection)
        self._generation += 1
        self._partitioning = common.load_partitioning(self._connection)
        self._aggregations = aggregates.load(self._connection)

    def _begin(self, synchronous: Synchronous) -> PostgresTransaction:
        # Always synchronous: a server that loses what it has acknowledged would take our journal's place, not SQLite's.
        connection = self._ready()
        connection.execute("BEGIN")
        self._number += 1
        connection.execute(_COMMIT, (self._name, self._number, time.time_ns() // 1000))
        return PostgresTransaction(
            connection, self.dbms, self._tables, self._partitioning, {}, unlogged=self.server.unlog
        )

    def _commit(self) -> None:
        assert self._connection is not None
        try:
            self._connection.execute("COMMIT")
        except DatabaseError as problem:
            if not self._connection.is_lost or not self._took_place(problem):
                raise

    def _took_place(self, problem: DatabaseError) -> bool:
        """Whether the commit whose answer was lost took place: its number is there, or not.

        The lock makes the question wait for a transaction that still ends. Raises ``problem`` when the store closes
        before the server answers.
        """
        pause_s = 0.1
        log.warning("database %s: the answer to a commit was lost, asking for its outcome", self.dbms)
        while not self._ending.wait(pause_s):
            try:
                found = self._ready().execute(_OUTCOME, (self._name,)).fetchone()
                return bool(found is not None and found[0] >= self._number)
            except DatabaseError:
                pause_s = min(pause_s * 2, LONGEST_PAUSE_S)
        raise problem

    def _roll_back(self) -> None:
        connection = self._connection
        if connection is not None and not connection.is_lost and connection.in_transaction:
            with suppress(DatabaseError):
                connection.execute("ROLLBACK")

    def _take(self, tx: Any) -> None:
        super()._take(tx)
        if tx.changed:
            self._generation += 1

    def _checkpoint(self) -> bool:
        """The server has synced what it committed."""
        return True

    # --- readers

    def _open_reader(self) -> apsw.Connection:
        remote = self._remote()
        return open_remote({MAIN: remote})

    def gather(self, connection: apsw.Connection, table: str, scan: str, spec: str, groups: GroupScan) -> bool:
        assert isinstance(connection, RemoteConnection)
        source = connection.source
        info = source.info(table)
        asked = statement(table, info, scan, spec) if info is not None else None
        return asked is not None and gather(source, asked, groups)

    def asked(self, table: str, scan: str, spec: str) -> str:
        info = self._physical().get(table)
        found = statement(table, info, scan, spec) if info is not None else None
        return found.sql if found is not None else ""

    def explain(self, sql: str) -> list[str]:
        with self.reader() as connection:
            assert isinstance(connection, RemoteConnection)
            return connection.source.explain(sql)

    def joined_reader(self, others: Sequence[Store]) -> apsw.Connection:
        return self.open_joined(self, others)

    def open_joined(self, main: Store, others: Sequence[Store]) -> apsw.Connection:
        remotes: dict[str, Remote] = {}
        files: dict[str, str] = {}
        for store in (main, *others):
            if isinstance(store, PostgresStore):
                remotes[MAIN if store is main else store.dbms] = store._remote()
            elif isinstance(store, SqliteStore):
                files[store.dbms] = store.location
            else:
                return super().open_joined(main, others)
        return open_remote(remotes, files)

    def _remote(self) -> Remote:
        """The tables of now, for one reader."""
        generation, infos, keys = self._generation, self._physical(), self._keys
        source = Source(self.dbms, infos, Snapshot(self._pooled, self._put_back))
        source.generation = generation
        return Remote(source, infos, keys)

    def _physical(self) -> Mapping[str, TableInfo]:
        """Every table that rows stand in, and the node's own, with what is known of it."""
        found = {name: _internal(self.dbms, name, columns) for name, columns in catalogue.TABLES.items()}
        for info in self._tables.values():
            found[info.name] = info
            found |= dict.fromkeys(info.physical_names, info)
        return found

    def _idle_reader(self) -> apsw.Connection | None:
        """One whose tables are those of now."""
        while (connection := super()._idle_reader()) is not None:
            assert isinstance(connection, RemoteConnection)
            if self._closed or connection.source.generation == self._generation:
                return connection
            connection.close(force=True)
        return None

    def _give_back(self, connection: apsw.Connection) -> None:
        assert isinstance(connection, RemoteConnection)
        source = connection.source
        if source.stopped:  # statements may still stand in the middle of a scan
            connection.close(force=True)
            source.snapshot.end()
            return
        super()._give_back(connection)
        source.snapshot.end()

    def _pooled(self) -> tuple[psycopg.Connection[Any], bool]:
        """A connection, and whether it is a new one."""
        while True:
            try:
                connection = self._pool.get_nowait()
            except queue.Empty:
                return connect(self.server, self.dbms), True
            if not connection.closed:
                return connection, False

    def _put_back(self, connection: psycopg.Connection[Any]) -> None:
        try:
            if not self._closed:
                self._pool.put_nowait(connection)
                return
        except queue.Full:
            pass
        connection.close()

    async def _count(self, physical_names: Sequence[str]) -> Sequence[int]:
        def work(db: apsw.Connection) -> list[int]:
            assert isinstance(db, RemoteConnection)
            return [db.source.count(name) for name in physical_names]

        return await self.read(work)


def _is_missing(problem: DatabaseError) -> bool:
    """Whether a connection failed for want of the database."""
    return "does not exist" in str(problem) and "database" in str(problem)


def _internal(dbms: str, name: str, columns: str) -> TableInfo:
    fields = [part.split() for part in columns.split("PRIMARY KEY (", 1)[0].split(",") if part.strip()]
    return TableInfo(dbms, name, tuple(ColumnInfo(field[0], _INTERNAL_KINDS[field[1]]) for field in fields))
