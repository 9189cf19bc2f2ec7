"""``test network`` and ``test cluster``, over sockets."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from edgelake.bench.processes import free_port
from edgelake.command.handlers import peer_tests
from edgelake.errors import EdgeLakeError
from edgelake.metadata.ids import id_of
from edgelake.metadata.routing import ROUTING
from edgelake.node import Node
from tests.net.peer.nodes import node, until
from tests.net.peer.raw import RawPeer, block, send

CREATE = "CREATE TABLE IF NOT EXISTS t (row_id SERIAL PRIMARY KEY, timestamp timestamp, value int);"


async def declare(made: Node, kind: str, name: str, address: str, **further: object) -> str:
    """Put the policy of a node in the node's own ledger; its id."""
    ip, _, port = address.rpartition(":")
    body = {"name": name, "company": "acme", "ip": ip, "port": int(port), **further}
    if kind == "operator" and "cluster" not in body:
        body["cluster"] = "c9"
        policy = {"cluster": {"name": "c", "company": "acme", "id": "c9"}}
        await made.execute(f"blockchain insert where policy = {json.dumps(policy)} and local = true")
    await made.execute(f"blockchain insert where policy = {json.dumps({kind: body})} and local = true")
    return str(id_of(made.ctx.policies.find(kind, name=name)[0]))


@asynccontextmanager
async def three(home: Path) -> AsyncIterator[tuple[Node, dict[str, str]]]:
    """A query node that knows a master, itself and an operator; addresses by name."""
    async with (
        node(home / "m", "m") as (_, at_m),
        node(home / "q", "q") as (q, at_q),
        node(home / "o", "o") as (o, at_o),
    ):
        await o.execute("connect dbms d where type = sqlite")
        for kind, name, address in (("master", "m", at_m), ("query", "q", at_q), ("operator", "o", at_o)):
            await declare(q, kind, name, address)
        yield q, {"m": at_m, "q": at_q, "o": at_o}


def rows_of(reply: Any) -> list[list[str]]:
    return [[str(cell).strip() for cell in row] for row in reply.tables[0].rows]


async def test_every_node_of_the_metadata_answers(tmp_path: Path) -> None:
    async with three(tmp_path) as (q, at):
        found = await q.execute("test network")
        assert tuple(found.tables[0].titles) == ("Address", "Node Type", "Node Name", "Status")
        assert rows_of(found) == [
            [at["m"], "master", "m", "+"],
            [at["q"], "query", "q", "+"],
            [at["o"], "operator", "o", "+"],
        ]
        assert (await q.execute("test network where format = json")).data[0] == {
            "address": at["m"],
            "type": "master",
            "name": "m",
            "status": "+",
        }
        assert rows_of(await q.execute("test network with operator")) == [[at["o"], "operator", "o", "+"]]
        assert rows_of(await q.execute(f"test network with {at['m']}")) == [[at["m"], "master", "m", "+"]]
        timed = await q.execute("test network with master where details = true")
        assert 0 <= float(rows_of(timed)[0][-1]) < 5


async def test_who_does_not_answer_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(peer_tests, "ANSWER_S", 0.5)
    nobody = f"127.0.0.1:{free_port()}"
    async with node(tmp_path, "q") as (q, at_q), RawPeer() as silent:
        for kind, name, address in (
            ("query", "q", at_q),
            ("publisher", "gone", nobody),
            ("publisher", "silent", silent.address),
        ):
            await declare(q, kind, name, address)
        found = rows_of(await q.execute("test network"))
        assert found[0][-1] == "+"
        assert "refused" in found[1][-1]
        assert found[2][-1] == "no answer in time"
        states = {row[0]: row[1] for row in rows_of(await q.execute("get members status"))}
        assert states == {at_q: "active", nobody: "not_responding", silent.address: "not_responding"}


@pytest.mark.parametrize(
    ("line", "number"),
    [("test network", 211), ("test network with operator", 211), ("test network with any", 2), ("test network all", 2)],
)
async def test_what_is_no_network_is_said(tmp_path: Path, line: str, number: int) -> None:
    async with node(tmp_path, "q") as (q, _):
        with pytest.raises(EdgeLakeError) as fault:
            await q.execute(line)
        assert fault.value.number == number


async def test_without_a_server_nobody_is_asked(tmp_path: Path) -> None:
    async with node(tmp_path, "q") as (q, at_q):
        await declare(q, "query", "q", at_q)
        await q.execute("exit tcp")
        with pytest.raises(EdgeLakeError) as fault:
            await q.execute("test network")
        assert fault.value.number == 21


async def test_versions_of_the_metadata_side_by_side(tmp_path: Path) -> None:
    async with three(tmp_path) as (q, _):
        found = await q.execute("test network metadata version")
        assert found.tables[0].titles[-1] == "Metadata Version"
        own = (await q.execute("get metadata version")).text
        assert [row[-1] for row in rows_of(found)] == ["0", own, "0"]


async def test_a_table_against_its_policy(tmp_path: Path) -> None:
    async with three(tmp_path) as (q, at):
        found = await q.execute("test network table t where dbms = d")
        assert found.tables[0].titles[-1] == "Table Test"
        assert rows_of(found) == [[at["o"], "operator", "o", "Test table d.t schema failed: no local table"]]
        with pytest.raises(EdgeLakeError) as nobody:
            await q.execute("test network table where name = t and dbms = d")
        assert nobody.value.number == 211


async def operate(made: Node, name: str) -> None:
    """Start the operator of a policy, with its databases."""
    for line in ("connect dbms d where type = sqlite", "connect dbms almgm where type = sqlite"):
        await made.execute(line)
    await made.execute("create table tsd_info where dbms = almgm")
    found = made.ctx.policies.find("operator", name=name)[0]
    await made.execute(f"run operator where policy = {id_of(found)} and update_tsd_info = true")


@asynccontextmanager
async def cluster(home: Path) -> AsyncIterator[tuple[tuple[Node, str], tuple[Node, str]]]:
    """Two operators of one cluster, with the same policies."""
    async with node(home / "a", "a") as (a, at_a), node(home / "b", "b") as (b, at_b):
        table = {"name": "t", "dbms": "d"}
        for made in (a, b):
            policy = {"cluster": {"name": "c", "company": "acme", "id": "c1", "table": [table]}}
            await made.execute(f"blockchain insert where policy = {json.dumps(policy)} and local = true")
            await declare(made, "operator", "a", at_a, cluster="c1", member=1)
            await declare(made, "operator", "b", at_b, cluster="c1", member=2)
            policy = {"table": {**table, "company": "acme", "create": CREATE}}
            await made.execute(f"blockchain insert where policy = {json.dumps(policy)} and local = true")
            await operate(made, "a" if made is a else "b")
        yield (a, at_a), (b, at_b)


async def test_members_of_a_cluster_side_by_side(tmp_path: Path) -> None:
    async with cluster(tmp_path) as ((a, at_a), (b, at_b)):
        heads = (f"a {at_a}", f"b {at_b}")
        await a.execute("connect dbms more where type = sqlite")
        found = await a.execute("test cluster databases")
        assert tuple(found.tables[0].titles) == ("DBMS", *heads, "Equal")
        assert rows_of(found) == [
            ["almgm", "sqlite", "sqlite", "+"],
            ["d", "sqlite", "sqlite", "+"],
            ["more", "sqlite", "", "-"],
        ]
        await b.execute("partition d t using timestamp by 7 days")
        (row,) = rows_of(await a.execute("test cluster partitions"))
        assert row[0] == "d.t"
        assert row[1] == ""
        assert row[2]
        assert row[3] == "-"
        setup = (await a.execute("test cluster setup")).data
        assert (setup["Operator name"], setup["Member ID"], setup["Cluster ID"]) == ("a", "1", "c1")
        assert setup["almgm.tsd_info"] == "Defined"
        for made, names in ((a, ("0a", "0b")), (b, ("0a",))):
            for source in names:
                digest = source * 16
                await made.execute(f"time file new d.t.{source}.{digest}.0.json")
        found = await a.execute("test cluster data")
        assert rows_of(found) == [["d", "t", "2/0", "1/0", "-"]]
        await b.execute("exit tcp")
        (row, silent) = rows_of(await a.execute("test cluster data"))
        assert row == ["d", "t", "2/0", "?", "+"]
        assert silent[0] == "Not responding"
        assert "refused" in silent[3]


async def test_a_table_of_the_members_against_its_policy(tmp_path: Path) -> None:
    async with cluster(tmp_path) as ((a, at_a), (b, at_b)):
        await a.execute("create table t where dbms = d")
        await b.ctx.stores.get("d").execute("create table t (other int)")
        found = await a.execute("test network table where name = t and dbms = d")
        assert found.tables[0].header == "Network status for DBMS: 'd' Table 't'"
        (one, two) = rows_of(found)
        assert one == ["a", at_a, "Passed"]
        assert two[:2] == ["b", at_b]
        assert "value: none here, int declared" in two[2]
        assert (await a.execute("test table * where dbms = d")).text == "Passed"


async def test_no_cluster_is_said(tmp_path: Path) -> None:
    async with node(tmp_path, "a") as (a, _):
        with pytest.raises(EdgeLakeError) as fault:
            await a.execute("test cluster data")
        assert fault.value.number == 222
        assert (await a.execute("test cluster setup")).data["Operator"] == "Not running"


async def test_nodes_that_did_not_answer_are_asked_again(tmp_path: Path) -> None:
    async with node(tmp_path / "q", "q") as (q, _), node(tmp_path / "o", "o") as (o, at_o):
        await declare(q, "operator", "o", at_o)
        await o.execute("exit tcp")
        assert "refused" in rows_of(await q.execute("test network"))[0][-1]
        await q.execute("set servers ping")
        routes = q.ctx.parts[ROUTING]
        assert not routes.is_active(at_o)
        port = at_o.rpartition(":")[2]
        await o.execute(f"run tcp server where external_ip = 127.0.0.1 and external_port = {port}")
        await q.execute("set servers ping")

        async def active() -> bool:
            return bool(routes.is_active(at_o))

        await until(active)
        await q.execute("exit tcp")
        routes.mark(at_o, active=False)
        await q.execute("set servers ping")  # nobody to ask with
        assert "set servers ping" in str((await q.execute("get scheduler 0")).text)


async def test_a_ping_is_answered_where_it_came_from(tmp_path: Path) -> None:
    async with node(tmp_path, "a") as (_, address), RawPeer() as peer:
        said = await peer.request(address, "event metadata_ping")
        assert (said.command, said.data, said.job[:2], said.source) == ("event metadata_pong", b"", (0, 0), address)
        await send(address, block("event metadata_pong", peer.address))  # of a node that nobody asked
        assert (await peer.request(address, "get status")).data.decode() == f"a@{address} running"
