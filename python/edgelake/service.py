"""Services of a node, the supervisor that starts and stops them, and which of their failures are noted."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from typing import Protocol

from edgelake.errors import AlreadyRunningError
from edgelake.model import Status

log = logging.getLogger(__name__)
_NOTE_S = 60.0


class Service(Protocol):
    """One background service of the node.

    ``start`` returns when it serves, or raises. ``stop`` is idempotent and drains what was accepted.
    ``status`` does no I/O.
    """

    name: str

    async def start(self) -> None: ...
    async def stop(self) -> None: ...
    def status(self) -> Status: ...


class Supervisor:
    """The services that run, in the order in which they started."""

    def __init__(self) -> None:
        self._running: dict[str, Service] = {}

    async def start(self, service: Service) -> None:
        """Start a service. Raises AlreadyRunningError if one of that name runs, or what its start raises."""
        if service.name in self._running:
            raise AlreadyRunningError(f"{service.name}: {self._running[service.name].status().details}")
        self._running[service.name] = service
        try:
            await service.start()
        except BaseException:
            del self._running[service.name]
            raise

    async def stop(self, name: str) -> bool:
        """Stop a service; False when none of that name runs, which is no error."""
        service = self._running.pop(name, None)
        if service is None:
            return False
        await service.stop()
        return True

    async def stop_all(self, *, but: str = "") -> None:
        """Stop everything (``but`` for one), last started first: entries close before what they feed."""
        for name in reversed(list(self._running)):
            if name != but:
                await self.stop(name)

    def get(self, name: str) -> Service | None:
        return self._running.get(name)

    def __iter__(self) -> Iterator[Service]:
        return iter(self._running.values())


class Streak:
    """Failures in a row, and which of them are worth a line in the log: the 1st, 2nd, 4th, 8th ...

    What fails now and then is told once in ``_NOTE_S`` seconds at most.

    Attributes:
        failures: since the last success.
    """

    def __init__(self) -> None:
        self.failures = 0
        self._told = False
        self._told_at: float | None = None

    def failed(self) -> bool:
        """Count a failure; returns whether to tell of it."""
        self.failures += 1
        now = time.monotonic()
        lately = self.failures == 1 and self._told_at is not None and now - self._told_at < _NOTE_S
        if lately or self.failures & (self.failures - 1):
            return False
        self._told, self._told_at = True, now
        return True

    def worked(self) -> int:
        """Count a success; returns the failures before it when they were told of, else 0."""
        before, self.failures = self.failures if self._told else 0, 0
        self._told = False
        return before

    @property
    def times(self) -> str:
        """How often it failed, for a line that repeats; empty at the first."""
        again = f" ({self.failures} times in a row; noted again at {2 * self.failures})"
        return again if self.failures > 1 else ""
