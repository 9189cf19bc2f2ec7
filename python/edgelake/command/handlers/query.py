"""SQL, and what is known of the queries that ran (spec: query, sections 1, 2, 14 and 15)."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Annotated, Any, Final, Literal

from msgspec.structs import replace

from edgelake import _rust
from edgelake.command.cluster import CLUSTER, ClusterMessages
from edgelake.command.console import show_reply, write
from edgelake.command.context import Context
from edgelake.command.grammar import Key, Tail
from edgelake.command.handlers.kafka import cluster_at
from edgelake.command.registry import command
from edgelake.command.rights import check_read
from edgelake.errors import CommandError, NotPermittedError, QueryStoppedError, error
from edgelake.model import CommandClass, Reply, Table
from edgelake.peering import INCOMPLETE, Asker
from edgelake.query import report
from edgelake.query.destinations import file_path, messages_of, to_file, to_table
from edgelake.query.jobs import Job
from edgelake.query.leaves import Leaf, ended
from edgelake.query.network import Asked, NetworkQueries, PassedAnswer
from edgelake.query.options import Options, parse_options, split_statement
from edgelake.query.service import AS_THEY_TRAVEL, Answer, Queries, with_json
from edgelake.query.spill import DISK_BYTES, MEMORY_BYTES

_REFERENCE: Final = re.compile(r"""'(?:[^']|'')*'|"[^"]*"|!(?=[A-Za-z_])[\w.]+""")
_NUMBER: Final = re.compile(r"[+-]?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?")
NETWORK_QUERIES: Final = "network_queries"
"""The node's part that asks other nodes."""

AnyAnswer = Answer | PassedAnswer
_KINDS: Final = frozenset({"select", "with"})


@command(
    "sql",
    cls=CommandClass.DATA,
    topics=("query", "dbms"),
    examples=(
        'sql lsl_demo format = table "select count(*) from ping"',
        "sql lsl_demo stat = false and timezone = utc select * from ping where timestamp > now() - 1 hour limit 10",
        'sql lsl_demo include = (pong) and extend = (@table_name) "select max(value) from ping"',
    ),
)
async def sql(ctx: Context, dbms: str, *, statement: Annotated[str, Tail()]) -> Reply:
    """Run a statement on the databases of this node.

    Options stand before the statement: ``format``, ``stat``, ``timezone``, ``include``, ``extend``, ``max_time``,
    ``file``, ``table`` and others. A statement that changes something needs the class admin.
    """
    dbms, text, options = _read(ctx, dbms, statement)
    if _rust.statement_word(text) not in _KINDS:
        return await _change(ctx, dbms, text)
    check_read(ctx, dbms, text, options)
    queries: Queries = ctx.queries

    async def ask(options: Options) -> Answer:
        also = await committed_rows(ctx) if options.committed else ""
        return await queries.ask(dbms, text, options, constant=constant_of(ctx), command=statement, also=also)

    return await answered(ctx, options, ask)


def _read(ctx: Context, dbms: str, statement: str) -> tuple[str, str, Options]:
    """Database, statement and options."""
    written, text = split_statement(statement)
    return dbms.lower(), _filled(text, ctx), parse_options(written, ctx.visible.translate)


async def answered(ctx: Context, options: Options, ask: Callable[[Options], Awaitable[AnyAnswer]]) -> Reply:
    """The answer of a select where the options want it."""
    queries: Queries = ctx.queries
    if options.table or options.destination == "dbms":
        answer = await ask(with_json(options))
        table = options.table or f"query_{answer.job.number}"
        rows = await to_table(ctx.stores, answer.pieces(), table, drop=options.drop)
        return _written(f"rows are in system_query.{table}", rows)
    if options.destination == "kafka":
        return await _to_kafka(ctx, options, ask)
    target = _file(ctx, options)
    source = readable(ctx, options.source) if options.source else None
    answer = await ask(options)
    pieces: AsyncIterator[bytes] = answer.pieces()
    if options.test or source is not None:
        pieces = report.framed(pieces, answer.job, options)
    if source is not None:
        whole = b"".join([piece async for piece in pieces]).decode()
        return Reply.of_data(report.compared(whole, source, options))
    if target is not None:
        await to_file(pieces, target)
        return _written(f"the answer is in {target}", answer.job.rows)
    if not options.output:
        async for _ in pieces:
            pass
        return _written("the answer is not printed", answer.job.rows)
    if options.destination == "stdout" and ctx.caller.entry == "rest":
        await show_reply(Reply(stream=pieces), ctx, ctx.console or write)
        return _written("the answer is on the node's terminal", answer.job.rows)
    framed = options.test
    media_type = "text/plain; charset=utf-8" if framed else queries.media_type(options)
    return Reply(stream=pieces, media_type=media_type)


async def _to_kafka(ctx: Context, options: Options, ask: Callable[[Options], Awaitable[AnyAnswer]]) -> Reply:
    if not ctx.may(CommandClass.ADMIN):
        raise NotPermittedError("dest = kafka needs the command class 'admin'", hint="read the reply instead")
    if not options.topic:
        raise error(175, "dest = kafka", hint="name the topic: and topic = ...")
    if options.format == "table":
        raise error(
            175, "format = table", hint="json, json:list (a message for each block) or json:output (for each row)"
        )
    cluster = cluster_at(ctx, options.kafka)
    from edgelake.inputs.kafka.publish import publish  # aiokafka is loaded by nodes that publish

    answer = await ask(replace(options, format="json:output", statistics=False))
    await publish(cluster, options.topic, messages_of(answer.pieces(), options.format))
    return _written("Query output send to kafka", answer.job.rows)


async def network_select(ctx: Context, line: str, asked: Asked) -> Reply:
    """A select over other nodes: ``sql dbms [options] select ...``. Raises EdgeLakeError."""
    found = re.match(r"sql\s+(\S+)\s+(.*)", line.strip(), re.IGNORECASE | re.DOTALL)
    if found is None:
        raise CommandError("sql needs a database and a statement", hint='run client () sql dbms "select ..."')
    dbms, text, options = _read(ctx, found[1], found[2])
    if _rust.statement_word(text) != "select":
        raise CommandError(
            "only select goes to other nodes", hint="run other statements at the node that has the table"
        )
    check_read(ctx, dbms, text, options)
    network: NetworkQueries = ctx.parts[NETWORK_QUERIES]

    async def ask(options: Options) -> AnyAnswer:
        return await network.ask(dbms, text, options, asked, command=found[2])

    return await answered(ctx, options, ask)


async def leaf_rows(
    ctx: Context, line: str, asker: Asker, printed: str = "", *, declines: bool = False
) -> AsyncIterator[bytes]:
    """Rows for another node, a line each. Raises EdgeLakeError.

    Args:
        asker: who gets them, and may stop the query.
        printed: how that node wants them printed; "" = as rows travel (network protocol, section 3.3).
        declines: whether this node lacks data of its cluster: another member is to be asked first.
    """
    if not ctx.may(CommandClass.DATA):
        raise NotPermittedError("queries are not taken from there")
    found = re.match(r"sql\s+(\S+)\s+(.*)", line, re.IGNORECASE | re.DOTALL)
    if found is None:
        raise error(134, line[:60], hint="sql <dbms> [options] select ...")
    written, text = split_statement(found[2])
    if _rust.statement_word(text) != "select":
        raise NotPermittedError("only select is taken from other nodes")
    options = parse_options(written)
    if not options.incomplete and declines:
        raise error(INCOMPLETE, hint="see get consumer; incomplete = true takes what is there")
    dbms = found[1].lower()
    check_read(ctx, dbms, text, options)
    known = tuple(
        (name, table)
        for name, table in options.include
        if (store := ctx.stores.find(name or dbms)) is not None and table in store.tables
    )
    queries: Queries = ctx.queries
    options = replace(options, include=known, timezone="utc")
    leaf = queries.leaves.begin(asker)
    try:
        answer = await queries.ask(
            dbms,
            text,
            options,
            constant=constant_of(ctx),
            command=found[2],
            leaf=printed or AS_THEY_TRAVEL,
            begun=leaf.follow,
            also=await committed_rows(ctx) if options.committed else "",
        )
    except BaseException as failure:
        queries.leaves.end(leaf)
        if leaf.is_stopped and isinstance(failure, QueryStoppedError):
            raise ended() from None
        raise
    leaf.begun()
    return queries.leaves.measured(leaf, answer.pieces())


async def committed_rows(ctx: Context) -> str:
    """The condition that rows satisfy which every member of the own cluster has; "" on a node without others.

    Raises EdgeLakeError 175 where nothing tells what the others have.
    """
    cluster: ClusterMessages | None = ctx.parts.get(CLUSTER)
    safe = await cluster.safe_ids() if cluster is not None else None
    if safe is None:
        return ""
    known = [f"(tsd_name = '{member}' and tsd_id <= {number})" for member, number in sorted(safe.items()) if number]
    return " or ".join(known) or "tsd_id < 0"


def _written(what: str, rows: int) -> Reply:
    return Reply.of_text(f'{{"Reply" : "{what}", "Rows" : {rows}}}')


async def _change(ctx: Context, dbms: str, text: str) -> Reply:
    if not ctx.may(CommandClass.ADMIN):
        raise NotPermittedError(
            "a statement that changes something needs the command class 'admin'",
            hint="run it at the node's prompt, or ask its owner to grant the class",
        )
    rows = await ctx.queries.change(dbms, text)
    return Reply.of_data({"reply": "Success", "rows": rows}, text=f"Success: {rows} rows")


def _filled(text: str, ctx: Context) -> str:
    """The statement with ``!name`` replaced outside quotes: numbers as they are, other values as texts.

    A statement that is one name alone is the name's value.
    """
    if re.fullmatch(r"!\w+", text.strip()):
        return str(ctx.visible.translate(text.strip()))

    def value(found: re.Match[str]) -> str:
        if found[0][0] != "!":
            return found[0]
        shown = str(ctx.visible.translate(found[0]))
        if not shown:
            raise CommandError(f"Missing dictionary definition for: '{found[0]}'")
        if _NUMBER.fullmatch(shown) or (shown[:1] == shown[-1:] == "'" and len(shown) > 1):
            return shown
        return "'" + shown.replace("'", "''") + "'"

    return _REFERENCE.sub(value, text)


def constant_of(ctx: Context) -> Callable[[str], str]:
    """Values of ``extend``: the node's own by ``@name``, the dictionary's by ``+name``."""

    def value(what: str) -> str:
        name = what.lower()
        ip = ctx.variables.get("external_ip") or ctx.variables.get("ip")
        port = ctx.variables.get("anylog_server_port")
        own = {"@ip": ip, "@port": port, "@ip_port": f"{ip}:{port}", "@node_name": ctx.node.name, "@cluster": ""}
        if name in own:
            return own[name]
        if name.startswith("@"):
            raise error(175, f"extend = {what}", hint=f"{', '.join(own)}, @dbms_name, @table_name, +name")
        return ctx.visible.get(what.lstrip("+!"))

    return value


def _file(ctx: Context, options: Options) -> Path | None:
    """File of the answer. Raises EdgeLakeError 78, NotPermittedError."""
    if not options.file and options.destination != "file":
        return None
    if not ctx.may(CommandClass.FILES):
        raise NotPermittedError("file = ... needs the command class 'files'", hint="read the reply instead")
    if not options.file:
        raise error(175, "dest = file", hint="name the file: file = !tmp_dir/answer.json")
    path = file_path(options.file)
    if not ctx.may(CommandClass.EXEC) and not ctx.directories.inside(path):
        raise error(78, f"'{path}' is not inside the node's directories")
    return path


def readable(ctx: Context, name: str) -> Path:
    path = Path(name).expanduser()
    if not ctx.may(CommandClass.FILES):
        raise NotPermittedError("source = ... needs the command class 'files'")
    if not ctx.may(CommandClass.EXEC) and not ctx.directories.inside(path):
        raise error(78, f"'{path}' is not inside the node's directories")
    return path


# ---- what ran


def _jobs(ctx: Context, which: str) -> list[Job]:
    if ctx.queries is None:
        raise CommandError("this node runs no queries")
    queries: Queries = ctx.queries
    jobs = list(queries.jobs)
    if which == "all":
        return jobs
    if not which:
        return [job for job in jobs if job is queries.jobs.latest]
    if not which.isdecimal():
        raise CommandError(f"'{which}' is no job", hint="a number, or all")
    return [job for job in jobs if job.number == int(which)]


_STATUS: Final = ("Job", "ID", "Output", "Run Time", "Operator", "Par", "Status", "Blocks", "Rows", "Command")


@command(
    "query status",
    cls=CommandClass.DATA,
    topics=("query", "monitor"),
    examples=("query status", "query status all", "query status 3"),
)
async def query_status(ctx: Context, job: str = "") -> Reply:
    """Queries that run and the last that ran: the latest, one by its number, or all."""
    rows = []
    for one in _jobs(ctx, job):
        rows.append(
            (
                one.number,
                one.identity,
                one.output,
                one.shown_time,
                ", ".join(one.operators) or "local",
                one.partitions,
                one.shown_status,
                one.blocks,
                one.rows,
                f"sql {one.dbms} {one.command}",
            )
        )
    return Reply.of_table(Table(_STATUS, rows), data=[dict(zip(_STATUS, row, strict=True)) for row in rows])


_DESTINATION: Final = ("Job", "Destination", "DBMS", "Table", "Command")


@command(
    "query destination",
    cls=CommandClass.DATA,
    topics=("query", "monitor"),
    examples=("query destination", "query destination all"),
)
async def query_destination(ctx: Context, job: str = "") -> Reply:
    """Where queries went: the node itself or others, database and table."""
    rows = [
        (one.number, node, one.dbms, one.table, f"sql {one.dbms} {one.command}")
        for one in _jobs(ctx, job)
        for node in one.operators or ("local",)
    ]
    return Reply.of_table(Table(_DESTINATION, rows), data=[dict(zip(_DESTINATION, row, strict=True)) for row in rows])


@command(
    "query explain",
    cls=CommandClass.DATA,
    topics=("query", "monitor"),
    examples=("query explain", "query explain all", "query explain where plan = true"),
)
async def query_explain(ctx: Context, job: str = "", *, plan: bool = False) -> Reply:
    """How queries were planned: statements over the physical tables, and over their groups.

    Where a PostgreSQL server puts rows together, the statement is the server's; plan = true asks it how it runs that
    (EXPLAIN).
    """
    data: list[dict[str, Any]] = []
    for one in _jobs(ctx, job):
        data.append(
            {
                "Job ID": one.number,
                "Remote DBMS": one.dbms,
                "Remote Table": one.table,
                "Source Command": f"sql {one.dbms} {one.command}",
                "Remote Query": "; ".join(one.statements),
                "Local Create": "",
                "Local Query": one.merge,
                "Increment Info": one.increments,
            }
        )
        if plan:
            data[-1]["Server Plan"] = await _server_plan(ctx, one)
    text = "\r\n\r\n".join("\r\n".join(f"{key:<15}: {value}" for key, value in one.items()) for one in data)
    return Reply.of_data(data, text=text)


async def _server_plan(ctx: Context, job: Job) -> str:
    """Raises DatabaseError, DatabaseMissingError."""
    plans = []
    for dbms, statement in list(job.servers.values()):
        store = ctx.stores.get(dbms)
        plans.append("\r\n".join(await asyncio.to_thread(store.explain, statement)))
    return "\r\n".join(plans)


_EXECUTION: Final = (
    *("Node", "Job", "ID", "Status", "Run Time", "DBMS", "Par", "Threads", "Limit", "Rows", "Blocks"),
    *("SQL Time", "Fetch Time", "Network Time", "Command"),
)


@command(
    "get operator execution",
    cls=CommandClass.DATA,
    topics=("query", "monitor", "operator"),
    examples=(
        "get operator execution",
        "get operator execution where node = 10.0.0.78:7848",
        "get operator execution where node = 10.0.0.78:7848 and job = 12",
    ),
)
async def get_operator_execution(ctx: Context, *, node: str = "", job: int | None = None) -> Reply:
    """Queries of other nodes that run here, and the last that ran: who asked, and where the time went.

    node: the address that asked; job: its place or number there. Times in seconds: until the first row, reading rows,
    while the other node took them.
    """
    queries: Queries = ctx.queries
    shown = [
        leaf
        for leaf in queries.leaves
        if node in ("", leaf.asker.address) and job in (None, leaf.asker.location, leaf.asker.number)
    ]
    rows = [_executed(leaf, one) for leaf in shown if (one := leaf.job) is not None]
    return Reply.of_table(Table(_EXECUTION, rows), data=[dict(zip(_EXECUTION, row, strict=True)) for row in rows])


def _executed(leaf: Leaf, job: Job) -> tuple[object, ...]:
    return (
        *(leaf.asker.address, leaf.asker.location, leaf.asker.number, job.shown_status, job.shown_time, job.dbms),
        *(job.partitions, job.threads, leaf.limit, job.rows, job.blocks),
        *(f"{seconds:.3f}" for seconds in (leaf.sql_s, leaf.fetch_s, leaf.network_s)),
        job.command,
    )


@command(
    "get queries time",
    cls=CommandClass.DATA,
    topics=("query", "monitor"),
    examples=("get queries time", "get queries time where format = json"),
)
async def get_queries_time(ctx: Context) -> Reply:
    """How long queries took: up to 1, 2, ... 9 seconds, and longer."""
    rows = ctx.queries.jobs.times.rows()
    text = "\n".join(f"{name}: {value}" for name, value in rows)
    return Reply.of_data({"Queries Statistics": dict(rows)}, text=text)


@command("reset query timer", cls=CommandClass.ADMIN, topics=("query", "monitor"), examples=("reset query timer",))
async def reset_query_timer(ctx: Context) -> Reply:
    """Count the times of queries anew."""
    ctx.queries.jobs.times.reset()
    return Reply.done()


# ---- time


@command(
    "get increments params",
    cls=CommandClass.DATA,
    topics=("query",),
    examples=(
        "get increments params where dbms = d and table = t and column = timestamp"
        ' and where = "timestamp > now() - 3d"',
    ),
)
async def get_increments_params(
    ctx: Context,
    *,
    dbms: str,
    table: str,
    column: str,
    condition: Annotated[str, Key("where")] = "",
    data_points: int = 1000,
) -> Reply:
    """Unit and number that ``increments(column, data_points)`` stands for over the span of the condition."""
    selected = f'select increments("{column.lower()}", {data_points}), count(*) from "{table.lower()}"'
    if condition:
        selected += f" where {condition}"
    unit, number = ctx.queries.increments(dbms.lower(), selected, Options())
    return Reply.of_data({"interval": unit, "time_units": number}, text=f"{unit}, {number}")


@command(
    "get datetime",
    cls=CommandClass.DATA,
    topics=("query", "machine"),
    examples=("get datetime local now()", "get datetime utc now() - 3 days", "v = get datetime et '2025-01-31'"),
)
async def get_datetime(ctx: Context, timezone: str, *, expression: Annotated[str, Tail()]) -> Reply:
    """A time expression in a time zone."""
    queries: Queries = ctx.queries
    queries.check_timezone(timezone)
    zone = queries.timezone if timezone.lower() == "local" else timezone
    text = expression.strip().strip('"')
    us = _rust.time_expression(text, now_us=time.time_ns() // 1000, timezone=queries.timezone)
    return Reply.of_text(_rust.time_text(us, timezone=zone))


@command(
    "set query mode",
    cls=CommandClass.ADMIN,
    topics=("query", "configuration"),
    where="using",
    examples=(
        "set query mode using timeout = 30 seconds and max_volume = 10MB",
        "set query mode using order = reference",
        "set query mode using sort_memory = 16MB and sort_disk = 2GB",
    ),
)
async def set_query_mode(
    ctx: Context,
    *,
    timeout: Annotated[str, Key("timeout")] = "",
    max_volume: str = "",
    send_mode: Literal["all", "any"] = "all",
    reply_mode: Literal["all", "any", "subset"] = "all",
    show_id: bool = False,
    order: Literal["standard", "reference"] = "standard",
    sort_memory: str = "",
    sort_disk: str = "",
) -> Reply:
    """Bounds of every query of this node, and how several order keys are read.

    Rows of other nodes that are to be sorted here stand in memory up to ``sort_memory`` (64 MB), then in temporary
    files up to ``sort_disk`` (8 GB, and no more than half of what is free on that disk).
    """
    queries: Queries = ctx.queries
    limits = queries.limits
    limits.timeout_s = parse_options(f"max_time = {timeout}").max_time_s if timeout else None
    volume = _volume("max_volume", max_volume) if max_volume else None
    memory = _volume("sort_memory", sort_memory) if sort_memory else MEMORY_BYTES
    disk = _volume("sort_disk", sort_disk) if sort_disk else DISK_BYTES
    limits.max_volume_bytes, limits.sort_memory_bytes, limits.sort_disk_bytes = volume, memory, disk
    limits.reference_order = order == "reference"
    limits.settings = {"send_mode": send_mode, "reply_mode": reply_mode, "show_id": str(show_id).lower()}
    return Reply.done()


def _volume(key: str, text: str) -> int:
    found = _rust.storage_bytes(text.replace(" ", ""))
    if found is None:
        raise CommandError(f"{key} = {text}", hint="a volume such as 10000, 100KB or 1MB")
    return found


@command("get query mode", cls=CommandClass.DATA, topics=("query", "configuration"), examples=("get query mode",))
async def get_query_mode(ctx: Context) -> Reply:
    """What ``set query mode`` has set."""
    limits = ctx.queries.limits
    data = {
        "timeout": "" if limits.timeout_s is None else f"{limits.timeout_s:g} seconds",
        "max_volume": "" if limits.max_volume_bytes is None else str(limits.max_volume_bytes),
        "send_mode": "all",
        "reply_mode": "all",
        "show_id": "false",
        **(limits.settings or {}),
        "order": "reference" if limits.reference_order else "standard",
        "sort_memory": str(limits.sort_memory_bytes),
        "sort_disk": str(limits.sort_disk_bytes),
    }
    return Reply.of_table(Table(("Parameter", "Value"), list(data.items())), data=data)
