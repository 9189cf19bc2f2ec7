"""Counters behind ``get rest calls`` and ``get rest pool``. Spec: services and status, section 8."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager

from edgelake.errors import OverloadedError

MAX_CALLERS = 256
MAX_HEADER = 200


class CallRecord:
    """Calls of one agent with one method. Only names, counts and error texts: no command, header or body."""

    __slots__ = ("agent", "errors", "first", "last", "last_caller", "last_error", "method", "processed")

    def __init__(self, agent: str, method: str) -> None:
        self.agent = agent
        self.method = method
        self.processed = 0
        self.errors = 0
        self.last_error = ""
        self.first = self.last = time.time()
        self.last_caller = ""


class CallStatistics:
    """One record for each agent and method; beyond MAX_CALLERS the one that was silent longest makes room."""

    def __init__(self) -> None:
        self._by_agent: dict[tuple[str, str], CallRecord] = {}
        self._by_header: dict[tuple[str, str], CallRecord] = {}  # saves taking the same header apart each time

    def record(self, user_agent: str, method: str, agent_name: Callable[[str], str]) -> CallRecord:
        """The record of a caller, by the text of its User-Agent header."""
        found = self._by_header.get((user_agent, method))
        return found or self._find(user_agent, method[:20], agent_name)

    def _find(self, user_agent: str, method: str, agent_name: Callable[[str], str]) -> CallRecord:
        agent = agent_name(user_agent)
        record = self._by_agent.get((agent, method))
        if record is None:
            if len(self._by_agent) >= MAX_CALLERS:
                self._forget_one()
            record = self._by_agent[agent, method] = CallRecord(agent, method)
        if len(self._by_header) >= MAX_CALLERS:
            self._by_header.clear()
        if len(user_agent) <= MAX_HEADER:
            self._by_header[user_agent, method] = record
        return record

    def _forget_one(self) -> None:
        silent = min(self._by_agent, key=lambda key: self._by_agent[key].last)
        del self._by_agent[silent]
        self._by_header.clear()

    def __iter__(self) -> Iterator[CallRecord]:
        """Agents in the order of their first calls, and so the methods of each."""
        first: dict[str, float] = {}
        for r in self._by_agent.values():
            first[r.agent] = min(r.first, first.get(r.agent, r.first))
        return iter(sorted(self._by_agent.values(), key=lambda r: (first[r.agent], r.agent, r.first)))


class Pool:
    """At most ``size`` commands at a time; the others wait in line.

    ``busy[n]`` and ``calls[n]`` belong to place n, as the threads of the reference's pool.
    """

    def __init__(self, size: int, waiting: int) -> None:
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
            raise OverloadedError(f"All {len(self.busy)} REST workers are busy and {self._waiting} commands wait")
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
