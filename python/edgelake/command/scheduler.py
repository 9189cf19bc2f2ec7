"""Schedulers: commands that repeat, each on its own asyncio task, woken on time.

A task runs at fixed distances on the monotonic clock, so that setting the wall clock (or summer time) neither loses nor
doubles a run. The wall clock decides one thing only: when a task whose start is a date runs first.

Tasks of one scheduler that come due together run one after another, in the order in which they were scheduled:
official scripts compute a value in one task and use it in the next. One that takes longer than PATIENCE_S holds the
others no more.

Source: spec "Command language", section 11.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final, Literal, Protocol

from edgelake import errors
from edgelake.command.kinds import Moment
from edgelake.command.logs import mask
from edgelake.errors import AlreadyRunningError, CommandError, EdgeLakeError
from edgelake.model import Caller, Table
from edgelake.service import Streak

log = logging.getLogger(__name__)
MAX_ID: Final = 10
MAX_TASKS: Final = 1000
GRACE_S: Final = 3.0
"""What a run that is under way has to end by itself when its task is stopped."""
PATIENCE_S: Final = 1.0
"""How long a task waits for the one that came due before it."""
_CLOCK_CHECK_S: Final = 10.0
_ERROR_CHARS: Final = 1000

RunTask = Callable[[str, Caller], Awaitable[str]]
"""Runs a command for a caller; returns the beginning of what it answered. Raises EdgeLakeError."""
_TITLES = ("ID", "Mode", "Name", "Counter", "Run Status", "Start-Time", "Repeat-Time", "Task")
_RUN_TITLES = ("ID", "Name", "Last Run", "Seconds", "Skipped", "Failed", "Next Run", "Result")


class Note(Protocol):
    """Where changes of a task's state are noted."""

    def __call__(self, text: str, *, failed: bool) -> None: ...


def _no_note(text: str, *, failed: bool) -> None:
    """A scheduler without a log."""


@dataclass
class Task:
    """One scheduled command.

    Attributes:
        period_s: seconds between starts.
        start, first: of the first run, by the wall clock and by the monotonic clock as it was when the task was made.
        caller: who scheduled it; the command has that caller's classes.
        status: text of the last run as the reference shows it; ``result`` and ``error`` say more.
        runs, skipped, failures: runs that ended; that were due while one was under way; that failed.
        last_us, seconds: start (UTC) and duration of the last run.
        previous_us: start of the last successful run, for TIME(PREVIOUS): what a failed run missed is asked for again.
        due: next start on the monotonic clock; None while nothing is planned.
        begun: its start has come, and is not waited for again.
        streak: failures since the last success.
    """

    number: int
    name: str
    command: str
    period_s: float
    start: Moment
    caller: Caller
    first: float
    mode: Literal["Paused", "Active", "Stopped"] = "Paused"
    runs: int = 0
    skipped: int = 0
    failures: int = 0
    status: str = "No runs"
    result: str = ""
    error: str = ""
    last_us: int = 0
    seconds: float = 0.0
    previous_us: int = 0
    due: float | None = None
    begun: bool = False
    streak: Streak = field(default_factory=Streak, repr=False)
    busy: bool = False
    worker: asyncio.Task[None] | None = field(default=None, repr=False)

    @property
    def shown_command(self) -> str:
        """The command without secrets."""
        return mask(self.command)

    def row(self) -> tuple[object, ...]:
        whole = int(self.period_s)
        repeat = f"{whole // 3600}:{whole // 60 % 60}:{whole % 60}"
        start = _local(self.start.at_us)
        return (self.number, self.mode, self.name, self.runs, self.status, start, repeat, self.shown_command)

    def run_row(self, *, results: bool) -> tuple[object, ...]:
        """The runs; ``results``: with what the last one answered, or its error."""
        told = " ".join((self.error or self.result).split())[:200] if results else ""
        last = _local(self.last_us) if self.last_us else ""
        seconds = f"{self.seconds:.3f}" if self.runs else ""
        return (self.number, self.name, last, seconds, self.skipped, self.failures, self.next_run, told)

    @property
    def next_run(self) -> str:
        """Local time of the next start; empty when there is none."""
        if self.due is None or self.mode == "Stopped":
            return ""
        return _local(_now_us() + round((self.due - time.monotonic()) * 1e6))


class Scheduler:
    """One scheduler with its tasks. Tasks may be added before it runs."""

    def __init__(self, number: int, run: RunTask, note: Note = _no_note) -> None:
        self.number = number
        self.running = False
        self.tasks: dict[str, Task] = {}
        self._run = run
        self._note = note
        self._last_done = asyncio.Event()
        self._last_done.set()

    def add(self, name: str, command: str, period_s: float, start: Moment, caller: Caller) -> Task:
        """Add a task. Raises CommandError for a name that is in use, and for one task too many."""
        if name in self.tasks:
            raise CommandError(f"Duplicate task name: '{name}'", hint="remove the task, or choose another name")
        if len(self.tasks) >= MAX_TASKS:
            raise CommandError(f"scheduler {self.number} has {MAX_TASKS} tasks", hint="remove some: task remove ...")
        number = max((task.number for task in self.tasks.values()), default=0) + 1
        task = Task(number, name, command, period_s, start, caller, _monotonic_of(start))
        self.tasks[name] = task
        if self.running:
            self._launch(task)
        return task

    def find(self, name: str | None, number: int | None) -> Task:
        """A task by name or id. Raises 162."""
        for task in self.tasks.values():
            if task.name == name or (name is None and task.number == number):
                return task
        raise errors.error(162, f"no task '{name if name is not None else number}' in scheduler {self.number}")

    def start(self) -> None:
        """Let the tasks run. Needs a running loop."""
        self.running = True
        for task in self.tasks.values():
            if task.mode != "Stopped":
                self._launch(task)

    async def stop(self, *, by: asyncio.Task[Any] | None = None) -> None:
        """Stop all tasks; runs that are under way have a moment to end, then they are cancelled.

        Args:
            by: the asyncio task that asks for it, where that isn't the current one: a task may stop its scheduler.
        """
        self.running = False
        await self._end(list(self.tasks.values()), by)

    async def stop_task(self, task: Task) -> None:
        task.mode = "Stopped"
        await self._end([task])

    async def remove(self, task: Task) -> None:
        task.mode = "Stopped"
        self.tasks.pop(task.name, None)
        await self._end([task])

    async def resume(self, task: Task) -> None:
        """Let a stopped task run again, now and then at its distances; nothing for one that isn't stopped."""
        if task.mode != "Stopped":
            return
        task.mode = "Active" if task.runs else "Paused"
        if self.running:
            self._launch(task)

    async def restart(self, task: Task, start: Moment | None) -> None:
        """Begin again at a start time (``task init``), as if it had never run."""
        await self._end([task])
        task.mode, task.status, task.result, task.error = "Paused", "No runs", "", ""
        task.runs = task.skipped = task.failures = task.last_us = task.previous_us = 0
        task.streak = Streak()
        task.start, task.begun = start or Moment(_now_us()), False
        task.first = _monotonic_of(task.start)
        if self.running:
            self._launch(task)

    async def run_once(self, task: Task) -> EdgeLakeError | None:
        """Run a task's command now; returns its failure. While a run is under way this one is skipped and counted."""
        if task.busy:
            task.skipped += 1
            return None
        task.busy = True
        now, begin = _now_us(), time.monotonic()
        failure: EdgeLakeError | None = None
        try:
            task.result = await self._run(_with_times(task.command, task.previous_us, now), task.caller)
            task.previous_us, task.status, task.error = now, "Success", ""
        except EdgeLakeError as raised:
            failure = raised
        except Exception as fault:
            log.exception("fault in task '%s'", task.name)
            failure = errors.error(3, f"{type(fault).__name__}: {fault}", hint="this is a fault of the node: report it")
        except asyncio.CancelledError:
            task.status = task.error = "Stopped while it ran"
            raise
        finally:
            task.busy = False
            task.runs += 1
            task.last_us, task.seconds = now, time.monotonic() - begin
            if task.mode == "Paused":
                task.mode = "Active"
        if failure is not None:
            task.failures += 1
            task.status, task.error, task.result = failure.text, mask(str(failure))[:_ERROR_CHARS], ""
        self._note_change(task, failed=failure is not None)
        return failure

    def table(self) -> Table:
        return Table(_TITLES, [task.row() for task in self.tasks.values()], header="Scheduled Tasks")

    def run_table(self, *, results: bool) -> Table:
        """When each task ran and runs, and with what result."""
        rows = [task.run_row(results=results) for task in self.tasks.values()]
        return Table(_RUN_TITLES, rows, header="Runs of Tasks")

    def _note_change(self, task: Task, *, failed: bool) -> None:
        """Note the first failure, then the 2nd, 4th, 8th ... in a row, and the success behind them.

        A task that fails now and then is noted once a minute at most.
        """
        who = f"scheduler {self.number}: task '{task.name}'"
        if failed:
            if task.streak.failed():
                self._note(f"{who} failed{task.streak.times}: {task.error}", failed=True)
        elif before := task.streak.worked():
            self._note(f"{who} works again, after {before} failed runs", failed=False)

    def _launch(self, task: Task) -> None:
        if task.worker is None:
            task.worker = asyncio.create_task(self._loop(task), name=f"scheduler {self.number}: {task.name}")

    async def _end(self, tasks: Sequence[Task], by: asyncio.Task[Any] | None = None) -> None:
        """End the loops of tasks. A task that ends itself goes on to the end of its command."""
        by = by or asyncio.current_task()
        workers: list[asyncio.Task[None]] = []
        running: list[asyncio.Task[None]] = []
        for task in tasks:
            worker, task.worker, task.due = task.worker, None, None
            if worker is None or worker is by:
                continue
            workers.append(worker)
            if task.busy:
                running.append(worker)
            else:
                worker.cancel()
        if running:
            _, late = await asyncio.wait(running, timeout=GRACE_S)
            for worker in late:
                worker.cancel()
        await asyncio.gather(*workers, return_exceptions=True)

    async def _loop(self, task: Task) -> None:
        """Wait and run. Times that pass while a run is under way are skipped and counted, the distances stay."""
        me = asyncio.current_task()
        if not task.begun:
            await self._wait_for_start(task)
            task.begun = True
        due = time.monotonic()
        while task.mode != "Stopped" and task.worker is me:
            async with self._turn():
                await self.run_once(task)
            late = int((time.monotonic() - due) / task.period_s)
            task.skipped += late
            due += (late + 1) * task.period_s
            if task.worker is me:
                task.due = due
                await asyncio.sleep(max(0.0, due - time.monotonic()))

    @asynccontextmanager
    async def _turn(self) -> AsyncIterator[None]:
        """Behind the task that came due before."""
        before, done = self._last_done, asyncio.Event()
        self._last_done = done
        try:
            with suppress(TimeoutError):
                async with asyncio.timeout(PATIENCE_S):
                    await before.wait()
            yield
        finally:
            done.set()

    async def _wait_for_start(self, task: Task) -> None:
        """A date is waited for on the wall clock, looked at often, as it may be set; a distance on the monotonic."""
        task.due = _monotonic_of(task.start) if task.start.is_date else task.first
        while (left := task.due - time.monotonic()) > 0:
            await asyncio.sleep(min(left, _CLOCK_CHECK_S) if task.start.is_date else left)
            if task.start.is_date:
                task.due = _monotonic_of(task.start)


class Schedulers:
    """All schedulers of a node; 0 is the system's."""

    def __init__(self, run: RunTask, note: Note = _no_note) -> None:
        self._run = run
        self._note = note
        self.system = Scheduler(0, run, note)
        self._by_id: dict[int, Scheduler] = {0: self.system}

    def get(self, number: int) -> Scheduler | None:
        return self._by_id.get(number)

    def need(self, number: int) -> Scheduler:
        """A scheduler, made when it isn't there. Raises CommandError for an id out of range."""
        if not 0 <= number <= MAX_ID:
            raise CommandError(f"scheduler {number}: the id is 0 to {MAX_ID}")
        return self._by_id.setdefault(number, Scheduler(number, self._run, self._note))

    def start(self, number: int) -> None:
        """Start a scheduler. Raises AlreadyRunningError."""
        scheduler = self.need(number)
        if scheduler.running:
            raise AlreadyRunningError("Scheduler already running")
        scheduler.start()

    async def stop(self, number: int | None = None) -> None:
        """Stop one scheduler, or all; one that doesn't run is no error."""
        chosen = list(self) if number is None else [found] if (found := self._by_id.get(number)) else []
        me = asyncio.current_task()
        await asyncio.gather(*(scheduler.stop(by=me) for scheduler in chosen))

    def running(self) -> list[int]:
        """Ids of the schedulers that run, for ``get processes``."""
        return sorted(number for number, scheduler in self._by_id.items() if scheduler.running)

    def __iter__(self) -> Iterator[Scheduler]:
        return iter([self._by_id[number] for number in sorted(self._by_id)])


def _now_us() -> int:
    return time.time_ns() // 1000


def _monotonic_of(start: Moment) -> float:
    return time.monotonic() + (start.at_us - _now_us()) / 1e6


def _local(at_us: int) -> str:
    return str(datetime.fromtimestamp(at_us / 1e6))


def _with_times(command: str, previous_us: int, now_us: int) -> str:
    """``TIME(PREVIOUS)`` and ``TIME(CURRENT)`` as quoted timestamps."""
    if "TIME(" not in command:
        return command
    for word, at in (("TIME(PREVIOUS)", previous_us or now_us), ("TIME(CURRENT)", now_us)):
        text = datetime.fromtimestamp(at / 1e6, UTC).replace(tzinfo=None)
        command = command.replace(word, f"'{text}'")
    return command
