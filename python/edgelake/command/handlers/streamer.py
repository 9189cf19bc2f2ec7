"""Streamed rows: thresholds, durability, flush, and what waits where.

Source: spec "Ingestion", sections 4 and 13; "Services and status", section 9.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from typing import Annotated, Any, Literal

import msgspec
from msgspec.structs import replace

from edgelake.command.context import Context
from edgelake.command.grammar import Bytes, Directory, Json, Key, Seconds
from edgelake.command.handlers.status import NOT_DECLARED, service_of
from edgelake.command.registry import command
from edgelake.errors import CommandError, NotAvailableError, PayloadError, error
from edgelake.ingest.counters import clock
from edgelake.ingest.streamer import Streamer
from edgelake.ingest.streaming import (
    DEFAULT_TIME_S,
    DEFAULT_VOLUME_BYTES,
    StreamCounts,
    Streaming,
    StreamSettings,
    Threshold,
    in_force,
)
from edgelake.model import CommandClass, Reply, Table

STATISTICS_TITLES = (
    "\nDBMS-Table",
    "Put\nfiles",
    "Put\nRows",
    "\n",
    "Streaming\nCalls",
    "Streaming\nRows",
    "Cached\nRows",
    "Counter\nImmediate",
    "Threshold\nVolume(KB)",
    "Buffer\nFill(%)",
    "Threshold\nTime(sec)",
    "Time Left\n(Sec)",
    "Last Process\nHH:MM:SS",
)


def streaming_of(ctx: Context) -> Streaming:
    """The node's streaming side. Raises NotAvailableError on a node that takes no data."""
    if ctx.ingest is None:
        raise NotAvailableError("this node takes no data")
    found: Streaming = ctx.ingest
    return found


@command(
    "run streamer",
    cls=CommandClass.ADMIN,
    topics=("background processes", "ingest"),
    examples=("run streamer", "run streamer where prep_dir = /tmp and watch_dir = /tmp and err_dir = /tmp"),
)
async def run_streamer(
    ctx: Context,
    *,
    prep_dir: Directory | None = None,
    watch_dir: Directory | None = None,
    err_dir: Directory | None = None,
) -> Reply:
    """Set the directories of streamed data. Buffers are flushed at their thresholds with or without this service."""
    await ctx.services.start(
        Streamer(
            streaming_of(ctx),
            prep_dir or ctx.directories.path("prep_dir"),
            watch_dir or ctx.directories.path("watch_dir"),
            err_dir or ctx.directories.path("err_dir"),
        )
    )
    return Reply.done()


def _scope(ctx: Context, dbms: str, table: str) -> StreamSettings:
    """The settings of a scope as they are; empty ones when it has none."""
    if table and not dbms:
        raise CommandError("a table needs its dbms", hint="where dbms = d and table = t")
    scope = (dbms.lower(), table.lower())
    return next((s for s in streaming_of(ctx).settings() if (s.dbms, s.table) == scope), StreamSettings(*scope))


@command(
    "set buffer threshold",
    cls=CommandClass.ADMIN,
    topics=("ingest", "configuration"),
    examples=(
        "set buffer threshold where time = 60 seconds and volume = 100KB and write_immediate = true",
        "set buffer threshold where dbms_name = d and table_name = t and time = 1 second and volume = 10KB",
        "set buffer threshold where dbms = d and table = t and time = 0 seconds and volume = 0KB",
    ),
)
async def set_buffer_threshold(
    ctx: Context,
    *,
    dbms: str = "",
    dbms_name: str = "",
    table: str = "",
    table_name: str = "",
    time: Seconds | None = None,
    volume: Bytes | None = None,
    write_immediate: bool | None = None,
) -> Reply:
    """When the rows of a table, a database or the node are written: at an age, or above a volume.

    0 seconds alone means no limit by age; both 0 remove the entry, for the node they bring back the defaults
    (0.1 seconds, 1 MB). A value that is left out takes the default. write_immediate stores rows before their
    acknowledgement. Holds for the next buffer.
    """
    if time is None and volume is None and write_immediate is None:
        raise error(33, "no threshold", hint="time = n seconds and volume = nKB and write_immediate = true|false")
    scope = _scope(ctx, dbms or dbms_name, table or table_name)
    if write_immediate and service_of(ctx, "Publisher") is not None:
        raise CommandError("write_immediate is not possible while the publisher runs")
    threshold: Threshold | None = Threshold(
        DEFAULT_TIME_S if time is None else time,
        DEFAULT_VOLUME_BYTES if volume is None else volume,
        bool(write_immediate),
    )
    if time == 0 and volume == 0 and not write_immediate:
        threshold = None
    streaming_of(ctx).apply(replace(scope, threshold=threshold))
    return Reply.done()


@command(
    "set durability",
    cls=CommandClass.ADMIN,
    topics=("ingest", "configuration"),
    examples=("set durability where level = durable", "set durability where dbms = d and table = t and level = fast"),
)
async def set_durability(
    ctx: Context, *, dbms: str = "", table: str = "", level: Literal["durable", "fast", "memory"]
) -> Reply:
    """What an acknowledgement means: durable = on the disk, fast = with the system, memory = accepted."""
    streaming_of(ctx).apply(replace(_scope(ctx, dbms, table), durability=level))
    return Reply.done()


@command(
    "set schema widening",
    cls=CommandClass.ADMIN,
    topics=("ingest", "configuration"),
    examples=(
        "set schema widening where value = off",
        "set schema widening where dbms = d and table = t and value = on",
    ),
)
async def set_schema_widening(
    ctx: Context, *, dbms: str = "", table: str = "", switch: Annotated[Literal["on", "off"], Key("value")]
) -> Reply:
    """Whether tables get new columns and wider types when the data wants them.

    Off: rows that don't fit go to the error folder with the reason, the others are stored.
    """
    streaming_of(ctx).apply(replace(_scope(ctx, dbms, table), widening=switch == "on"))
    return Reply.done()


@command("flush buffers", cls=CommandClass.ADMIN, topics=("ingest",), examples=("flush buffers",))
async def flush_buffers(ctx: Context) -> Reply:
    """Write out all buffered rows now."""
    for name in ("prep_dir", "watch_dir", "err_dir"):
        ctx.directories.path(name)  # 33 when a script has removed one
    await streaming_of(ctx).flush()
    return Reply.done()


@command(
    "get streaming",
    cls=CommandClass.DATA,
    topics=("monitor", "ingest"),
    examples=("get streaming", "get streaming config", "get streaming where format = json"),
)
async def get_streaming(ctx: Context, what: Literal["config"] | None = None) -> Reply:
    """Counters of streamed data by table; ``config``: thresholds, durability and schema widening in force."""
    if what == "config":
        return _config(ctx)
    streams = ctx.ingest.streams() if ctx.ingest is not None else ()
    settings = ctx.ingest.settings() if ctx.ingest is not None else ()
    now = time.time()
    data = [_counts(one, in_force(settings, one.dbms, one.table).threshold or Threshold(), now) for one in streams]
    rows = [(*list(one.values())[:3], "", *list(one.values())[3:]) for one in data]
    return Reply.of_table(Table(STATISTICS_TITLES, rows, header="\r\nStatistics"), data=data)


def _counts(one: StreamCounts, threshold: Threshold, now: float) -> dict[str, Any]:
    streamed = one.calls > 0
    fill = round(100 * one.cached_bytes / threshold.volume_bytes, 1) if threshold.volume_bytes else 0.0
    left = max(threshold.time_s - one.age_s, 0.0) if one.cached_rows else threshold.time_s
    return {
        "table": f"{one.dbms}.{one.table}",
        "File Put": one.put_files,
        "File Rows": one.put_rows,
        "Streaming Put": one.calls,
        "Streaming Rows": one.rows,
        "Streaming Cached": one.cached_rows,
        "Immediate": one.immediate_rows,
        "Threshold Volume": threshold.volume_bytes // 1000 if streamed else 0,
        "% Buffer Fill": fill if streamed else 0,
        "Threshold Time": _seconds(threshold.time_s) if streamed else 0,
        "Time Left": _seconds(left) if streamed else 0,
        "Last Process": clock(now - one.last_s) if one.last_s else clock(0),
    }


def _seconds(value: float) -> int | float:
    """Whole seconds as the reference shows them, parts of a second to the millisecond."""
    return int(value) if value == int(value) else round(value, 3)


def _config(ctx: Context) -> Reply:
    streaming = streaming_of(ctx)
    settings, totals = streaming.settings(), streaming.totals()
    node = in_force(settings)
    threshold = node.threshold or Threshold()
    status = "Running" if ctx.services.get(Streamer.name) is not None else NOT_DECLARED
    shown = "on" if node.widening else "off"
    rows: list[tuple[str, object, str]] = [
        ("Threshold Time", _seconds(threshold.time_s), status),
        ("Threshold Volume", threshold.volume_bytes, ""),
        ("Write Immediate", threshold.write_immediate, ""),
        ("Buffered Rows", totals.buffered_rows, ""),
        ("Flushed Rows", totals.flushed_rows, ""),
        ("Durability", node.durability, ""),
        ("Schema Widening", shown, ""),
    ]
    data: dict[str, Any] = {
        "status": status,
        "Threshold_Time": _seconds(threshold.time_s),
        "Threshold_Volume": threshold.volume_bytes,
        "Write_Immediate": threshold.write_immediate,
        "Buffered_Rows": totals.buffered_rows,
        "Flushed_Rows": totals.flushed_rows,
        "Durability": node.durability,
        "Schema_Widening": shown,
    }
    tables = [Table(("Threshold", "Value", "Streamer"), rows, header="Flush Thresholds")]
    scopes = [_scope_row(settings, one) for one in settings if one.dbms]
    if scopes:
        tables.append(Table(list(scopes[0]), [list(one.values()) for one in scopes], header="\nTables"))
        data["Tables"] = scopes
    return Reply.of_table(*tables, data=data)


def _scope_row(settings: Any, one: StreamSettings) -> dict[str, Any]:
    found = in_force(settings, one.dbms, one.table)
    threshold = found.threshold or Threshold()
    return {
        "DBMS": one.dbms,
        "Table": one.table or "*",
        "Time": _seconds(threshold.time_s),
        "Volume": threshold.volume_bytes,
        "Immediate": threshold.write_immediate,
        "Durability": found.durability,
        "Widening": "on" if found.widening else "off",
    }


@command(
    "stream",
    cls=CommandClass.DATA,
    topics=("ingest",),
    examples=(
        'stream {"value": 1} where dbms = d and table = t',
        'stream [{"value": 1}, {"value": 2}] where dbms = d and table = t and source = s1',
    ),
)
async def stream(
    ctx: Context,
    payload: Json,
    *,
    dbms: str,
    table: str,
    mode: Literal["streaming", "file"] = "streaming",
    source: str = "0",
    instructions: str = "0",
) -> Reply:
    """Take rows as if they came from a source: an object, or a list of objects. Returns when they are durable."""
    if not isinstance(payload, dict | list):
        raise CommandError("stream takes a JSON object or a list of objects")
    body = msgspec.json.encode(payload)
    if mode == "file":
        put = ctx.parts.get("put_file")
        if put is None:
            raise NotAvailableError("this node has no watch directory")
        stored = await put(dbms.lower(), table.lower(), _once(body), source=source, instructions=instructions)
    else:
        stored = await streaming_of(ctx).submit(
            dbms.lower(), table.lower(), body, source=source, instructions=instructions
        )
    if stored.rejected and not stored.rows:
        raise PayloadError(stored.reason)
    return Reply.done()


async def _once(body: bytes) -> AsyncIterator[bytes]:
    yield body
