"""What the node works at: queries and scheduled tasks (spec: query, section 15)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from msgspec import Struct

from edgelake.command.context import Context
from edgelake.command.handlers.scheduler import run_now
from edgelake.command.registry import command
from edgelake.command.scheduler import Scheduler, Task
from edgelake.errors import CommandError
from edgelake.model import CommandClass, Reply, Table
from edgelake.query.jobs import Job
from edgelake.query.service import Queries

_TITLES: Final = ("Job", "Type", "Status", "Run Time", "Count", "Command")


class _Listed(Struct, frozen=True):
    """A query, named by its number, or a task, named ``scheduler.task``."""

    name: str
    what: Job | tuple[Scheduler, Task]

    @property
    def is_active(self) -> bool:
        if isinstance(self.what, Job):
            return self.what.ended is None
        scheduler, task = self.what
        return scheduler.running and task.mode != "Stopped"

    def row(self) -> tuple[object, ...]:
        if isinstance(self.what, Job):
            job = self.what
            return (self.name, "query", job.shown_status, job.shown_time, job.rows, f"sql {job.dbms} {job.command}")
        _, task = self.what
        status = "Processing" if task.busy else task.status
        return (self.name, "task", f"{task.mode}: {status}", "", task.runs, task.shown_command)


def _jobs(ctx: Context) -> Iterator[_Listed]:
    queries: Queries = ctx.queries
    for job in queries.jobs:
        yield _Listed(str(job.number), job)
    for scheduler in ctx.scheduler:
        if scheduler is ctx.scheduler.system:
            continue  # the node's own tasks: 'job stop all' is not for them; get scheduler 0 shows them
        for task in scheduler.tasks.values():
            yield _Listed(f"{scheduler.number}.{task.number}", (scheduler, task))


def _found(ctx: Context, name: str) -> _Listed:
    for one in _jobs(ctx):
        if one.name == name:
            return one
    raise CommandError(f"there is no job '{name[:40]}'", hint="see: job status all")


def _reply(listed: list[_Listed]) -> Reply:
    rows = [one.row() for one in listed]
    data: list[dict[str, Any]] = [dict(zip(_TITLES, row, strict=True)) for row in rows]
    return Reply.of_table(Table(_TITLES, rows), data=data)


@command(
    "job status",
    cls=CommandClass.DATA,
    topics=("query", "scheduler", "monitor"),
    examples=("job status", "job status all", "job status 3", "job status 1.2"),
)
async def job_status(ctx: Context, job: str = "") -> Reply:
    """Queries by their number and tasks as scheduler.task: the latest query, one of them, or all."""
    if job.lower() == "all":
        return _reply(list(_jobs(ctx)))
    if job:
        return _reply([_found(ctx, job)])
    latest = ctx.queries.jobs.latest
    return _reply([_Listed(str(latest.number), latest)] if latest is not None else [])


@command(
    "job active",
    cls=CommandClass.DATA,
    topics=("query", "scheduler", "monitor"),
    examples=("job active", "job active all"),
)
async def job_active(ctx: Context, job: str = "all") -> Reply:
    """Queries that run, and tasks that wait for their time."""
    listed = list(_jobs(ctx)) if job.lower() == "all" else [_found(ctx, job)]
    return _reply([one for one in listed if one.is_active])


@command("job run", cls=CommandClass.ADMIN, topics=("scheduler",), examples=("job run 1.2",))
async def job_run(ctx: Context, job: str) -> Reply:
    """Run a scheduled task now, beside its times."""
    found = _found(ctx, job).what
    if isinstance(found, Job):
        raise CommandError(f"job {job} is a query", hint="send its command again")
    return await run_now(*found)


@command(
    "job stop",
    cls=CommandClass.ADMIN,
    topics=("query", "scheduler"),
    examples=("job stop 3", "job stop 3 where identity = 41", "job stop 1.2", "job stop all"),
)
async def job_stop(ctx: Context, job: str, *, identity: int | None = None) -> Reply:
    """Stop a query, whose caller gets an error, or a task; ``all``: every query that runs.

    The number of a query is used again when it has ended; with its identity (``query status``) no later one is stopped.
    """
    queries: Queries = ctx.queries
    if job.lower() == "all":
        queries.jobs.stop_all()
        return Reply.done()
    found = _found(ctx, job).what
    if isinstance(found, Job):
        if identity is not None and (found.identity != identity or found.ended is not None):
            raise CommandError(f"query {identity} has ended", hint="see: job active")
        queries.jobs.stop(found)
    else:
        scheduler, task = found
        await scheduler.stop_task(task)
    return Reply.done()
