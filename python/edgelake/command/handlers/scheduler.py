"""Commands of the schedulers.

Source: spec "Command language", section 11; "Services and status", section 12.
"""

from __future__ import annotations

import time
from typing import Annotated

from edgelake.command.context import Context
from edgelake.command.grammar import Key, Seconds, Tail, Timestamp
from edgelake.command.registry import command
from edgelake.command.render import table_text
from edgelake.command.scheduler import Scheduler
from edgelake.errors import CommandError
from edgelake.model import CommandClass, Reply


@command("run scheduler", cls=CommandClass.ADMIN, topics=("scheduler",), examples=("run scheduler", "run scheduler 1"))
async def run_scheduler(ctx: Context, number: int = 1) -> Reply:
    """Start a scheduler, 1 when no number is given. 0 is the system's and runs from the start."""
    ctx.scheduler.start(number)
    return Reply.done()


@command("exit scheduler", cls=CommandClass.ADMIN, topics=("scheduler",), examples=("exit scheduler 1",))
async def exit_scheduler(ctx: Context, number: int | None = None) -> Reply:
    """Stop a scheduler, or all. Its tasks stay and go on when it is run again."""
    await ctx.scheduler.stop(number)
    return Reply.done()


@command(
    "schedule",
    cls=CommandClass.ADMIN,
    topics=("scheduler",),
    examples=("schedule name = disk and time = 15 seconds and task disk = get disk percentage /",),
    where="",
)
async def schedule(
    ctx: Context,
    *,
    name: str,
    period: Annotated[Seconds, Key("time")],
    start: Timestamp | None = None,
    scheduler: int = 1,
    task: Annotated[str, Tail("task")],
) -> Reply:
    """Run a command again and again: first at ``start`` (now when absent), then every ``time``.

    !variables in the command are read at each run. The command has the classes of who scheduled it.
    """
    if period < 0.05:
        raise CommandError(f"time = {period:g} seconds is too short", hint="the shortest is 0.05 seconds")
    at = time.time_ns() // 1000 if start is None else start
    ctx.scheduler.need(scheduler).add(name, task, period, at, ctx.caller)
    return Reply.done()


@command(
    "task stop",
    "task resume",
    "task remove",
    "task run",
    "task init",
    cls=CommandClass.ADMIN,
    topics=("scheduler",),
    examples=("task stop where scheduler = 1 and name = disk",),
)
async def task(
    ctx: Context,
    *,
    scheduler: int = 1,
    name: str | None = None,
    number: Annotated[int | None, Key("id")] = None,
    start: Timestamp | None = None,
) -> Reply:
    """Stop, resume, remove, run at once, or begin anew (init, with ``start``) a task by its name or id."""
    if name is None and number is None:
        raise CommandError("Missing 'name' in command variables", hint="name the task by name or id")
    owner = ctx.scheduler.need(scheduler)
    found = owner.find(name, number)
    match ctx.phrase.split()[1]:
        case "stop":
            await owner.stop_task(found)
        case "resume":
            await owner.resume(found)
        case "remove":
            await owner.remove(found)
        case "run":
            await owner.run_once(found)
        case _:
            await owner.restart(found, start)
    return Reply.done()


@command(
    "get scheduler",
    cls=CommandClass.DATA,
    topics=("scheduler", "status"),
    examples=("get scheduler", "get scheduler 1"),
)
async def get_scheduler(ctx: Context, number: int | None = None) -> Reply:
    """Show one scheduler, or all, with their tasks."""
    if number is None:
        found = list(ctx.scheduler)
        text = "".join(f"\r\n{_block(scheduler)}" for scheduler in found)
    else:
        scheduler = ctx.scheduler.get(number)
        if scheduler is None:
            return Reply.of_text(f"Scheduler {number} not declared")
        found, text = [scheduler], _block(scheduler)
    data = [
        {
            "Scheduler ID": scheduler.number,
            "Scheduler Status": _state(scheduler),
            "Scheduled Tasks": [dict(zip(table.titles, row, strict=True)) for row in table.rows],
        }
        for scheduler, table in ((scheduler, scheduler.table()) for scheduler in found)
    ]
    return Reply.of_data(data, text=text)


def _state(scheduler: Scheduler) -> str:
    return "Running" if scheduler.running else "Not Running"


def _block(scheduler: Scheduler) -> str:
    head = f"\r\nScheduler ID:     {scheduler.number}\r\nScheduler Status: {_state(scheduler)}"
    return head + table_text(scheduler.table())
