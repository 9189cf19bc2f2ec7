"""Workers of the services that have a pool.

Source: spec "Services and status", section 8.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

from edgelake.command.context import Context
from edgelake.command.handlers.status import service_of
from edgelake.command.registry import command
from edgelake.model import CommandClass, Reply, Table

# Word of the command: printed name, row of the service, and what stands there while it does not run.
POOLS: dict[str, tuple[str, str, str]] = {
    "rest": ("REST", "REST", "Rest Pool is not declared"),
    "tcp": ("TCP", "TCP", "Tcp Pool is not declared"),
    "msg": ("Message", "MSG Broker", "Msg Pool is not declared"),
    "query": ("Query", "Query Pool", "Query Pool is not declared"),
    "operator": ("Operator", "Operator", "Operator Pool is not declared"),
}


def pool_of(ctx: Context, word: str) -> Any:
    """What holds ``busy`` and ``calls`` of a pool: the service's ``pool``, or the service itself; None when idle."""
    service = service_of(ctx, POOLS[word][1])
    found = getattr(service, "pool", service)
    return found if hasattr(found, "busy") and hasattr(found, "calls") else None


@command(
    "get tcp pool",
    "get msg pool",
    "get query pool",
    "get operator pool",
    cls=CommandClass.DATA,
    topics=("monitor",),
    examples=("get tcp pool", "get operator pool where details = true and reset = true"),
)
async def get_pool(ctx: Context, *, details: bool = False, reset: bool = False) -> Reply:
    """Workers of a pool: 1 = busy, 0 = waiting, and the number of calls; details: calls of each worker."""
    return pool_reply(ctx, ctx.phrase.split()[1], details=details, reset=reset)


@command(
    "set query pool",
    cls=CommandClass.ADMIN,
    topics=("query", "configuration"),
    examples=("set query pool 4",),
)
async def set_query_pool(ctx: Context, threads: int) -> Reply:
    """Threads of all queries. What runs goes on; the pool is opened again when ``exit workers`` has closed it."""
    queries = ctx.queries
    queries.pool.resize(threads)
    if ctx.services.get(queries.name) is None:
        await ctx.services.start(queries)
    return Reply.done()


@command(
    "get system threads",
    cls=CommandClass.DATA,
    topics=("monitor",),
    examples=("get system threads", "get system threads where pool = rest and details = true"),
)
async def get_system_threads(
    ctx: Context,
    *,
    pool: Literal["rest", "tcp", "msg", "query", "operator"] | None = None,
    details: bool = False,
    reset: bool = False,
) -> Reply:
    """Workers of every pool that runs, or of one."""
    if pool is not None:
        return pool_reply(ctx, pool, details=details, reset=reset)
    replies = [pool_reply(ctx, word, details=details, reset=reset) for word in POOLS if pool_of(ctx, word) is not None]
    data = [reply.data for reply in replies]
    if details:
        return Reply.of_table(*(table for reply in replies for table in reply.tables), data=data)
    return Reply.of_data(data, text="\r\n".join(reply.text or "" for reply in replies))


def pool_reply(ctx: Context, word: str, *, details: bool, reset: bool) -> Reply:
    """One pool as the reference prints it."""
    name, _, idle = POOLS[word]
    found = pool_of(ctx, word)
    if found is None:
        return Reply.of_data({}, text=idle)
    busy, calls = [int(state) for state in found.busy], list(found.calls)
    if reset:
        found.calls[:] = [0] * len(calls)
    data = {"pool": name, "threads": busy, "calls": calls, "total": sum(calls)}
    if details:
        return Reply.of_table(_details(name, busy, calls), data=data)
    return Reply.of_data(data, text=f"{f'{name} Pool with {len(busy)} threads:':<60}{busy} ({sum(calls):,})")


def _details(name: str, busy: Sequence[int], calls: Sequence[int]) -> Table:
    total = sum(calls) or 1
    rows = [
        (at, state, count, f"{100 * count / total:.2f}")
        for at, (state, count) in enumerate(zip(busy, calls, strict=True))
    ]
    return Table(("Thread", "Status", "Calls", "Percentage"), rows, header=f"{name} Pool:")
