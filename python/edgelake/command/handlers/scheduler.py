"""Commands of the schedulers.

Source: spec "Command language", section 11; "Services and status", section 12.
"""

from __future__ import annotations

import time
from typing import Annotated

from edgelake.command.context import Context
from edgelake.command.grammar import Key, Seconds, Tail, When
from edgelake.command.kinds import Moment
from edgelake.command.registry import command
from edgelake.command.render import table_text
from edgelake.command.scheduler import Scheduler, Task
from edgelake.errors import CommandError, error
from edgelake.model import CommandClass, Reply, Table


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
    examples=(
        "schedule name = disk and time = 15 seconds and task disk = get disk percentage /",
        "schedule time = 1 day and name = tidy and start = +1d task delete archive where days = 30",
        "schedule name = hot and time = 1 minute and scheduler = 2 task if !temp.float > 90 then email to a@b.example",
    ),
    where="",
)
async def schedule(
    ctx: Context,
    *,
    name: str,
    period: Annotated[Seconds, Key("time")],
    start: When | None = None,
    scheduler: int = 1,
    task: Annotated[str, Tail("task")],
) -> Reply:
    """Run a command again and again: first at ``start`` (now when absent), then every ``time``.

    !variables in the command are read at each run; TIME(PREVIOUS) and TIME(CURRENT) become the starts of the last
    successful run and of this one. Times that pass while a run is under way are skipped. A run that fails is noted in
    the error log, then ever more seldom, and the task goes on. The command has the classes of who scheduled it.
    A start that is a date follows the machine's clock; everything else runs on, however the clock is set.
    """
    if period < 0.05:
        raise CommandError(f"time = {period:g} seconds is too short", hint="the shortest is 0.05 seconds")
    at = start or Moment(time.time_ns() // 1000)
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
    examples=(
        "task stop where scheduler = 1 and name = disk",
        "task run where scheduler = 1 and id = 2",
        "task init where name = disk and start = +1h",
    ),
)
async def task(
    ctx: Context,
    *,
    scheduler: int = 1,
    name: str | None = None,
    number: Annotated[int | None, Key("id")] = None,
    start: When | None = None,
) -> Reply:
    """Stop, resume, remove, run at once, or begin anew (init, with ``start``) a task by its name or id.

    Stopping gives a run that is under way 3 seconds. ``run`` answers when the command has ended, and fails with it.
    """
    if name is None and number is None:
        raise CommandError("Missing 'name' in command variables", hint="name the task by name or id")
    owner = ctx.scheduler.get(scheduler)
    if owner is None:
        raise error(162, f"there is no scheduler {scheduler}", hint="see: get scheduler")
    found = owner.find(name, number)
    match ctx.phrase.split()[1]:
        case "stop":
            await owner.stop_task(found)
        case "resume":
            await owner.resume(found)
        case "remove":
            await owner.remove(found)
        case "run":
            return await run_now(owner, found)
        case _:
            await owner.restart(found, start)
    return Reply.done()


async def run_now(owner: Scheduler, task: Task) -> Reply:
    """Run a task beside its times. Raises what its command raises."""
    if task.busy:
        task.skipped += 1
        return Reply.of_text(f"'{task.name}' is running: it is not run a second time")
    failure = await owner.run_once(task)
    if failure is not None:
        raise failure
    return Reply.done()


@command(
    "get scheduler",
    cls=CommandClass.DATA,
    topics=("scheduler", "status"),
    examples=("get scheduler", "get scheduler 1", "get scheduler 1 where details = true"),
)
async def get_scheduler(ctx: Context, number: int | None = None, *, details: bool = False) -> Reply:
    """Show one scheduler, or all, with their tasks.

    details = true: when each task ran last and runs next (local time), how long it took, how many runs were skipped
    or failed, and what the last one answered or its error (to callers with the class admin). Also in the JSON form.
    """
    found = list(ctx.scheduler) if number is None else [one for one in (ctx.scheduler.get(number),) if one is not None]
    if not found:
        return Reply.of_data([], text=f"Scheduler {number} not declared")
    results = ctx.may(CommandClass.ADMIN)
    blocks = [_block(one, one.run_table(results=results) if details else one.table()) for one in found]
    text = blocks[0] if number is not None else "".join(f"\r\n{block}" for block in blocks)
    return Reply.of_data([_data(one, results=results) for one in found], text=text)


def _data(scheduler: Scheduler, *, results: bool) -> dict[str, object]:
    tables = scheduler.table(), scheduler.run_table(results=results)
    rows = [
        dict(zip((*tables[0].titles, *tables[1].titles), (*first, *second), strict=True))
        for first, second in zip(tables[0].rows, tables[1].rows, strict=True)
    ]
    return {"Scheduler ID": scheduler.number, "Scheduler Status": _state(scheduler), "Scheduled Tasks": rows}


def _state(scheduler: Scheduler) -> str:
    return "Running" if scheduler.running else "Not Running"


def _block(scheduler: Scheduler, table: Table) -> str:
    head = f"\r\nScheduler ID:     {scheduler.number}\r\nScheduler Status: {_state(scheduler)}"
    return head + table_text(table)
