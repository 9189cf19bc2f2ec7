"""The operator: takes what appears in the watch directory into the local databases.

Source: spec "Ingestion", sections 6 and 7; "Services and status", section 3.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Protocol

from edgelake.errors import EdgeLakeError
from edgelake.ingest.batches import BatchKeeper
from edgelake.ingest.counters import OperatorCounters, clock
from edgelake.ingest.intake import Intake
from edgelake.ingest.settings import MAX_THREADS, OperatorConfig
from edgelake.ingest.source import RetryLater
from edgelake.model import Status
from edgelake.profiling import Profiler

log = logging.getLogger(__name__)

RETRY_S = 10.0
MEMBER_FILES = 4
"""Files of other members that are in work at a time: one waits for the disk while the rows of the next go in."""
FLUSH_S = 5.0
"""Buffered rows have so long to be stored when the operator stops."""


class Watcher(Protocol):
    """What tells of complete files (``inputs.files.DirectoryWatcher``)."""

    def start(self) -> None: ...
    def stop(self) -> None: ...
    def release(self, path: Path) -> None: ...


class Companion(Protocol):
    """What works as long as the operator does (``metadata.ownership.Ownership``)."""

    def start(self) -> None: ...
    async def stop(self) -> None: ...


Watch = Callable[[Path, Callable[[Path], None], Callable[[str], bool]], Watcher]
"""Makes a watcher: directory, called for each file, which names are wanted."""


class Operator:
    """Monitors the watch directory and loads new files to the local databases.

    Args:
        batches: books and archives the batches of streamed rows.
        storing: told at start who books flushed batches, and None at stop: then they become files.
        flush: stores what is buffered; what the operator has acknowledged is booked before it stops.
        profiler: counts the work on files while its target ``operator`` is on.
    """

    name = "operator"

    def __init__(
        self,
        config: OperatorConfig,
        intake: Intake,
        counters: OperatorCounters,
        watch: Watch,
        *,
        batches: BatchKeeper | None = None,
        storing: Callable[[BatchKeeper | None], None] = lambda keeper: None,
        flush: Callable[[], Awaitable[None]] | None = None,
        profiler: Profiler | None = None,
        companion: Companion | None = None,
    ) -> None:
        self.config = config
        self.counters = counters
        self._intake = intake
        self._watcher = watch(config.watch_dir, self._found, config.wants)
        self.batches = batches
        self._storing, self._flush = storing, flush
        self._profiler = profiler or Profiler()
        self._companion = companion
        self._waiting: asyncio.Queue[Path] = asyncio.Queue()
        self._of_members: asyncio.Queue[Path] = asyncio.Queue()
        self._workers: list[asyncio.Task[None]] = []
        self._retries: dict[Path, asyncio.TimerHandle] = {}
        self._told: dict[Path, str] = {}
        self._since = 0.0
        self._last_error = ""
        self.busy = [0] * min(max(config.threads, 1), MAX_THREADS)
        self.calls = [0] * len(self.busy)
        self._members_busy = [0] * (MEMBER_FILES if config.cluster else 0)

    @property
    def watched(self) -> tuple[Path, ...]:
        """For ``get watch directories``."""
        return (self.config.watch_dir,)

    async def start(self) -> None:
        """Check the directories and begin. Raises EdgeLakeError 35 or 63."""
        self.config.check()
        self._since = time.time()
        self._intake.stopping = False
        self._workers = [
            *(self._start_worker(self._waiting, self.busy, n) for n in range(len(self.busy))),
            *(self._start_worker(self._of_members, self._members_busy, n) for n in range(len(self._members_busy))),
        ]
        try:
            self._watcher.start()
        except BaseException:
            await self.stop()
            raise
        self._storing(self.batches)
        if self._companion is not None:
            self._companion.start()

    async def stop(self) -> None:
        """Take no more files, finish those in work, long ones up to the next block.

        Files that wait, and the rest of long ones, stay in the watch directory for the next start.
        """
        if not self._since:
            return
        self._since = 0.0
        self._intake.stopping = True
        if self._flush is not None:
            # What cannot be stored now waits in the journal.
            with contextlib.suppress(EdgeLakeError, OSError, TimeoutError):
                await asyncio.wait_for(self._flush(), FLUSH_S)
        self._storing(None)
        self._watcher.stop()
        for timer in self._retries.values():
            timer.cancel()
        self._retries.clear()
        for queue in (self._waiting, self._of_members):
            while not queue.empty():
                queue.get_nowait()
                queue.task_done()
        await self.idle()
        for worker in self._workers:
            worker.cancel()
        await asyncio.gather(*self._workers, return_exceptions=True)
        self._workers = []
        if self._companion is not None:
            await self._companion.stop()

    def status(self) -> Status:
        config = self.config
        details = (
            f"Cluster Member: {bool(config.cluster)}, Using Master: {config.master or False}, "
            f"Threads Pool: {len(self.busy)}"
        )
        counters: dict[str, int | float] = {
            "rows": self.counters.rows,
            "rejected_rows": self.counters.rejected_rows,
            "errors": self.counters.error_count,
            "files_waiting": self._waiting.qsize() + self._of_members.qsize() + sum((*self.busy, *self._members_busy)),
        }
        return Status("Operator", bool(self._since), details, int(self._since * 1e6), self._last_error, counters)

    @property
    def since(self) -> float:
        """Unix seconds of the start; 0 while stopped."""
        return self._since

    def config_topic(self) -> dict[str, str | int]:
        """Topic ``config`` of ``get operator``."""
        return {
            "status": "Active",
            "operational time": clock(time.time() - self._since),
            "timestamp": int(self._since),
            "member": self.config.member,
            "policy": self.config.policy,
            "cluster": self.config.cluster,
        }

    async def idle(self) -> None:
        """Returns when every file found so far was dealt with."""
        await self._waiting.join()
        await self._of_members.join()

    def _found(self, path: Path) -> None:
        of_member = self._members_busy and self._intake.is_of_member(path.name)
        (self._of_members if of_member else self._waiting).put_nowait(path)

    def _start_worker(self, queue: asyncio.Queue[Path], busy: list[int], number: int) -> asyncio.Task[None]:
        kind = "operator" if queue is self._waiting else "files of members"
        return asyncio.create_task(self._work(queue, busy, number), name=f"{kind} {number}")

    async def _work(self, queue: asyncio.Queue[Path], busy: list[int], number: int) -> None:
        while True:
            path = await queue.get()
            busy[number] = 1
            if busy is self.busy:
                self.calls[number] += 1
            try:
                await self._profiler.run("operator", self._intake.take(path))
                self._told.pop(path, None)
                self._watcher.release(path)
            except RetryLater as e:
                self._retry(path, str(e))
            except Exception as fault:
                log.exception("fault with %s", path.name)
                self._retry(path, f"{type(fault).__name__}: {fault}")
            finally:
                busy[number] = 0
                queue.task_done()

    def _retry(self, path: Path, why: str) -> None:
        """The file stays and is tried again; the log has the reason once, not at every attempt."""
        if not self._since:
            log.info("%s", why)
            return
        self._last_error = why
        if self._told.get(path) != why:
            self._told[path] = why
            log.error("%s stays in the watch directory, next attempt in %g s: %s", path.name, RETRY_S, why)
        self._retries[path] = asyncio.get_running_loop().call_later(RETRY_S, self._again, path)

    def _again(self, path: Path) -> None:
        self._retries.pop(path, None)
        self._found(path)
