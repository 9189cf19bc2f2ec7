"""Queries that run and those that ran last: what ``query status`` and ``get queries time`` show (spec: query, 15)."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Final, Literal

from edgelake.errors import QueryStoppedError, error

Status = Literal["Sending", "Processing", "Completed", "Empty Set", "Stopped", "Error"]
MOST_RUNNING: Final = 500
KEPT: Final = 50
LONGEST_TEXT: Final = 2000


@dataclass(slots=True)
class Job:
    """One query.

    Attributes:
        number: its slot, shown as ``Job``; ``identity`` counts all queries of the node.
        command: options and statement as the user gave them.
        operators: other nodes that were asked; none for a query of this node's own rows.
        answered: those of the operators that have given all their rows.
        scans: statements over the physical tables; ``merge`` puts their groups together.
        servers: what the server of a database is asked in place of a scan: its database, and the statement.
        parts: scans of this node that are done, and all of them; (0, 0) = there are none.
        task: that asks, while it runs.
        threads: that read at a time.
    """

    number: int
    identity: int
    dbms: str
    command: str
    output: str = "json"
    table: str = ""
    scans: list[str] = field(default_factory=list)
    servers: dict[str, tuple[str, str]] = field(default_factory=dict)
    merge: str = ""
    increments: str = ""
    operators: tuple[str, ...] = ()
    answered: int = 0
    status: Status = "Sending"
    reason: str = ""
    rows: int = 0
    blocks: int = 0
    partitions: int = 0
    threads: int = 1
    started: float = field(default_factory=time.monotonic)
    ended: float | None = None
    stop: Callable[[], None] | None = None
    parts: Callable[[], tuple[int, int]] = lambda: (0, 0)
    task: object = field(default_factory=lambda: _task(), repr=False)

    @property
    def statements(self) -> list[str]:
        """The scans as they are run: by a server, or by SQLite."""
        return [self.servers[scan][1] if scan in self.servers else scan for scan in self.scans]

    @property
    def seconds(self) -> float:
        return (self.ended or time.monotonic()) - self.started

    @property
    def shown_status(self) -> str:
        return f"Error: {self.reason}" if self.status == "Error" else self.status

    @property
    def shown_time(self) -> str:
        return clock(self.seconds)


def _task() -> object:
    try:
        return asyncio.current_task()
    except RuntimeError:  # no loop: a test
        return None


def clock(seconds: float) -> str:
    """``00:01:05``."""
    whole = int(seconds)
    return f"{whole // 3600:02}:{whole // 60 % 60:02}:{whole % 60:02}"


class Jobs:
    """The running queries, the last that ended, and how long all of them took."""

    def __init__(self) -> None:
        self._running: dict[int, Job] = {}
        self._ended: deque[Job] = deque(maxlen=KEPT)
        self._count = 0
        self.times = Times()
        self.on_end: Callable[[Job], None] | None = None

    def begin(self, dbms: str, command: str, output: str) -> Job:
        """Raises EdgeLakeError 108 when too many queries run."""
        if len(self._running) >= MOST_RUNNING:
            raise error(108, f"{MOST_RUNNING} queries run", hint="wait, or stop one: job stop all")
        number = next(n for n in range(len(self._running) + 1) if n not in self._running)
        self._count += 1
        job = Job(number, self._count, dbms, command[:LONGEST_TEXT], output)
        self._running[number] = job
        return job

    def end(self, job: Job, failure: BaseException | None = None) -> None:
        """Note how a query ended; a second call changes nothing."""
        if job.ended is not None:
            return
        job.ended = time.monotonic()
        job.stop = job.task = None
        if failure is None:
            job.status = "Completed" if job.rows else "Empty Set"
        elif isinstance(failure, Exception) and not isinstance(failure, QueryStoppedError):
            job.status, job.reason = "Error", str(failure)[:LONGEST_TEXT]
        else:
            job.status = "Stopped"
        self._running.pop(job.number, None)
        self._ended.append(job)
        self.times.add(job.seconds)
        if self.on_end is not None:
            self.on_end(job)

    def __iter__(self) -> Iterator[Job]:
        """The ended ones first, the last of each slot; then those that run."""
        latest = {job.number: job for job in self._ended}
        latest.update(self._running)
        return iter([latest[number] for number in sorted(latest)])

    @property
    def latest(self) -> Job | None:
        """The query that began last."""
        return max([*self._running.values(), *self._ended], key=lambda job: job.identity, default=None)

    def of_task(self, task: object) -> Job | None:
        """The query that a task began last, while it runs."""
        mine = (job for job in self._running.values() if job.task is task)
        return max(mine, key=lambda job: job.identity, default=None)

    def stop(self, job: Job) -> None:
        """Interrupt a query and free its place at once, though nobody may be reading its answer. Idempotent."""
        if job.stop is not None:
            job.stop()
        self.end(job, QueryStoppedError())

    def stop_all(self) -> None:
        """Interrupt what runs."""
        for job in list(self._running.values()):
            self.stop(job)


class Times:
    """Queries by the seconds that they took: up to 1, 2 ... 9, and longer."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        self.counts = [0] * 10
        self.since = time.monotonic()

    def add(self, seconds: float) -> None:
        self.counts[min(int(seconds), 9)] += 1

    def rows(self) -> list[tuple[str, str]]:
        """Names and values as ``get queries time`` prints them."""
        shown = [(f"Up to {n:2} sec.", str(count)) for n, count in enumerate(self.counts[:9], 1)]
        passed = int(time.monotonic() - self.since)
        span = f"{passed} (sec.) : {passed // 3600}:{passed // 60 % 60}:{passed % 60} (H:M:S)"
        return [
            *shown,
            ("Over   9 sec.", str(self.counts[9])),
            ("Total queries", str(sum(self.counts))),
            ("Time interval", span),
        ]
