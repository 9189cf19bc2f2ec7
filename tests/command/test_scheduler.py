"""Schedulers: tasks run on time, beside the commands, and can be stopped (spec: command language, section 11)."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta

import pytest

from edgelake.command import scheduler as scheduling
from edgelake.command.context import Context
from edgelake.command.kinds import Moment
from edgelake.command.local import language_context
from edgelake.command.scheduler import Scheduler
from edgelake.command.variables import Variables
from edgelake.errors import AlreadyRunningError, CommandError, EdgeLakeError
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

    async def slow(line: str, caller: Caller) -> str:
        nonlocal running, most, done
        running += 1
        most = max(most, running)
        await asyncio.sleep(0.02)
        running -= 1
        done += 1
        return ""

    async def work() -> None:
        scheduler = Scheduler(1, slow)
        task = scheduler.add("slow", "x", 0.001, Moment(0), PROMPT)
        scheduler.start()
        await until(lambda: done >= 3)
        await scheduler.run_once(task)
        await scheduler.stop()

    play(work)
    assert most == 1


def test_tasks_that_come_due_together_run_in_the_order_in_which_they_were_scheduled() -> None:
    """Scripts compute a value in one task and use it in the next."""
    lines: list[str] = []

    async def record(line: str, caller: Caller) -> str:
        if line == "measure":
            await asyncio.sleep(0.02)
        lines.append(line)
        return ""

    async def work() -> None:
        scheduler = Scheduler(1, record)
        for name in ("measure", "take", "send"):
            scheduler.add(name, name, 0.1, Moment(0), PROMPT)
        scheduler.start()
        await until(lambda: len(lines) >= 6)
        await scheduler.stop()

    play(work)
    assert lines[:6] == ["measure", "take", "send"] * 2


def test_a_task_that_hangs_holds_the_others_for_a_moment_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edgelake.command.scheduler.PATIENCE_S", 0.02)
    lines: list[str] = []

    async def record(line: str, caller: Caller) -> str:
        if line == "hang":
            await asyncio.Event().wait()
        lines.append(line)
        return ""

    async def work() -> None:
        scheduler = Scheduler(1, record)
        monkeypatch.setattr("edgelake.command.scheduler.GRACE_S", 0.02)
        for name in ("hang", "a", "b"):
            scheduler.add(name, name, 0.05, Moment(0), PROMPT)
        scheduler.start()
        await until(lambda: lines.count("b") >= 3)
        await scheduler.stop()

    play(work)
    assert "hang" not in lines
    assert lines[:2] == ["a", "b"]


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

    async def keep(line: str, caller: Caller) -> str:
        lines.append(line)
        if len(lines) == 2:
            raise CommandError("not now")
        return ""

    async def work() -> None:
        scheduler = Scheduler(1, keep)
        task = scheduler.add("t", "TIME(PREVIOUS) TIME(CURRENT)", 1, Moment(0), PROMPT)
        for _ in range(3):
            await scheduler.run_once(task)

    play(work)
    first, failed, third = (re.findall(r"'([^']*)'", line) for line in lines)
    assert first[0] == first[1] == failed[0] == third[0], "what a failed run missed is asked for again"
    assert first[1] < failed[1] < third[1]


def test_a_run_under_way_makes_the_next_ones_skip_and_keeps_the_distances() -> None:
    starts: list[float] = []

    async def slow(line: str, caller: Caller) -> str:
        starts.append(time.monotonic())
        await asyncio.sleep(0.25 if len(starts) == 1 else 0)
        return ""

    async def work() -> None:
        scheduler = Scheduler(1, slow)
        task = scheduler.add("slow", "x", 0.1, Moment(0), PROMPT)
        scheduler.start()
        await until(lambda: len(starts) == 1)
        assert await scheduler.run_once(task) is None
        await until(lambda: len(starts) == 2)
        await scheduler.stop()
        assert task.skipped >= 3, "two by time, one by hand"
        slots = (starts[1] - starts[0]) / 0.1
        assert slots >= 2.9

    play(work)


@pytest.mark.parametrize("jump_s", [-7200, 3600, 56 * 365 * 86400])
def test_setting_the_clock_neither_loses_nor_doubles_a_run(monkeypatch: pytest.MonkeyPatch, jump_s: int) -> None:
    """Summer time begins or ends, a machine without a battery learns what year it is."""
    shift_us, runs = 0, 0

    async def count(line: str, caller: Caller) -> str:
        nonlocal runs, shift_us
        runs += 1
        shift_us = jump_s * 1_000_000
        return ""

    async def work() -> None:
        scheduler = Scheduler(1, count)
        task = scheduler.add("t", "x", 0.05, Moment(now()), PROMPT)
        later = scheduler.add("later", "x", 1000, Moment(now() + 600_000_000), PROMPT)
        begin = time.monotonic()
        scheduler.start()
        await until(lambda: runs >= 5)
        most = (time.monotonic() - begin) / 0.05 + 1
        await scheduler.stop()
        assert task.runs + task.skipped <= most
        assert later.runs == 0, "a distance from now does not follow the clock"

    def now() -> int:
        return time.time_ns() // 1000 + shift_us

    monkeypatch.setattr(scheduling, "_now_us", now)
    play(work)


def test_a_start_that_is_a_date_follows_the_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    shift_us = 0
    monkeypatch.setattr(scheduling, "_now_us", lambda: time.time_ns() // 1000 + shift_us)
    monkeypatch.setattr(scheduling, "_CLOCK_CHECK_S", 0.01)

    async def work(ctx: Context) -> None:
        nonlocal shift_us
        await ctx.execute("run scheduler 1")
        day = datetime.now(UTC) + timedelta(days=1)
        await ctx.execute(f"schedule name = dated and time = 1 hour and start = '{day:%Y-%m-%d %H:%M:%S}' task x = 1")
        await ctx.execute("schedule name = far and time = 1 hour and start = +1d task y = 1")
        dated, far = (ctx.scheduler.need(1).find(name, None) for name in ("dated", "far"))
        await until(lambda: dated.due is not None)
        assert dated.runs == 0
        shift_us = 2 * 86400 * 1_000_000
        await until(lambda: dated.runs == 1)
        shift_us = 0
        await asyncio.sleep(0.05)
        assert (dated.runs, far.runs) == (1, 0)
        await ctx.execute("exit scheduler")

    play(lambda: work(language_context(variables=Variables({}))))


def test_what_a_run_answered_or_its_error_is_kept_and_shown(ctx: Context) -> None:
    async def work() -> None:
        await ctx.execute("run scheduler 1")
        await ctx.execute("schedule name = good and time = 1 hour task get error 26")
        await ctx.execute("schedule name = bad and time = 1 hour task rest get where url = ftp://h and password = hush")
        tasks = ctx.scheduler.need(1).tasks
        await until(lambda: all(task.runs for task in tasks.values()))
        shown = (await ctx.execute("get scheduler 1 where details = true")).text or ""
        assert 'Error text: "Time Out"' in shown
        assert "is no address of HTTP" in shown
        (data,) = (await ctx.execute("get scheduler 1 where format = json")).data
        good, bad = data["Scheduled Tasks"]
        assert (good["Run Status"], good["Failed"], bad["Run Status"], bad["Failed"]) == (
            "Success",
            0,
            "Error Command Structure",
            1,
        )
        assert good["Last Run"] < good["Next Run"]
        assert float(good["Seconds"]) >= 0
        assert "hush" not in str(data)
        stranger = ctx.for_caller(Caller("rest", frozenset({CommandClass.DATA})))
        (data,) = (await stranger.execute("get scheduler 1")).data
        assert [task["Result"] for task in data["Scheduled Tasks"]] == ["", ""]
        await ctx.execute("exit scheduler")

    play(work)


def test_a_task_that_fails_is_noted_seldom_and_goes_on(ctx: Context) -> None:
    async def work() -> None:
        await ctx.execute("set echo queue on")
        await ctx.execute("run scheduler 1")
        await ctx.execute("schedule name = bad and time = 0.05 seconds task !broken where x")
        task = ctx.scheduler.need(1).find("bad", None)
        await until(lambda: task.streak.failures >= 9)
        noted = [entry.text for entry in ctx.logs.ring("error").select()]
        assert len(noted) == 4, "the 1st, 2nd, 4th and 8th"
        assert noted[0].startswith("scheduler 1: task 'bad' failed: ")
        assert "(8 times in a row; noted again at 16)" in noted[3]
        ctx.variables.set("broken", "get version")
        await ctx.execute("exit scheduler")

    play(work)


def test_a_task_that_works_again_is_noted_once(ctx: Context) -> None:
    async def work() -> None:
        await ctx.execute("schedule name = t and time = 0.05 seconds task if !on then x = 1 else no such command")
        await ctx.execute("schedule name = t2 and time = 0.05 seconds task process !local_scripts/there.al")
        path = ctx.directories.path("local_scripts")
        await ctx.execute("run scheduler 1")
        task = ctx.scheduler.need(1).find("t2", None)
        await until(lambda: task.streak.failures >= 3)
        path.mkdir(parents=True)
        (path / "there.al").write_text("y = 1\n")
        await until(lambda: task.status == "Success")
        runs = task.runs
        await until(lambda: task.runs > runs + 3)
        events = [entry.text for entry in ctx.logs.ring("event").select(["t2"])]
        assert [text for text in events if "works again" in text] == [
            f"scheduler 1: task 't2' works again, after {task.failures} failed runs"
        ]
        assert not [text for text in events if "(ok) process" in text], "runs that succeed are not noted"
        await ctx.execute("exit scheduler")

    play(work)


def test_stopping_lets_a_run_end(monkeypatch: pytest.MonkeyPatch) -> None:
    ended: list[str] = []
    begun = 0

    async def command(line: str, caller: Caller) -> str:
        nonlocal begun
        begun += 1
        await asyncio.sleep(0.05 if line == "short" else 60)
        ended.append(line)
        return ""

    async def work() -> None:
        monkeypatch.setattr(scheduling, "GRACE_S", 0.3)
        scheduler = Scheduler(1, command)
        for name in ("short", "long"):
            scheduler.add(name, name, 100, Moment(0), PROMPT)
        scheduler.start()
        await until(lambda: begun == 2)
        await scheduler.stop()
        assert ended == ["short"]
        assert scheduler.tasks["long"].error == "Stopped while it ran"
        assert not scheduler.tasks["long"].busy

    play(work)


def test_a_task_may_remove_itself(ctx: Context) -> None:
    async def work() -> None:
        await ctx.execute("create work directories")
        (ctx.directories.path("tmp_dir") / "once.al").write_text("task remove where name = once\nx = 1\n")
        await ctx.execute("run scheduler 1")
        await ctx.execute("schedule name = once and time = 0.05 seconds task process !tmp_dir/once.al")
        await until(lambda: ctx.variables.get("x") == "1")
        assert not ctx.scheduler.need(1).tasks
        await ctx.execute("exit scheduler")

    play(work)


def test_a_run_by_hand_fails_as_its_command(ctx: Context) -> None:
    async def work() -> None:
        await ctx.execute("schedule name = bad and time = 1 hour task no such command")
        with pytest.raises(EdgeLakeError, match="no such command"):
            await ctx.execute("task run where name = bad")
        with pytest.raises(EdgeLakeError, match="there is no scheduler 9"):
            await ctx.execute("task run where scheduler = 9 and name = bad")
        assert (await ctx.execute("get scheduler 9")).text == "Scheduler 9 not declared"

    play(work)


def test_a_task_begins_anew(ctx: Context) -> None:
    async def work() -> None:
        await ctx.execute("run scheduler 1")
        await ctx.execute("schedule name = t and time = 1 hour task x = 1")
        task = ctx.scheduler.need(1).find("t", None)
        await until(lambda: task.runs == 1)
        await ctx.execute("task init where name = t and start = +1h")
        assert (task.runs, task.mode, task.status) == (0, "Paused", "No runs")
        await until(lambda: task.due is not None)
        await ctx.execute("task stop where name = t")
        assert (task.mode, task.next_run) == ("Stopped", "")
        await ctx.execute("task resume where name = t")
        assert task.mode == "Paused"
        await ctx.execute("task init where name = t")
        await until(lambda: task.runs == 1)
        await ctx.execute("exit scheduler")

    play(work)


def test_a_task_may_stop_its_scheduler(ctx: Context) -> None:
    async def work() -> None:
        await ctx.execute("create work directories")
        (ctx.directories.path("tmp_dir") / "end.al").write_text("exit scheduler\nx = 1\n")
        await ctx.execute("run scheduler 1")
        await ctx.execute("schedule name = end and time = 1 hour task process !tmp_dir/end.al")
        task = ctx.scheduler.need(1).find("end", None)
        await until(lambda: task.runs == 1)
        assert (ctx.variables.get("x"), task.status) == ("1", "Success")
        assert ctx.scheduler.running() == []

    play(work)


def test_a_fault_of_the_node_ends_no_task() -> None:
    runs = 0

    async def broken(line: str, caller: Caller) -> str:
        nonlocal runs
        runs += 1
        raise RuntimeError("broken")

    async def work() -> None:
        scheduler = Scheduler(1, broken)
        task = scheduler.add("t", "x", 0.05, Moment(0), PROMPT)
        scheduler.start()
        await until(lambda: runs >= 3)
        await scheduler.stop()
        assert "RuntimeError: broken" in task.error

    play(work)
