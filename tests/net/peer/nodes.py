"""Nodes of one process that talk over sockets."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

from edgelake.bench.processes import free_port
from edgelake.model import PROMPT
from edgelake.net.peer import PeerServer
from edgelake.node import Node


@asynccontextmanager
async def node(home: Path, name: str) -> AsyncIterator[tuple[Node, str]]:
    """A node with a TCP server; it and its address."""
    home.mkdir(parents=True, exist_ok=True)
    async with Node(home, name=name, caller=PROMPT) as made:
        address = f"127.0.0.1:{free_port()}"
        await made.execute("create work directories")
        port = address.rpartition(":")[2]
        await made.execute(f"run tcp server where external_ip = 127.0.0.1 and external_port = {port} and bind = true")
        yield made, address


def server(made: Node) -> PeerServer:
    found = made.ctx.services.get("tcp server")
    assert isinstance(found, PeerServer)
    return found


async def until(check: Callable[[], Awaitable[bool]]) -> None:
    """Wait for what another node brings about."""
    async with asyncio.timeout(30):
        while not await check():  # noqa: ASYNC110 - it happens in another node
            await asyncio.sleep(0.02)
