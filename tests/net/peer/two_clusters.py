"""A node that asks, and two operators with the rows of the vectors."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from edgelake._rust import Rows, parse_time
from edgelake.errors import EdgeLakeError
from edgelake.node import Node
from edgelake.store.base import ColumnInfo
from edgelake.store.insert import Insertion
from edgelake.store.statement import create_statement
from tests.net.peer.nodes import node
from tests.query.conftest import VECTORS
from tests.query.test_vectors import rows_of

CONTENT = json.loads((VECTORS / "increments.json").read_text())
COLUMNS = [ColumnInfo(name, kind) for name, kind in CONTENT["table"]["columns"]]


@dataclass
class Net:
    """A node that asks, and two operators of one cluster each."""

    asks: Node
    operators: list[tuple[Node, str]]

    async def text(self, sql: str, options: str = "stat = false", to: str = "()") -> str:
        reply = await self.asks.execute(f"run client {to} sql edge {options} {sql}")
        if reply.stream is None:
            return reply.text or ""
        return b"".join([piece async for piece in reply.stream]).decode()

    async def rows(self, sql: str, options: str = "stat = false", to: str = "()") -> list[dict[str, Any]]:
        return rows_of(await self.text(sql, options, to))

    async def failure(self, sql: str, options: str = "stat = false", to: str = "()") -> EdgeLakeError:
        with pytest.raises(EdgeLakeError) as caught:
            await self.text(sql, options, to)
        return caught.value


async def fill(made: Node, rows: list[list[Any]], table: str = "t") -> None:
    store = await made.ctx.stores.connect("edge", memory=True)
    await store.change(lambda tx: tx.create_table(table, COLUMNS))
    names = [column.name for column in COLUMNS]
    for row in rows:
        payload = json.dumps(dict(zip(names, row, strict=True))).encode()
        at = parse_time(row[0], "utc")
        parsed = await asyncio.to_thread(Rows.parse, payload, timezone="utc")
        await store.insert(Insertion(table, parsed, at, tsd_name="128", tsd_id=1))


async def insert(made: Node, policy: dict[str, object]) -> None:
    await made.execute(f"blockchain insert where policy = {json.dumps(policy)} and local = true")


@asynccontextmanager
async def network(home: Path) -> AsyncIterator[Net]:
    async with (
        node(home / "q", "query") as (asks, _),
        node(home / "a", "op-a") as (a, at_a),
        node(home / "b", "op-b") as (b, at_b),
    ):
        for name, made in (("cluster_a", a), ("cluster_b", b)):
            await fill(made, CONTENT["rows"][name])
        info = a.ctx.stores.table("edge", "t")
        assert info is not None
        await insert(asks, {"table": {"name": "t", "dbms": "edge", "create": create_statement(info)}})
        for name, address in (("a", at_a), ("b", at_b)):
            host, _, port = address.partition(":")
            cluster: dict[str, object] = {
                "company": "acme",
                "name": name,
                "status": "active",
                "table": [{"dbms": "edge", "name": "t", "status": "active"}],
                "id": f"cluster-{name}",
            }
            await insert(asks, {"cluster": cluster})
            operator = {
                "name": name,
                "ip": host,
                "local_ip": host,
                "port": int(port),
                "cluster": f"cluster-{name}",
                "company": "acme",
            }
            await insert(asks, {"operator": operator})
        for made in (asks, a, b):
            made.ctx.queries.timezone = "utc"
        yield Net(asks, [(a, at_a), (b, at_b)])
