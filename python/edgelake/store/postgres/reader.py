"""Readers: SQLite in memory, whose tables are those of servers, with databases in files beside them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import apsw

from edgelake._rust import RemoteTables, add_functions
from edgelake.store import engine
from edgelake.store.base import TableInfo
from edgelake.store.postgres.names import physical
from edgelake.store.postgres.scan import Scan, Source, remote_columns

MAIN: Final = "main"
"""Schema of tables that stand in a statement without their database."""


@dataclass(frozen=True, slots=True)
class Remote:
    """One database of a server, for one reader.

    Attributes:
        infos: the logical table of each physical one.
        keys: primary keys that are one whole number: column by the server's name of the table.
    """

    source: Source
    infos: Mapping[str, TableInfo]
    keys: Mapping[str, str]


class RemoteConnection(apsw.Connection):
    """A reader over databases of servers. ``sources``: by schema."""

    sources: Mapping[str, Source]

    @property
    def source(self) -> Source:
        """Of the database whose tables stand in a statement without it."""
        return self.sources[MAIN]

    def interrupt(self) -> None:
        for source in self.sources.values():
            source.stopped = True
            source.snapshot.cancel()
        super().interrupt()

    def close(self, force: bool = False) -> None:
        super().close(force)
        for source in self.sources.values():
            source.snapshot.end()


class _Sources:
    """What SQLite's remote tables ask."""

    def __init__(self, sources: Mapping[str, Source]) -> None:
        self._sources = sources

    def scan(
        self,
        schema: str,
        table: str,
        columns: Sequence[str],
        conditions: Sequence[tuple[str, str, Any]],
        order: tuple[str, bool] | None,
    ) -> Scan:
        return self._sources[schema].scan(table, columns, conditions, order)

    def count(self, schema: str, table: str) -> int:
        return self._sources[schema].count(table)


def open_remote(remotes: Mapping[str, Remote], files: Mapping[str, str] | None = None) -> RemoteConnection:
    """A guarded, read-only connection.

    Args:
        remotes: by schema.
        files: name -> location of databases of SQLite that are read along. Tables without a database are looked for in
            ``main``, then in these, in their order.
    """
    engine.load_native()
    connection = RemoteConnection(":memory:", flags=apsw.SQLITE_OPEN_READWRITE | apsw.SQLITE_OPEN_URI)
    connection.sources = {schema: remote.source for schema, remote in remotes.items()}
    try:
        engine.attach(connection, files or {})
        for schema in remotes:
            if schema != MAIN:
                connection.execute(f"ATTACH ':memory:' AS {engine.quote(schema)}")
        tables = [
            (schema, name, remote_columns(info), _key(info, remote.keys.get(physical(name))))
            for schema, remote in remotes.items()
            for name, info in remote.infos.items()
        ]
        RemoteTables(connection.sqlite3_pointer(), _Sources(connection.sources), tables)
        add_functions(connection.sqlite3_pointer())
        for schema, name, *_ in tables:
            own = f"{engine.quote(schema)}.{engine.quote(name)}"
            connection.execute(f"CREATE VIRTUAL TABLE {own} USING edgelake_remote")
        connection.execute("PRAGMA query_only=1")
    except apsw.Error as error:
        connection.close()
        raise engine.to_error(error, ", ".join(remotes)) from error
    connection.authorizer = engine.authorize_read
    return connection


def _key(info: TableInfo, column: str | None) -> int | None:
    """Number of the column that tells rows apart; the node's own tables have row ids."""
    wanted = "row_id" if info.is_own else column
    return next((at for at, known in enumerate(info.columns) if known.name == wanted), None)
