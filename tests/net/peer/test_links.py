"""Connections that nodes of one kind keep: how they begin, what goes over them, how they end."""

from __future__ import annotations

import asyncio
import errno
import json
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from edgelake._rust import PeerReader
from edgelake.bench.processes import free_port
from edgelake.errors import EdgeLakeError
from edgelake.model import PROMPT
from edgelake.net.peer.arrivals import MAX_FILES
from edgelake.net.peer.dispatch import File
from edgelake.net.peer.link import MAX_REQUESTS, WINDOW
from edgelake.net.peer.links import Links
from edgelake.net.peer.upgrade import Capability, mark_of
from edgelake.node import Node
from tests.net.peer.nodes import node, server, until
from tests.net.peer.raw import RawLink, RawPeer, block, send
from tests.net.peer.test_policies import be_master, follow
from tests.net.peer.two_clusters import fill, network

LONG = "x" * 100_000


@asynccontextmanager
async def two(home: Path) -> AsyncIterator[tuple[Node, Node, str]]:
    """Nodes a and b, and the address of b, to which a has a link."""
    async with node(home / "a", "a") as (a, _), node(home / "b", "b") as (b, at_b):
        await linked(a, at_b)
        yield a, b, at_b


def links(made: Node) -> int:
    """Links that others have opened to a node."""
    return int(server(made).status().counters["links"])


async def linked(made: Node, peer: str) -> None:
    """The first answer shows the peer's kind, the second question takes a link."""
    for _ in range(2):
        await made.execute(f"run client {peer} get status")
    assert server(made).links.open_to(peer) is not None


async def test_a_connection_is_kept_after_the_first_answer(tmp_path: Path) -> None:
    async with node(tmp_path / "a", "a") as (a, _), node(tmp_path / "b", "b") as (b, at_b):
        said = (await a.execute(f"run client {at_b} get status")).text
        assert server(a).is_upgraded(at_b)
        assert links(b) == 0
        for _ in range(3):
            assert (await a.execute(f"run client {at_b} get status")).text == said
        assert links(b) == 1


async def test_texts_of_any_size_and_errors_come_back_on_it(tmp_path: Path) -> None:
    async with two(tmp_path) as (a, b, at_b):
        await b.execute("set echo queue on")
        for number in range(20):
            await b.execute(f"echo {number:02} {'é' * 30_000}")
        said = (await a.execute(f"run client {at_b} get echo queue")).text or ""
        assert said.count("é") == 20 * 30_000
        with pytest.raises(EdgeLakeError, match="not taken from other nodes"):
            await a.execute(f"run client {at_b} exit node")
        with pytest.raises(EdgeLakeError, match="not recoginzed"):
            await a.execute(f"run client {at_b} get nonsense")
        assert links(b) == 1


async def test_who_asks_a_lot_and_reads_nothing_is_not_read_either(tmp_path: Path) -> None:
    async with node(tmp_path, "b") as (b, at_b):
        await b.execute("set echo queue on")
        for number in range(10):
            await b.execute(f"echo {number:02} {'x' * 30_000}")
        link = await RawLink.open(at_b)
        await link.greeted()
        for number in range(150):
            link.write("get echo queue", job=(number, 1, 1, 0))
        await until(lambda: _is_busy(b))
        await asyncio.sleep(0.2)  # what would be worked on beyond the limit has been by now
        assert server(b).pool.total < 2 * MAX_REQUESTS
        for _ in range(150):
            assert len((await link.read()).data) > 10 * 30_000
        link.close()


async def _is_busy(made: Node) -> bool:
    return server(made).pool.total >= MAX_REQUESTS


async def test_what_nobody_answers_is_confirmed(tmp_path: Path) -> None:
    async with two(tmp_path) as (a, b, at_b):
        await b.execute("set echo queue on")
        await server(a).tell(at_b, "echo hello")
        await b.execute("get status")
        (shown,) = (await b.execute("get echo queue")).tables[0].rows
        assert "hello" in shown[2]


async def test_a_marked_peer_that_takes_no_greeting_is_asked_in_blocks(tmp_path: Path) -> None:
    async with node(tmp_path, "a") as (a, at_a), RawPeer() as raw:
        host, _, port = raw.address.rpartition(":")
        marked = bytearray(block("get status", raw.address, job=(1, 1, 1, 0)))
        marked[18:26] = mark_of((host, int(port)))
        await send(at_a, bytes(marked))
        assert (await raw.next()).data.decode() == f"a@{at_a} running"
        assert server(a).is_upgraded(raw.address)
        asking = asyncio.ensure_future(a.execute(f"run client {raw.address} get status"))
        asked = await raw.next()
        assert asked.command == "get status"
        await send(at_a, block("print", raw.address, data=b"raw is here", job=asked.job, info=4))
        assert "raw is here" in ((await asking).text or "")
        assert not server(a).is_upgraded(raw.address)


@pytest.mark.parametrize("own", [True, False], ids=["our own", "of another address"])
async def test_a_mark_that_was_copied_says_nothing(tmp_path: Path, own: bool) -> None:
    async with node(tmp_path, "a") as (a, at_a), RawPeer() as raw:
        host, _, port = (at_a if own else "127.0.0.1:9").rpartition(":")
        copied = bytearray(block("get status", raw.address, job=(1, 1, 1, 0)))
        copied[18:26] = mark_of((host, int(port)))
        await send(at_a, bytes(copied))
        await raw.next()
        assert not server(a).is_upgraded(raw.address)


@pytest.mark.parametrize(
    "first",
    [
        b"EL-UPGRADE" + bytes((9, 7)) + bytes(4),
        b"EL-UPGRADE" + bytes((1, 0)) + bytes(4),
        RawLink.GREETING + b"\xff" * 300,
        RawLink.GREETING + b"\0\0\0\x01",
    ],
    ids=["version", "takes nothing", "long frame", "short frame"],
)
async def test_what_is_wrong_costs_the_connection_alone(tmp_path: Path, first: bytes) -> None:
    async with node(tmp_path, "b") as (b, at_b):
        good = await RawLink.open(at_b)
        assert await good.greeted() == RawLink.GREETING
        wrong = await RawLink.open(at_b, first)
        assert await wrong.ended()
        good.write("get status")
        assert (await good.read()).data.decode() == f"b@{at_b} running"
        assert links(b) == 1
        wrong.close()
        good.close()


async def test_who_waits_on_a_link_that_ends_is_told(tmp_path: Path) -> None:
    async def ends(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if (await reader.read(16))[:10] == RawLink.GREETING[:10]:
            writer.write(RawLink.GREETING)
            await reader.read(1)
        writer.close()

    async with node(tmp_path, "a") as (a, at_a), await asyncio.start_server(ends, "127.0.0.1", 0) as ending:
        host, port = ending.sockets[0].getsockname()
        marked = bytearray(block("echo hello", f"{host}:{port}"))
        marked[18:26] = mark_of((host, port))
        await send(at_a, bytes(marked))
        await until(lambda: _knows(a, f"{host}:{port}"))
        with pytest.raises(EdgeLakeError, match=f"{host}:{port}") as caught:
            await a.execute(f"run client {host}:{port} get status")
        assert caught.value.number == 208


async def _knows(made: Node, peer: str) -> bool:
    return server(made).is_upgraded(peer)


async def test_a_node_that_was_restarted_is_asked_without_an_error(tmp_path: Path) -> None:
    async with two(tmp_path) as (a, b, at_b):
        port = at_b.rpartition(":")[2]
        await b.execute("exit tcp")
        await b.execute(f"run tcp server where external_ip = 127.0.0.1 and external_port = {port} and bind = true")
        assert (await a.execute(f"run client {at_b} get status")).text == f"b@{at_b} running"


async def test_rows_wait_for_who_merges_them_and_end_when_nobody_wants_more(tmp_path: Path) -> None:
    async with node(tmp_path, "b") as (b, at_b):
        await fill(b, [[f"2025-01-01 00:00:{n:02}", n, LONG, 1.0] for n in range(60)])
        link = await RawLink.open(at_b)
        await link.greeted()
        link.write("sql edge select * from t")
        for _ in range(WINDOW):
            assert (await link.read()).command == "job reply"
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.2):
                await link.read()
        link.write("get status", job=(8, 1, 1, 0))
        assert (await link.read()).data.decode() == f"b@{at_b} running"  # others don't wait for the rows
        link.write("event taken")
        assert (await link.read()).command == "job reply"
        link.write("event taken", error=1)
        await until(lambda: _is_idle(b))
        link.close()


async def _is_idle(made: Node) -> bool:
    return all(job.status != "Processing" for job in made.ctx.queries.jobs)


@pytest.mark.parametrize(
    "options",
    [
        "stat = false",
        "format = json:list and stat = false",
        "format = json:output and stat = false and timezone = Asia/Tokyo",
        "format = table and stat = false",
    ],
)
async def test_rows_that_nodes_print_are_those_that_are_read_here(tmp_path: Path, options: str) -> None:
    async with network(tmp_path) as net:
        sql = "select timestamp, name, value from t"
        in_blocks = await net.text(sql, options)
        for _, address in net.operators:
            await linked(net.asks, address)
        assert sorted(await net.text(sql, options)) == sorted(in_blocks)
        assert len(await net.rows(f"{sql} limit 9 offset 3")) == 9


@pytest.mark.parametrize(
    ("printed", "says"),
    [
        ("nonsense", "no JSON"),
        ('{"format":"table"}', "not known here"),
        ('{"format":"lines","outputs":[]}', "not those of the statement"),
        ('{"format":"lines","outputs":[{"title":1}]}', "expected a string"),
    ],
)
async def test_a_wrong_wish_for_printing_is_said(tmp_path: Path, printed: str, says: str) -> None:
    async with node(tmp_path, "b") as (b, at_b):
        await fill(b, [["2025-01-01 00:00:00", 1, "d", 1.0]])
        link = await RawLink.open(at_b)
        await link.greeted()
        link.write("sql edge select value from t", printed.encode())
        said = await link.read()
        assert said.error
        assert said.is_last
        assert says in said.data.decode()
        link.close()


async def test_a_master_of_our_kind_sends_what_changed_alone(tmp_path: Path) -> None:
    async with node(tmp_path / "m", "m") as (m, at_m), node(tmp_path / "n", "n") as (n, _):
        await be_master(m, at_m)
        await m.execute(f"blockchain push {json.dumps({'company': {'name': 'first'}})}")
        await follow(n, at_m)
        await until(lambda: _has(n, "first"))
        await until(lambda: _knows(n, at_m))
        await m.execute(f"blockchain push {json.dumps({'company': {'name': 'second'}})}")
        await until(lambda: _has(n, "second"))
        assert links(m) == 1


async def _has(made: Node, name: str) -> bool:
    return bool(made.ctx.policies.find("company", name=name))


async def with_files(a: Node, b: Node, home: Path) -> tuple[Path, Path]:
    """What a sends, and where b lets it write."""
    sent, place = home / "sent.bin", home / "place"
    place.mkdir()
    await b.execute(f"set peer files where write = {place} and read = {home}")
    return sent, place


@pytest.mark.parametrize("size", [0, 1, 1 << 20, (9 << 20) + 5], ids=str)
async def test_files_go_over_a_link_whole(tmp_path: Path, size: int) -> None:
    async with two(tmp_path) as (a, b, at_b):
        sent, place = await with_files(a, b, tmp_path)
        sent.write_bytes(bytes(n % 251 for n in range(1000)) * (size // 1000) + bytes(size % 1000))
        await a.execute(f"run client ({at_b}) file copy {sent} {place}/came.bin")
        assert (place / "came.bin").read_bytes() == sent.read_bytes()
        await a.execute(f"run client ({at_b}) file get {place}/came.bin {tmp_path}/back.bin")
        assert (tmp_path / "back.bin").read_bytes() == sent.read_bytes()
        assert links(b) == 1


async def test_a_refused_file_is_said_and_leaves_the_link(tmp_path: Path) -> None:
    async with two(tmp_path) as (a, b, at_b):
        sent, _ = await with_files(a, b, tmp_path)
        sent.write_bytes(bytes(20 << 20))
        with pytest.raises(EdgeLakeError, match="File write"):
            await a.execute(f"run client ({at_b}) file copy {sent} {tmp_path}/elsewhere.bin")
        assert not (tmp_path / "elsewhere.bin").exists()
        assert (await a.execute(f"run client {at_b} get status")).text == f"b@{at_b} running"
        assert links(b) == 1


async def test_a_file_that_breaks_off_leaves_nothing(tmp_path: Path) -> None:
    async with node(tmp_path, "b") as (b, at_b):
        place = tmp_path / "place"
        place.mkdir()
        await b.execute(f"set peer files where write = {place}")
        link = await RawLink.open(at_b)
        await link.greeted()
        command = f"file write {place}/half.bin"
        link.write(command, b"the first half", structure=5, is_last=False)
        assert (await link.read()).command == "event taken"
        link.write(command, structure=5, error=15)
        link.write("get status", job=(8, 1, 1, 0))
        assert (await link.read()).data.decode() == f"b@{at_b} running"
        link.write(command, b"the first half", job=(9, 1, 1, 0), structure=5, is_last=False)
        assert (await link.read()).command == "event taken"
        link.close()
        working = b.ctx.directories.path("prep_dir")
        await until(lambda: _is_empty(working))
        assert not list(place.iterdir())


async def _is_empty(folder: Path) -> bool:
    return not list(folder.glob("peer-*"))


async def test_as_many_files_as_may_come_at_a_time_all_arrive(tmp_path: Path) -> None:
    async with node(tmp_path, "b") as (b, at_b):
        await b.execute(f"set peer files where write = {tmp_path}")
        link = await RawLink.open(at_b)
        await link.greeted()
        for is_last in (False, True):
            for number in range(MAX_FILES):
                data = b"" if is_last else b"content"
                link.write(
                    f"file write {tmp_path}/f{number}", data, job=(number, 1, 1, 0), structure=5, is_last=is_last
                )
        for number in range(MAX_FILES):
            await until(lambda at=tmp_path / f"f{number}": _is_there(at))  # type: ignore[misc]
        link.close()


async def _is_there(file: Path) -> bool:
    return file.is_file() and file.read_bytes() == b"content"


async def test_a_disk_that_fails_is_said_to_who_sends_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    async with two(tmp_path) as (a, b, at_b):
        sent, place = await with_files(a, b, tmp_path)
        sent.write_bytes(bytes(9 << 20))
        monkeypatch.setattr(File, "append", full)
        with pytest.raises(EdgeLakeError, match="No space left"):
            await a.execute(f"run client ({at_b}) file copy {sent} {place}/came.bin")
        assert (await a.execute(f"run client {at_b} get status")).text == f"b@{at_b} running"


async def test_who_sends_more_of_a_file_than_it_may_is_let_go(tmp_path: Path) -> None:
    async with node(tmp_path, "b") as (b, at_b):
        await b.execute(f"set peer files where write = {tmp_path}")
        link = await RawLink.open(at_b)
        await link.greeted()
        for _ in range(3 * WINDOW):
            link.write(f"file write {tmp_path}/f", b"x" * 100_000, structure=5, is_last=False)
        assert await link.ended()
        link.close()


@asynccontextmanager
async def secured(home: Path, name: str, options: str = "ssl = true") -> AsyncIterator[tuple[Node, str]]:
    """A node whose links are encrypted; it and its address."""
    home.mkdir(parents=True, exist_ok=True)
    async with Node(home, name=name, caller=PROMPT) as made:
        port = free_port()
        await made.execute("create work directories")
        await made.execute(
            f"run tcp server where external_ip = 127.0.0.1 and external_port = {port} and bind = true and {options}"
        )
        yield made, f"127.0.0.1:{port}"


async def with_policy(asks: Node, of: Node, address: str, certificate: str = "") -> None:
    """Tell a node of another one and its certificate."""
    host, _, port = address.partition(":")
    body: dict[str, object] = {"name": "b", "company": "acme", "ip": host, "port": int(port), "type": "query"}
    body["certificate"] = certificate or str(of.ctx.variables.get("tcp_certificate"))
    await asks.execute(f"blockchain insert where policy = {json.dumps({'query': body})} and local = true")


def is_secure(made: Node, peer: str) -> bool:
    link = server(made).links.open_to(peer)
    return link is not None and bool(link.capabilities & Capability.TLS)


async def test_links_are_encrypted_when_the_other_side_takes_it(tmp_path: Path) -> None:
    async with node(tmp_path / "a", "a") as (a, _), secured(tmp_path / "b", "b") as (b, at_b):
        await linked(a, at_b)
        assert is_secure(a, at_b)
        await b.execute("set echo queue on")
        for number in range(20):
            await b.execute(f"echo {number:02} {'é' * 30_000}")
        said = (await a.execute(f"run client {at_b} get echo queue")).text or ""
        assert said.count("é") == 20 * 30_000


async def test_a_node_whose_policy_has_a_certificate_is_spoken_to_by_tls_from_the_first_word(tmp_path: Path) -> None:
    async with node(tmp_path / "a", "a") as (a, _), secured(tmp_path / "b", "b", "ssl_only = true") as (b, at_b):
        with pytest.raises(EdgeLakeError):
            await a.execute(f"run client ({at_b}, timeout = 1) get status")
        assert server(b).refused
        await with_policy(a, b, at_b)
        assert (await a.execute(f"run client {at_b} get status")).text == f"b@{at_b} running"
        assert is_secure(a, at_b)


async def test_another_certificate_than_that_of_the_policy_is_refused(tmp_path: Path) -> None:
    async with node(tmp_path / "a", "a") as (a, _), secured(tmp_path / "b", "b") as (b, at_b):
        async with secured(tmp_path / "c", "c") as (c, _):
            await with_policy(a, b, at_b, str(c.ctx.variables.get("tcp_certificate")))
        with pytest.raises(EdgeLakeError, match="another certificate"):
            await a.execute(f"run client {at_b} get status")
        assert links(b) == 0


async def test_nothing_is_sent_in_the_clear_to_a_node_that_has_a_certificate(tmp_path: Path) -> None:
    async with node(tmp_path / "a", "a") as (a, _), node(tmp_path / "b", "b") as (b, at_b):
        await with_policy(a, b, at_b, "bm9uZQ==")
        with pytest.raises(EdgeLakeError, match="it takes no TLS"):
            await a.execute(f"run client {at_b} get status")


async def test_a_node_of_tls_alone_takes_neither_blocks_nor_open_links(tmp_path: Path) -> None:
    async with secured(tmp_path, "b", "ssl_only = true") as (b, at_b):
        for first in (block("get status", "127.0.0.1:9"), RawLink.GREETING):
            link = await RawLink.open(at_b, first)
            assert await link.ended()
            link.close()
        wrong = await RawLink.open(at_b, b"EL-UPGRADE" + bytes((1, 15)) + bytes(4))
        assert (await wrong.greeted())[11] == 15
        wrong.writer.write(b"no client hello" * 10)
        assert await wrong.ended()
        wrong.close()
        assert server(b).refused == 3


def test_blocks_carry_the_mark_and_others_carry_none() -> None:
    (message,) = PeerReader(1000).feed(block("get status", "127.0.0.1:9"))
    assert message.mark == bytes(8)


@pytest.mark.parametrize("kept", [True, False], ids=["link", "blocks"])
async def test_what_a_peer_may_do_follows_the_users_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kept: bool
) -> None:
    async with two(tmp_path) as (a, b, at_b):
        if not kept:
            monkeypatch.setattr(Links, "is_known", lambda self, peer: False)
            monkeypatch.setattr(Links, "open_to", lambda self, peer: None)
        line = f"run client {at_b} get status"
        for _ in range(3):  # a command that comes again is kept ready
            assert (await a.execute(line)).text
        await b.execute("id add user where name = u and type = admin and password = long-enough-1")
        await b.execute("set user authentication on")
        with pytest.raises(EdgeLakeError):
            await a.execute(line)
        await b.execute("set permissions where user = anonymous and entry = peer and classes = (data)")
        assert (await a.execute(line)).text
