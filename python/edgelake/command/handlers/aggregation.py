"""Continuous aggregates: declare, see, drop (spec: ingestion, section 4)."""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterable, Sequence
from functools import partial
from typing import Any, Final, Literal

from msgspec import Struct
from msgspec.structs import replace

from edgelake._rust import interval_values, time_text
from edgelake.command.context import Context
from edgelake.command.kinds import Seconds
from edgelake.command.registry import command
from edgelake.errors import CommandError
from edgelake.ingest.forwarder import Forwarder
from edgelake.model import CommandClass, Reply, Table
from edgelake.store import aggregates
from edgelake.store.aggregates import MOST_DECLARED, MOST_INTERVALS, Aggregation, Encoding
from edgelake.store.schema import Transaction
from edgelake.store.store import Store

PART: Final = "aggregates"
Function = Literal["count", "min", "max", "avg"]

_TITLES = (
    "DBMS", "Target DBMS", "Table", "Target Table", "Value Column", "interval", "H:M:S", "Events/sec", "Count", "Min",
    "Max", "Avg",
)  # fmt: skip
_CONFIG = (
    "DBMS", "Table", "Value Column", "Time Column", "Time", "Intervals", "Encoding", "Tolerance", "Target DBMS",
    "Target Table", "Source", "Derived",
)  # fmt: skip
_STATUS = ("DBMS", "Table", "Value Column", "Target DBMS", "Target Table", "Rows", "Waiting", "Error")
_FUNCTIONS: Final[tuple[Function, ...]] = ("count", "avg", "min", "max")


@command(
    "set aggregation",
    "set aggregations",
    cls=CommandClass.ADMIN,
    topics=("aggregation", "ingest"),
    examples=(
        "set aggregation where dbms = plant and table = motor and intervals = 10 and time = 1 minute and"
        " time_column = timestamp and value_column = speed",
        "set aggregation where dbms = plant and table = motor and time = 1 hour and value_column = speed and"
        " value_column = current and target_dbms = history and target_table = motor_hours",
    ),
)
async def set_aggregation(
    ctx: Context,
    *,
    dbms: str,
    table: str = "*",
    intervals: int = 10,
    time: Seconds = 60.0,
    time_column: str = "timestamp",
    value_column: list[str] | None = None,
    target_dbms: str = "",
    target_table: str = "",
) -> Reply:
    """Aggregate columns of a table (``*``: of every table that has no declaration of its own) while rows come in.

    Count, lowest, highest and average of each interval of TIME (counted from midnight UTC) are kept with the rows, in
    one transaction, for the latest INTERVALS intervals; ``time_column`` may be insert_timestamp, ``value_column``
    (value) several. Rows for the aggregates themselves are stored once an encoding or a target is named, or
    ``set aggregation ingest`` says so: in ``target_table`` of ``target_dbms``, else beside the table, as agg_TABLE,
    bounds_TABLE or arle_TABLE. The declaration stays with the database. Given again with other settings it begins with
    no intervals; what the other two commands say stays.
    """
    store = ctx.stores.get(dbms.lower())
    if not 1 <= intervals <= MOST_INTERVALS:
        raise CommandError(f"intervals = {intervals}", hint=f"1 to {MOST_INTERVALS}")
    if time < 1:
        raise CommandError(f"an interval of {time} seconds", hint="1 second or more")
    made = []
    for column in value_column or ["value"]:
        former = store.aggregations.get((table.lower(), column.lower()))
        base = former or Aggregation(table.lower(), column.lower(), "")
        made.append(
            replace(
                base,
                time_column=time_column.lower(),
                interval_us=round(time * 1e6),
                keep=intervals,
                target_dbms="" if target_dbms.lower() == store.dbms else target_dbms.lower(),
                target_table=target_table.lower(),
            )
        )
    await _declare(store, made)
    return Reply.done()


@command(
    "set aggregation encoding",
    "set aggregations encoding",
    cls=CommandClass.ADMIN,
    topics=("aggregation", "ingest"),
    examples=(
        "set aggregation encoding where dbms = plant and table = motor and encoding = bounds",
        "set aggregation encoding where dbms = plant and table = motor and value_column = speed and encoding = arle"
        " and tolerance = 5",
    ),
)
async def set_aggregation_encoding(
    ctx: Context,
    *,
    dbms: str,
    table: str = "*",
    value_column: list[str] | None = None,
    encoding: Encoding = "none",
    tolerance: float = 0.0,
) -> Reply:
    """Say what the stored rows of aggregates are; without ``value_column``: for all columns that are aggregated.

    bounds (and none): one for each interval, with timestamp and end_interval (of the first and the last value),
    value_column, min_val, max_val, avg_val and events. arle: one for each run of values within TOLERANCE percent of
    the first of them, without the bounds.
    """
    if tolerance < 0:
        raise CommandError(f"tolerance = {tolerance}", hint="percent, 0 or more")
    store = ctx.stores.get(dbms.lower())
    found = _declared(store, table.lower(), value_column)
    await _declare(store, [replace(one, encoding=encoding, tolerance=tolerance) for one in found])
    return Reply.done()


@command(
    "set aggregation ingest",
    "set aggregations ingest",
    cls=CommandClass.ADMIN,
    topics=("aggregation", "ingest"),
    examples=("set aggregation ingest where dbms = plant and table = motor and source = false and derived = true",),
)
async def set_aggregation_ingest(
    ctx: Context, *, dbms: str, table: str = "*", source: bool | None = None, derived: bool | None = None
) -> Reply:
    """Say whether the rows of a table are stored as they come (SOURCE), and whether its aggregates are (DERIVED).

    With source = false rows that no declaration can use (no time, no number) are stored as they come. One that is not
    named stays as it was.
    """
    store = ctx.stores.get(dbms.lower())
    found = _declared(store, table.lower(), None)
    told: dict[str, Any] = {
        key: value for key, value in (("source", source), ("derived", derived)) if value is not None
    }
    await _declare(store, [replace(one, **told) for one in found])
    return Reply.done()


@command(
    "reset aggregation",
    "reset aggregations",
    cls=CommandClass.ADMIN,
    topics=("aggregation", "ingest"),
    examples=(
        "reset aggregation where dbms = plant and table = motor and value_column = speed",
        "reset aggregation where dbms = plant",
    ),
)
async def reset_aggregation(
    ctx: Context, *, dbms: str, table: str = "", value_column: list[str] | None = None
) -> Reply:
    """End the aggregation of a table, of columns of it, or of a whole database. Rows that were stored stay."""
    store = ctx.stores.get(dbms.lower())
    going = _declared(store, table.lower(), value_column)

    def work(tx: Transaction) -> None:
        for one in going:
            aggregates.forget(tx, one)

    await store.change(work)
    return Reply.done()


@command(
    "get aggregation",
    "get aggregations",
    cls=CommandClass.DATA,
    topics=("aggregation",),
    examples=(
        "get aggregation",
        "get aggregation where dbms = plant and table = motor and format = json",
        "v = get aggregation where dbms = plant and table = motor and value_column = speed and function = max",
    ),
)
async def get_aggregation(
    ctx: Context,
    *,
    dbms: str = "",
    table: str = "",
    value_column: list[str] | None = None,
    function: list[Function] | None = None,
) -> Reply:
    """The intervals that are kept, the latest last; with ``function`` (count, min, max, avg) the latest value alone.

    H:M:S is the time since the interval got a row.
    """
    series = await _series(ctx, dbms, table, value_column)
    if function:
        return _latest(series, function)
    rows: list[tuple[object, ...]] = []
    data = []
    for one in series:
        head = one.dbms, one.one.target_dbms or one.dbms, one.table, one.one.target(one.table), one.one.value_column
        for number, interval in enumerate(one.intervals):
            values = (interval.count, interval.min, interval.max, interval.avg)
            rows.append((*head, number, interval.age, round(interval.count * 1e6 / one.one.interval_us, 2), *values))
            start = time_text(interval.start_us, timezone="utc")
            data.append(dict(zip([_key(title) for title in _TITLES], rows[-1], strict=True)) | {"start": start})
        if not one.intervals:
            rows.append((*head, "---", "Not Started", "---", 0, "---", "---", "---"))
    if not rows:
        return Reply.of_data([], text="No aggregations declared")
    return Reply.of_table(Table(_TITLES, rows), data=data)


@command(
    "get aggregation by time",
    "get aggregations by time",
    cls=CommandClass.DATA,
    topics=("aggregation",),
    examples=(
        "get aggregation by time where dbms = plant and table = motor and value_column = speed",
        "get aggregation by time where dbms = plant and table = motor and value_column = * and function = min and"
        " function = max and timezone = utc and limit = 1 and format = json",
    ),
)
async def get_aggregation_by_time(
    ctx: Context,
    *,
    dbms: str,
    table: str,
    value_column: list[str] | None = None,
    function: list[Function] | None = None,
    timezone: str = "local",
    limit: int = 0,
) -> Reply:
    """The intervals that are kept, by the time at which they begin; ``limit``: only the latest of each column."""
    ctx.queries.check_timezone(timezone)
    zone = ctx.queries.timezone if timezone.lower() == "local" else timezone
    columns = None if value_column in (None, ["*"]) else value_column
    wanted = function or list(_FUNCTIONS)
    rows = [
        (
            time_text(interval.start_us, timezone=zone),
            one.one.value_column,
            *(interval.value(name) for name in wanted),
        )
        for one in await _series(ctx, dbms, table, columns)
        for interval in one.intervals[-limit or None :]
    ]
    titles = ("timestamp", "value_column", *wanted)
    return Reply.of_table(Table(titles, rows), data=[dict(zip(titles, row, strict=True)) for row in rows])


@command(
    "get aggregation config",
    "get aggregation configs",
    "get aggregations config",
    "get aggregation ingest",
    cls=CommandClass.DATA,
    topics=("aggregation",),
    examples=("get aggregation config", "get aggregation config where dbms = plant and table = motor"),
)
async def get_aggregation_config(ctx: Context, *, dbms: str = "", table: str = "") -> Reply:
    """What is declared: columns, intervals, encoding, where the rows of the aggregates go."""
    rows = [
        (
            store.dbms, one.table, one.value_column, one.time_column, _span(one.interval_us), one.keep, one.encoding,
            one.tolerance, one.target_dbms or store.dbms, one.target(one.table), one.keeps_rows, one.derives,
        )
        for store, one in _all(ctx, dbms)
        if table.lower() in {"", one.table}
    ]  # fmt: skip
    if not rows:
        return Reply.of_data([], text="No aggregations declared")
    data = [dict(zip([_key(title) for title in _CONFIG], row, strict=True)) for row in rows]
    return Reply.of_table(Table(_CONFIG, rows), data=data)


@command(
    "get aggregation tables",
    "get aggregations tables",
    cls=CommandClass.DATA,
    topics=("aggregation",),
    examples=("get aggregation tables", "get aggregation tables where dbms = plant and table = motor"),
)
async def get_aggregation_tables(ctx: Context, *, dbms: str = "", table: str = "") -> Reply:
    """The tables of stored aggregates: their rows, the rows that wait for another database, and why they wait."""
    forwarder = ctx.parts.get(PART)
    errors = forwarder.errors if isinstance(forwarder, Forwarder) else {}
    rows, waiting = [], {}
    for one in await _series(ctx, dbms, table, None):
        if not one.one.derives:
            continue
        target_dbms, target = one.one.target_dbms or one.dbms, one.one.target(one.table)
        store = ctx.stores.find(target_dbms)
        counted = 0
        if store is not None and target in store.tables:
            counted = (await store.row_counts([target], whole=True))[target]
        if one.dbms not in waiting:
            waiting[one.dbms] = await ctx.stores.get(one.dbms).run(aggregates.waiting)
        late = waiting[one.dbms].get(target_dbms, 0)
        rows.append(
            (one.dbms, one.table, one.one.value_column, target_dbms, target, counted, late, errors.get(target_dbms, ""))
        )
    if not rows:
        return Reply.of_data([], text="No aggregates are stored")
    data = [dict(zip([_key(title) for title in _STATUS], row, strict=True)) for row in rows]
    return Reply.of_table(Table(_STATUS, rows), data=data)


# ---- declarations


def _declared(store: Store, table: str, columns: Sequence[str] | None) -> list[Aggregation]:
    """Declarations of a table (empty: of all). Raises CommandError where there are none."""
    wanted = {column.lower() for column in columns} if columns else None
    found = [
        one
        for one in store.aggregations.values()
        if table in {"", one.table} and (wanted is None or one.value_column in wanted)
    ]
    if not found:
        raise CommandError(
            f"no aggregation of {store.dbms}.{table or '*'}{'.' + ', '.join(sorted(wanted)) if wanted else ''}",
            hint="set aggregation where dbms = ... and table = ... comes first; see: get aggregation config",
        )
    return found


async def _declare(store: Store, made: Iterable[Aggregation]) -> None:
    """Put declarations down, all or none; those whose intervals cannot go on get a new identity."""
    pairs = []
    for one in made:
        former = store.aggregations.get((one.table, one.value_column))
        kept = former is not None and one.is_like(former)
        pairs.append((one if kept else replace(one, id=uuid.uuid4().hex), former))
        _check(store, one)
    if len(store.aggregations) + sum(former is None for _, former in pairs) > MOST_DECLARED:
        raise CommandError(
            f"more than {MOST_DECLARED} aggregations of {store.dbms}", hint="reset aggregation where ..."
        )

    def work(tx: Transaction) -> None:
        for one, former in pairs:
            aggregates.declare(tx, one, former)

    await store.change(work)


def _check(store: Store, one: Aggregation) -> None:
    if not one.keeps_rows and not one.derives:
        raise CommandError("neither rows nor aggregates would be stored", hint="derived = true")
    if one.target_table and one.table == "*":
        raise CommandError("a target_table for all tables", hint="name the table, or leave out target_table")
    if one.target_dbms in {"", store.dbms} and one.target(one.table) == one.table:
        raise CommandError(f"target_table = {one.table} is the table itself", hint="choose another one")


def _all(ctx: Context, dbms: str) -> list[tuple[Store, Aggregation]]:
    stores = [ctx.stores.get(dbms.lower())] if dbms else list(ctx.stores)
    return [(store, one) for store in stores for one in store.aggregations.values()]


# ---- intervals


class _Interval(Struct, frozen=True):
    start_us: int
    updated_us: int
    count: int
    min: float | None
    max: float | None
    avg: float

    @property
    def age(self) -> str:
        seconds = max(0, time.time_ns() // 1000 - self.updated_us) // 1_000_000
        return f"{seconds // 3600}:{seconds // 60 % 60}:{seconds % 60}"

    def value(self, function: Function) -> float | None:
        values: dict[Function, float | None] = {
            "count": self.count,
            "min": self.min,
            "max": self.max,
            "avg": self.avg,
        }
        return values[function]


class _Series(Struct, frozen=True):
    """Intervals of a column of a table, the latest last."""

    dbms: str
    table: str
    one: Aggregation
    intervals: Sequence[_Interval]


async def _series(ctx: Context, dbms: str, table: str, columns: Sequence[str] | None) -> list[_Series]:
    """By database, table and column. A declaration for all tables has one for each table that it has met."""
    wanted = {column.lower() for column in columns or ()}
    found: list[_Series] = []
    for store, one in _all(ctx, dbms):
        if wanted and one.value_column not in wanted:
            continue
        rows = await store.run(partial(aggregates.intervals, definition=one.id))
        names = dict.fromkeys([one.table] if one.table != "*" else [row[0] for row in rows])
        for name in names:
            if table.lower() in {"", name}:
                own = [_interval(*row[1:]) for row in rows if row[0] == name]
                found.append(_Series(store.dbms, name, one, own))
    return sorted(found, key=lambda s: (s.dbms, s.table, s.one.value_column))


def _interval(start_us: int, updated_us: int, state: str) -> _Interval:
    count, least, most, average, *_ = interval_values(state)
    return _Interval(start_us, updated_us, count, least, most, average)


def _latest(series: Sequence[_Series], functions: Sequence[Function]) -> Reply:
    data = [
        {"dbms": one.dbms, "table": one.table, "value_column": one.one.value_column}
        | {name: one.intervals[-1].value(name) for name in functions}
        for one in series
        if one.intervals
    ]
    if len(data) == 1 and len(functions) == 1:
        return Reply.of_data(data, text=str(data[0][functions[0]]))
    titles = ("DBMS", "Table", "Value Column", *functions)
    return Reply.of_table(Table(titles, [tuple(one.values()) for one in data]), data=data)


def _key(title: str) -> str:
    return title.lower().replace(" ", "_").replace("/", "_").replace(":", "_")


def _span(interval_us: int) -> str:
    seconds = interval_us // 1_000_000
    for unit, length in (("day", 86400), ("hour", 3600), ("minute", 60)):
        if seconds % length == 0:
            return f"{seconds // length} {unit}{'s' if seconds != length else ''}"
    return f"{seconds} second{'s' if seconds != 1 else ''}"
