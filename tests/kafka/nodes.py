"""A node with a database, and what tests ask of its consumers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from edgelake import Node
from edgelake.command.render import reply_text

COLUMNS = 'dbms = plant and table = t and column.n.int = "bring [n]"'


@asynccontextmanager
async def running(home: Path, name: str = "edge-1") -> AsyncIterator[Node]:
    async with Node(home, name=name) as node:
        await node.execute("connect dbms plant where type = sqlite")
        yield node


def run(port: int, topic: str, more: str = "reset = earliest", *, columns: str = COLUMNS) -> str:
    """The command that starts a consumer of a topic whose messages are ``{"n": 1}``."""
    return (
        f"run kafka consumer where ip = 127.0.0.1 and port = {port} and {more} "
        f"and topic = (name = {topic} and {columns})"
    )


async def shown(node: Node, command: str) -> str:
    """What a command prints."""
    return reply_text(await node.execute(command))


async def rows(node: Node, count: int, *, table: str = "t") -> list[int]:
    """The values of column n, sorted, once there are ``count`` of them."""
    async with asyncio.timeout(60):
        while True:
            await node.ctx.ingest.flush()
            if table in node.ctx.stores.get("plant").tables:
                found = sorted([row["n"] async for row in node.query(f"select n from plant.{table}")])
                if len(found) >= count:
                    return found
            await asyncio.sleep(0.02)  # rows of another process' messages: nothing tells that the last has come


async def until(node: Node, holds: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
    """What ``get kafka clients`` shows of the only consumer, once it holds."""
    async with asyncio.timeout(60):
        while True:
            reply = await node.execute("get kafka clients where format = json")
            if reply.data and holds(reply.data[0]):
                found: dict[str, Any] = reply.data[0]
                return found
            await asyncio.sleep(0.02)  # a state of the consumer, which tells nobody
