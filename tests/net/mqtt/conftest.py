"""A node with a broker, in the test's own loop; clients are those that people use."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import aiomqtt
import pytest

from edgelake.bench.processes import free_port
from edgelake.command.render import reply_text
from edgelake.node import Node

PATIENCE_S = 20.0


class Site:
    """A node, and where its broker listens."""

    def __init__(self, node: Node) -> None:
        self.node = node
        self.port = free_port()

    async def run(self, options: str = "") -> None:
        await self.text(f"run message broker where external_ip = 127.0.0.1 and external_port = {self.port}{options}")

    async def text(self, line: str) -> str:
        return reply_text(await self.node.execute(line))

    async def data(self, line: str) -> Any:
        return (await self.node.execute(f"{line} where format = json")).data

    def client(self, port: int | None = None, **options: Any) -> aiomqtt.Client:
        options.setdefault("timeout", PATIENCE_S)
        return aiomqtt.Client("127.0.0.1", port or self.port, **options)


Body = Callable[[Site], Awaitable[None]]


@pytest.fixture
def with_node(tmp_path: Path) -> Callable[[Body], None]:
    """Runs a test's body with a node, which is stopped behind it."""

    def run(body: Body) -> None:
        async def all_of_it() -> None:
            async with Node(tmp_path, timezone="UTC") as node:
                await asyncio.wait_for(body(Site(node)), PATIENCE_S * 2)

        asyncio.run(all_of_it())

    return run
