"""A node with a database, and what tests ask of it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from edgelake import Node
from tests.grpc.conftest import HERE

PROTO = f"grpc_dir = {HERE} and proto = sensors"


@asynccontextmanager
async def running(home: Path) -> AsyncIterator[Node]:
    async with Node(home, name="edge-1") as node:
        await node.execute("connect dbms plant where type = sqlite")
        yield node


def run(name: str, port: int, function: str, more: str, *, proto: str = PROTO) -> str:
    """The command that starts a client of the service Sensors."""
    of_file = f" and {proto}" if proto else ""
    return (
        f"run grpc client where name = {name} and ip = 127.0.0.1 and port = {port}{of_file} "
        f"and service = Sensors and function = {function} and {more}"
    )


async def rows(node: Node, count: int, *, table: str = "t", column: str = "n") -> list[Any]:
    """The values of a column, sorted, once there are ``count`` of them."""
    async with asyncio.timeout(30):
        while True:
            await node.ctx.ingest.flush()
            found = []
            if table in node.ctx.stores.get("plant").tables:
                values = [row[column] async for row in node.query(f"select {column} from plant.{table}")]
                found = sorted(values, key=lambda value: (value is None, value))
            if len(found) >= count:
                return found
            await asyncio.sleep(0.01)  # rows of another process' messages: nothing tells that the last has come


async def shown(node: Node, name: str) -> dict[str, Any]:
    reply = await node.execute("get grpc clients where format = json")
    found: dict[str, Any] = next(client for client in reply.data if client["ID"] == name)
    return found


async def until(node: Node, name: str, holds: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
    """What ``get grpc clients`` shows of a client, once it holds."""
    async with asyncio.timeout(30):
        while not holds(client := await shown(node, name)):  # noqa: ASYNC110
            await asyncio.sleep(0.01)  # a state of the client, which tells nobody
        return client
