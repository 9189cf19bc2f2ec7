"""A node with databases, policies and an operator on real directories."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from edgelake.command.context import Context, NodeInfo
from edgelake.command.local import language_context
from edgelake.command.render import reply_text
from edgelake.command.variables import Variables
from edgelake.ingest.operator import Operator
from edgelake.ingest.streaming import StreamSettings
from edgelake.metadata.address import Addresses
from edgelake.metadata.policies import Policies
from edgelake.store.stores import Stores

START = "run operator where policy = !policy"


class Node:
    """One node; ``home`` survives it, so that a second one can be opened over the same files."""

    def __init__(self, home: Path) -> None:
        node = NodeInfo(name="edge-1", version="0.1.0")
        self.ctx: Context = language_context(home=home, node=node, variables=Variables({}))
        self.ctx.directories.create()
        self.ctx.variables.set("ip", "127.0.0.1")
        self.ctx.policies = Policies(self.ctx.directories.path("blockchain_file"), Addresses)
        self.ctx.stores = Stores(lambda: self.ctx.directories.path("dbms_dir"))

    def folder(self, name: str) -> Path:
        return self.ctx.directories.path(name)

    @property
    def operator(self) -> Operator:
        found = self.ctx.services.get("operator")
        assert isinstance(found, Operator)
        return found

    async def open(self, *databases: str) -> None:
        await self.ctx.policies.load()
        for name in databases or ("d",):
            await self.ctx.stores.connect(name)
        if not self.ctx.policies.of_type("operator"):
            cluster = {"cluster": {"company": "acme", "name": "c1"}}
            cluster_id = await self.ctx.policies.insert(cluster)
            body = {"company": "acme", "name": "op-1", "ip": "10.0.0.1", "port": 32148, "cluster": cluster_id}
            await self.ctx.policies.insert({"operator": {**body, "member": 95}})
        found = self.ctx.policies.of_type("operator")[0]["operator"]
        self.ctx.variables.set("policy", found["id"])

    async def close(self) -> None:
        await self.ctx.services.stop_all()
        await self.ctx.stores.close()

    async def text(self, line: str) -> str:
        return reply_text(await self.ctx.execute(line)).replace("\r\n", "\n")

    async def data(self, line: str) -> Any:
        joined = "and" if " where " in line else "where"
        return json.loads(reply_text(await self.ctx.execute(f"{line} {joined} format = json")))

    async def create_tsd(self) -> None:
        from edgelake.store.tsd import TsdTable

        await TsdTable(await self.ctx.stores.connect("almgm")).create()

    async def rows(self, sql: str, dbms: str = "d") -> list[tuple[Any, ...]]:
        found: list[tuple[Any, ...]] = await self.ctx.stores.get(dbms).read(lambda db: db.execute(sql).fetchall())
        return found

    def drop(self, name: str, content: str | bytes) -> None:
        """Put a file into the watch directory as a careful user does: whole, by a rename."""
        working = self.folder("prep_dir") / name
        working.write_bytes(content if isinstance(content, bytes) else content.encode())
        working.rename(self.folder("watch_dir") / name)

    def names(self, folder: str) -> list[str]:
        """Files below a directory, by name."""
        return sorted(p.name for p in self.folder(folder).rglob("*") if p.is_file())

    async def settled(self) -> None:
        """Every file of the watch directory was dealt with."""
        await self.until(lambda: not self.names("watch_dir"))
        await self.operator.idle()

    async def refused(self) -> None:
        """A file stands in the error folder, with its reason."""
        await self.until(lambda: any(name.endswith(".reason") for name in self.names("err_dir")))

    async def until(self, holds: Callable[[], bool], *, limit_s: float = 15.0) -> None:
        async with asyncio.timeout(limit_s):
            while not holds():  # noqa: ASYNC110 - the file system tells no event to a test
                await asyncio.sleep(0.01)


@asynccontextmanager
async def running(
    home: Path, line: str = START, *databases: str, tsd: bool = False, ingest: object = None
) -> AsyncIterator[Node]:
    node = Node(home)
    node.ctx.ingest = ingest
    await node.open(*databases)
    if tsd:
        await node.create_tsd()
    try:
        await node.text(line)
        yield node
    finally:
        await node.close()


class NoWidening:
    """Ingest whose tables don't change."""

    def settings(self) -> list[StreamSettings]:
        return [StreamSettings(widening=False)]


def is_root() -> bool:
    """Root may write anywhere: tests of folders without permission have nothing to show."""
    return os.geteuid() == 0
