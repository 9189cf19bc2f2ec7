"""``/v1/problems``: what is wrong at this node, why, and the command that helps.

Files, limits, users and certificates are looked at as ``edgelake doctor`` does, beside the loop; ports that are not
free, and whole databases, by it alone.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from typing import Final, Literal

from msgspec import Struct
from msgspec.structs import asdict

from edgelake.command.api.metrics import disk
from edgelake.command.api.overview import COMMANDS
from edgelake.command.api.routes import Call, json_reply
from edgelake.command.api.state import reasons
from edgelake.command.context import Context
from edgelake.command.handlers.messages import PART
from edgelake.command.handlers.status import statuses
from edgelake.command.health import health_of
from edgelake.metadata.routing import ROUTING, Routes
from edgelake.net.rest.api import ApiReply

Weight = Literal["error", "warning"]
LOW_DISK: Final = 0.05
LOW_BYTES: Final = 1 << 30
FULL_QUEUE: Final = 0.8
MOST: Final = 200
_WARNING: Final = "Warning: "


class Problem(Struct, frozen=True):
    """One of them; ``command`` is to be looked at before it is run: it may have places to fill."""

    weight: Weight
    where: str
    what: str
    cause: str
    command: str


def problems(ctx: Context) -> list[Problem]:
    """All that is known without any I/O but for the room on the disk; errors first."""
    health_of(ctx).refresh()
    looks: tuple[Callable[[Context], Iterator[Problem]], ...] = (
        _services,
        _ready,
        _room,
        _rejected,
        _messages,
        _metadata,
        _peers,
        _around,
    )
    found = [problem for look in looks for problem in look(ctx)]
    return sorted(found, key=lambda one: one.weight != "error")[:MOST]


async def get_problems(call: Call) -> ApiReply:
    """The list."""
    if (looking := health_of(call.ctx).refresh()) is not None:
        await asyncio.shield(looking)
    return json_reply({"problems": [asdict(one) for one in problems(call.ctx)]})


def _services(ctx: Context) -> Iterator[Problem]:
    for row, status in statuses(ctx).items():
        start, show = COMMANDS.get(row, ("", "get processes"))
        if status.last_error:
            what = f"{row} {'has a problem' if status.running else 'does not run'}"
            command = show if status.running or not start else f"help {start}"
            yield Problem("warning" if status.running else "error", row, what, status.last_error, command)
        if _WARNING in status.details:
            cause = status.details.partition(_WARNING)[2]
            yield Problem("warning", row, f"{row} is open to others", cause, "help id add user")


def _ready(ctx: Context) -> Iterator[Problem]:
    told = {f"{row}: {one.last_error}" for row, one in statuses(ctx).items()}
    for reason in reasons(ctx):
        if reason not in told:
            yield Problem("error", "Node", "The node is not ready", reason, "get error log")


def _room(ctx: Context) -> Iterator[Problem]:
    free, size = disk(ctx.directories.root)
    if free < min(LOW_BYTES, size * LOW_DISK):
        cause = f"{free / 1e6:,.0f} MB of {size / 1e9:,.0f} GB are free; when it is full, readings are refused"
        yield Problem("error", "Disk", "The disk is nearly full", cause, "help delete rows")
    if ctx.ingest is None:
        return
    used = ctx.ingest.status().counters.get("memory_bytes", 0)
    if used > FULL_QUEUE * ctx.ingest.limit_bytes:
        cause = "readings come faster than they are stored; when it is full, senders are asked to wait"
        yield Problem("warning", "Ingestion", "The queue of readings is nearly full", cause, "get streaming")


def _rejected(ctx: Context) -> Iterator[Problem]:
    for one in ctx.ingest.streams() if ctx.ingest is not None else ():
        if one.rejected_rows:
            what = f"{one.rejected_rows:,} rows fit no column of {one.dbms}.{one.table}"
            cause = "their values have other types than the columns; the error folder has the rows and the reasons"
            yield Problem(
                "warning", "Ingestion", what, cause, f"get columns where dbms = {one.dbms} and table = {one.table}"
            )


def _messages(ctx: Context) -> Iterator[Problem]:
    for one in ctx.parts.get(PART) or ():
        if counted := one.counters.errors:
            what = f"{counted:,} messages of message client {one.id} could not be mapped"
            command = f"get msg clients where id = {one.id} and statistics = true"
            yield Problem("warning", f"Message client {one.id}", what, one.counters.last_error, command)


def _metadata(ctx: Context) -> Iterator[Problem]:
    for text in ctx.policies.problems:
        yield Problem("warning", "Metadata", "A policy cannot be used", text, "blockchain test")
    routes = ctx.parts.get(ROUTING)
    for text in routes.routing.problems if isinstance(routes, Routes) else ():
        yield Problem("warning", "Metadata", "A policy is passed over", text, "get data nodes")


def _peers(ctx: Context) -> Iterator[Problem]:
    routes = ctx.parts.get(ROUTING)
    for address, state in routes.states().items() if isinstance(routes, Routes) else ():
        if not state.is_active:
            cause = f"it did not answer at {state.recorded}"
            yield Problem("error", "Network", f"{address} does not respond", cause, f"test network with {address}")


def _around(ctx: Context) -> Iterator[Problem]:
    for one in health_of(ctx).findings:
        if one.verdict != "ok" and one.command:
            weight: Weight = "error" if one.verdict == "fail" else "warning"
            yield Problem(weight, one.where, one.what, one.advice, one.command)
