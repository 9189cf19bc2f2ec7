"""The threads in which queries run, and how busy each of them is."""

from __future__ import annotations

import asyncio
import itertools
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Final, TypeVar

from edgelake.errors import CommandError, ServiceError

T = TypeVar("T")

THREADS: Final = 8
"""Threads of all queries when nobody says how many."""

MOST_THREADS: Final = 128


class QueryPool:
    """Threads of all queries; work that finds none free waits. Threads begin with the first work for them.

    Attributes:
        busy, calls: of each thread, whether it works and how often it did.
    """

    def __init__(self, size: int = THREADS) -> None:
        self.busy: list[bool] = []
        self.calls: list[int] = []
        self._threads: ThreadPoolExecutor | None = None
        self.resize(size)

    @property
    def is_open(self) -> bool:
        return self._threads is not None

    def resize(self, size: int) -> None:
        """Go on with another number of threads; what runs, runs to its end in the old ones. Raises CommandError."""
        if not 1 <= size <= MOST_THREADS:
            raise CommandError(f"a query pool of {size} threads", hint=f"1 to {MOST_THREADS}")
        former = self._threads
        self.busy, self.calls = [False] * size, [0] * size
        state = _State(self.busy, self.calls)
        self._threads = ThreadPoolExecutor(size, thread_name_prefix="query", initializer=state.begin)
        self._state = state
        if former is not None:
            former.shutdown(wait=False)

    def call(self, work: Callable[[], T]) -> asyncio.Future[T]:
        """Run work in a thread. Raises ServiceError when the pool is closed."""
        if self._threads is None:
            raise ServiceError("Query Pool is not declared", hint=f"open it: set query pool {THREADS}")
        return asyncio.get_running_loop().run_in_executor(self._threads, self._state.counted, work)

    def open(self) -> None:
        """Take work again. Idempotent."""
        if self._threads is None:
            self.resize(len(self.busy))

    def close(self) -> None:
        """Take no more work, and wait for what runs. Idempotent."""
        threads, self._threads = self._threads, None
        if threads is not None:
            threads.shutdown(wait=True)


class _State:
    """What the threads of one size of the pool tell of themselves; each writes its own place."""

    def __init__(self, busy: list[bool], calls: list[int]) -> None:
        self._busy = busy
        self._calls = calls
        self._numbers = itertools.count()
        self._own = threading.local()

    def begin(self) -> None:
        self._own.number = next(self._numbers)

    def counted(self, work: Callable[[], T]) -> T:
        number: int = self._own.number
        self._busy[number] = True
        self._calls[number] += 1
        try:
            return work()
        finally:
            self._busy[number] = False
