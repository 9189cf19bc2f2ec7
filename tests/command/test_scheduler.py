"""Schedulers: tasks run on time, beside the commands, and can be stopped (spec: command language, section 11)."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from edgelake.command.context import Context
from edgelake.command.scheduler import Scheduler
from edgelake.errors import AlreadyRunningError, EdgeLakeError
from edgelake.model import PROMPT, Caller, CommandClass


async def until(condition: Callable[[], bool]) -> None:
    """Let the loop turn until a condition holds; the test's own time limit ends it."""
    while not condition():  # noqa: ASYNC110 - tasks of a scheduler have no event of their own
        await asyncio.sleep(0.005)


def play(work: Callable[[], Awaitable[None]]) -> None:
    async def limited() -> None:
        await asyncio.wait_for(work(), 20)

    asyncio.run(limited())


def test_a_task_repeats_and_reads_variables_at_each_run(ctx: Context) -> None:
    async def work() -> None:
        await ctx.execute("schedule name = count and time = 0.05 seconds task n = incr !n")
        await ctx.execute("n = 0")
        await ctx.execute("run scheduler 1")
        await until(lambda: ctx.variables.get("n") == "3")
        task = ctx.scheduler.need(1).find("count", None)
        assert (task.mode, task.status) == ("Active", "Success")
        await ctx.execute("exit scheduler 1")

    play(work)


def test_a_task_waits_for_its_start(ctx: Context) -> None:
    async def work() -> None:
        await ctx.execute("run scheduler 1")
        await ctx.execute("schedule name = later and time = 1 second and start = +1d task x = 1")
        await asyncio.sleep(0)
        task = ctx.scheduler.need(1).find(None, 1)
        assert (task.mode, task.runs) == ("Paused", 0)
        await ctx.execute("task run where name = later")
        assert ctx.variables.get("x") == "1"
        await ctx.execute("task stop where scheduler = 1 and id = 1")
        assert task.mode == "Stopped"
        await ctx.execute("task remove where name = later")
        with pytest.raises(EdgeLakeError) as raised:
            await ctx.execute("task resume where name = later")
        assert raised.value.number == 162
        await ctx.execute("exit scheduler")

    play(work)


def test_a_failing_command_keeps_the_task_and_shows_its_text(ctx: Context) -> None:
    async def work() -> None:
        await ctx.execute("run scheduler 1")
        await ctx.execute("schedule name = bad and time = 0.05 seconds task no such command")
        task = ctx.scheduler.need(1).find("bad", None)
        await until(lambda: task.runs >= 2)
        assert task.status == "Unrecognized Command"
        await ctx.execute("exit scheduler 1")

    play(work)


def test_runs_of_one_task_never_overlap() -> None:
    running, most, done = 0, 0, 0

    async def slow(line: str, caller: Caller) -> None:
        nonlocal running, most, done
        running += 1
        most = max(most, running)
        await asyncio.sleep(0.02)
        running -= 1
        done += 1

    async def work() -> None:
        scheduler = Scheduler(1, slow)
        task = scheduler.add("slow", "x", 0.001, 0, PROMPT)
        scheduler.start()
        await until(lambda: done >= 3)
        await scheduler.run_once(task)
        await scheduler.stop()

    play(work)
    assert most == 1


def test_a_task_has_the_classes_of_who_scheduled_it(ctx: Context) -> None:
    async def work() -> None:
        admin = ctx.for_caller(Caller("rest", frozenset({CommandClass.ADMIN, CommandClass.DATA})))
        await admin.execute("run scheduler 1")
        await admin.execute("schedule name = x and time = 1 hour task system id")
        task = ctx.scheduler.need(1).find("x", None)
        await until(lambda: task.runs == 1)
        assert task.status == "Command is not permitted"
        await ctx.execute("exit scheduler")

    play(work)


def test_a_second_start_and_a_double_name_are_errors(ctx: Context) -> None:
    async def work() -> None:
        await ctx.execute("run scheduler")
        with pytest.raises(AlreadyRunningError, match="Scheduler already running"):
            await ctx.execute("run scheduler 1")
        await ctx.execute("schedule name = a and time = 1 minute and task print a")
        with pytest.raises(EdgeLakeError, match="Duplicate task name: 'a'"):
            await ctx.execute("schedule name = a and time = 1 minute and task print a")
        await ctx.execute("exit scheduler")
        await ctx.execute("run scheduler")
        await ctx.execute("exit scheduler 1")
        with pytest.raises(EdgeLakeError):
            await ctx.execute("run scheduler 11")

    play(work)


def test_the_view_is_the_references(ctx: Context) -> None:
    async def work() -> None:
        await ctx.execute("schedule name = a and time = 1 minute task print a")
        text = (await ctx.execute("get scheduler 1")).text or ""
        assert text.startswith(
            "\r\nScheduler ID:     1\r\nScheduler Status: Not Running\r\nScheduled Tasks\r\n"
            "ID Mode   Name Counter Run Status Start-Time "
        )
        assert "|0:1:0      |print a|" in text
        assert (await ctx.execute("get scheduler 7")).text == "Scheduler 7 not declared"
        assert ((await ctx.execute("get scheduler")).text or "").startswith("\r\n\r\nScheduler ID:     0\r\n")

    play(work)


def test_times_of_runs_go_into_the_command() -> None:
    lines: list[str] = []

    async def keep(line: str, caller: Caller) -> None:
        lines.append(line)

    async def work() -> None:
        scheduler = Scheduler(1, keep)
        task = scheduler.add("t", "sql d select 1 where ts > TIME(PREVIOUS) and ts <= TIME(CURRENT)", 1, 0, PROMPT)
        await scheduler.run_once(task)
        await scheduler.run_once(task)

    play(work)
    current = lines[0].split("<= ")[1]
    assert f"ts > {current}"[:26] == lines[1].split("where ")[1][:26]
