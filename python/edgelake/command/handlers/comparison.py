"""What the members of a cluster compare in the background: what they ask of each other, and what was found.

Source: spec "Security and high availability", sections 13 and 14.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Annotated, Any, Final

import msgspec

from edgelake.command.cluster import CLUSTER, ClusterMessages
from edgelake.command.context import Context
from edgelake.command.grammar import Key, Pairs, Seconds, Timestamp
from edgelake.command.handlers.consistency import MAX_COLUMNS, hashed, own_table, within
from edgelake.command.registry import command
from edgelake.errors import CommandError
from edgelake.ingest.comparison import FILE, Comparison, ComparisonConfig, Look, Mode, Place, Told
from edgelake.metadata.routing import ROUTING
from edgelake.model import CommandClass, Reply, Table
from edgelake.store.stores import SYSTEM_NAMES

CONFIG: Final = "cluster comparison"
"""Name of the node's part: how it is to be compared."""
LEAST_S: Final = 1.0
_TOPICS: Final = ("table", "high availability")


def config_of(ctx: Context) -> ComparisonConfig:
    """As ``set cluster comparison`` left it."""
    found: ComparisonConfig = ctx.parts.setdefault(CONFIG, ComparisonConfig())
    return found


def comparison_of(ctx: Context) -> Comparison | None:
    """The comparison that runs."""
    found = ctx.services.get(Comparison.name)
    return found if isinstance(found, Comparison) else None


async def start_comparison(ctx: Context) -> None:
    """Compare from now on; once is enough."""
    if comparison_of(ctx) is not None:
        return
    cluster: ClusterMessages = ctx.parts[CLUSTER]

    def tables() -> Iterator[tuple[str, str]]:
        config = cluster.operator()
        found = ctx.parts[ROUTING].routing.clusters.get(config.cluster) if config else None
        return ((dbms, table) for _, dbms, table in (found.tables if found else ()))

    path = ctx.directories.root / "data" / FILE
    members = (cluster.peers, cluster.operator, cluster.all_members, tables, cluster.safe_ids)
    await ctx.services.start(Comparison(config_of(ctx), *members, path))


@command(
    "set cluster comparison",
    cls=CommandClass.ADMIN,
    topics=("configuration", "high availability"),
    examples=("set cluster comparison where mode = suspend", "set cluster comparison where time = 1 hour"),
)
async def set_cluster_comparison(ctx: Context, *, mode: Mode | None = None, time: Seconds | None = None) -> Reply:
    """How the members of the own cluster are compared in the background (``get cluster comparison``).

    mode = suspend: not by this node; another member does it. time: how often it is looked for partitions that have
    changed, 10 minutes without it.
    """
    if mode is None and time is None:
        raise CommandError("nothing is set", hint="mode = active or suspend, time = 10 minutes")
    if time is not None and time < LEAST_S:
        raise CommandError(f"time = {time:g} seconds", hint="one second or more")
    config = config_of(ctx)
    config.mode, config.every_s = mode or config.mode, time or config.every_s
    if (running := comparison_of(ctx)) is not None:
        running.changed()
    return Reply.done()


@command(
    "get cluster comparison",
    cls=CommandClass.DATA,
    topics=("monitor", "high availability"),
    examples=("get cluster comparison", "get cluster comparison where format = json"),
)
async def get_cluster_comparison(ctx: Context) -> Reply:
    """What was found when the members of the own cluster were compared in the background, and when.

    ``run data consumer`` begins it. A partition is compared when rows have come to it, and once a week; the member with
    the lowest number does it, the others take over what it found. Rows count that every member should have.
    """
    running, config = comparison_of(ctx), config_of(ctx)
    told = running.told if running is not None else Told()
    data = {"mode": config.mode, "time": config.every_s, "last_error": running.last_error if running else ""}
    looks = told.report.looks
    differing = list(told.report.told())
    row = (
        config.mode if running is not None else "not active",
        f"{config.every_s:g} s",
        told.report.compared_by,
        shown_time(told.report.at_s),
        len(looks),
        len(differing),
        data["last_error"],
    )
    titles = ("Mode", "Time", "Compared By", "Last Round", "Partitions", "Differing", "Last Error")
    tables = [Table(titles, [row]), *([differences(differing)] if differing else [])]
    return Reply.of_table(*tables, data={**data, **msgspec.to_builtins(told)})


def differences(looks: list[Look]) -> Table:
    """What differs, a line for each member that took the rows in."""
    titles = ("DBMS", "Table", "Partition", "Taken In By", "Since", "Compared", "Differs", "Rows")
    rows = [
        (
            look.place.dbms,
            look.place.table,
            look.place.partition,
            one.origin,
            shown_time(look.since_s),
            shown_time(look.at_s),
            ", ".join(one.odd),
            ", ".join(f"{name}: {count}" for name, count in one.rows.items()),
        )
        for look in looks
        for one in look.differing
    ]
    return Table(titles, rows, header="Not the same on all members (test cluster rows names the files):")


def shown_time(unix_s: float) -> str:
    """In UTC; empty for what was never."""
    return datetime.fromtimestamp(unix_s, UTC).strftime("%Y-%m-%d %H:%M:%S") if unix_s else ""


@command("get table marks", cls=CommandClass.DATA, topics=_TOPICS, examples=("get table marks where format = json",))
async def get_table_marks(ctx: Context) -> Reply:
    """The partitions of all tables, each with its time and its last row: what has changed since another look.

    Members of a cluster ask it of each other (``get cluster comparison``). A table without partitions is one.
    """
    found: list[dict[str, Any]] = []
    for store in ctx.stores:
        tables = [info for info in list(store.tables.values()) if info.is_own and store.dbms not in SYSTEM_NAMES]
        places = [
            place
            for info in tables
            for place in (
                [Place(info.dbms, info.name, p.name, p.column, p.start_us, p.end_us) for p in info.partitions]
                or [Place(info.dbms, info.name)]
            )
        ]
        rows = await store.last_rows([place.partition or place.table for place in places])
        found += [{**msgspec.to_builtins(p), "last_row": last} for p, last in zip(places, rows, strict=True)]
    titles = ("DBMS", "Table", "Partition", "Last Row")
    shown = [(one["dbms"], one["table"], one["partition"], str(one["last_row"])) for one in found]
    return Reply.of_table(Table(titles, shown), data=found)


@command(
    "get table checksum",
    cls=CommandClass.DATA,
    topics=_TOPICS,
    examples=(
        "get table checksum where dbms = d and table = t and upto = (1 = 120 and 2 = 300)",
        "get table checksum where dbms = d and table = t and upto = (1 = 120) and column = timestamp"
        " and from = 2026-01-01 and to = 2026-02-01",
    ),
)
async def get_table_checksum(
    ctx: Context,
    *,
    dbms: str,
    table: str,
    upto: Pairs,
    column: str = "",
    start: Annotated[Timestamp | None, Key("from")] = None,
    end: Annotated[Timestamp | None, Key("to")] = None,
) -> Reply:
    """Rows of a table and a checksum over them, for each member that took them in.

    upto: for each of these members the number of its last file that counts; rows of later files are ``later``. column,
    from, to: the rows of a time, as those of a partition. The checksum does not depend on the order of rows.
    """
    info = own_table(ctx, dbms, table)
    if not all(member.isdecimal() and number.isdecimal() for member, number in upto):
        raise CommandError("upto: numbers of members and of files", hint="upto = (1 = 120 and 2 = 300)")
    members = ", ".join(f"'{member}'" for member, _ in upto)
    counts = " or ".join(f"(tsd_name = '{member}' and tsd_id <= {number})" for member, number in upto)
    values = ", ".join(hashed(one) for one in info.user_columns[:MAX_COLUMNS]) or "tsd_id"
    sums = [f"sum(case when {counts} then content_hash({half}, {values}) else 0 end) as f{half}" for half in (0, 1)]
    where = " and ".join([f"tsd_name in ({members})", *within(info, column, start, end)])
    sql = (
        f"select tsd_name, count(*) as seen, sum(case when {counts} then 1 else 0 end) as counted, {', '.join(sums)}"
        f" from {info.dbms}.{info.name} where {where} group by tsd_name order by tsd_name"
    )
    found = {}
    async for row in ctx.queries.rows(sql, info.dbms):
        counted = int(row["counted"])
        checksum = f"{int(row['f0']):x}-{int(row['f1']):x}"
        found[str(row["tsd_name"]).strip()] = {
            "rows": counted,
            "later": int(row["seen"]) - counted,
            "checksum": checksum,
        }
    rows = [(origin, *one.values()) for origin, one in found.items()]
    return Reply.of_table(Table(("Member", "Rows", "Later", "Checksum"), rows), data=found)
