"""A node's language with the status commands, and services that say what a test wants."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgelake.command.context import Context, NodeInfo
from edgelake.command.local import language_context
from edgelake.model import Status


class Named:
    """A service that runs and reports."""

    def __init__(self, name: str, row: str, details: str = "") -> None:
        self.name = name
        self._status = Status(row, running=False, details=details)

    async def start(self) -> None:
        self._status.running = True

    async def stop(self) -> None:
        self._status.running = False

    def status(self) -> Status:
        return self._status


class Listening(Named):
    """One that listens, on all addresses of its port."""

    def __init__(self, name: str, row: str, address: str, details: str = "") -> None:
        super().__init__(name, row, details)
        self.external = self.internal = address
        self.bound = "0.0.0.0:" + address.rpartition(":")[2]


@pytest.fixture
def ctx(tmp_path: Path) -> Context:
    context = language_context(home=tmp_path, node=NodeInfo(name="edge-1", version="1.4.2604"))
    context.directories.create()
    context.variables.set("ip", "127.0.0.1")
    return context
