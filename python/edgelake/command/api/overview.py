"""What a node does, in one document: its services, and the numbers behind the charts of the console.

The same numbers as those of the status commands; making the document does no I/O but on /proc and for the room on
the disk.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any, Final

from edgelake.command.api.metrics import disk, memory_bytes
from edgelake.command.api.routes import Call, json_reply
from edgelake.command.api.state import reasons
from edgelake.command.context import Context
from edgelake.command.handlers.status import PROCESSES, statuses
from edgelake.ingest.streaming import StreamCounts
from edgelake.model import Status
from edgelake.net.rest.api import ApiReply

TABLES_SHOWN: Final = 40

# Row of `get processes`: the command that starts it, and the one that shows more of it.
COMMANDS: Final[dict[str, tuple[str, str]]] = {
    "TCP": ("run tcp server", "get connections"),
    "REST": ("run rest server", "get rest calls"),
    "Operator": ("run operator", "get operator"),
    "Blockchain Sync": ("run blockchain sync", "get synchronizer"),
    "Scheduler": ("run scheduler", "get scheduler"),
    "Blobs Archiver": ("run blobs archiver", "get blobs archiver"),
    "MQTT": ("run msg client", "get msg clients"),
    "MSG Client Pool": ("set msg client pool", "get msg clients"),
    "MSG Broker": ("run message broker", "get local broker"),
    "SMTP": ("run smtp client", "get processes"),
    "Streamer": ("run streamer", "get streaming"),
    "UNS Streamer": ("run uns streamer", "get processes"),
    "Query Pool": ("set query pool", "query status"),
    "Kafka Consumer": ("run kafka consumer", "get kafka clients"),
    "gRPC": ("run grpc client", "get grpc clients"),
    "Publisher": ("run publisher", "get publisher"),
    "Distributor": ("run data distributor", "get distributor"),
    "Consumer": ("run data consumer", "get consumer"),
}


def overview(ctx: Context) -> dict[str, Any]:
    """All of it."""
    now, found = time.time(), statuses(ctx)
    streams = list(ctx.ingest.streams()) if ctx.ingest is not None else []
    why = reasons(ctx)
    return {
        "time": round(now, 3),
        "node": {
            "name": ctx.node.name,
            "version": ctx.node.version,
            "uptime_seconds": round(now - ctx.node.started_us / 1e6, 3),
        },
        "ready": not why,
        "reasons": why,
        "services": _services(found),
        "numbers": numbers(ctx, found, streams),
        "tables": _tables(streams),
        "metadata": {"version": ctx.policies.version, "policies": len(ctx.policies.image)},
    }


def _services(found: dict[str, Status]) -> list[dict[str, Any]]:
    """Every service that there is, whether it runs or not, in the order of ``get processes``."""
    rows = [row for row, _, _ in PROCESSES if row in found or row in COMMANDS]
    rows += [row for row in found if row not in rows]
    shown = []
    for row in rows:
        status = found.get(row, Status(row, running=False))
        start, more = COMMANDS.get(row, ("", "get processes"))
        shown.append(
            {
                "name": row,
                "running": status.running,
                "details": status.details,
                "since": status.since_us / 1e6 if status.since_us else None,
                "last_error": status.last_error or None,
                "counters": status.counters,
                "start": start or None,
                "show": more,
            }
        )
    return shown


def numbers(ctx: Context, found: dict[str, Status], streams: Sequence[StreamCounts]) -> dict[str, int | float]:
    """Totals (they only grow) and levels."""
    free, size = disk(ctx.directories.root)
    ingest = ctx.ingest.status().counters if ctx.ingest is not None else {}
    clients = [client.counters for client in ctx.parts.get("message clients") or ()]
    broker = found["MSG Broker"].counters if "MSG Broker" in found else {}
    rest = found["REST"].counters if "REST" in found else {}
    return {
        "rows_stored_total": sum(one.stored_rows for one in streams),
        "rows_rejected_total": sum(one.rejected_rows for one in streams),
        "rows_buffered": sum(one.cached_rows for one in streams),
        "messages_total": max(sum(one.messages for one in clients), int(broker.get("messages_received", 0))),
        "messages_failed_total": sum(one.errors for one in clients),
        "queue_bytes": ingest.get("memory_bytes", 0),
        "queue_limit_bytes": ctx.ingest.limit_bytes if ctx.ingest is not None else 0,
        "journal_bytes": ingest.get("journal_bytes", 0),
        "disk_free_bytes": free,
        "disk_size_bytes": size,
        "memory_bytes": memory_bytes(),
        "cpu_seconds_total": time.process_time(),
        "requests_total": rest.get("requests", 0),
        "requests_failed_total": rest.get("errors", 0),
        "queries_running": sum(job.ended is None for job in ctx.queries.jobs) if ctx.queries is not None else 0,
    }


def _tables(streams: Sequence[StreamCounts]) -> list[dict[str, Any]]:
    """The tables that got the most rows since the start."""
    largest = sorted(streams, key=lambda one: one.stored_rows, reverse=True)[:TABLES_SHOWN]
    return [
        {
            "dbms": one.dbms,
            "table": one.table,
            "stored": one.stored_rows,
            "rejected": one.rejected_rows,
            "buffered": one.cached_rows,
            "last": one.last_s or None,
        }
        for one in largest
    ]


async def get_overview(call: Call) -> ApiReply:
    """``/v1/overview``."""
    return json_reply(overview(call.ctx))
