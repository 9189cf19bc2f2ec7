"""The operator: start it, and what it did.

Source: spec "Ingestion", sections 6 and 13; "Services and status", section 10.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Literal

from edgelake.command.cluster import CLUSTER
from edgelake.command.context import Context
from edgelake.command.grammar import Directory, IpPort, Key
from edgelake.command.handlers.profiler import profiler_of
from edgelake.command.handlers.status import full_name
from edgelake.command.registry import command
from edgelake.errors import AlreadyRunningError, CommandError, error
from edgelake.ingest.batches import BatchKeeper
from edgelake.ingest.counters import FileCount, OperatorCounters, clock
from edgelake.ingest.intake import Intake
from edgelake.ingest.numbers import OwnNumbers
from edgelake.ingest.operator import Operator
from edgelake.ingest.outbox import Outbox
from edgelake.ingest.publisher import Publisher
from edgelake.ingest.settings import FILE_TYPES, OperatorConfig
from edgelake.ingest.streaming import Storing, Streaming, in_force
from edgelake.inputs.files import DirectoryWatcher
from edgelake.metadata.ids import body_of, type_of
from edgelake.metadata.ownership import Owner, Ownership, TableText
from edgelake.model import CommandClass, Reply, Table
from edgelake.store import aggregates
from edgelake.store.base import TableInfo
from edgelake.store.statement import create_statement, user_columns
from edgelake.store.tsd import OWN, TSD_DBMS

Topic = Literal["config", "summary", "json", "sql", "inserts", "error"]
ALL_TOPICS: tuple[Topic, ...] = ("json", "sql", "inserts", "error")
IDLE = {"status": "Not Active", "operational time": "00:00:00"}


@command(
    "run operator",
    cls=CommandClass.ADMIN,
    topics=("background processes", "ingest"),
    examples=(
        "run operator where policy = a18d14747155276235e1ea3bdefcecf7",
        "run operator where create_table = true and update_tsd_info = true and archive_json = true and "
        "distributor = true and master_node = 10.0.0.1:32048 and policy = a18d14 and threads = 3",
    ),
)
async def run_operator(
    ctx: Context,
    *,
    policy: str,
    create_table: bool | None = None,
    craete_table: bool | None = None,
    compress_json: bool = True,
    compress_sql: bool = True,
    archive: bool | None = None,
    archive_json: bool | None = None,
    archive_sql: bool = False,
    limit_tables: list[str] | None = None,
    update_tsd_info: bool = False,
    distributor: bool = False,
    file_type: list[str] | None = None,
    flush_streaming: bool = False,
    threads: int = 1,
    company: str = "",
    master_node: Annotated[str, IpPort] = "",
    blockchain: str = "local",
    watch_dir: Directory | None = None,
    err_dir: Directory | None = None,
    bkup_dir: Directory | None = None,
    archive_dir: Directory | None = None,
    distr_dir: Directory | None = None,
) -> Reply:
    """Monitor the watch directory, and load new files and streamed rows to the local databases.

    Needs an operator policy; a policy without a cluster makes a node that runs alone. limit_tables takes
    (dbms.table, table). A streamed row waits at most for the buffer threshold; a file is taken when it is closed.
    distributor = true (with update_tsd_info = true): what is taken in goes to distr_dir, too, from where
    ``run data distributor`` sends it to the other members of the cluster.
    """
    if ctx.services.get(Operator.name) is not None:
        raise AlreadyRunningError("operator", hint="exit operator, first")
    if ctx.services.get(Publisher.name) is not None:
        raise AlreadyRunningError("the publisher takes the files of the watch directory", hint="exit publisher, first")
    found = _policy(ctx, policy)
    types = frozenset(kind.lower() for kind in file_type or FILE_TYPES)
    if not types <= FILE_TYPES:
        raise CommandError(f"file_type: {', '.join(sorted(types - FILE_TYPES))}", hint="json, sql and gz")
    config = OperatorConfig(
        policy=policy,
        cluster=str(found.get("cluster") or ""),
        member=int(found.get("member") or 0),
        watch_dir=watch_dir or ctx.directories.path("watch_dir"),
        err_dir=err_dir or ctx.directories.path("err_dir"),
        archive_dir=archive_dir or ctx.directories.path("archive_dir"),
        bkup_dir=bkup_dir or ctx.directories.path("bkup_dir"),
        distr_dir=distr_dir or ctx.directories.path("distr_dir"),
        create_table=_first(create_table, craete_table, True),
        compress_json=compress_json,
        compress_sql=compress_sql,
        archive_json=_first(archive_json, archive, True),
        archive_sql=archive_sql,
        limit_tables=frozenset(name.lower() for name in limit_tables or ()),
        update_tsd_info=update_tsd_info,
        distributor=distributor,
        file_type=types,
        flush_streaming=flush_streaming,
        threads=threads,
        company=company,
        master=master_node,
        platform=blockchain,
    )
    if update_tsd_info:
        _check_tsd(ctx)
    await _start(ctx, make_operator(ctx, config))
    return Reply.done()


def _numbers(ctx: Context) -> OwnNumbers | None:
    return ctx.parts[CLUSTER].numbers if CLUSTER in ctx.parts else None


async def _start(ctx: Context, operator: Operator) -> None:
    """Start an operator; its files get numbers when the members have said how far it had come."""
    numbers = _numbers(ctx)
    if numbers is None:
        await ctx.services.start(operator)
        return
    numbers.hold()
    try:
        await ctx.services.start(operator)
    except BaseException:
        numbers.release()
        raise
    numbers.ask()


def make_operator(ctx: Context, config: OperatorConfig) -> Operator:
    """An operator over the node's parts, not started."""
    counters, members = OperatorCounters(), _members(ctx, config)
    outbox = Outbox(config.distr_dir, lambda: bool(members() - {config.member})) if config.distributes else None
    numbers = _numbers(ctx)
    intake = Intake(
        config,
        ctx.stores,
        counters,
        members=members,
        widens=_widening(ctx),
        map_rows=getattr(ctx.ingest, "map_rows", None),
        files_of_members=ctx.parts[CLUSTER].files if CLUSTER in ctx.parts else None,
        outbox=outbox,
        numbers=numbers,
    )
    ownership = _ownership(ctx, config, counters)
    node_id = config.policy or ctx.node.name
    batches = BatchKeeper(config, ctx.stores, counters, node_id, outbox, numbers)
    storing = ctx.ingest.set_storing if isinstance(ctx.ingest, Storing) else lambda keeper: None
    return Operator(
        config,
        intake,
        counters,
        watch_directory,
        batches=batches,
        storing=storing,
        flush=ctx.ingest.flush if isinstance(ctx.ingest, Streaming) else None,
        profiler=profiler_of(ctx),
        companion=ownership,
    )


def _ownership(ctx: Context, config: OperatorConfig, counters: OperatorCounters) -> Ownership | None:
    """Publishes the tables that get rows; told by the counters, once for each shape that a table has."""
    if ctx.policies is None or not config.create_table:
        return None
    policy = ctx.policies.get(config.policy)
    body = body_of(policy) if policy is not None else {}
    owner = Owner(
        config.cluster,
        f"{body.get('ip', '')}:{body.get('port', '')}",
        *config.ledgers,
    )

    def describe(place: tuple[str, str]) -> TableText | None:
        info: TableInfo | None = ctx.stores.table(*place)
        if info is None or not info.is_own:
            return None
        create = create_statement(info, with_tsd=config.update_tsd_info).replace('"', "|")
        return TableText(tuple(c.name for c in info.user_columns), create)

    def columns_of(create: str) -> list[str]:
        return [c.name for c in user_columns(create)] if create else []

    ownership = Ownership(owner, ctx.policies, describe, columns_of)
    known: dict[tuple[str, str], TableInfo | None] = {}

    def inserted(dbms: str, table: str) -> None:
        for place in ((dbms, table), *_derived(ctx, dbms, table)):
            info = ctx.stores.table(*place)
            if known.get(place) is not info:
                known[place] = info
                ownership.seen(*place)

    counters.on_insert = inserted
    return ownership


def _derived(ctx: Context, dbms: str, table: str) -> list[tuple[str, str]]:
    """Tables of the aggregates of a table."""
    store = ctx.stores.find(dbms)
    declared = aggregates.of_table(store.aggregations, table) if store is not None else ()
    return [(one.target_dbms or dbms, one.target(table)) for one in declared if one.derives]


def watch_directory(directory: Path, found: Callable[[Path], None], wanted: Callable[[str], bool]) -> DirectoryWatcher:
    """What tells the operator, or the publisher, of files."""
    return DirectoryWatcher(directory, found, wanted=wanted)


def _widening(ctx: Context) -> Callable[[str, str], bool]:
    def widens(dbms: str, table: str) -> bool:
        settings = ctx.ingest.settings() if ctx.ingest is not None else ()
        return bool(in_force(settings, dbms, table).widening)

    return widens


def _members(ctx: Context, config: OperatorConfig) -> Callable[[], frozenset[int]]:
    def numbers() -> frozenset[int]:
        found = ctx.policies.find("operator", cluster=config.cluster) if config.cluster else ()
        return frozenset(int(body_of(p)["member"]) for p in found if body_of(p).get("member"))

    return numbers


def _policy(ctx: Context, policy_id: str) -> dict[str, Any]:
    found = ctx.policies.get(policy_id) if ctx.policies is not None else None
    if found is None:
        raise error(113, f"no policy has the id '{policy_id}'", hint="blockchain get operator")
    if type_of(found) != "operator":
        raise error(
            113, f"policy '{policy_id}' is of type {type_of(found)}", hint="run operator needs an operator policy"
        )
    return body_of(found)


def _check_tsd(ctx: Context) -> None:
    store = ctx.stores.find(TSD_DBMS)
    if store is None:
        if TSD_DBMS in ctx.stores.waiting:
            return  # what is booked waits for it
        raise error(
            3, f"update_tsd_info needs the database {TSD_DBMS}", hint=f"connect dbms {TSD_DBMS} where type = sqlite"
        )
    if OWN not in store.tables:
        raise error(
            3, f"update_tsd_info needs the table {TSD_DBMS}.{OWN}", hint=f"create table {OWN} where dbms = {TSD_DBMS}"
        )


def _first(*values: bool | None) -> bool:
    return next(value for value in values if value is not None)


@command(
    "get operator",
    cls=CommandClass.DATA,
    topics=("monitor", "ingest"),
    examples=(
        "get operator",
        "get operator inserts",
        "get operator summary",
        "get operator config",
        "get operator summary where format = json",
    ),
)
async def get_operator(ctx: Context, topic: Topic | None = None) -> Reply:
    """What the operator did: json, sql, inserts and error, or one topic (also config, summary)."""
    return operator_reply(ctx, topic)


def operator_reply(ctx: Context, topic: Topic | None) -> Reply:
    """The topic as table and JSON; without topic four of them. An idle operator shows its configuration."""
    running = ctx.services.get(Operator.name)
    if not isinstance(running, Operator):
        return Reply.of_table(_object_table("config", IDLE), data=IDLE)
    if topic is None:
        made = [_topic(ctx, running, one) for one in ALL_TOPICS]
        return Reply.of_table(*(table for table, _ in made), data=[data for _, data in made])
    table, data = _topic(ctx, running, topic)
    return Reply.of_table(table, data=data)


def _topic(ctx: Context, operator: Operator, topic: Topic) -> tuple[Table, Any]:
    counters, now = operator.counters, time.time()
    if topic == "config":
        config = operator.config_topic()
        return _object_table(topic, config), config
    if topic == "summary":
        summary = {
            "node name": full_name(ctx),
            "status": "Active",
            "operational time": clock(now - operator.since),
            **counters.summary(),
        }
        return _object_table(topic, summary), summary
    if topic == "error":
        return _errors(counters, now)
    if topic == "inserts":
        return _inserts(counters, now)
    return _files(topic, counters.json if topic == "json" else counters.sql, now)


def _header(topic: str) -> str:
    # The reference prints a line feed before the header: with the table's own break an empty line.
    return f"\nStats: OPERATOR {topic.upper()}"


def _object_table(topic: str, values: dict[str, Any]) -> Table:
    return Table([_title(key) for key in values], [list(values.values())], header=_header(topic))


def _title(key: str) -> str:
    return key[:1].upper() + key[1:]


def _files(topic: str, counted: dict[str, dict[str, FileCount]], now: float) -> tuple[Table, Any]:
    data = {
        dbms: {name: [c.files, c.immediate, int(c.last), clock(now - c.last)] for name, c in tables.items()}
        for dbms, tables in counted.items()
    }
    rows = [
        (dbms if first else "", name, files, immediate, str(stamp), elapsed)
        for dbms, tables in data.items()
        for first, (name, (files, immediate, stamp, elapsed)) in _marked(tables)
    ]
    titles = ("DBMS", "Table", "Files", "Immediate", "Timestamp", "Elapsed_time")
    return Table(titles, rows, header=_header(topic)), data


def _inserts(counters: OperatorCounters, now: float) -> tuple[Table, Any]:
    data = {
        dbms: {
            name: [
                int(c.first),
                int(c.last),
                clock(now - c.first),
                clock(now - c.last),
                c.batch_rows,
                c.immediate_rows,
                c.seconds,
            ]
            for name, c in tables.items()
        }
        for dbms, tables in counters.inserts.items()
    }
    rows = [
        (dbms if first else "", name, values[2], values[3], str(values[4]), str(values[5]), f"{values[6]:.3f}")
        for dbms, tables in data.items()
        for first, (name, values) in _marked(tables)
    ]
    titles = ("DBMS", "Table", "First insert", "Last insert", "Batch inserts", "Immediate inserts", "DBMS Seconds")
    return Table(titles, rows, header=_header("inserts")), data


def _marked(tables: dict[str, list[Any]]) -> list[tuple[bool, tuple[str, list[Any]]]]:
    """Entries, the first of a database marked: its name is shown once."""
    return [(at == 0, entry) for at, entry in enumerate(tables.items())]


def _errors(counters: OperatorCounters, now: float) -> tuple[Table, Any]:
    keys = ("type", "counter", "timestamp", "elapsed time", "dbms name", "table name", "last error", "last error text")
    rows = [
        (kind, c.counter, int(c.last), clock(now - c.last), c.dbms, c.table, c.number, c.text)
        for kind, c in counters.errors.items()
    ]
    data = [dict(zip(keys, row, strict=True)) for row in rows]
    return Table([_title(key) for key in keys], rows, header=_header("error")), data


@command(
    "get stats",
    cls=CommandClass.DATA,
    topics=("monitor",),
    examples=(
        "get stats where service = operator and topic = summary",
        "get stats where service = operator and topic = summary and format = json",
    ),
)
async def get_stats(ctx: Context, *, service: Literal["operator"], topic: Topic | None = None) -> Reply:
    """Statistics of a service, by topic: those of ``get operator``."""
    return operator_reply(ctx, topic)


@command(
    "reset stats",
    cls=CommandClass.ADMIN,
    topics=("monitor",),
    examples=("reset stats where service = operator and topic = summary",),
)
async def reset_stats(
    ctx: Context, *, service: Literal["operator"], topic: Annotated[Literal["summary"], Key("topic")] = "summary"
) -> Reply:
    """Count the operator's summary anew from now on; counts by table go on."""
    running = ctx.services.get(Operator.name)
    if isinstance(running, Operator):
        running.counters.reset_summary()
    return Reply.done()
