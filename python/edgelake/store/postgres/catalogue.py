"""What a PostgreSQL database says about its tables: the same ``_edgelake_*`` tables as a SQLite file has."""

from __future__ import annotations

from typing import Final

from edgelake.store import catalogue
from edgelake.store.base import ColumnInfo, TableInfo
from edgelake.store.postgres.connection import PostgresConnection
from edgelake.store.postgres.names import physical
from edgelake.store.postgres.types import declared_kind

TABLES: Final = {
    "_edgelake_columns": "table_name text, position bigint, column_name text, kind text, default_now bigint,"
    " PRIMARY KEY (table_name, position)",
    "_edgelake_partitions": "table_name text, partition_name text, column_name text, start_us bigint, end_us bigint,"
    " PRIMARY KEY (table_name, partition_name)",
    "_edgelake_partitioning": "dbms text, table_name text, column_name text, amount bigint, unit text,"
    " PRIMARY KEY (dbms, table_name)",
    "_edgelake_journal": "table_name text PRIMARY KEY, position bigint",
    "_edgelake_files": "name text PRIMARY KEY, hash text, rows bigint, stored bigint",
    "_edgelake_batches": "table_name text, first bigint, last bigint, source text, instructions text, path text,"
    " tsd_hash text, rows bigint, PRIMARY KEY (table_name, first)",
    "_edgelake_commits": "writer text PRIMARY KEY, number bigint, at_us bigint",
    "_edgelake_dropped": "table_name text, partition_name text, dropped_us bigint",
}
"""Their columns; row ids come from a sequence for each table here."""

_COLUMNS: Final = (
    "SELECT column_name, data_type, character_maximum_length FROM information_schema.columns"
    " WHERE table_schema = current_schema() AND table_name = ? ORDER BY ordinal_position"
)


def prepare(connection: PostgresConnection) -> None:
    """Make the catalogue's tables where they are missing."""
    connection.execute("BEGIN")
    # Two nodes that begin with one database would make them at the same time.
    connection.execute("SELECT pg_advisory_xact_lock(4711, 1)")
    for name, columns in TABLES.items():
        connection.execute(f"CREATE TABLE IF NOT EXISTS {name} ({columns})")
    connection.execute("COMMIT")


_KEYS: Final = (
    "SELECT c.relname, a.attname FROM pg_index i JOIN pg_class c ON c.oid = i.indrelid"
    " JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum = i.indkey[0]"
    " WHERE i.indisprimary AND i.indnatts = 1 AND a.atttypid IN ('int4'::regtype, 'int8'::regtype)"
    " AND c.relnamespace = current_schema()::regnamespace"
)


def load_keys(connection: PostgresConnection) -> dict[str, str]:
    """Primary keys that are one whole number: column by the server's name of the table."""
    return {str(table): str(column) for table, column in connection.execute(_KEYS)}


def load(connection: PostgresConnection, dbms: str) -> dict[str, TableInfo]:
    """Every table of the database, by name; internal ones are left out. Long names are the node's, not the server's."""
    own = [str(row[0]) for row in connection.execute("SELECT DISTINCT table_name FROM _edgelake_columns")]
    partitions = [str(row[0]) for row in connection.execute("SELECT partition_name FROM _edgelake_partitions")]
    long = {physical(name): name for name in (*own, *partitions)}
    listed = connection.execute("SELECT tablename FROM pg_tables WHERE schemaname = current_schema() ORDER BY 1")
    names = sorted(long.get(str(row[0]), str(row[0])) for row in listed)
    return catalogue.assemble(connection, dbms, names, lambda name: describe(connection, name))


def describe(connection: PostgresConnection, table: str) -> tuple[ColumnInfo, ...]:
    """Columns of a table made by plain SQL."""
    rows = connection.execute(_COLUMNS, (table,))
    return tuple(ColumnInfo(str(name), declared_kind(str(kind), length)) for name, kind, length in rows)
