"""One flush into a table: find or create it, fit the rows, cut them by partition, insert. In the writer's thread."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence

import apsw
from msgspec import Struct, field
from msgspec.structs import astuple, replace

from edgelake._rust import Rows
from edgelake.errors import EdgeLakeError, RefusedError, error
from edgelake.store import aggregates, batches
from edgelake.store.aggregates import Aggregation
from edgelake.store.base import ColumnInfo, TableInfo
from edgelake.store.batches import StoredBatch
from edgelake.store.catalogue import SchemaColumns, user_schema
from edgelake.store.engine import refuses_rows, to_error
from edgelake.store.marker import FileMarker
from edgelake.store.schema import Transaction


class Insertion(Struct, frozen=True):
    """Rows for one table, and what is committed with them.

    Attributes:
        insert_timestamp_us: time of the batch, the same for all its rows.
        position: journal position that these rows reach, kept with the table's rows; None = no journal.
        marker: of a file whose rows these are; None = no file.
        batch: what is to be done behind the commit; its rows are filled in.
        refusal: why none of the rows may come in; only the position is kept then.
        create: make a missing table; False raises error 171.
        columns: of a table that is made; None = as these rows want them.
        declared: types for columns that the table doesn't have yet, whatever the rows look like; those of a table that
            is made come first.
        widen: add columns and widen types; False = rows that don't fit are rejected.
    """

    table: str
    rows: Rows
    insert_timestamp_us: int
    tsd_name: str = "0"
    tsd_id: int = 0
    position: int | None = None
    marker: FileMarker | None = None
    create: bool = True
    columns: SchemaColumns | None = None
    declared: SchemaColumns = field(default_factory=list)
    widen: bool = True
    batch: StoredBatch | None = None
    refusal: EdgeLakeError | None = None


class Inserted(Struct, frozen=True):
    """What became of an insertion.

    Attributes:
        rejected: rows kept out: (row number from 0, reason).
        changes: columns that were added or retyped; all columns when ``created``.
        partitions: physical tables that took rows.
        replayed: the position or the file was there already, nothing was inserted.
        refusal: why the database (or a rule) kept rows out that would have fitted.
    """

    rows: int
    rejected: Sequence[tuple[int, str]] = ()
    seconds: float = 0.0
    changes: Sequence[ColumnInfo] = ()
    partitions: Sequence[str] = ()
    created: bool = False
    replayed: bool = False
    refusal: EdgeLakeError | None = None


Published = Callable[[str, str], Sequence[ColumnInfo]]
"""(dbms, table): the columns that its policy names."""


class Inserter(ABC):
    """What is the same for all engines.

    Attributes:
        published: columns of a table that other nodes have, asked in the writer's thread; empty = none.
    """

    def __init__(self) -> None:
        self.published: Published = lambda dbms, table: ()

    def insert(self, tx: Transaction, wanted: Insertion) -> Inserted:
        """Put the rows in. Raises EdgeLakeError 171 for a missing table, apsw.Error from the database."""
        started = time.perf_counter()
        if self._was_there(tx, wanted):
            return Inserted(0, replayed=True)
        if wanted.refusal is not None:
            return self._kept(tx, wanted, _all_refused(wanted, wanted.refusal))
        declared = aggregates.of_table(tx.aggregations, wanted.table)
        keeps_rows = all(one.keeps_rows for one in declared)
        done = self._stored(tx, wanted, declared) if keeps_rows else self._condensed(tx, wanted, declared)
        return self._kept(tx, wanted, replace(done, seconds=time.perf_counter() - started))

    def _stored(self, tx: Transaction, wanted: Insertion, declared: Sequence[Aggregation]) -> Inserted:
        info, changes, created = self._prepare_table(tx, wanted)
        time_us = wanted.insert_timestamp_us
        rows, rejected = wanted.rows.fit(user_schema(info), time_us)
        count, names = self._insert_fitted(tx, info, rows, wanted)
        if declared:
            aggregates.take(tx, declared, wanted.table, rows, time_us, self.insert_derived)
        return Inserted(count, rejected, changes=changes, partitions=names, created=created)

    def _condensed(self, tx: Transaction, wanted: Insertion, declared: Sequence[Aggregation]) -> Inserted:
        """Rows go into their intervals alone; those that none can use go into the table."""
        schema = [astuple(c) for c in _new_columns(wanted)]
        wider = {c[0]: c for c in wanted.rows.changes(schema)}
        schema = [wider.get(c[0], c) for c in schema]  # so that every row fits
        rows, _ = wanted.rows.fit(schema, wanted.insert_timestamp_us)
        unused = aggregates.take(tx, declared, wanted.table, rows, wanted.insert_timestamp_us, self.insert_derived)
        if not unused:
            return Inserted(len(rows))
        rest = self._stored(tx, replace(wanted, rows=rows.take(unused), columns=schema), ())
        if not rest.rejected:
            return replace(rest, rows=len(rows))
        # The fit has sorted the rows: a batch of one row tells which of them it is.
        if len(wanted.rows) > 1:
            raise RefusedError(f"{tx.dbms}.{wanted.table}: {rest.rejected[0][1]}")
        return Inserted(0, [(0, rest.rejected[0][1])])

    def insert_derived(
        self, tx: Transaction, table: str, rows: Rows, columns: SchemaColumns, time_us: int
    ) -> Sequence[str]:
        """Put derived rows into their table, made where it is missing; the physical tables that took them."""
        return self._stored(tx, Insertion(table, rows, time_us, columns=columns, declared=columns), ()).partitions

    def insert_sparing(self, tx: Transaction, wanted: Insertion) -> Inserted:
        """As ``insert``, but rows that the database refuses for good are kept out, and the others go in.

        Halves of the batch are tried again until the rows at fault stand alone. Raises apsw.Error when the database
        fails for other reasons, or when it ends the whole transaction for the sake of a row.
        """
        if self._was_there(tx, wanted):
            return Inserted(0, replayed=True)
        total, bare = Inserted(0), replace(wanted, position=None, marker=None, batch=None)
        stretches = [(0, len(wanted.rows))]
        while stretches:
            start, end = stretches.pop()
            piece = replace(bare, rows=wanted.rows.take(list(range(start, end))))
            try:
                with tx.savepoint():
                    done = self.insert(tx, piece)
            except Exception as problem:
                if not refuses_rows(problem) or not tx.connection.in_transaction:
                    raise
                if end - start > 1 and getattr(problem, "number", 0) != 171:
                    middle = (start + end) // 2
                    stretches += [(middle, end), (start, middle)]
                    continue
                done = _all_refused(piece, _as_refusal(problem, tx.dbms))
            total = _joined(total, done, start)
        return self._kept(tx, wanted, total)

    def _kept(self, tx: Transaction, wanted: Insertion, done: Inserted) -> Inserted:
        """Put down with the rows what says that they are there."""
        if wanted.position is not None:
            tx.execute(
                "INSERT INTO _edgelake_journal VALUES (?, ?)"
                " ON CONFLICT (table_name) DO UPDATE SET position = excluded.position",
                (wanted.table, wanted.position),
            )
        if wanted.marker is not None:
            wanted.marker.write(tx, done.rows)
        if wanted.batch is not None:
            batches.put(tx, replace(wanted.batch, rows=done.rows))
        return done

    def _was_there(self, tx: Transaction, wanted: Insertion) -> bool:
        if wanted.position is not None:
            found = tx.execute(
                "SELECT position FROM _edgelake_journal WHERE table_name = ?", (wanted.table,)
            ).fetchone()
            if found and found[0] >= wanted.position:
                return True
        return wanted.marker is not None and wanted.marker.covered(tx)

    def _prepare_table(self, tx: Transaction, wanted: Insertion) -> tuple[TableInfo, Sequence[ColumnInfo], bool]:
        info = tx.table(wanted.table)
        if info is None:
            if not wanted.create:
                raise error(171, f"{tx.dbms}.{wanted.table}", hint="create the table, or allow create_table")
            published = self.published(tx.dbms, wanted.table)
            if published:  # the network's columns; what these rows have besides is added, as to any table
                info = tx.create_table(wanted.table, published)
                added = self._widened(tx, info, wanted) if wanted.widen else []
                return tx.table(wanted.table) or info, [*published, *added], True
            columns = _new_columns(wanted)
            return tx.create_table(wanted.table, columns), columns, True
        changes = self._widened(tx, info, wanted) if wanted.widen and info.is_own else []
        return tx.table(wanted.table) or info, changes, False

    def _widened(self, tx: Transaction, info: TableInfo, wanted: Insertion) -> list[ColumnInfo]:
        """Give the table what the rows need: new columns, wider types; returns them."""
        declared = tx.partitioning(info)
        # The column that cuts the partitions stays a time: values that are none are kept out by the fit.
        fixed = declared.column if declared else ""
        known = user_schema(info)
        names = {c[0] for c in known}
        news = {c[0]: c for c in wanted.declared if c[0] not in names}
        # What is declared is there for all rows; a value that does not fit is widened as in any column.
        changes = [ColumnInfo(*news.get(c[0], c)) for c in wanted.rows.changes(known) if c[0] != fixed]
        if changes:
            tx.change_columns(info, changes)
        return changes

    @abstractmethod
    def _insert_fitted(self, tx: Transaction, info: TableInfo, rows: Rows, wanted: Insertion) -> tuple[int, list[str]]:
        """Put in rows that fit the table; how many, and the physical tables that took them."""


def _new_columns(wanted: Insertion) -> list[ColumnInfo]:
    """Of a table that these rows make."""
    given = {c[0]: c for c in wanted.declared}
    given |= {c[0]: c for c in wanted.columns or wanted.rows.infer() if c[0] not in given}
    return [ColumnInfo(*c) for c in given.values()]


def _all_refused(wanted: Insertion, refusal: EdgeLakeError) -> Inserted:
    reason = str(refusal)
    return Inserted(0, [(row, reason) for row in range(len(wanted.rows))], refusal=refusal)


def _as_refusal(problem: Exception, dbms: str) -> EdgeLakeError:
    if isinstance(problem, EdgeLakeError):
        return problem
    return to_error(problem, dbms) if isinstance(problem, apsw.Error) else RefusedError(f"{dbms}: {problem}")


def _joined(total: Inserted, done: Inserted, start: int) -> Inserted:
    """The outcome with that of the rows from ``start`` on."""
    return Inserted(
        total.rows + done.rows,
        [*total.rejected, *((start + row, why) for row, why in done.rejected)],
        total.seconds + done.seconds,
        [*total.changes, *done.changes],
        list(dict.fromkeys([*total.partitions, *done.partitions])),
        total.created or done.created,
        refusal=done.refusal or total.refusal,
    )


def order_column(info: TableInfo, names: Sequence[str], partition_column: str | None) -> int | None:
    """Position of the column that orders the rows: the partitions' column, else the first time column.

    An index on time wants its rows in order (design, section 3.6).
    """
    wanted = partition_column or next((c.name for c in info.user_columns if c.kind == "timestamp"), None)
    return names.index(wanted) if wanted in names else None
