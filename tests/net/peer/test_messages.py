"""Messages between nodes, and of peers that are made by hand, over sockets."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import msgspec
import pytest

from edgelake.bench.processes import free_port
from edgelake.errors import EdgeLakeError
from tests.net.peer.nodes import node, server, until
from tests.net.peer.raw import BLOCK, RawPeer, block, send

POLICY = {"table": {"name": "t", "dbms": "d", "create": "x"}}


async def test_a_command_to_one_node_and_to_several(tmp_path: Path) -> None:
    async with node(tmp_path / "a", "a") as (a, _), node(tmp_path / "b", "b") as (_, at_b):
        async with node(tmp_path / "c", "c") as (_, at_c):
            assert (await a.execute(f"run client {at_b} get status")).text == f"b@{at_b} running"
            assert (await a.execute(f"run client ({at_b}) get status")).text == f"b@{at_b} running"
            both = (await a.execute(f"run client ({at_b}, {at_c}) get status")).text or ""
            assert f"[From Node {at_b}] get status\r\nb@{at_b} running" in both
            assert f"c@{at_c} running" in both
            named = (await a.execute(f"run client ({at_b}, named = true) get status")).text
            assert named == f"\r\n[From Node {at_b}] b@{at_b} running"
            named = (await a.execute(f"run client ({at_b}, {at_c}, named = true) get status")).text
            assert named == f"\r\n[From Node {at_b}] b@{at_b} running\r\n[From Node {at_c}] c@{at_c} running"
            named = (await a.execute(f"run client ({at_b}, named = true) get processes where format = json")).text
            assert json.loads(named or "")[at_b]["TCP"]["Status"] == "Running"
            merged = (await a.execute(f"run client ({at_b}, {at_c}) get processes where format = json")).text or ""
            assert {at: found["TCP"]["Status"] for at, found in json.loads(merged).items()} == {
                at_b: "Running",
                at_c: "Running",
            }
            await a.execute(f"said = run client {at_b} get status")
            assert a.ctx.variables.get("said") == f"b@{at_b} running"
        assert len(server(a).jobs) == 0


async def test_long_texts_come_whole(tmp_path: Path) -> None:
    async with node(tmp_path / "a", "a") as (a, _), node(tmp_path / "b", "b") as (b, at_b):
        await b.execute("set echo queue on")
        for number in range(20):
            await b.execute(f"echo {number:02} {'é' * 700}")
        said = (await a.execute(f"run client {at_b} get echo queue")).text or ""
        assert len(said.encode()) > 10 * BLOCK
        assert said.count("é") == 20 * 700


async def test_a_node_reaches_itself(tmp_path: Path) -> None:
    async with node(tmp_path, "a") as (a, address):
        rows = dict((await a.execute("test node")).tables[0].rows)
        assert rows[f"TCP test using {address}"] == f"[From Node {address}] a@{address} running"


async def test_who_does_not_answer_is_named(tmp_path: Path) -> None:
    nobody = f"127.0.0.1:{free_port()}"
    async with node(tmp_path / "a", "a") as (a, _), node(tmp_path / "b", "b") as (_, at_b), RawPeer() as silent:
        with pytest.raises(EdgeLakeError, match=nobody) as refused:
            await a.execute(f"run client ({at_b}, {nobody}) get status")
        assert refused.value.number == 208
        some = (await a.execute(f"run client ({at_b}, {nobody}, subset = true) get status")).text or ""
        assert f"b@{at_b} running" in some
        assert f"[From Node {nobody}] get status\r\nNot responding" in some
        with pytest.raises(EdgeLakeError, match=silent.address) as late:
            await a.execute(f"run client ({silent.address}, timeout = 1) get status")
        assert late.value.number == 26
        assert len(server(a).jobs) == 0


@pytest.mark.parametrize(
    ("line", "number"),
    [
        ("system ls", 212),
        ('blockchain push {"plan": {"name": "p"}}', 212),  # this node is no master
        ("blockchain delete local file", 212),
        ("sql d drop table t", 212),
        ("sql d select 1", 5),
        ("file get a b", 212),
        ("set node name x", 212),
        ("exit node", 212),
        ("get rows count where dbms = nowhere and table = t", 5),
        ("get nothing such", 1),
    ],
)
async def test_what_a_peer_may_not_do_or_got_wrong_is_said(tmp_path: Path, line: str, number: int) -> None:
    async with node(tmp_path, "a") as (a, address), RawPeer() as peer:
        said = await peer.request(address, line, job=(7, 4711, 3, 2))
        assert said.error == number
        assert said.job == (7, 4711, 3, 2)
        assert said.command.startswith("job reply" if line.startswith("sql") else "echo")
        assert said.data  # all that a client of the reference's REST server is shown
        assert not a.ctx.node.stopping.is_set()


async def test_who_does_not_wait_gets_the_refusal_in_the_command(tmp_path: Path) -> None:
    async with node(tmp_path, "a") as (_, address), RawPeer() as peer:
        said = await peer.request(address, "get nothing such")
        assert (said.command, said.data) == ("echo Command 'get nothing' not recoginzed", b"")


@pytest.mark.parametrize(
    ("number", "text", "known"),
    [
        (46, "Failed to parse SQL statement", 46),
        (45, "Failed to load table metadata from blockchain", 45),
        (999, "", 3),
    ],
)
async def test_a_failure_of_a_peer_keeps_its_number_and_text(
    tmp_path: Path, number: int, text: str, known: int
) -> None:
    async with node(tmp_path, "a") as (a, _), RawPeer() as peer:
        asked = asyncio.ensure_future(a.execute(f"run client {peer.address} get status"))
        said = await peer.next()
        await send(said.source, block("echo", peer.address, job=said.job, info=4, error=number))
        with pytest.raises(EdgeLakeError) as failed:
            await asked
        assert failed.value.number == known
        assert failed.value.detail.startswith(f"{peer.address}: {text or 'error 999'}")


async def test_an_empty_answer_comes_as_one(tmp_path: Path) -> None:
    """The reference takes "OK" for no answer, and goes on waiting."""
    async with node(tmp_path, "a") as (a, address), RawPeer() as peer:
        said = await peer.request(address, "get !nowhere", job=(7, 4711, 3, 2))
        assert (said.command, said.data, said.error) == ("print", b"", 0)
        assert (await a.execute(f"run client {address} get !!nowhere")).text == ""


async def test_lenient_in_what_is_accepted(tmp_path: Path) -> None:
    async with node(tmp_path, "a") as (_, address), RawPeer() as peer:
        stale = await peer.request(address, "get \t status ", tail=b"\xaa", generic=2)
        assert (stale.command, stale.data.decode()) == ("print", f"a@{address} running")
        # Without an address of its own a peer gets the reply where it called from.
        port = peer.address.rpartition(":")[2]
        await send(address, block("get status", f"0.0.0.0:{port}"))
        assert (await peer.next()).data.decode() == f"a@{address} running"


@pytest.mark.parametrize(
    "content",
    [
        b"GET / HTTP/1.1\r\n\r\n",
        block("get status", "127.0.0.1:1", number=2),
        block("get status", "127.0.0.1:1", length=9000),
        block("get status", "127.0.0.1:1", last=False) + block("get status", "127.0.0.1:1", number=3),
        block("get status", "127.0.0.1:1", last=False),
        block("get status", "192.0.2.1:9"),  # a reply to somebody else is asked for
        block("file write /etc/passwd", "127.0.0.1:1", data=b"x", info=0, generic=0),
        block("file write cmd.1.lmsg", "127.0.0.1:1", data=b"x", last=False, info=0, generic=3)
        + block("print", "127.0.0.1:1", number=2, job=(1, 1, 1, 0)),
        b"",
    ],
    ids=["http", "number", "length", "order", "half", "reflected", "file", "changed", "nothing"],
)
async def test_a_bad_message_costs_its_connection_alone(tmp_path: Path, content: bytes) -> None:
    async with node(tmp_path, "a") as (a, address), RawPeer() as peer:
        await send(address, content)
        assert (await peer.request(address, "get status")).data.decode() == f"a@{address} running"
        if content:

            async def refused() -> bool:
                return server(a).refused == 1

            await until(refused)
        assert not list(a.ctx.directories.path("prep_dir").glob("peer-*"))


async def test_a_reply_that_nobody_waits_for_is_dropped(tmp_path: Path) -> None:
    async with node(tmp_path / "a", "a") as (a, address), RawPeer() as peer:
        asked = asyncio.ensure_future(a.execute(f"v = run client ({peer.address}, timeout = 10) get status"))
        request = await peer.next()
        location, number, receivers, _ = request.job
        assert number
        for job in (
            (location, number + 1, receivers, 0),
            (location, number, receivers, 5),
            (location ^ 1, number, 1, 0),
        ):
            await send(address, block("print", peer.address, data=b"foreign", job=job, generic=1))
        await send(address, block("print", peer.address, data=b"mine", job=request.job, generic=1))
        await asked
        assert a.ctx.variables.get("v") == "mine"

        async def dropped() -> bool:
            return server(a).jobs.dropped == 3

        await until(dropped)


async def test_a_message_without_a_job_is_shown(tmp_path: Path) -> None:
    async with node(tmp_path, "a") as (a, address), RawPeer() as peer:
        await a.execute("set echo queue on")
        await send(address, block("echo hello\tthere", peer.address))

        async def shown() -> bool:
            return "hello there" in str((await a.execute("get echo queue")).tables)

        await until(shown)


async def test_the_server_stops_and_starts_again(tmp_path: Path) -> None:
    async with node(tmp_path, "a") as (a, address), RawPeer() as peer:
        rows = (await a.execute("get connections where format = json")).data
        assert rows["TCP"]["external"] == address
        assert str((await a.execute("get tcp pool")).text).startswith("TCP Pool with 6 threads:")
        with pytest.raises(EdgeLakeError) as running:
            await a.execute("run tcp server where external_ip = 127.0.0.1 and external_port = 1")
        assert running.value.number == 136
        host, port = address.split(":")
        _, writer = await asyncio.open_connection(host, int(port))
        writer.write(block("get status", peer.address)[:100])
        await writer.drain()
        await a.execute("exit tcp")
        with pytest.raises(EdgeLakeError) as without:
            await a.execute(f"run client {peer.address} get status")
        assert without.value.number == 21
        await a.execute(f"run tcp server where external_ip = 127.0.0.1 and external_port = {port}")
        assert (await peer.request(address, "get status")).data
        writer.close()


async def test_an_address_in_use_is_said(tmp_path: Path) -> None:
    async with RawPeer() as peer, node(tmp_path, "a") as (a, _):
        await a.execute("exit tcp")
        port = peer.address.rpartition(":")[2]
        with pytest.raises(EdgeLakeError, match=port) as used:
            await a.execute(f"run tcp server where external_ip = 127.0.0.1 and external_port = {port}")
        assert used.value.number == 81


async def test_a_slow_block_is_not_waited_for(tmp_path: Path) -> None:
    async with node(tmp_path, "a") as (a, address), RawPeer() as peer:
        server(a).config = msgspec.structs.replace(server(a).config, block_s=0.2)
        host, port = address.split(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(block("get status", peer.address)[:100])
        async with asyncio.timeout(20):
            assert await reader.read() == b""
        assert server(a).refused == 1
        writer.close()


async def test_who_waits_is_told_that_the_server_ends(tmp_path: Path) -> None:
    async with node(tmp_path, "a") as (a, _), RawPeer() as silent:
        asked = asyncio.ensure_future(a.execute(f"run client ({silent.address}, timeout = 1000) get status"))
        await silent.next()
        await a.execute("exit tcp")
        with pytest.raises(EdgeLakeError, match="has ended"):
            await asked


async def test_what_peers_without_a_name_may_do_changes_at_once(tmp_path: Path) -> None:
    async with node(tmp_path / "a", "a") as (a, _), node(tmp_path / "b", "b") as (b, at_b):

        async def refused(command: str) -> bool:
            try:
                await a.execute(f"run client {at_b} {command}")
            except EdgeLakeError as failure:
                return failure.number == 212
            return False

        for command in ("get status", "blockchain get *"):
            assert not await refused(command)
        await b.execute("id add user where name = ops and password = x and type = admin")
        await b.execute("set user authentication on")
        for command in ("get status", "blockchain get *"):
            assert await refused(command)
        await b.execute("set permissions where user = anonymous and entry = peer and classes = (data, metadata)")
        assert not await refused("get status")
