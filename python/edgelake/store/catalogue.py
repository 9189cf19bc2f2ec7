"""What a database file says about its tables: the ``_edgelake_*`` tables, and how they are read."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import apsw

from edgelake.store.base import ColumnInfo, PartitionInfo, TableInfo
from edgelake.store.engine import quote
from edgelake.store.partition import Interval, Partitioning
from edgelake.store.statement import logical_kind

INTERNAL_PREFIX: Final = "_edgelake_"
TEXT_SUFFIX: Final = "_text"

AUTOMATIC: Final = (
    ColumnInfo("row_id", "bigint"),
    ColumnInfo("insert_timestamp", "timestamp", default_now=True),
    ColumnInfo("tsd_name", "char(3)"),
    ColumnInfo("tsd_id", "int"),
)
TEXT_KINDS: Final = frozenset({"varchar", "uuid", "cidr", "date", "time"})

SchemaColumns = Sequence[tuple[str, str, bool]]
"""User columns as the Rust module takes them: (name, kind, default now)."""

_TABLES: Final = """
CREATE TABLE IF NOT EXISTS _edgelake_columns (
  table_name TEXT, position INTEGER, column_name TEXT, kind TEXT, default_now INTEGER,
  PRIMARY KEY (table_name, position)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS _edgelake_partitions (
  table_name TEXT, partition_name TEXT, column_name TEXT, start_us INTEGER, end_us INTEGER,
  PRIMARY KEY (table_name, partition_name)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS _edgelake_partitioning (
  dbms TEXT, table_name TEXT, column_name TEXT, amount INTEGER, unit TEXT,
  PRIMARY KEY (dbms, table_name)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS _edgelake_journal (table_name TEXT PRIMARY KEY, position INTEGER) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS _edgelake_files (
  name TEXT PRIMARY KEY, hash TEXT, rows INTEGER, stored INTEGER) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS _edgelake_batches (
  table_name TEXT, first INTEGER, last INTEGER, source TEXT, instructions TEXT, path TEXT, tsd_hash TEXT, rows INTEGER,
  PRIMARY KEY (table_name, first)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS _edgelake_row_ids (table_name TEXT PRIMARY KEY, next INTEGER) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS _edgelake_dropped (table_name TEXT, partition_name TEXT, dropped_us INTEGER);
CREATE TABLE IF NOT EXISTS _edgelake_aggregations (
  table_name TEXT, value_column TEXT, definition TEXT, PRIMARY KEY (table_name, value_column)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS _edgelake_intervals (
  definition TEXT, table_name TEXT, start_us INTEGER, state TEXT, updated_us INTEGER,
  PRIMARY KEY (definition, table_name, start_us)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS _edgelake_derived (
  definition TEXT, table_name TEXT, start_us INTEGER, place TEXT, row_id INTEGER,
  PRIMARY KEY (definition, table_name, start_us)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS _edgelake_outbox (
  number INTEGER PRIMARY KEY AUTOINCREMENT, target_dbms TEXT, definition TEXT, table_name TEXT, value_column TEXT,
  start_us INTEGER, is_open INTEGER, oldest_us INTEGER, target_table TEXT, bounds INTEGER, entry TEXT);
CREATE TABLE IF NOT EXISTS _edgelake_inbox (
  definition TEXT, table_name TEXT, number INTEGER, PRIMARY KEY (definition, table_name)) WITHOUT ROWID;
"""


def is_text(kind: str) -> bool:
    return kind in TEXT_KINDS or kind.startswith("char")


def prepare(connection: apsw.Connection) -> None:
    """Make the catalogue's tables, and columns that came later, where they are missing."""
    connection.execute(_TABLES)
    known = {row[1] for row in connection.execute("PRAGMA table_info(_edgelake_files)")}
    for column in ("rows", "stored"):
        if column not in known:
            connection.execute(f"ALTER TABLE _edgelake_files ADD COLUMN {column} INTEGER")


def user_schema(table: TableInfo) -> list[tuple[str, str, bool]]:
    """The user columns in the form that crosses to Rust."""
    if table.is_own:
        return [(c.name, c.kind, c.default_now) for c in table.user_columns]
    return [(c.name, logical_kind(c.kind), c.default_now) for c in table.columns]


def load(connection: apsw.Connection, dbms: str) -> dict[str, TableInfo]:
    """Every table of a SQLite database, as ``assemble``."""
    listed = connection.execute("SELECT name FROM sqlite_schema WHERE type = 'table' ORDER BY name").fetchall()
    names = [str(row[0]) for row in listed if not str(row[0]).startswith("sqlite_")]
    return assemble(connection, dbms, names, lambda name: describe(connection, name))


def assemble(
    connection: Any, dbms: str, names: Sequence[str], described: Callable[[str], tuple[ColumnInfo, ...]]
) -> dict[str, TableInfo]:
    """Every table of the database, by name; internal ones are left out.

    A table that the catalogue does not know (made by plain SQL) is ``described`` from its declared types.
    """
    columns: dict[str, list[ColumnInfo]] = {}
    for name, column, kind, default_now in connection.execute(
        "SELECT table_name, column_name, kind, default_now FROM _edgelake_columns ORDER BY table_name, position"
    ):
        columns.setdefault(name, []).append(ColumnInfo(column, kind, bool(default_now)))
    partitions: dict[str, list[PartitionInfo]] = {}
    for name, partition, column, start_us, end_us in connection.execute(
        "SELECT table_name, partition_name, column_name, start_us, end_us FROM _edgelake_partitions ORDER BY start_us"
    ):
        partitions.setdefault(name, []).append(PartitionInfo(partition, column, start_us, end_us))
    hidden = {p.name for of_table in partitions.values() for p in of_table}
    tables = {}
    for name in names:
        if name.startswith(INTERNAL_PREFIX) or name in hidden:
            continue
        known = (*AUTOMATIC, *columns[name]) if name in columns else described(name)
        tables[name] = TableInfo(dbms, name, known, tuple(partitions.get(name, ())))
    return tables


def describe(connection: apsw.Connection, table: str) -> tuple[ColumnInfo, ...]:
    """Columns of a table made by plain SQL."""
    rows = connection.execute(f"PRAGMA table_info({quote(table)})")
    return tuple(ColumnInfo(name, declared.lower() or "varchar") for _, name, declared, *_ in rows)


def write_columns(connection: Any, table: str, columns: Sequence[ColumnInfo]) -> None:
    """Put the user columns of a table down, in place of what stood there."""
    connection.execute("DELETE FROM _edgelake_columns WHERE table_name = ?", (table,))
    rows = [(table, at, c.name, c.kind, int(c.default_now)) for at, c in enumerate(columns)]
    connection.executemany("INSERT INTO _edgelake_columns VALUES (?, ?, ?, ?, ?)", rows)


def load_partitioning(connection: Any) -> dict[tuple[str, str], Partitioning]:
    found = {}
    for dbms, table, column, amount, unit in connection.execute(
        "SELECT dbms, table_name, column_name, amount, unit FROM _edgelake_partitioning ORDER BY dbms, table_name"
    ):
        found[dbms, table] = Partitioning(dbms, table, column, Interval(amount, unit))
    return found


def find_partitioning(declared: Mapping[tuple[str, str], Partitioning], dbms: str, table: str) -> Partitioning | None:
    """The declaration in force for a table: its own, the database's, everyone's."""
    for key in ((dbms, table), (dbms, "*"), ("*", "*")):
        if key in declared:
            return declared[key]
    return None
