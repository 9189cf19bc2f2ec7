"""Places for commands that are worked on, as the pools of threads of the reference."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from edgelake.errors import OverloadedError


class Pool:
    """At most ``size`` commands at a time; the others wait in line.

    ``busy[n]`` and ``calls[n]`` belong to place n, as the threads of the reference's pool.
    """

    def __init__(self, name: str, size: int, waiting: int) -> None:
        self._name = name
        self.busy = [False] * size
        self.calls = [0] * size
        self.total = 0
        self._waiting = waiting
        self._line: deque[asyncio.Future[int]] = deque()

    @asynccontextmanager
    async def place(self) -> AsyncIterator[None]:
        """Hold one place. Raises OverloadedError when too many wait already."""
        number = await self._take()
        self.calls[number] += 1
        self.total += 1
        try:
            yield
        finally:
            self._free(number)

    async def _take(self) -> int:
        if False in self.busy:
            number = self.busy.index(False)
            self.busy[number] = True
            return number
        if len(self._line) >= self._waiting:
            raise OverloadedError(
                f"All {len(self.busy)} {self._name} workers are busy and {self._waiting} commands wait"
            )
        turn: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._line.append(turn)
        try:
            return await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self._free(turn.result())
            elif turn in self._line:
                self._line.remove(turn)
            raise

    def _free(self, number: int) -> None:
        while self._line:
            turn = self._line.popleft()
            if not turn.done():
                turn.set_result(number)
                return
        self.busy[number] = False

    def reset(self) -> None:
        self.calls = [0] * len(self.calls)
        self.total = 0
