"""Profiles of what the node's Python does (spec: query, section 15)."""

from __future__ import annotations

from typing import Final, Literal

from edgelake.command.context import Context
from edgelake.command.registry import command
from edgelake.model import CommandClass, Reply, Table
from edgelake.profiling import Profiler

PART: Final = "profiler"
MOST_LINES: Final = 50
_TITLES: Final = ("Calls", "Own Seconds", "Total Seconds", "Function")

Target = Literal["operator", "get", "put", "post"]


def profiler_of(ctx: Context) -> Profiler:
    """The node's profiler."""
    found: Profiler | None = ctx.parts.get(PART)
    if found is None:
        found = ctx.parts[PART] = Profiler()
    return found


@command(
    "set profiler",
    cls=CommandClass.ADMIN,
    topics=("monitor", "configuration"),
    examples=("set profiler on where target = operator", "set profiler off where target = get"),
)
async def set_profiler(ctx: Context, state: Literal["on", "off"], *, target: Target) -> Reply:
    """Count what the node's Python does for a target: files of the operator, or requests of REST by their method.

    ``on`` begins anew. What threads and native code do shows as the time of the call that starts it.
    """
    profiler = profiler_of(ctx)
    if state == "on":
        profiler.start(target)
    else:
        profiler.stop(target)
    return Reply.done()


@command(
    "get profiler output",
    cls=CommandClass.ADMIN,
    topics=("monitor",),
    examples=("get profiler output where target = operator", "get profiler output where target = put"),
)
async def get_profiler_output(ctx: Context, *, target: Target) -> Reply:
    """The functions that took longest, with all that they call, since ``set profiler on``."""
    lines = profiler_of(ctx).lines(target, MOST_LINES)
    if lines is None:
        return Reply.of_data([], text=f"No profile of {target}: set profiler on where target = {target}")
    rows = [(line.calls, f"{line.own_s:.6f}", f"{line.total_s:.6f}", line.function) for line in lines]
    data = [
        {"calls": line.calls, "own_seconds": line.own_s, "total_seconds": line.total_s, "function": line.function}
        for line in lines
    ]
    return Reply.of_table(Table(_TITLES, rows, header=f"Profile of {target}"), data=data)
