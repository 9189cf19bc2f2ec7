"""A whole node with a database, and perhaps an operator, over real files."""

from __future__ import annotations

import asyncio
import gzip
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from edgelake import Node
from edgelake.command.render import reply_text
from edgelake.ingest.service import Ingest
from edgelake.ingest.streaming import StreamCounts

OPERATOR = "run operator where policy = !policy"


class Edge:
    """A running node, with words for tests."""

    def __init__(self, node: Node) -> None:
        self.node = node
        self.ctx = node.ctx

    @property
    def ingest(self) -> Ingest:
        found = self.ctx.ingest
        assert isinstance(found, Ingest)
        return found

    async def text(self, line: str) -> str:
        return reply_text(await self.node.execute(line)).replace("\r\n", "\n")

    async def data(self, line: str) -> Any:
        joined = "and" if " where " in line else "where"
        return json.loads(reply_text(await self.node.execute(f"{line} {joined} format = json")))

    async def put(self, table: str, rows: str, *, source: str = "0", dbms: str = "d") -> Any:
        return await self.ingest.submit(dbms, table, rows.encode(), source=source)

    async def rows(self, sql: str, dbms: str = "d") -> list[tuple[Any, ...]]:
        found: list[tuple[Any, ...]] = await self.ctx.stores.get(dbms).read(lambda db: db.execute(sql).fetchall())
        return found

    def names(self, folder: str) -> list[str]:
        """Complete files below a directory, by name."""
        return [path.name for path in self._files(folder)]

    def _files(self, folder: str) -> list[Path]:
        found = self.ctx.directories.path(folder).rglob("*")
        return sorted(path for path in found if path.is_file() and not path.name.endswith("_tmp"))

    def content(self, folder: str) -> list[str]:
        """Texts of the files below a directory that are no reasons."""
        raw = [(p, p.read_bytes()) for p in self._files(folder) if not p.name.endswith(".reason")]
        return [(gzip.decompress(b) if p.name.endswith(".gz") else b).decode() for p, b in raw]

    def counts(self, table: str) -> StreamCounts:
        found = (one for one in self.ingest.streams() if one.table == table)
        return next(found, StreamCounts("d", table))

    def exact(self) -> None:
        """Every row that came in is accounted for."""
        for one in self.ingest.streams():
            assert one.rows + one.recovered_rows == one.stored_rows + one.rejected_rows + one.cached_rows, one

    async def until(self, holds: Callable[[], bool], *, limit_s: float = 20.0) -> None:
        async with asyncio.timeout(limit_s):
            while not holds():  # noqa: ASYNC110 - threads of the node tell no event to a test
                await asyncio.sleep(0.01)


async def _policy(node: Node) -> None:
    policies = node.ctx.policies
    if not policies.of_type("operator"):
        cluster = await policies.insert({"cluster": {"company": "acme", "name": "c1"}})
        body = {"company": "acme", "name": "op-1", "ip": "10.0.0.1", "port": 32148, "cluster": cluster}
        await policies.insert({"operator": {**body, "member": 95}})
    node.ctx.variables.set("policy", policies.of_type("operator")[0]["operator"]["id"])


@asynccontextmanager
async def edge(home: Path, *lines: str, connected: bool = True, tsd: bool = False) -> AsyncIterator[Edge]:
    """A node over ``home``; ``lines`` are run at the start."""
    async with Node(home, timezone="UTC") as node:
        await node.execute("create work directories")
        node.ctx.variables.set("ip", "127.0.0.1")
        await _policy(node)
        if connected:
            await node.execute("connect dbms d where type = sqlite")
        if tsd:
            await node.execute("connect dbms almgm where type = sqlite")
            await node.execute("create table tsd_info where dbms = almgm")
        for line in lines:
            await node.execute(line)
        yield Edge(node)
