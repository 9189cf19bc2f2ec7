"""Databases whose server was away when they were connected: tried again until it is there."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from typing import Final

from edgelake.errors import DatabaseAwayError, EdgeLakeError
from edgelake.store.server import Server
from edgelake.store.store import Store

log = logging.getLogger(__name__)

FIRST_PAUSE_S: Final = 0.5
LONGEST_PAUSE_S: Final = 5.0

Later = Callable[[Store], Awaitable[None]]
"""What is to be done with a database before it gets its first rows."""


@dataclass(eq=False, slots=True)
class Awaited:
    """A database that waits for its server.

    Attributes:
        reason: why it is not there yet.
        later: what commands asked for meanwhile, in their order.
    """

    name: str
    server: Server
    reason: str
    later: list[Later] = field(default_factory=list)

    def error(self) -> DatabaseAwayError:
        return DatabaseAwayError(self.reason, hint=f"the node tries again; to give up: disconnect dbms {self.name}")


class Waiting:
    """Awaited databases by name. For the loop only.

    Args:
        attempt: connects a database. Raises EdgeLakeError while it cannot.
        on_change: told when rows of a database (True) begin to wait for it, or (False) no longer do.
        on_report: told of each new reason, and of the end: not of every attempt.
    """

    def __init__(
        self,
        attempt: Callable[[Awaited], Awaitable[None]],
        on_change: Callable[[str, bool], None],
        on_report: Callable[[str], None],
    ) -> None:
        self._attempt = attempt
        self._on_change = on_change
        self._on_report = on_report
        self._tasks: dict[str, tuple[Awaited, asyncio.Task[None]]] = {}

    def __contains__(self, name: str) -> bool:
        return name in self._tasks

    def __iter__(self) -> Iterator[Awaited]:
        return iter([self._tasks[name][0] for name in sorted(self._tasks)])

    def get(self, name: str) -> Awaited | None:
        found = self._tasks.get(name)
        return found[0] if found else None

    def begin(self, awaited: Awaited) -> None:
        self._on_report(f"database {awaited.name}: {awaited.reason}; the node tries again")
        task = asyncio.get_running_loop().create_task(self._run(awaited), name=f"connect {awaited.name}")
        self._tasks[awaited.name] = awaited, task
        self._on_change(awaited.name, True)

    def end(self, name: str) -> bool:
        """Try no longer; False when there is nothing of that name."""
        found = self._tasks.pop(name, None)
        if found is None:
            return False
        found[1].cancel()
        self._on_change(name, False)
        return True

    async def _run(self, awaited: Awaited) -> None:
        pause_s = FIRST_PAUSE_S
        while True:
            await asyncio.sleep(pause_s)
            try:
                await self._attempt(awaited)
            except EdgeLakeError as problem:
                if problem.detail != awaited.reason:
                    awaited.reason = problem.detail
                    self._on_report(f"database {awaited.name}: {awaited.reason}; the node tries again")
                pause_s = min(pause_s * 2, LONGEST_PAUSE_S)
            except Exception:
                log.exception("fault while connecting %s", awaited.name)
                pause_s = LONGEST_PAUSE_S
            else:
                break
        del self._tasks[awaited.name]
        self._on_change(awaited.name, False)
        self._on_report(f"database {awaited.name}: connected to {awaited.server.address}")
