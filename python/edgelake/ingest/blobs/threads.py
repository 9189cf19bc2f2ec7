"""Threads for work with services that may not answer for a minute."""

from __future__ import annotations

import asyncio
import contextlib
import queue
import threading
from collections.abc import Callable
from typing import Any, TypeVar

T = TypeVar("T")
_Job = tuple[Callable[[], Any], asyncio.AbstractEventLoop, "asyncio.Future[Any]"]


class Threads:
    """Up to ``number`` threads, started when there is work.

    They are not those of ``asyncio.to_thread``, so that other work does not wait behind theirs; and a process that ends
    does not wait for them.
    """

    def __init__(self, number: int, name: str) -> None:
        self._number = number
        self._name = name
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._started = 0
        self._busy = 0  # jobs that are waiting or in work; for the loop only

    async def run(self, work: Callable[[], T]) -> T:
        """What ``work`` returns or raises, out of one of the threads."""
        loop = asyncio.get_running_loop()
        done: asyncio.Future[T] = loop.create_future()
        self._busy += 1
        if self._started < min(self._busy, self._number):
            self._started += 1
            threading.Thread(target=self._work, name=f"{self._name}-{self._started}", daemon=True).start()
        self._jobs.put((work, loop, done))
        return await done

    def close(self) -> None:
        """No more work comes; each thread ends with what it is at."""
        for _ in range(self._started):
            self._jobs.put(None)
        self._started = 0

    def _work(self) -> None:
        while (job := self._jobs.get()) is not None:
            work, loop, done = job
            try:
                told = (done.set_result, work())
            except BaseException as failure:  # noqa: BLE001 - whoever waits gets it
                told = (done.set_exception, failure)
            with contextlib.suppress(RuntimeError):  # the loop has ended
                loop.call_soon_threadsafe(self._tell, done, *told)

    def _tell(self, done: asyncio.Future[Any], tell: Callable[[Any], None], what: Any) -> None:
        self._busy -= 1
        if not done.done():  # who waited may have gone
            tell(what)
