"""Services of a node, and the supervisor that starts and stops them."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Protocol

from edgelake.errors import AlreadyRunningError
from edgelake.model import Status

log = logging.getLogger(__name__)


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

    async def stop_all(self) -> None:
        """Stop everything, last started first: entries close before what they feed."""
        for name in reversed(list(self._running)):
            await self.stop(name)

    def get(self, name: str) -> Service | None:
        return self._running.get(name)

    def __iter__(self) -> Iterator[Service]:
        return iter(self._running.values())
