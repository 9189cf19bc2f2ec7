"""Partitions: declare, list, drop (spec: ingestion, part 2, section 1)."""

from __future__ import annotations

from typing import Annotated

from edgelake.command.context import Context
from edgelake.command.grammar import After, Tail
from edgelake.command.registry import command
from edgelake.errors import CommandError
from edgelake.model import CommandClass, Reply, Table
from edgelake.store.partition import Interval, Partitioning, shown_dates

_TITLES = ("Partition Name", "Start Date", "End Date")


@command(
    "partition",
    cls=CommandClass.ADMIN,
    topics=("partition", "dbms"),
    examples=("partition lsl_demo ping using timestamp by 7 days", "partition * * using insert_timestamp by month"),
)
async def partition(
    ctx: Context,
    dbms: str,
    table: str,
    column: Annotated[str, After("using")],
    interval: Annotated[str, Tail(after="by", raw=False)],
) -> Reply:
    """Cut a table (``*``: every table) by a time column into partitions of an interval.

    Existing partitions keep theirs. The closest declaration counts: of the table, the database, all databases.
    """
    await ctx.stores.declare(Partitioning(dbms.lower(), table.lower(), column.lower(), Interval.parse(interval)))
    return Reply.done()


@command(
    "get partitions",
    cls=CommandClass.DATA,
    topics=("partition",),
    examples=("get partitions", "get partitions where dbms = lsl_demo and table = ping"),
)
async def get_partitions(ctx: Context, *, dbms: str = "", table: str = "") -> Reply:
    """Declarations; with a database and a table, the partitions of that table."""
    if dbms and table:
        return _partitions(ctx, dbms, table)
    wanted = dbms.lower()
    found = {
        f"{d.dbms}.{d.table}": (d.interval.amount, d.interval.words, d.column)
        for d in ctx.stores.declarations()
        if not wanted or d.dbms in {wanted, "*"}
    }
    data = {name: list(declared) for name, declared in found.items()}
    if not found:
        return Reply.of_data(data, text="No partitions declared")
    lines = "".join(f"\r\n{name} : {declared}" for name, declared in found.items())
    return Reply.of_data(data, text=f"{lines}\r\n")


@command(
    "get partitions info",
    cls=CommandClass.DATA,
    topics=("partition",),
    examples=("get partitions info where dbms = lsl_demo and table = ping",),
)
async def get_partitions_info(ctx: Context, *, dbms: str, table: str) -> Reply:
    """Name, first and last day of each partition of a table."""
    return _partitions(ctx, dbms, table)


@command("get partitions dropped", cls=CommandClass.DATA, topics=("partition",), examples=("get partitions dropped",))
async def get_partitions_dropped(ctx: Context) -> Reply:
    """Partitions that were dropped, the last first."""
    rows = []
    for store in ctx.stores:
        rows += [(store.dbms, *row) for row in await store.dropped_partitions()]
    data = [{"dbms": d, "table": t, "partition": p, "dropped": at} for d, t, p, at in rows]
    return Reply.of_table(Table(("DBMS", "Table", "Partition Name", "Dropped"), rows), data=data)


@command(
    "drop partition",
    cls=CommandClass.ADMIN,
    topics=("partition", "dbms"),
    examples=(
        "drop partition where dbms = lsl_demo and table = ping",
        "drop partition par_ping_2019_08_d01_timestamp where dbms = lsl_demo and table = ping",
        "drop partition where dbms = lsl_demo and table = * and keep = 30",
    ),
)
async def drop_partition(
    ctx: Context, name: str | None = None, *, dbms: str, table: str, keep: int | None = None
) -> Reply:
    """Drop the oldest partition of a table; the one named, all (``*``), or the oldest until ``keep`` remain.

    ``table = *``: of every partitioned table of the database.
    """
    if name is not None and keep is not None:
        raise CommandError("a partition's name and 'keep' exclude each other")
    store = ctx.stores.get(dbms.lower())
    tables = [table.lower()]
    if table == "*":
        # Tables with a single partition are left alone: for all tables, "the oldest" must not mean "the last one".
        least = 1 if name == "*" or keep is not None else 2
        tables = [info.name for info in store.tables.values() if len(info.partitions) >= least]
    dropped: dict[str, list[str]] = {}
    for one in tables:
        gone = await ctx.stores.drop_partitions(store.dbms, one, name=name, keep=keep)
        if gone:
            dropped[one] = [p.name for p in gone]
    names = [f"{one}: {partition_name}" for one, gone in dropped.items() for partition_name in gone]
    return Reply.of_data(dropped, text="\r\n".join(names))


def _partitions(ctx: Context, dbms: str, table: str) -> Reply:
    info = ctx.stores.get(dbms.lower()).table(table.lower())
    rows = [(p.name, *shown_dates(p.name, p.start_us, p.end_us)) for p in info.partitions]
    data = [{"partition": name, "start_date": start, "end_date": end} for name, start, end in rows]
    if not rows:
        return Reply.of_data(data, text=f"No partitions of {info.dbms}.{info.name}")
    return Reply.of_table(Table(_TITLES, rows), data=data)
