"""Policies that an operator publishes as data arrives (spec: metadata, section 13; ingestion, section 7)."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Coroutine, Sequence
from pathlib import Path
from typing import Any

from edgelake import Node
from edgelake.errors import error
from edgelake.metadata.ids import body_of
from edgelake.peering import PeerAnswer

MASTER = "10.0.0.1:32048"


class SentTo:
    """``Peers`` of a node whose messages are kept; the first ``refusing`` of them fail."""

    def __init__(self, refusing: int = 0) -> None:
        self.told: list[tuple[str, str]] = []
        self.refusing = refusing
        self.again = asyncio.Event()

    def is_upgraded(self, peer: str) -> bool:
        return False

    async def tell(self, peer: str, command: str, data: bytes = b"") -> None:
        if self.refusing:
            self.refusing -= 1
            raise error(208, peer)
        self.told.append((peer, command))
        if command.startswith("blockchain push\tignore {"):
            self.again.set()

    async def ask(self, peers: Sequence[str], command: str, *, timeout_s: float = 20.0) -> list[PeerAnswer]:
        return []


def play(home: Path, work: Callable[[Node, SentTo], Coroutine[Any, Any, None]], *, refusing: int = 0) -> None:
    async def whole() -> None:
        async with Node(home) as node:
            sent = SentTo(refusing)
            node.ctx.parts["peers"] = sent
            await node.execute("create work directories")
            await node.execute("connect dbms plant where type = sqlite and memory = true")
            await work(node, sent)

    asyncio.run(whole())


async def operator(node: Node, options: str = f"create_table = true and master_node = {MASTER}") -> str:
    """An operator of a cluster, as the official scripts begin; returns the id of the cluster."""
    policies = node.ctx.policies
    cluster = await policies.insert({"cluster": {"company": "acme", "name": "c1"}})
    body = {"name": "op", "company": "acme", "ip": "10.0.0.5", "port": 32148, "cluster": cluster}
    policy = await policies.insert({"operator": body})
    await node.execute(f"run operator where policy = {policy} and {options}")
    return str(cluster)


async def policy_of(node: Node, query: str) -> dict[str, Any]:
    """The policy that a query selects, as soon as there is one."""
    policies = node.ctx.policies
    assert await policies.until(lambda: bool(policies.select(query).data), timeout_s=10), query
    return dict(body_of(policies.select(query).data[0]))


def test_the_first_rows_of_a_table_publish_its_columns_and_its_place(tmp_path: Path) -> None:
    async def work(node: Node, sent: SentTo) -> None:
        cluster = await operator(node)
        await node.ingest("plant", "pumps", {"timestamp": "2026-01-01T00:00:00Z", "flow": 1.5, "name": "x"})
        child = await policy_of(node, "cluster where parent = " + cluster)
        table = await policy_of(node, "table where dbms = plant and name = pumps")
        assert table["create"].startswith("CREATE TABLE IF NOT EXISTS pumps( row_id SERIAL PRIMARY KEY, ")
        assert " flow " in table["create"]
        assert child["table"] == [{"dbms": "plant", "name": "pumps", "status": "active"}]
        assert (child["name"], child["company"], child["source"]) == ("c1", "acme", "Node at 10.0.0.5:32148")
        nodes = json.loads(json.dumps((await node.execute("get data nodes where table = pumps")).data))
        assert [(row["Table"], row["Node Name"], row["Node Status"]) for row in nodes] == [("pumps", "op", "active")]
        assert [peer for peer, _ in sent.told] == [MASTER, MASTER]
        assert sent.told[0][1].startswith('blockchain push {"table": {"name": "pumps", "dbms": "plant", "create": ')
        assert sent.told[1][1].startswith('blockchain push {"cluster": {"parent": ')

    play(tmp_path, work)


def test_what_the_master_did_not_get_is_sent_again(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr("edgelake.metadata.ownership.RETRY_S", 0.05)

    async def work(node: Node, sent: SentTo) -> None:
        await operator(node)
        await node.ingest("plant", "pumps", {"flow": 1.5})
        async with asyncio.timeout(10):
            await sent.again.wait()

    play(tmp_path, work, refusing=2)


def test_two_operators_publish_the_same_policies(tmp_path: Path) -> None:
    ids: list[set[str]] = []

    async def work(node: Node, sent: SentTo) -> None:
        cluster = await operator(node)
        await node.ingest("plant", "pumps", {"flow": 1.5})
        child = await policy_of(node, "cluster where parent = " + cluster)
        table = await policy_of(node, "table where name = pumps")
        ids.append({child["id"], table["id"]})

    play(tmp_path / "one", work)
    play(tmp_path / "two", work)
    assert ids[0] == ids[1]


def test_a_table_that_the_network_knows_is_made_with_its_columns(tmp_path: Path) -> None:
    async def work(node: Node, sent: SentTo) -> None:
        create = "CREATE TABLE IF NOT EXISTS pumps(row_id SERIAL PRIMARY KEY, |pressure| float, |flow| float);"
        await node.ctx.policies.insert({"table": {"name": "pumps", "dbms": "plant", "create": create}})
        await operator(node)
        await node.ingest("plant", "pumps", {"flow": 7, "extra": "x"})
        changed = await policy_of(node, "anmp")
        columns = [(c.name, c.kind) for c in node.ctx.stores.table("plant", "pumps").user_columns]
        assert columns[:2] == [("pressure", "float"), ("flow", "float")]
        assert [name for name, _ in columns] == ["pressure", "flow", "extra"]
        table = await policy_of(node, "table where name = pumps")
        assert " extra " in table["create"]
        assert changed[table["id"]] == {"create": table["create"]}

    play(tmp_path, work)
