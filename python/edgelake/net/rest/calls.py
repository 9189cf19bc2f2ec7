"""Counters behind ``get rest calls`` and ``get rest pool``. Spec: services and status, section 8."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

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
