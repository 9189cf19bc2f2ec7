"""Continuous aggregates of a database: what is declared, and how the rows of a transaction go into their intervals.

Everything is in the transaction of the rows: intervals, and derived rows of the same database. Derived rows of another
database are noted in an outbox with them, and handed over behind the commit (``edgelake.ingest.forwarder``): each once,
by the numbers of the notes.
Source: spec "Ingestion", section 4 (aggregation hook).
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, Literal, Protocol

from msgspec import Struct
from msgspec.structs import asdict, replace

from edgelake._rust import Aggregated, Rows, derived_rows
from edgelake.errors import DatabaseError

if TYPE_CHECKING:
    from edgelake.store.schema import Transaction

MOST_INTERVALS: Final = 1_000
MOST_DECLARED: Final = 1_000

Encoding = Literal["none", "bounds", "arle"]

_PREFIX: Final[Mapping[Encoding, str]] = {"none": "agg", "bounds": "bounds", "arle": "arle"}
_BOUNDS: Final = (("min_val", "float", False), ("max_val", "float", False))


class Aggregation(Struct, frozen=True):
    """How a value column of a table is aggregated.

    Attributes:
        table: ``*`` = every table that has no declaration of its own.
        id: of these settings; intervals and derived rows of others are none of its business.
        keep: intervals that are kept, the latest.
        encoding: ``bounds`` and ``none``: a derived row for each interval; ``arle``: one for each run of values that
            are within ``tolerance`` percent of the first of them.
        target_table: of derived rows; empty = the table's name behind the encoding's.
        source, derived: whether rows are stored as they come, and whether derived rows are. None = nobody said.
    """

    table: str
    value_column: str
    id: str
    time_column: str = "timestamp"
    interval_us: int = 60_000_000
    keep: int = 10
    encoding: Encoding = "none"
    tolerance: float = 0.0
    target_dbms: str = ""
    target_table: str = ""
    source: bool | None = None
    derived: bool | None = None

    @property
    def keeps_rows(self) -> bool:
        return self.source is not False

    @property
    def derives(self) -> bool:
        """As told; else when an encoding or a target was named."""
        asked = self.encoding != "none" or bool(self.target_dbms or self.target_table)
        return asked if self.derived is None else self.derived

    @property
    def has_bounds(self) -> bool:
        return self.encoding != "arle"

    def target(self, table: str) -> str:
        """The table that gets the derived rows of a table."""
        return self.target_table or f"{_PREFIX[self.encoding]}_{table}"

    def is_like(self, other: Aggregation) -> bool:
        """Whether the intervals of one go on under the other."""
        return replace(other, id=self.id, keep=self.keep, source=self.source, derived=self.derived) == self

    def to_text(self) -> str:
        return json.dumps(asdict(self))

    @classmethod
    def of_text(cls, text: str) -> Aggregation:
        return cls(**json.loads(text))


Declared = Mapping[tuple[str, str], Aggregation]
"""By (table, value column)."""


def load(connection: Any) -> dict[tuple[str, str], Aggregation]:
    found = {}
    for (text,) in connection.execute(
        "SELECT definition FROM _edgelake_aggregations ORDER BY table_name, value_column"
    ):
        one = Aggregation.of_text(text)
        found[one.table, one.value_column] = one
    return found


def of_table(declared: Declared, table: str) -> list[Aggregation]:
    """Those in force for a table: its own, else everyone's."""
    own = [one for one in declared.values() if one.table == table]
    return own or [one for one in declared.values() if one.table == "*"]


def intervals(connection: Any, definition: str) -> list[tuple[str, int, int, str]]:
    """(table, start, when it changed, text) of the intervals that are kept, by table and time."""
    found: list[tuple[str, int, int, str]] = connection.execute(
        "SELECT table_name, start_us, updated_us, state FROM _edgelake_intervals WHERE definition = ?"
        " ORDER BY table_name, start_us",
        (definition,),
    ).fetchall()
    return found


def declare(tx: Transaction, one: Aggregation, former: Aggregation | None) -> None:
    """Put a declaration down, in place of another for the same column."""
    if former is not None and former.id != one.id:
        forget(tx, former)
    tx.execute(
        "INSERT INTO _edgelake_aggregations VALUES (?, ?, ?)"
        " ON CONFLICT (table_name, value_column) DO UPDATE SET definition = excluded.definition",
        (one.table, one.value_column, one.to_text()),
    )
    tx.foreign_changes = True


def forget(tx: Transaction, one: Aggregation) -> None:
    """Drop a declaration with its intervals. Derived rows stay, also those that are still to be handed over."""
    tx.execute(
        "DELETE FROM _edgelake_aggregations WHERE table_name = ? AND value_column = ?", (one.table, one.value_column)
    )
    tx.execute("DELETE FROM _edgelake_intervals WHERE definition = ?", (one.id,))
    close(tx, one.id)
    tx.foreign_changes = True


def close(tx: Transaction, definition: str) -> None:
    """Derived rows of a declaration will not change any more."""
    tx.execute("DELETE FROM _edgelake_derived WHERE definition = ?", (definition,))


class Note(Struct, frozen=True):
    """A derived row on its way into its table.

    Attributes:
        number: in the outbox; 0 = it does not go through one.
        open: it may change: the next note of the interval takes its place.
        oldest_us: intervals before this do not change any more.
    """

    number: int
    definition: str
    table: str
    value_column: str
    start_us: int
    open: bool
    oldest_us: int
    target_table: str
    bounds: bool
    entry: str


class Insert(Protocol):
    """Puts rows into a table, made where it is missing; the physical tables that took them."""

    def __call__(
        self, tx: Transaction, table: str, rows: Rows, columns: Sequence[tuple[str, str, bool]], time_us: int
    ) -> Sequence[str]: ...


def take(
    tx: Transaction, declared: Iterable[Aggregation], table: str, rows: Rows, time_us: int, insert: Insert
) -> list[int]:
    """Put rows into the intervals of a table; the rows (from 0) that none of the declarations could use.

    Args:
        time_us: when they came: their ``insert_timestamp``.
    """
    unused: set[int] | None = None
    for one in declared:
        key = (one.id, table)
        known = tx.execute(
            "SELECT start_us, state FROM _edgelake_intervals WHERE definition = ? AND table_name = ?", key
        ).fetchall()
        found = Aggregated(
            rows,
            time_us if one.time_column == "insert_timestamp" else one.time_column,
            one.value_column,
            known,
            interval_us=one.interval_us,
            keep=one.keep,
            tolerance=one.tolerance if one.encoding == "arle" else None,
        )
        unused = set(found.unused) if unused is None else unused & set(found.unused)
        if not found.entries:
            continue
        tx.execute(
            "DELETE FROM _edgelake_intervals WHERE definition = ? AND table_name = ? AND start_us < ?",
            (*key, found.oldest_us),
        )
        tx.connection.executemany(
            "INSERT INTO _edgelake_intervals VALUES (?, ?, ?, ?, ?) ON CONFLICT (definition, table_name, start_us)"
            " DO UPDATE SET state = excluded.state, updated_us = excluded.updated_us",
            [(*key, start, state, time_us) for start, state in found.kept],
        )
        if one.derives:
            notes = [
                Note(
                    0, one.id, table, one.value_column, start, open_, found.oldest_us, one.target(table),
                    one.has_bounds, entry,
                )
                for start, open_, entry in found.entries
            ]  # fmt: skip
            if one.target_dbms in {"", tx.dbms}:
                deliver(tx, notes, time_us, insert)
            else:
                _post(tx, one.target_dbms, notes)
    return sorted(unused or ())


def deliver(tx: Transaction, notes: Sequence[Note], time_us: int, insert: Insert) -> None:
    """Put derived rows into their tables, in the order of the notes, which are of one declaration and table."""
    key = notes[0].definition, notes[0].table
    places: dict[int, tuple[str, int]] = {
        start: (place, row_id)
        for start, place, row_id in tx.execute(
            "SELECT start_us, place, row_id FROM _edgelake_derived WHERE definition = ? AND table_name = ?", key
        )
    }
    target, columns = notes[0].target_table, columns_of(bounds=notes[0].bounds)
    final = []
    for note in notes:
        held = places.pop(note.start_us, None)
        if held is not None:
            _remove(tx, target, *held)
        if not note.open:
            final.append((note.value_column, note.entry))
            continue
        used = insert(tx, target, derived_rows([(note.value_column, note.entry)], note.bounds), columns, time_us)
        if not used:
            raise DatabaseError(
                f"{tx.dbms}.{target} does not take aggregates of {note.table}.{note.value_column}",
                hint="set aggregation with another target_table",
            )
        place = used[0]
        # The row of this transaction has the highest id of its table.
        places[note.start_us] = place, int(tx.value(f"SELECT max(row_id) FROM {tx.quote(place)}"))
    if final:
        insert(tx, target, derived_rows(final, notes[0].bounds), columns, time_us)
    oldest = max(note.oldest_us for note in notes)
    tx.execute("DELETE FROM _edgelake_derived WHERE definition = ? AND table_name = ?", key)
    tx.connection.executemany(
        "INSERT INTO _edgelake_derived VALUES (?, ?, ?, ?, ?)",
        [(*key, start, *place) for start, place in places.items() if start >= oldest],
    )


def columns_of(*, bounds: bool) -> list[tuple[str, str, bool]]:
    """User columns of a table of derived rows."""
    return [
        ("timestamp", "timestamp", False),
        ("end_interval", "timestamp", False),
        ("value_column", "varchar", False),
        *(_BOUNDS if bounds else ()),
        ("avg_val", "float", False),
        ("events", "bigint", False),
    ]


def _remove(tx: Transaction, target: str, place: str, row_id: int) -> None:
    info = tx.table(target)
    if info is not None and place in info.physical_names:  # a dropped partition took the row with it
        tx.execute(f"DELETE FROM {tx.quote(place)} WHERE row_id = ?", (row_id,))


# ---- derived rows of another database


def _post(tx: Transaction, target_dbms: str, notes: Sequence[Note]) -> None:
    """Note derived rows for another database; what was noted of intervals that have changed since need not go."""
    starts = {(note.definition, note.table, note.start_us) for note in notes}
    tx.connection.executemany(
        "DELETE FROM _edgelake_outbox WHERE definition = ? AND table_name = ? AND start_us = ? AND is_open = 1",
        sorted(starts),
    )
    tx.connection.executemany(
        "INSERT INTO _edgelake_outbox (target_dbms, definition, table_name, value_column, start_us, is_open, oldest_us,"
        " target_table, bounds, entry) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        [
            (
                target_dbms, n.definition, n.table, n.value_column, n.start_us, int(n.open), n.oldest_us,
                n.target_table, int(n.bounds), n.entry,
            )
            for n in notes
        ],
    )  # fmt: skip
    tx.has_posted = True


def posted(connection: Any, target_dbms: str, limit: int) -> list[Note]:
    """What waits for a database, the oldest first."""
    found = connection.execute(
        "SELECT number, definition, table_name, value_column, start_us, is_open, oldest_us, target_table, bounds, entry"
        " FROM _edgelake_outbox WHERE target_dbms = ? ORDER BY number LIMIT ?",
        (target_dbms, limit),
    )
    return [
        Note(number, definition, table, column, start, bool(open_), oldest, target, bool(bounds), entry)
        for number, definition, table, column, start, open_, oldest, target, bounds, entry in found.fetchall()
    ]


def waiting(connection: Any) -> dict[str, int]:
    """Notes in the outbox by the database that they are for."""
    return dict(
        connection.execute("SELECT target_dbms, count(*) FROM _edgelake_outbox GROUP BY 1 ORDER BY 1").fetchall()
    )


def receive(tx: Transaction, notes: Sequence[Note], time_us: int, insert: Insert) -> None:
    """Put derived rows of another database in; notes that came before are passed over."""
    groups: dict[tuple[str, str], list[Note]] = {}
    for note in notes:
        groups.setdefault((note.definition, note.table), []).append(note)
    for key, own in groups.items():
        reached = tx.value("SELECT number FROM _edgelake_inbox WHERE definition = ? AND table_name = ?", key) or 0
        new = [note for note in own if note.number > reached]
        if not new:
            continue
        deliver(tx, new, time_us, insert)
        tx.execute(
            "INSERT INTO _edgelake_inbox VALUES (?, ?, ?)"
            " ON CONFLICT (definition, table_name) DO UPDATE SET number = excluded.number",
            (*key, new[-1].number),
        )


def handed_over(tx: Transaction, target_dbms: str, up_to: int) -> None:
    tx.execute("DELETE FROM _edgelake_outbox WHERE target_dbms = ? AND number <= ?", (target_dbms, up_to))
