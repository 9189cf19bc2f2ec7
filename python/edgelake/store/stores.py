"""The databases that a node has connected, by logical name (spec: ingestion, part 2, section 4)."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

from msgspec import Struct

from edgelake.errors import (
    CommandError,
    DatabaseAwayError,
    DatabaseError,
    DatabaseMissingError,
    EdgeLakeError,
    NotAvailableError,
)
from edgelake.store import engine
from edgelake.store.base import PartitionInfo, TableInfo
from edgelake.store.insert import Published
from edgelake.store.partition import Partitioning
from edgelake.store.schema import Transaction
from edgelake.store.server import Server
from edgelake.store.sqlite import SqliteStore
from edgelake.store.store import OnSchema, Store
from edgelake.store.waiting import Awaited, Later, Waiting

if TYPE_CHECKING:
    from edgelake.store.postgres.store import PostgresStore

SYSTEM_NAMES: Final = frozenset({"blockchain", "almgm", "system_query"})
"""Reserved databases: the ledger of a master, the TSD tables, query results."""

KINDS: Final = ("sqlite", "psql")
OnAttach = Callable[[Store, bool], Awaitable[None]]
"""Awaited when a database was connected (True) or is about to be disconnected (False)."""


class DatabaseRow(Struct, frozen=True):
    """A connected database, as ``get databases`` shows it."""

    name: str
    kind: str
    owner: str
    address: str
    configuration: str
    storage: str


class Stores:
    """Logical database name -> store. For the loop only; the stores themselves may be used in any thread."""

    def __init__(self, directory: Callable[[], Path], on_schema: OnSchema | None = None) -> None:
        """``directory`` tells where database files are at the moment (the variable ``dbms_dir``)."""
        self._directory = directory
        self._on_schema = on_schema
        self._stores: dict[str, Store] = {}
        self._everywhere: dict[tuple[str, str], Partitioning] = {}
        self._lock = asyncio.Lock()
        self.on_attach: OnAttach | None = None
        self.on_wait: Callable[[str, bool], None] = lambda _name, _waits: None
        """Told when a database begins to wait for its server (True), or no longer does."""
        self.on_report: Callable[[str], None] = lambda _text: None
        """Told why a database is waited for, and when it is there."""
        self.waiting = Waiting(self._try, lambda *change: self.on_wait(*change), lambda text: self.on_report(text))
        self.published: Published = lambda dbms, table: ()

    def __iter__(self) -> Iterator[Store]:
        return iter([self._stores[name] for name in sorted(self._stores)])

    def __contains__(self, name: str) -> bool:
        return name in self._stores

    def find(self, name: str) -> Store | None:
        return self._stores.get(name)

    def get(self, name: str) -> Store:
        """Raises DatabaseMissingError, DatabaseAwayError while its server is waited for."""
        store = self._stores.get(name)
        if store is None:
            if (awaited := self.waiting.get(name)) is not None:
                raise awaited.error()
            raise DatabaseMissingError(f"'{name}' is not connected", hint=f"connect dbms {name} where type = sqlite")
        return store

    def check(self, name: str) -> None:
        """Raises DatabaseMissingError for a database that is neither connected nor waited for."""
        if name not in self.waiting:
            self.get(name)

    def table(self, dbms: str, name: str) -> TableInfo | None:
        """A local table, or None."""
        store = self._stores.get(dbms)
        return store.tables.get(name) if store else None

    async def connect(
        self, name: str, *, kind: str = "sqlite", memory: bool = False, server: Server | None = None
    ) -> Store:
        """Attach a database; created when missing. Connecting it again is no error, another kind is.

        Args:
            name: of a SQLite database, may hold a path below the node's database directory: its last part is the
                logical name.
            memory: in memory, SQLite only.
            server: where a database of kind psql is; None = the default one.

        Raises NotAvailableError for MongoDB and without psycopg, CommandError, DatabaseError.
        """
        check_kind(kind)
        if memory and kind != "sqlite":
            raise CommandError("memory = true", hint="type = sqlite has databases in memory")
        logical = _logical(name)
        async with self._lock:
            self._check_not_awaited(logical)
            known = self._stores.get(logical)
            if known is not None:
                if known.kind != kind or known.in_memory != memory:
                    where = "in memory" if known.in_memory else f"with type {known.kind}: {known.storage}"
                    raise DatabaseError(f"'{logical}' is connected {where}", hint=f"disconnect dbms {logical}, first")
                return known
            store = await self._open(name, logical, kind, memory, server)
            await self._admit(store)
        return store

    async def connect_or_wait(
        self, name: str, *, kind: str = "sqlite", memory: bool = False, server: Server | None = None
    ) -> str:
        """As ``connect``, but a server that is away is tried until it is there.

        Returns why the database is not there yet; empty when it is.
        """
        logical, server = _logical(name), server or Server()
        awaited = self.waiting.get(logical)
        if awaited is not None and kind == "psql" and awaited.server == server:
            return awaited.reason
        try:
            await self.connect(name, kind=kind, memory=memory, server=server)
        except DatabaseAwayError as away:
            async with self._lock:
                if logical not in self._stores:
                    self._check_not_awaited(logical)
                    self.waiting.begin(Awaited(logical, server, away.detail))
            return away.detail
        return ""

    async def later(self, name: str, work: Later) -> None:
        """Do something with a database: now, or, while its server is waited for, before it gets rows.

        Raises DatabaseMissingError, and what ``work`` raises now.
        """
        awaited = self.waiting.get(name)
        if awaited is None:
            await work(self.get(name))
        else:
            awaited.later.append(work)

    def _check_not_awaited(self, logical: str) -> None:
        if (awaited := self.waiting.get(logical)) is not None:
            raise DatabaseError(
                f"'{logical}' waits for its server at {awaited.server.address}",
                hint=f"disconnect dbms {logical}, first",
            )

    async def _try(self, awaited: Awaited) -> None:
        """One more attempt to connect a database. Nothing is locked while the server does not answer."""
        opening = asyncio.ensure_future(self._open(awaited.name, awaited.name, "psql", False, awaited.server))
        try:
            store = await asyncio.shield(opening)
            await self._lock.acquire()
        except asyncio.CancelledError:
            opening.add_done_callback(_close_unwanted)
            raise
        try:
            await self._admit(store, awaited.later)
        finally:
            self._lock.release()

    async def _admit(self, store: Store, later: Sequence[Later] = ()) -> None:
        """An open database becomes one of the node's; it is closed when that fails."""
        name = store.dbms
        if name not in SYSTEM_NAMES:
            store.create_as_published(self.published)
        try:
            await self._spread(store)
            for work in later:
                await self._do(work, store)
            self._stores[name] = store
            if self.on_attach is not None:
                await self.on_attach(store, True)
        except BaseException:
            self._stores.pop(name, None)
            await store.close()
            raise

    async def _do(self, work: Later, store: Store) -> None:
        """What a command asked for while the server was away: nobody waits for its failure."""
        try:
            await work(store)
        except DatabaseAwayError:
            raise
        except EdgeLakeError as problem:
            self.on_report(f"database {store.dbms}: {problem}")

    async def _open(self, name: str, logical: str, kind: str, memory: bool, server: Server | None) -> Store:
        if kind == "psql":
            postgres = _postgres()
            return await asyncio.to_thread(postgres, logical, server or Server(), self._on_schema)
        path = None if memory else self.file_of(name)
        return await asyncio.to_thread(SqliteStore, logical, path, self._on_schema)

    async def disconnect(self, name: str) -> None:
        """Detach a database; what it holds stays (memory databases are gone). Raises DatabaseMissingError."""
        if self.waiting.end(name):
            return
        async with self._lock:
            store = self.get(name)
            if self.on_attach is not None:
                await self.on_attach(store, False)
            del self._stores[name]
            await store.close()

    async def drop(self, name: str, *, kind: str = "sqlite", server: Server | None = None) -> None:
        """Delete a database that is not connected. Raises DatabaseError, DatabaseMissingError."""
        check_kind(kind)
        self._check_not_awaited(name)
        if name in self._stores:
            raise DatabaseError(f"'{name}' is connected", hint=f"disconnect dbms {name}, first")
        if kind == "psql":
            await asyncio.to_thread(_postgres().drop_database, name, server or Server())
            return
        path = self.file_of(name)
        if not path.is_file():
            raise DatabaseMissingError(f"there is no file {path}")
        await asyncio.to_thread(_delete, path)

    def file_of(self, name: str) -> Path:
        """File of a database, beneath the database directory. Raises CommandError for a name that leaves it."""
        directory = self._directory()
        path = engine.file_of(directory, name)
        if not path.resolve().is_relative_to(directory.resolve()):
            raise CommandError(f"'{name}' lies outside {directory}", hint="database files stay in the node's directory")
        return path

    async def close(self) -> None:
        """Disconnect everything."""
        for awaited in self.waiting:
            self.waiting.end(awaited.name)
        for name in list(self._stores):
            await self.disconnect(name)

    def databases(self) -> list[DatabaseRow]:
        rows = [*map(_row, self), *map(_awaited_row, self.waiting)]
        return sorted(rows, key=lambda row: row.name)

    # --- partitions

    def declarations(self) -> list[Partitioning]:
        """Every declaration in force, by name."""
        found = dict(self._everywhere)
        for store in self:
            found.update(store.partitioning)
        return [found[key] for key in sorted(found)]

    async def declare(self, wanted: Partitioning) -> None:
        """Cut tables into partitions from now on; existing partitions stay as they are.

        ``dbms = *`` holds for every database, also those connected later.
        """
        if wanted.dbms == "*":
            self._everywhere[wanted.dbms, wanted.table] = wanted
            for store in self:
                await self._put(store, wanted)
        else:
            await self.later(wanted.dbms, lambda store: self._put(store, wanted))

    async def drop_partitions(
        self, dbms: str, table: str, *, name: str | None = None, keep: int | None = None
    ) -> list[PartitionInfo]:
        """Drop the oldest partition; or the one named, or all (``*``), or the oldest until ``keep`` remain.

        Raises DatabaseError when only one is left (and neither a name nor ``keep`` was given) or none has the name.
        """
        store = self.get(dbms)
        info = store.table(table)
        found = list(info.partitions)
        if name == "*":
            going = found
        elif name is not None:
            going = [p for p in found if p.name == name]
            if not going:
                raise DatabaseError(f"{dbms}.{table} has no partition '{name}'", hint="see: get partitions where ...")
        elif keep is not None:
            going = found[: max(len(found) - keep, 0)]
        elif len(found) > 1:
            going = found[:1]
        else:
            raise DatabaseError(f"{dbms}.{table} has {len(found)} partition", hint="name it to drop it")

        def work(tx: Transaction) -> None:
            now = time.time_ns() // 1000
            current = tx.table(table) or info
            for partition in going:
                current = tx.drop_partition(current, partition.name, now)

        await store.change(work)
        return going

    async def _put(self, store: Store, wanted: Partitioning) -> None:
        column = wanted.column

        def work(tx: Transaction) -> None:
            info = tx.table(wanted.table)
            if info is not None and all(c.name != column for c in info.columns):
                raise DatabaseError(f"{store.dbms}.{wanted.table} has no column '{column}'", hint="see: get columns")
            if info is not None and next(c.kind for c in info.columns if c.name == column) != "timestamp":
                raise DatabaseError(f"{store.dbms}.{wanted.table}.{column} is no timestamp column")
            tx.execute(
                "INSERT INTO _edgelake_partitioning VALUES (?, ?, ?, ?, ?) ON CONFLICT (dbms, table_name) DO UPDATE SET"
                " column_name = excluded.column_name, amount = excluded.amount, unit = excluded.unit",
                (wanted.dbms, wanted.table, column, wanted.interval.amount, wanted.interval.unit),
            )
            tx.foreign_changes = True

        await store.change(work)

    async def _spread(self, store: Store) -> None:
        """Declarations for all databases hold in this one too, and those that its file kept hold in all."""
        for key, kept in store.partitioning.items():
            if kept.dbms == "*":
                self._everywhere.setdefault(key, kept)
        for key, wanted in self._everywhere.items():
            if key not in store.partitioning:
                await self._put(store, wanted)


def check_kind(kind: str) -> None:
    """Raises NotAvailableError for a database of MongoDB, CommandError for unknown ones."""
    if kind == "mongo":  # the reference keeps blobs there
        raise NotAvailableError(
            "this node keeps nothing in MongoDB",
            hint="rows: type = sqlite or psql; blobs: type = sqlite, or type = bucket (S3, Azure, Google, a directory)",
        )
    if kind == "bucket":
        raise CommandError("a bucket is for blobs", hint="connect dbms blobs_<dbms> where type = bucket ...")
    if kind not in KINDS:
        raise CommandError(f"database type '{kind}'", hint="use type = sqlite or psql")


def _postgres() -> type[PostgresStore]:
    """The store, whose library is imported with the first database of its kind. Raises NotAvailableError."""
    try:
        from edgelake.store.postgres.store import PostgresStore
    except ModuleNotFoundError as missing:
        raise NotAvailableError(
            f"type psql needs the package {missing.name}", hint='pip install "edgelake[postgres]"'
        ) from missing
    return PostgresStore


def _logical(name: str) -> str:
    """Logical name of a database. Raises CommandError."""
    logical = Path(name).name
    if not logical or logical in {".", ".."}:
        raise CommandError(f"'{name}' names no database", hint="connect dbms <name> where type = sqlite")
    return logical


def _close_unwanted(opening: asyncio.Future[Store]) -> None:
    """A database that was opened when nobody waited for it any longer."""
    if not opening.cancelled() and opening.exception() is None:
        asyncio.get_running_loop().run_in_executor(None, opening.result().close_blocking)


def _owner(name: str) -> str:
    return "system" if name in SYSTEM_NAMES else "user"


def _row(store: Store) -> DatabaseRow:
    return DatabaseRow(store.dbms, store.kind, _owner(store.dbms), store.address, store.configuration, store.storage)


def _awaited_row(awaited: Awaited) -> DatabaseRow:
    server, state = awaited.server, f"Not connected: {awaited.reason}"
    return DatabaseRow(awaited.name, "psql", _owner(awaited.name), server.address, server.configuration, state)


def _delete(path: Path) -> None:
    try:
        for file in (path, path.with_name(path.name + "-wal"), path.with_name(path.name + "-shm")):
            file.unlink(missing_ok=True)
    except OSError as error:
        raise DatabaseError(f"{path}: {error}", hint="check the directory's permissions") from error
