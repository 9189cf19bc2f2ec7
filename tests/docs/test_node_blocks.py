"""Commands of the pages that need other nodes, keys or servers: each block runs, one command after the other."""

from __future__ import annotations

import asyncio
import gzip
import json
import re
import ssl
from pathlib import Path
from typing import Any
from urllib.parse import quote

import yaml

from edgelake import Node
from edgelake.bench.processes import free_port
from edgelake.identity import keys
from edgelake.model import PROMPT
from tests.docs.fences import block
from tests.docs.nodes import network, run, text_of
from tests.grpc.conftest import HERE
from tests.grpc.conftest import Server as GrpcServer
from tests.net.peer.clusters import cluster
from tests.net.peer.nodes import node as peer_node
from tests.net.peer.nodes import until
from tests.system.program import Program

DBMS = "lsl_demo"
OLD = {"timestamp": "2026-01-01T00:00:00Z", "device": "d1", "value": 1}
TABLES: dict[str, list[dict[str, Any]]] = {
    "ping_sensor": [OLD, {"device": "d1", "value": 2}],  # without a time: of now
    "sites": [{"device": "d1", "city": "Oslo"}],
}


def at(address: str, text: str) -> str:
    return re.sub(r"\b10\.0\.0\.\d+:\d+", address, text)


async def test_one_query_over_all_nodes(tmp_path: Path) -> None:
    async with network(tmp_path, DBMS, TABLES) as (asks, _, address):
        grouped, newest, rows = await run(
            asks, at(address, block("docs/network.md", "run client () sql lsl_demo format"))
        )
        assert "d1" in grouped
        assert '"max(timestamp)"' in newest
        assert len(json.loads(rows)["Query"]) == 2


async def test_rows_are_brought_here_and_joined(tmp_path: Path) -> None:
    async with network(tmp_path, DBMS, TABLES) as (asks, _, _):
        *_, joined = await run(asks, block("docs/network.md", "run client () sql lsl_demo table = pings"))
        (row,) = json.loads(joined)["Query"]
        assert row["city"] == "Oslo"


async def test_a_node_says_how_it_is(tmp_path: Path) -> None:
    async with network(tmp_path, DBMS, TABLES) as (asks, has, address):
        say, show = at(address, block("docs/network.md", "run client (10.0.0.78:7848) monitor")).splitlines()
        await asks.execute('node_insight = {"Free Space Percent": 71}')
        await asks.execute(say)
        assert "71" in await text_of(await has.execute(show))


async def test_files_go_and_come(tmp_path: Path) -> None:
    async with network(tmp_path, DBMS, TABLES) as (asks, has, address):
        await has.execute("set peer files where read = !archive_dir and write = !tmp_dir and watch_dir = true")
        mine = Path(asks.ctx.directories.path("tmp_dir"))
        (mine / "map.json").write_text("{}")
        (mine / "rows.json").write_text('{"v": 1}\n')
        (Path(has.ctx.directories.path("archive_dir")) / "old.json.gz").write_bytes(gzip.compress(b"archived"))
        await run(asks, at(address, block("docs/network.md", "run client (10.0.0.7:32148) file copy")))
        assert (Path(has.ctx.directories.path("tmp_dir")) / "map.json").read_text() == "{}"
        assert [path.name for path in Path(has.ctx.directories.path("watch_dir")).glob("*.json")] == [
            "lsl_demo.ping.0.0.0.json"
        ]
        assert list(mine.glob("old.json*"))


async def test_policies_go_to_the_master(tmp_path: Path) -> None:
    async with (
        peer_node(tmp_path / "m", "master") as (master, address),
        peer_node(tmp_path / "n", "north") as (node, _),
    ):
        await master.execute("connect dbms blockchain where type = sqlite")
        await master.execute("create table ledger where dbms = blockchain")
        await master.execute("run blockchain sync where source = dbms and time = 1 second and dest = file")
        await node.execute('new_policy = {"note": {"text": "hello"}}')
        await run(node, at(address, block("docs/metadata.md", "run blockchain sync where source = master")))

        async def has_it() -> bool:
            return bool((await master.execute("blockchain get note")).data)

        await until(has_it)


async def test_a_file_is_deleted_from_one_member_and_comes_again(tmp_path: Path) -> None:
    sql, time_file = block("docs/availability.md", "sql plant delete").splitlines()
    async with cluster(tmp_path) as made:
        made.drop(0, b'{"v": 1}\n')
        await made.hold([1])
        node = made.node(1)
        (row,) = [row async for row in node.query("select tsd_name, tsd_id from plant.t")]
        member, number = str(row["tsd_name"]).strip(), row["tsd_id"]
        here = sql.replace("motor", "t").replace("'1'", f"'{member}'").replace("17", str(number))
        assert await text_of(await node.execute(here)) is not None
        assert await made.values(1) == []
        await node.execute(time_file.replace("17", str(number)).replace("tsd_1", f"tsd_{member}"))
        await made.hold([1])


async def test_the_rest_server_is_started_so(tmp_path: Path) -> None:
    own, encrypted = block("docs/rest.md", "run rest server").splitlines()
    async with Node(tmp_path, caller=PROMPT) as node:
        await node.execute("create work directories")
        await node.execute(own.replace("32049", str(free_port())))
        await node.execute("exit rest")
        port = free_port()
        await node.execute(encrypted.replace("10.0.0.5", "127.0.0.1").replace("32049", str(port)))
        trusting = ssl.create_default_context()
        trusting.check_hostname, trusting.verify_mode = False, ssl.CERT_NONE
        _, writer = await asyncio.open_connection("127.0.0.1", port, ssl=trusting)
        writer.close()


def test_a_page_of_a_browser_shows_a_line(tmp_path: Path) -> None:
    url = block("docs/rest.md", "http://127.0.0.1:32049/?into").strip()
    path = quote(url.removeprefix("http://127.0.0.1:32049"), safe="/?=&%()*,.:")  # as a browser sends it
    with Program(tmp_path) as node:
        node.put(b'{"timestamp": "2026-01-01T12:00:00Z", "speed": 1480.5}', table="motor")
        node.post("flush buffers")
        status, page = node.request("GET", {"User-Agent": "Mozilla/5.0"}, path=path)
    assert status == 200, page
    assert b"<html" in page
    assert b">speed<" in page
    assert b"<svg" in page


def test_errors_have_the_form_of_the_page(tmp_path: Path) -> None:
    shown = json.loads(block("docs/api.md", '{"title"'))
    with Program(tmp_path) as node:
        body = json.dumps({"dbms": "plan", "sql": "select 1 from motor"}).encode()
        status, said = node.request("POST", {"Content-Type": "application/json"}, body, path="/v1/sql")
    assert (status, json.loads(said)) == (shown["status"], shown)


def test_prometheus_reads_with_a_token(tmp_path: Path) -> None:
    (job,) = yaml.safe_load(block("docs/api.md", "scrape_configs:"))["scrape_configs"]
    assert job["static_configs"] == [
        {"targets": ["127.0.0.1:32049"]}
    ]  # the node of the README; /metrics is the default
    with Program(tmp_path) as node:
        node.post("id add user where name = ops and password = change-me and type = admin")
        token = node.post("id create token where name = prometheus").split()[0]
        assert token.startswith(job["authorization"]["credentials"].rstrip("."))
        node.post("set user authentication on")
        assert node.request("GET", {}, path="/metrics")[0] == 401
        status, said = node.request("GET", {"Authorization": f"Bearer {token}"}, path="/metrics")
    assert status == 200
    assert b"edgelake_service_up" in said


async def test_answers_beside_trusted_ones(tmp_path: Path) -> None:
    ask, again, compare = block("docs/queries.md", "sql plant format = table and stat").splitlines()
    async with Node(tmp_path, caller=PROMPT) as node:
        await node.execute("create work directories")
        await node.execute("connect dbms plant where type = sqlite")
        await node.ingest("plant", "motor", [{"value": 1}, {"value": 2}])
        await node.execute("flush buffers")
        await text_of(await node.execute(ask))
        assert "Passed" in await text_of(await node.execute(again))
        folder = Path(node.ctx.directories.path("tmp_dir"))
        (folder / "answer.out").write_text((folder / "trusted.out").read_text())
        assert "Passed" in await text_of(await node.execute(compare))


async def test_keys_and_certificates(tmp_path: Path) -> None:
    async with Node(tmp_path, caller=PROMPT) as node:
        await node.execute("create work directories")
        await node.execute("connect dbms plant where type = sqlite")
        node.ctx.variables.set("password", "s3cret")
        await run(node, block("docs/security.md", "set permissions where user = anonymous"))
        await run(node, block("docs/security.md", "id generate certificate authority"))
        folder = Path(node.ctx.directories.path("pem_dir"))
        assert [path.name for path in folder.glob("server-north-*.crt")]
        await node.execute('policy = {"note": {"text": "hello"}}')
        said = await run(node, block("docs/security.md", "id create keys for node"))
        assert said[2].strip() == "true"
        opened = keys.create("s3cret")
        node.ctx.variables.set("private", opened.private)
        node.ctx.variables.set("v", keys.Opened(opened.private, "s3cret").public)
        await run(node, block("docs/security.md", 'sealed = id encrypt "the door code"'))
        assert node.ctx.variables.get("text") == "the door code"


async def test_the_policies_of_an_owner(tmp_path: Path) -> None:
    async with (
        peer_node(tmp_path / "m", "master") as (master, address),
        peer_node(tmp_path / "n", "north") as (node, _),
    ):
        await master.execute("connect dbms blockchain where type = sqlite")
        await master.execute("create table ledger where dbms = blockchain")
        await master.execute("run blockchain sync where source = dbms and time = 1 second and dest = file")
        owner = keys.create("s3cret")
        given = {
            "password": "s3cret",
            "ledger_conn": address,
            "owner_private": owner.private,
            "owner": keys.Opened(owner.private, "s3cret").public,
        }
        for name, value in given.items():
            node.ctx.variables.set(name, value)
        await run(node, block("docs/security.md", 'root = {"member"'))

        async def has_both() -> bool:
            found = (await master.execute("blockchain get (member, permissions)")).data
            return {next(iter(policy)) for policy in found} == {"member", "permissions"}

        await until(has_both)


async def test_a_grpc_server_is_asked_and_called(tmp_path: Path) -> None:
    with GrpcServer() as server:
        async with Node(tmp_path, caller=PROMPT) as node:
            await node.execute("create work directories")
            await node.execute("connect dbms plant where type = sqlite")
            line = block("docs/grpc.md", "get grpc services").strip().replace("32455", str(server.port))
            assert "Sensors" in await text_of(await node.execute(line))
            # The page's service is KubeArmor's; that of the tests has a function of the same form.
            own = {
                "32767": str(server.port),
                "!grpc_dir": str(HERE),
                "proto = kubearmor": "proto = sensors",
                "LogService": "Sensors",
                "HealthCheck": "Read",
                "nonce = 10.int": "count = 10.int",
            }
            text = block("docs/grpc.md", "run grpc client where name = health")
            for shown, here in own.items():
                assert shown in text
                text = text.replace(shown, here)
            await run(node, text)
            assert node.ctx.variables.get("reply")
