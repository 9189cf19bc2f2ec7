"""The databases that a node has connected, by logical name (spec: ingestion, part 2, section 4)."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from edgelake.errors import CommandError, DatabaseError, DatabaseMissingError, NotAvailableError
from edgelake.store import engine
from edgelake.store.base import PartitionInfo, TableInfo
from edgelake.store.insert import Published
from edgelake.store.partition import Partitioning
from edgelake.store.schema import Transaction
from edgelake.store.server import Server
from edgelake.store.sqlite import SqliteStore
from edgelake.store.store import OnSchema, Store

if TYPE_CHECKING:
    from edgelake.store.postgres.store import PostgresStore

SYSTEM_NAMES: Final = frozenset({"blockchain", "almgm", "system_query"})
"""Reserved databases: the ledger of a master, the TSD tables, query results."""

KINDS: Final = ("sqlite", "psql")
LATER_KINDS: Final = frozenset({"mongo", "bucket"})
OnAttach = Callable[[Store, bool], Awaitable[None]]
"""Awaited when a database was connected (True) or is about to be disconnected (False)."""


@dataclass(frozen=True, slots=True)
class DatabaseRow:
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
        self.published: Published = lambda dbms, table: ()

    def __iter__(self) -> Iterator[Store]:
        return iter([self._stores[name] for name in sorted(self._stores)])

    def __contains__(self, name: str) -> bool:
        return name in self._stores

    def find(self, name: str) -> Store | None:
        return self._stores.get(name)

    def get(self, name: str) -> Store:
        """Raises DatabaseMissingError."""
        store = self._stores.get(name)
        if store is None:
            raise DatabaseMissingError(f"'{name}' is not connected", hint=f"connect dbms {name} where type = sqlite")
        return store

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

        Raises NotAvailableError for a kind of a later version, CommandError, DatabaseError.
        """
        check_kind(kind)
        if memory and kind != "sqlite":
            raise CommandError("memory = true", hint="type = sqlite has databases in memory")
        logical = Path(name).name
        if not logical or logical in {".", ".."}:
            raise CommandError(f"'{name}' names no database", hint="connect dbms <name> where type = sqlite")
        async with self._lock:
            known = self._stores.get(logical)
            if known is not None:
                if known.kind != kind or known.in_memory != memory:
                    where = "in memory" if known.in_memory else f"with type {known.kind}: {known.storage}"
                    raise DatabaseError(f"'{logical}' is connected {where}", hint=f"disconnect dbms {logical}, first")
                return known
            store = await self._open(name, logical, kind, memory, server)
            if logical not in SYSTEM_NAMES:
                store.create_as_published(self.published)
            self._stores[logical] = store
            try:
                await self._spread(store)
                if self.on_attach is not None:
                    await self.on_attach(store, True)
            except BaseException:
                del self._stores[logical]
                await store.close()
                raise
        return store

    async def _open(self, name: str, logical: str, kind: str, memory: bool, server: Server | None) -> Store:
        if kind == "psql":
            postgres = _postgres()
            return await asyncio.to_thread(postgres, logical, server or Server(), self._on_schema)
        path = None if memory else self.file_of(name)
        return await asyncio.to_thread(SqliteStore, logical, path, self._on_schema)

    async def disconnect(self, name: str) -> None:
        """Detach a database; what it holds stays (memory databases are gone). Raises DatabaseMissingError."""
        async with self._lock:
            store = self.get(name)
            if self.on_attach is not None:
                await self.on_attach(store, False)
            del self._stores[name]
            await store.close()

    async def drop(self, name: str, *, kind: str = "sqlite", server: Server | None = None) -> None:
        """Delete a database that is not connected. Raises DatabaseError, DatabaseMissingError."""
        check_kind(kind)
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
        for name in list(self._stores):
            await self.disconnect(name)

    def databases(self) -> list[DatabaseRow]:
        return [_row(store) for store in self]

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
            await self._put(self.get(wanted.dbms), wanted)

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
    """Raises NotAvailableError for databases of a later version, CommandError for unknown ones."""
    if kind in LATER_KINDS:
        raise NotAvailableError(f"type {kind} comes with a later version", hint="use type = sqlite or psql")
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


def _row(store: Store) -> DatabaseRow:
    owner = "system" if store.dbms in SYSTEM_NAMES else "user"
    return DatabaseRow(store.dbms, store.kind, owner, store.address, store.configuration, store.storage)


def _delete(path: Path) -> None:
    try:
        for file in (path, path.with_name(path.name + "-wal"), path.with_name(path.name + "-shm")):
            file.unlink(missing_ok=True)
    except OSError as error:
        raise DatabaseError(f"{path}: {error}", hint="check the directory's permissions") from error
