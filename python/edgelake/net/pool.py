"""Places for commands that are worked on, as the pools of threads of the reference."""

from __future__ import annotations

import asyncio
from collections import deque

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

    def place(self) -> Place:
        """Hold one place, in ``async with``. Raises OverloadedError when too many wait already."""
        return Place(self)

    async def take(self) -> int:
        """The number of a place, to be given back with ``free``. Raises OverloadedError."""
        if False in self.busy:
            number = self.busy.index(False)
            self.busy[number] = True
        else:
            number = await self._turn()
        self.calls[number] += 1
        self.total += 1
        return number

    async def _turn(self) -> int:
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
                self.free(turn.result())
            elif turn in self._line:
                self._line.remove(turn)
            raise

    def passes(self) -> bool:
        """Count a command that holds a place for no time at all; False: none is free, it has to wait."""
        if False not in self.busy:
            return False
        self.calls[self.busy.index(False)] += 1
        self.total += 1
        return True

    def free(self, number: int) -> None:
        """Give a place to who waits longest."""
        while self._line:
            turn = self._line.popleft()
            if not turn.done():
                turn.set_result(number)
                return
        self.busy[number] = False

    def reset(self) -> None:
        self.calls = [0] * len(self.calls)
        self.total = 0


class Place:
    """A place of a pool while ``async with`` holds it; a class, since every command takes one."""

    __slots__ = ("_number", "_pool")

    def __init__(self, pool: Pool) -> None:
        self._pool, self._number = pool, -1

    async def __aenter__(self) -> None:
        self._number = await self._pool.take()

    async def __aexit__(self, *failure: object) -> None:
        self._pool.free(self._number)
