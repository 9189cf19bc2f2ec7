"""What the owner and the peers of a master type (spec: metadata, sections 5, 8, 11 and 13)."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest

from edgelake import Node
from edgelake.bench.processes import free_port
from edgelake.command.render import reply_text
from edgelake.errors import EdgeLakeError
from edgelake.metadata.routing import ROUTING
from edgelake.metadata.sync import Synchronizer
from edgelake.model import OUTSIDE_CLASSES, Caller

PEER = Caller("peer", OUTSIDE_CLASSES, "10.0.0.7:32148")
GOLDEN = Path(__file__).resolve().parent.parent / "command" / "golden"


def play(home: Path, work: Callable[[Node], Coroutine[Any, Any, None]]) -> None:
    async def whole() -> None:
        async with Node(home) as node:
            await node.execute("create work directories")
            await node.execute("connect dbms blockchain where type = sqlite")
            await work(node)

    asyncio.run(whole())


async def text(node: Node, line: str) -> str:
    return reply_text(await node.execute(line))


async def ids(node: Node) -> list[str]:
    found = await node.execute(
        'sql blockchain format = json and stat = false "select policy_id from ledger order by 1"'
    )
    assert found.stream is not None
    body = b"".join([piece async for piece in found.stream])
    return [row["policy_id"] for row in json.loads(body)["Query"]]


def policy(key: str, **more: Any) -> str:
    return json.dumps({"config": {"name": key, "id": key, "date": f"2026-01-01T00:00:0{key[-1]}.000000Z", **more}})


def test_a_pushed_policy_is_a_row_with_the_host_of_its_sender(tmp_path: Path) -> None:
    async def work(node: Node) -> None:
        peer = node.ctx.for_caller(PEER)
        await peer.execute(f"blockchain push {policy('p1', company='acme')}")
        await peer.execute(f"blockchain push ignore {policy('p1', company='acme')}")
        with pytest.raises(EdgeLakeError) as failed:
            await peer.execute(f"blockchain push {policy('p1', company='acme')}")
        assert failed.value.number == 30
        found = await node.execute(
            "sql blockchain format = json and stat = false "
            '"select policy_type, policy_id, company_name, date, host, policy from ledger"'
        )
        assert found.stream is not None
        row = json.loads(b"".join([piece async for piece in found.stream]))["Query"][0]
        assert (row["policy_type"], row["policy_id"], row["company_name"]) == ("config", "p1", "acme")
        assert row["host"] == "10.0.0.7"
        assert row["date"].startswith("2026-01-01")
        assert json.loads(row["policy"])["config"]["ledger"] == "global"

    play(tmp_path, work)


def test_every_form_of_drop(tmp_path: Path) -> None:
    async def work(node: Node) -> None:
        await node.execute("create table ledger where dbms = blockchain")
        for number in range(1, 9):
            await node.execute(f"blockchain push {policy(f'p{number}', color='red' if number > 6 else 'blue')}")
        await node.execute("run blockchain sync where source = dbms and time = 1 minute and dest = file")
        await arrived(node, 8)
        await node.execute("blockchain drop policy where id = p1, p2")
        assert await ids(node) == ["p3", "p4", "p5", "p6", "p7", "p8"]
        await node.execute(
            "blockchain drop policy where id = blockchain get config where color = red bring [*][id] separator = ,"
        )
        assert await ids(node) == ["p3", "p4", "p5", "p6"]
        await node.execute(f"blockchain drop policy {policy('p3')}")
        await node.execute(f"all = [{policy('p4')}, {policy('p5')}]")
        with pytest.raises(EdgeLakeError):
            await node.execute("blockchain drop policy !all")
        await node.execute("blockchain drop policy !all where name = p4")
        assert await ids(node) == ["p5", "p6"]
        with pytest.raises(EdgeLakeError) as failed:
            await node.execute("blockchain drop policy where id = nosuch")
        assert failed.value.number == 101
        await node.ctx.for_caller(PEER).execute(f"blockchain push {policy('p9')}")
        await node.execute("blockchain drop by host 10.0.0.7")
        assert await ids(node) == ["p5", "p6"]
        await node.execute("blockchain replace policy p5 with " + json.dumps({"config": {"name": "new"}}))
        await arrived(node, 2)
        assert await text(node, "blockchain get config bring [*][name] separator = ,") == "p6,new"

    play(tmp_path, work)


async def arrived(node: Node, count: int) -> None:
    """The local copy holds so many policies after a round."""
    running = node.ctx.services.get(Synchronizer.name)
    assert isinstance(running, Synchronizer)
    assert await running.round(timeout_s=10)
    assert len(node.ctx.policies.image) == count


def test_ledger_to_files_and_back(tmp_path: Path) -> None:
    async def work(node: Node) -> None:
        await node.execute(f"blockchain push {policy('p1')}")
        await node.execute("blockchain pull to json")
        await node.execute("blockchain pull to sql")
        file = node.ctx.directories.path("blockchain_file")
        master = node.ctx.parts["master"]
        assert file.with_suffix(".new").read_bytes() == (await master.content())[0]
        assert file.with_suffix(".sql").read_text().startswith("INSERT INTO ledger ")
        assert json.loads(await text(node, "blockchain pull to stdout")) == json.loads(policy("p1", ledger="global"))
        await node.execute("blockchain update file")
        await node.execute("blockchain drop table")
        assert await text(node, "blockchain update dbms") == "New policies: 1, known policies: 0"
        assert await text(node, "blockchain update dbms ignore message") == ""
        assert await ids(node) == ["p1"]

    play(tmp_path, work)


def test_synchronizer_is_started_forced_shown_and_ended(tmp_path: Path) -> None:
    async def work(node: Node) -> None:
        assert (await node.execute("get synchronizer")).data["Status"] == "Not Running"
        with pytest.raises(EdgeLakeError):
            await node.execute("run blockchain sync")
        await node.execute("create table ledger where dbms = blockchain")
        await node.execute("run blockchain sync where source = dbms and time = 30 seconds and dest = file")
        with pytest.raises(EdgeLakeError) as failed:
            await node.execute("run blockchain sync where source = dbms and time = 30 seconds and dest = file")
        assert failed.value.number == 136
        await node.execute(f"blockchain push {policy('p1')}")
        await node.execute("run blockchain sync")
        await arrived(node, 1)
        shown = (await node.execute("get synchronizer")).data
        assert (shown["Status"], shown["Sync Source"], shown["Connection"]) == (
            "Running",
            "DBMS",
            "table blockchain.ledger",
        )
        assert (shown["Policies"], shown["Sync Err"]) == (1, 0)
        assert shown["Metadata Version"] == await text(node, "get metadata version")
        processes = (await node.execute("get processes")).data["Blockchain Sync"]
        assert processes == {
            "Status": "Running",
            "Details": "Sync every 30 seconds with dbms using: table blockchain.ledger",
        }
        await node.execute("exit synchronizer")
        assert (await node.execute("get synchronizer")).data["Status"] == "Not Running"

    play(tmp_path, work)


@pytest.mark.parametrize(
    "options",
    [
        "source = dbms and time = 30 seconds and dest = file and connection = 10.0.0.1:32048",
        "source = blockchain and time = 30 seconds and dest = file",
        "source = blockchain and time = 30 seconds and dest = file and platform = ethereum",
        "source = master and time = 0.5 seconds and dest = file and connection = 10.0.0.1:32048",
        "source = master and time = 3 seconds and dest = cloud and connection = 10.0.0.1:32048",
        "source = master and time = 3 seconds and dest = dbms and connection = 10.0.0.1:32048",
        "source = nosuch and time = 3 seconds and dest = file",
    ],
)
def test_wrong_options_start_nothing(tmp_path: Path, options: str) -> None:
    async def work(node: Node) -> None:
        with pytest.raises(EdgeLakeError):
            await node.execute(f"run blockchain sync where {options}")
        assert node.ctx.services.get(Synchronizer.name) is None

    play(tmp_path, work)


def test_the_reference_prints_the_same(tmp_path: Path) -> None:
    """Data nodes and cluster info of the network that the golden texts come from."""

    async def work(node: Node) -> None:
        key = "7b5b46361816b6d290b3dc430b221b79"
        tables = ("power_plant", "rand_data", "power_plant_pv", "t1", "put_file", "put_data", "emq_data", "post_data")
        for name in (*tables, "lmq_data", "nomode", "bad3", "bad5", "nested"):
            listed = [{"dbms": "new_company", "name": name, "status": "active"}]
            body = {"parent": key, "name": "new-company-cluster1", "company": "New Company", "table": listed}
            children.append({"cluster": {**body, "id": f"child-{name}"}})
        head = {"cluster": {"company": "New Company", "name": "new-company-cluster1", "id": key}}
        operator = {"name": "edgelake-operator", "company": "New Company", "ip": "127.0.0.1", "local_ip": "127.0.0.1"}
        operator |= {"port": 32148, "cluster": key, "member": 95, "main": True, "id": "op"}  # type: ignore[dict-item]
        lines = [head, *children, {"operator": operator}]
        await node.ctx.policies.replace_file("".join(json.dumps(p) + "\n" for p in lines).encode())
        for line, name in (
            ("get data nodes", "get_data_nodes_1.txt"),
            ("get data nodes where dbms = new_company and table = rand_data", "get_data_nodes_2.txt"),
        ):
            assert await text(node, line) == (GOLDEN / name).read_bytes().decode()
        await node.execute("run operator where policy = op")
        shown = await text(node, "get cluster info")
        assert shown.startswith(
            f"\r\nCluster ID  : {key}\r\nMember ID   : 95\r\nCluster Name: new-company-cluster1\r\n"
            "Cluster Name: New Company\r\nParticipating Operators:\r\n"
            "      IP        Port  Member Status \r\n      ---------|-----|------|------|\r\n"
            "      127.0.0.1|32148|    95|active|\r\n\r\nTables Supported:\r\n"
            "      Company     DBMS        Table          \r\n      -----------|-----------|--------------|\r\n"
            "      New Company|new_company|power_plant   |\r\n"
        ), shown
        node.ctx.parts[ROUTING].mark("127.0.0.1:32148", active=False)
        assert "not_responding" in await text(node, "get data nodes")
        assert "`-- edgelake-operator 127.0.0.1:32148 not_responding main" in await text(node, "query metadata")

    children: list[dict[str, Any]] = []
    play(tmp_path, work)


def test_config_from_policy_replaces_a_listener_at_another_address(tmp_path: Path) -> None:
    async def work(node: Node) -> None:
        first, second = free_port(), free_port()
        body = {"ip": "127.0.0.1", "rest_port": "!wanted.int", "id": "cfg"}
        await node.ctx.policies.insert({"config": body})
        for port in (first, first, second):
            await node.execute(f"wanted = {port}")
            said = await text(node, "config from policy where id = cfg")
            shown = (await node.execute("get connections")).data["REST"]
            assert shown["external"] == f"127.0.0.1:{port}"
        assert said.endswith("applied")
        assert "listens already" in await text(node, "config from policy where id = cfg")

    play(tmp_path, work)
