"""Changing tables: create, alter, widen, partitions, the readable view. All inside one transaction of the writer."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, ClassVar, Protocol

from msgspec.structs import replace

from edgelake.errors import RefusedError
from edgelake.store import catalogue, engine
from edgelake.store.aggregates import Declared
from edgelake.store.base import ColumnInfo, PartitionInfo, TableInfo
from edgelake.store.engine import quote
from edgelake.store.partition import Partitioning

_VIEW_BRANCHES = 400
"""Terms of one UNION ALL: SQLite takes 500 at most, larger views are nested."""


class Cursor(Protocol):
    """An executed statement."""

    def fetchone(self) -> Any: ...

    def fetchall(self) -> list[Any]: ...

    def __iter__(self) -> Iterator[Any]: ...


class Connection(Protocol):
    """The writer's connection: apsw's, or one that behaves like it. Parameters are ``?`` or ``?1``."""

    @property
    def in_transaction(self) -> bool: ...

    def execute(self, sql: str, bindings: Sequence[object] = ()) -> Cursor: ...

    def executemany(self, sql: str, bindings: Iterable[Sequence[object]]) -> object: ...

    def total_changes(self) -> int:
        """Rows changed so far."""


class Transaction:
    """The tables as a transaction sees and changes them.

    ``changed`` is what the store takes over at the commit; a rollback forgets this object. The SQL is SQLite's; other
    engines bring a subclass for what they say otherwise.
    """

    fills_rows: ClassVar[bool] = False
    """Whether the engine itself gives inserted rows what the node gives them (row id, batch time, TSD fields)."""

    def __init__(
        self,
        connection: Any,
        dbms: str,
        tables: Mapping[str, TableInfo],
        partitioning: Mapping[tuple[str, str], Partitioning],
        next_row_ids: Mapping[str, int],
    ) -> None:
        self.connection: Connection = connection
        self.dbms = dbms
        self.changed: dict[str, TableInfo | None] = {}
        self.foreign_changes = False  # plain SQL or a declaration changed what the catalogue says: read it again
        self.next_row_ids: dict[str, int] = {}
        self.aggregations: Declared = {}
        self.has_posted = False  # rows for another database wait behind the commit
        self._tables = tables
        self._partitioning = partitioning
        self._known_row_ids = next_row_ids

    def execute(self, sql: str, bindings: Sequence[object] = ()) -> Cursor:
        return self.connection.execute(sql, bindings)

    def value(self, sql: str, bindings: Sequence[object] = ()) -> Any:
        """First field of the first row; None when there is no row."""
        row = self.connection.execute(sql, bindings).fetchone()
        return row[0] if row else None

    def quote(self, name: str) -> str:
        """An identifier as it stands in SQL, whatever is in it."""
        return quote(name)

    def time(self, us: int | None) -> object:
        """An instant as a parameter for a column of type timestamp."""
        return us

    def statement(self, sql: str) -> int:
        """Run one statement of a user, and no second one behind a semicolon; the rows it changed."""
        before = self.connection.total_changes()
        engine.run_single(self.connection, sql)
        return self.connection.total_changes() - before

    def number_key(self, *, counts: bool = True) -> str:
        """Type of a key column that the engine numbers; ``counts``: a number is never used twice."""
        return "INTEGER PRIMARY KEY AUTOINCREMENT" if counts else "INTEGER PRIMARY KEY"

    def note_number(self, table: str, column: str, number: int) -> None:
        """A row was inserted with a number of its own; the engine's count goes on behind it."""

    def reserve_numbers(self, table: str, column: str, number: int) -> None:
        """The next number of a table that counts is a higher one."""
        changed = self.execute(
            "UPDATE sqlite_sequence SET seq = max(seq, ?) WHERE name = ? RETURNING 1", (number, table)
        )
        if not changed.fetchall():
            self.execute("INSERT INTO sqlite_sequence (name, seq) VALUES (?, ?)", (table, number))

    def table(self, name: str) -> TableInfo | None:
        return self.changed[name] if name in self.changed else self._tables.get(name)

    @property
    def tables(self) -> Mapping[str, TableInfo]:
        merged = {**self._tables, **self.changed}
        return {name: info for name, info in merged.items() if info is not None}

    def partitioning(self, info: TableInfo) -> Partitioning | None:
        """The declaration in force for a table; None when it lacks the time column (``dbms.*`` fits not all)."""
        declared = catalogue.find_partitioning(self._partitioning, self.dbms, info.name)
        if declared is None or info.partitions:
            return declared
        fits = any(c.name == declared.column and c.kind == "timestamp" for c in info.columns)
        return declared if fits else None

    def create_table(self, name: str, columns: Sequence[ColumnInfo]) -> TableInfo:
        """Create a table with the automatic columns, the index on its first timestamp, and its view."""
        _refuse_internal(name)
        info = TableInfo(self.dbms, name, (*catalogue.AUTOMATIC, *columns))
        self._create_physical(name, name, columns)
        catalogue.write_columns(self.connection, name, columns)
        return self._take(info)

    def change_columns(self, info: TableInfo, changes: Iterable[ColumnInfo]) -> TableInfo:
        """Add columns, or give existing ones another type, in the table and all its partitions."""
        columns = list(info.user_columns)
        before = {c.name: at for at, c in enumerate(columns)}
        had_time = any(c.kind == "timestamp" for c in columns)
        physical = {info.name, *info.physical_names}
        self._drop_view(info)
        for change in changes:
            at = before.get(change.name)
            for name in physical:
                if at is None:
                    self.execute(f"ALTER TABLE {self.quote(name)} ADD COLUMN {self._declaration(change)}")
                else:
                    self._convert(name, columns[at], change.kind)
            if at is None:
                columns.append(change)
            else:
                columns[at] = change
        if not had_time:
            for name in physical:
                self._index_time(name, columns)
        catalogue.write_columns(self.connection, info.name, columns)
        return self._take(replace(info, columns=(*catalogue.AUTOMATIC, *columns)))

    def add_partition(self, info: TableInfo, declared: Partitioning, time_us: int) -> tuple[TableInfo, PartitionInfo]:
        """The partition for an instant, made when it is missing.

        An existing partition that covers the instant is used whatever interval it has: a changed declaration keeps
        old partitions. Where old and new intervals overlap, the new partition is cut to what is not covered.
        """
        alike = [p for p in info.partitions if p.column == declared.column]
        for partition in alike:
            if partition.start_us <= time_us < partition.end_us:
                return info, partition
        span = declared.interval.span(info.name, declared.column, time_us)
        name = span.name
        start_us = max([span.start_us, *(p.end_us for p in alike if p.end_us <= time_us)])
        end_us = min([span.end_us, *(p.start_us for p in alike if p.start_us > time_us)])
        taken = {p.name for p in info.partitions}
        if name in taken:  # the same bucket, cut in two by an old partition inside it
            name = next(f"{name}_{n}" for n in range(2, len(taken) + 3) if f"{name}_{n}" not in taken)
        new = PartitionInfo(name, declared.column, start_us, end_us)
        self._create_physical(info.name, name, info.user_columns)
        self.execute(
            "INSERT INTO _edgelake_partitions VALUES (?, ?, ?, ?, ?)", (info.name, name, new.column, start_us, end_us)
        )
        partitions = tuple(sorted((*info.partitions, new), key=lambda p: p.start_us))
        return self._take(replace(info, partitions=partitions)), new

    def gather(self, info: TableInfo, declared: Partitioning) -> TableInfo:
        """Move rows that stand in the table itself into partitions: the table's own are empty once it has any.

        They stand there when the table was declared partitioned later, or when plain SQL inserted them.
        """
        own = self.quote(info.name)
        key = f"coalesce({self._micros(self.quote(declared.column))}, {self._micros('insert_timestamp')}, 0)"
        names = ", ".join(self.quote(c.name) for c in info.columns)
        while (first := self.value(f"SELECT min({key}) FROM {own}")) is not None:
            info, partition = self.add_partition(info, declared, int(first))
            rest = (partition.end_us,)
            self.execute(
                f"INSERT INTO {self.quote(partition.name)} ({names}) SELECT {names} FROM {own} WHERE {key} < ?", rest
            )
            self.execute(f"DELETE FROM {own} WHERE {key} < ?", rest)
        return info

    def drop_partition(self, info: TableInfo, name: str, dropped_us: int) -> TableInfo:
        """Drop one partition with its rows. Row ids are not used again."""
        self.keep_row_id(info)
        self._drop_view(info)
        self.execute(f"DROP TABLE {self.quote(name)}")
        self.execute("DELETE FROM _edgelake_partitions WHERE table_name = ? AND partition_name = ?", (info.name, name))
        self.execute("INSERT INTO _edgelake_dropped VALUES (?, ?, ?)", (info.name, name, dropped_us))
        return self._take(replace(info, partitions=tuple(p for p in info.partitions if p.name != name)))

    def drop_table(self, info: TableInfo) -> None:
        """Drop a table with its partitions, its view and what the catalogue says of it."""
        self._drop_view(info)
        for name in {info.name, *info.physical_names}:
            self.execute(f"DROP TABLE IF EXISTS {self.quote(name)}")
        for of in ("columns", "partitions", "row_ids"):
            self.execute(f"DELETE FROM _edgelake_{of} WHERE table_name = ?", (info.name,))
        self._forget_aggregates(info)
        self.changed[info.name] = None
        self.next_row_ids[info.name] = 0

    def _forget_aggregates(self, info: TableInfo) -> None:
        """A table goes: its intervals begin anew with the next one, and none of its rows is a derived one."""
        self.execute("DELETE FROM _edgelake_intervals WHERE table_name = ?", (info.name,))
        for name in info.physical_names:
            self.execute("DELETE FROM _edgelake_derived WHERE place = ?", (name,))

    def next_row_id(self, info: TableInfo) -> int:
        """First row id that no row of the table has, in any partition."""
        known = self.next_row_ids.get(info.name) or self._known_row_ids.get(info.name)
        if known:
            return known
        found = int(self.value("SELECT next FROM _edgelake_row_ids WHERE table_name = ?", (info.name,)) or 1)
        for name in {info.name, *info.physical_names}:
            found = max(found, (self.value(f"SELECT max(rowid) FROM {quote(name)}") or 0) + 1)
        return found

    @contextmanager
    def savepoint(self) -> Iterator[None]:
        """All of the block or nothing. Where the database has ended the whole transaction, that stays so."""
        before = dict(self.changed), dict(self.next_row_ids), self.foreign_changes
        self.execute("SAVEPOINT _edgelake")
        try:
            yield
        except BaseException:
            self.changed, self.next_row_ids, self.foreign_changes = before
            if self.connection.in_transaction:
                self.execute("ROLLBACK TO _edgelake")
                self.execute("RELEASE _edgelake")
            raise
        self.execute("RELEASE _edgelake")

    def keep_row_id(self, info: TableInfo) -> None:
        """Put the next row id down, before rows go that tell it."""
        self.execute(
            "INSERT INTO _edgelake_row_ids VALUES (?, ?) ON CONFLICT (table_name) DO UPDATE SET next = excluded.next",
            (info.name, self.next_row_id(info)),
        )

    def _take(self, info: TableInfo) -> TableInfo:
        self.changed[info.name] = info
        self._make_view(info)
        return info

    def _create_physical(self, table: str, name: str, columns: Sequence[ColumnInfo]) -> None:
        """Make a table, or a partition of it."""
        body = "".join(f", {self._declaration(c)}" for c in columns)
        self.execute(
            f"CREATE TABLE {quote(name)} "
            f"(row_id INTEGER PRIMARY KEY, insert_timestamp INTEGER, tsd_name TEXT, tsd_id INTEGER{body})"
        )
        self._index_time(name, columns)

    def _index_time(self, name: str, columns: Sequence[ColumnInfo]) -> None:
        time = next((c.name for c in columns if c.kind == "timestamp"), None)
        if time is not None:
            self.execute(f"CREATE INDEX IF NOT EXISTS {quote(name + '_time')} ON {quote(name)} ({quote(time)})")

    def _convert(self, name: str, column: ColumnInfo, kind: str) -> None:
        """Rewrite values where the new type holds them in another form; numbers widen as they are."""
        if not catalogue.is_text(kind) or catalogue.is_text(column.kind):
            return
        field = quote(column.name)
        form = f"CAST({field} AS TEXT)"
        if column.kind == "boolean":
            form = f"CASE {field} WHEN 0 THEN 'false' ELSE 'true' END"
        elif column.kind == "timestamp":
            form = f"{time_text(field, 'T')} || 'Z'"
        self.execute(
            f"UPDATE {quote(name)} SET {field} = {form} WHERE {field} IS NOT NULL AND typeof({field}) <> 'text'"
        )

    def _drop_view(self, info: TableInfo) -> None:
        self.execute(f"DROP VIEW IF EXISTS {quote(info.name + catalogue.TEXT_SUFFIX)}")

    def _micros(self, field: str) -> str:
        """SQL of a time as microseconds."""
        return field

    def _declaration(self, column: ColumnInfo) -> str:
        # No type, no affinity: what is not text stays as it was bound, and widening never rewrites the schema.
        return f"{quote(column.name)} TEXT" if catalogue.is_text(column.kind) else quote(column.name)

    def _make_view(self, info: TableInfo) -> None:
        """``<table>_text``: the rows with readable times, for other SQLite tools."""
        view = quote(info.name + catalogue.TEXT_SUFFIX)
        fields = ", ".join(
            f"{time_text(quote(c.name))} AS {quote(c.name)}" if c.kind == "timestamp" else quote(c.name)
            for c in info.columns
        )
        branches = [f"SELECT {fields} FROM {quote(name)}" for name in info.physical_names]
        while len(branches) > _VIEW_BRANCHES:
            branches = [
                f"SELECT * FROM ({' UNION ALL '.join(branches[at : at + _VIEW_BRANCHES])})"
                for at in range(0, len(branches), _VIEW_BRANCHES)
            ]
        self.execute(f"DROP VIEW IF EXISTS {view}")
        self.execute(f"CREATE VIEW {view} AS {' UNION ALL '.join(branches)}")


def time_text(field: str, separator: str = " ") -> str:
    """SQL that shows integer microseconds as ``2026-11-24 10:00:00.000000`` (also before 1970)."""
    micros = f"((({field}) % 1000000 + 1000000) % 1000000)"
    return (
        f"strftime('%Y-%m-%d{separator}%H:%M:%S', (({field}) - {micros}) / 1000000, 'unixepoch')"
        f" || printf('.%06d', {micros})"
    )


def _refuse_internal(name: str) -> None:
    if name.startswith((catalogue.INTERNAL_PREFIX, "sqlite_")):
        raise RefusedError(f"table name '{name}' is reserved", hint="choose a name that begins otherwise")
