"""Schedulers: commands that repeat, each on its own asyncio task, woken on time.

Source: spec "Command language", section 11.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Literal

from edgelake import errors
from edgelake.errors import AlreadyRunningError, CommandError, EdgeLakeError
from edgelake.model import Caller, Table

MAX_ID = 10
RunTask = Callable[[str, Caller], Awaitable[None]]
_TITLES = ("ID", "Mode", "Name", "Counter", "Run Status", "Start-Time", "Repeat-Time", "Task")


@dataclass
class Task:
    """One scheduled command.

    Attributes:
        period_s: seconds between starts.
        start_us: microseconds UTC of the first run.
        caller: who scheduled it; the command has that caller's classes.
    """

    number: int
    name: str
    command: str
    period_s: float
    start_us: int
    caller: Caller
    mode: Literal["Paused", "Active", "Stopped"] = "Paused"
    runs: int = 0
    status: str = "No runs"
    previous_us: int = 0
    busy: bool = False
    worker: asyncio.Task[None] | None = field(default=None, repr=False)

    def row(self) -> tuple[object, ...]:
        start = datetime.fromtimestamp(self.start_us / 1e6)
        whole = int(self.period_s)
        repeat = f"{whole // 3600}:{whole // 60 % 60}:{whole % 60}"
        return (self.number, self.mode, self.name, self.runs, self.status, str(start), repeat, self.command)


class Scheduler:
    """One scheduler with its tasks. Tasks may be added before it runs."""

    def __init__(self, number: int, run: RunTask) -> None:
        self.number = number
        self.running = False
        self.tasks: dict[str, Task] = {}
        self._run = run

    def add(self, name: str, command: str, period_s: float, start_us: int, caller: Caller) -> Task:
        """Add a task. Raises CommandError for a name that is in use."""
        if name in self.tasks:
            raise CommandError(f"Duplicate task name: '{name}'", hint="remove the task, or choose another name")
        number = max((task.number for task in self.tasks.values()), default=0) + 1
        task = Task(number, name, command, period_s, start_us, caller)
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

    async def stop(self) -> None:
        """Stop all tasks; a command that runs is cancelled."""
        self.running = False
        for task in self.tasks.values():
            await self._cancel(task)

    async def stop_task(self, task: Task) -> None:
        task.mode = "Stopped"
        await self._cancel(task)

    async def remove(self, task: Task) -> None:
        await self._cancel(task)
        self.tasks.pop(task.name, None)

    async def resume(self, task: Task) -> None:
        task.mode = "Active" if task.runs else "Paused"
        await self._cancel(task)
        if self.running:
            self._launch(task)

    async def restart(self, task: Task, start_us: int | None) -> None:
        """Begin again at a start time (``task init``), as if it had never run."""
        await self._cancel(task)
        task.mode, task.runs, task.status = "Paused", 0, "No runs"
        task.start_us = _now_us() if start_us is None else start_us
        if self.running:
            self._launch(task)

    async def run_once(self, task: Task) -> None:
        """Run a task's command now; a run that is under way is not doubled."""
        if task.busy:
            return
        task.busy = True
        line = _with_times(task.command, task.previous_us)
        task.previous_us = _now_us()
        try:
            await self._run(line, task.caller)
            task.status = "Success"
        except EdgeLakeError as failure:
            task.status = failure.text
        finally:
            task.busy = False
            task.runs += 1
            if task.mode == "Paused":
                task.mode = "Active"

    def table(self) -> Table:
        return Table(_TITLES, [task.row() for task in self.tasks.values()], header="Scheduled Tasks")

    def _launch(self, task: Task) -> None:
        if task.worker is None:
            task.worker = asyncio.create_task(self._loop(task), name=f"scheduler {self.number}: {task.name}")

    async def _cancel(self, task: Task) -> None:
        worker, task.worker = task.worker, None
        if worker is None or worker is asyncio.current_task():
            return
        worker.cancel()
        await asyncio.gather(worker, return_exceptions=True)
        task.busy = False

    async def _loop(self, task: Task) -> None:
        """Wait and run on the monotonic clock; a run that takes longer than the period delays the next one."""
        due = time.monotonic() + max(0.0, (task.start_us - _now_us()) / 1e6)
        while task.mode != "Stopped" and task.worker is asyncio.current_task():
            await asyncio.sleep(max(0.0, due - time.monotonic()))
            await self.run_once(task)
            due = max(due + task.period_s, time.monotonic())


class Schedulers:
    """All schedulers of a node; 0 is the system's."""

    def __init__(self, run: RunTask) -> None:
        self._run = run
        self.system = Scheduler(0, run)
        self._by_id: dict[int, Scheduler] = {0: self.system}

    def get(self, number: int) -> Scheduler | None:
        return self._by_id.get(number)

    def need(self, number: int) -> Scheduler:
        """A scheduler, made when it isn't there. Raises CommandError for an id out of range."""
        if not 0 <= number <= MAX_ID:
            raise CommandError(f"scheduler {number}: the id is 0 to {MAX_ID}")
        return self._by_id.setdefault(number, Scheduler(number, self._run))

    def start(self, number: int) -> None:
        """Start a scheduler. Raises AlreadyRunningError."""
        scheduler = self.need(number)
        if scheduler.running:
            raise AlreadyRunningError("Scheduler already running")
        scheduler.start()

    async def stop(self, number: int | None = None) -> None:
        """Stop one scheduler, or all; one that doesn't run is no error."""
        chosen = (
            list(self._by_id.values()) if number is None else [self._by_id[number]] if number in self._by_id else []
        )
        for scheduler in chosen:
            await scheduler.stop()

    def running(self) -> list[int]:
        """Ids of the schedulers that run, for ``get processes``."""
        return sorted(number for number, scheduler in self._by_id.items() if scheduler.running)

    def __iter__(self) -> Iterator[Scheduler]:
        return iter([self._by_id[number] for number in sorted(self._by_id)])


def _now_us() -> int:
    return time.time_ns() // 1000


def _with_times(command: str, previous_us: int) -> str:
    """``TIME(PREVIOUS)`` and ``TIME(CURRENT)`` as quoted timestamps."""
    if "TIME(" not in command:
        return command
    now = _now_us()
    for word, at in (("TIME(PREVIOUS)", previous_us or now), ("TIME(CURRENT)", now)):
        text = datetime.fromtimestamp(at / 1e6, UTC).replace(tzinfo=None)
        command = command.replace(word, f"'{text}'")
    return command
