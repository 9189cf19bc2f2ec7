"""Nodes that the blocks of the pages run on."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from edgelake import Node
from edgelake.command.render import reply_text
from edgelake.model import Reply
from edgelake.store.statement import create_statement
from tests.net.peer.nodes import node as peer_node
from tests.net.peer.publishing import cluster_id


async def text_of(reply: Reply) -> str:
    """What a command says, also where it comes piece by piece."""
    if reply.stream is None:
        return reply.value if reply.value is not None else reply_text(reply)
    return b"".join([piece async for piece in reply.stream]).decode()


async def run(node: Node, text: str) -> list[str]:
    """Each line of a block; a line without a command's beginning belongs to the one above it."""
    joined = re.sub(r" and\n", " and ", text)
    return [await text_of(await node.execute(line)) for line in joined.splitlines()]


@asynccontextmanager
async def network(
    tmp_path: Path, dbms: str, tables: Mapping[str, list[dict[str, Any]]]
) -> AsyncIterator[tuple[Node, Node, str]]:
    """A node that asks, and an operator with tables of one database; its address."""
    async with peer_node(tmp_path / "q", "query") as (asks, _), peer_node(tmp_path / "o", "op") as (has, address):
        await has.execute(f"connect dbms {dbms} where type = sqlite")
        for table, rows in tables.items():
            await has.ingest(dbms, table, rows)
        await has.execute("flush buffers")
        named = [{"dbms": dbms, "name": name, "status": "active"} for name in tables]
        policies: list[dict[str, Any]] = [
            {"cluster": {"name": "c1", "company": "acme", "id": cluster_id(1), "status": "active", "table": named}}
        ]
        for name in tables:
            info = has.ctx.stores.table(dbms, name)
            assert info is not None
            policies.append({"table": {"name": name, "dbms": dbms, "create": create_statement(info)}})
        place = {"ip": "127.0.0.1", "local_ip": "127.0.0.1", "port": int(address.rpartition(":")[2])}
        policies.append({"operator": {"name": "op1", "company": "acme", "cluster": cluster_id(1), **place}})
        for policy in policies:
            await asks.execute(f"blockchain insert where policy = {json.dumps(policy)} and local = true")
        yield asks, has, address
