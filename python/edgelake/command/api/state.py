"""What the node is doing: ``/readyz`` and the parts of ``/v1`` that only read state."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from typing import Any

import msgspec

from edgelake.command.api.metrics import MEDIA_TYPE, look, metrics
from edgelake.command.api.routes import Call, json_reply
from edgelake.command.context import STARTED, Context
from edgelake.command.handlers.status import statuses
from edgelake.net.rest.api import ApiReply


def reasons(ctx: Context) -> list[str]:
    """Why the node should get no work now; empty = it is ready."""
    found: list[str] = []
    if ctx.node.settings.get(STARTED) is False:
        found.append("the commands of its start still run")
    if ctx.node.stopping.is_set():
        found.append("it is being stopped")
    for row, status in statuses(ctx).items():
        if not status.running and status.last_error:
            found.append(f"{row}: {status.last_error}")
    if ctx.ingest is not None and (problem := ctx.ingest.status().last_error):
        found.append(f"ingestion: {problem}")
    return found


async def ready(call: Call) -> ApiReply:
    """200 or 503, with the reasons."""
    found = reasons(call.ctx)
    reply = json_reply({"ready": not found, "reasons": found})
    reply.status = 503 if found else 200
    return reply


async def exposition(call: Call) -> ApiReply:
    """All metrics."""
    machine = await asyncio.to_thread(look, call.ctx.directories.root)  # file systems may be slow
    text = metrics(call.ctx, machine)
    return ApiReply(text.encode(), MEDIA_TYPE)


async def status(call: Call) -> ApiReply:
    """The node and its services."""
    ctx = call.ctx
    services = {
        row: {
            "running": one.running,
            "details": one.details,
            "since": one.since_us / 1e6 if one.since_us else None,
            "last_error": one.last_error or None,
            "counters": one.counters,
        }
        for row, one in statuses(ctx).items()
    }
    uptime_s = time.time() - ctx.node.started_us / 1e6
    node = {"name": ctx.node.name, "version": ctx.node.version, "uptime_seconds": round(uptime_s, 3)}
    return json_reply({"node": node, "ready": not reasons(ctx), "services": services})


async def databases(call: Call) -> ApiReply:
    """The databases that are connected."""
    found = [
        {"name": row.name, "type": row.kind, "address": row.address, "storage": row.storage}
        for row in call.ctx.stores.databases()
        if row.owner == "user"
    ]
    return json_reply({"databases": found})


async def tables(call: Call) -> ApiReply:
    """Tables of a database, with their columns."""
    store = call.ctx.stores.get(call.values["dbms"].lower())
    found = [
        {"name": table.name, "columns": [{"name": column.name, "type": column.kind} for column in table.columns]}
        for _, table in sorted(store.tables.items())
    ]
    return json_reply({"database": store.dbms, "tables": found})


async def policies(call: Call) -> ApiReply:
    """Policies, all or those of a type."""
    ctx, wanted = call.ctx, call.values.get("type")
    found: Sequence[Any] = ctx.policies.of_type(wanted) if wanted else ctx.policies.image.policies
    first = list(found[: call.values["limit"]])
    return ApiReply(await asyncio.to_thread(msgspec.json.encode, {"policies": first, "total": len(found)}))


async def as_command(line: str, ctx: Context) -> ApiReply:
    """The JSON of a status command. Raises EdgeLakeError."""
    return json_reply((await ctx.execute(line)).data)


async def processes(call: Call) -> ApiReply:
    """``get processes``."""
    return await as_command("get processes", call.ctx)


async def connections(call: Call) -> ApiReply:
    """``get connections``."""
    return await as_command("get connections", call.ctx)
