"""Messages that need no transport, and waits that share a timer."""

from __future__ import annotations

import asyncio
import socket
from contextlib import ExitStack
from pathlib import Path

import pytest

from edgelake.command.handlers import status
from edgelake.errors import EdgeLakeError
from edgelake.net.peer import short
from edgelake.net.peer.deadlines import Deadlines
from edgelake.net.peer.send import send
from edgelake.node import Node
from tests.net.peer.nodes import node, server, until
from tests.net.peer.raw import BLOCK, RawPeer, block


async def test_what_the_system_does_not_take_at_once_follows_when_the_peer_reads() -> None:
    content = bytes(range(256)) * (1 << 17)  # 32 MiB: more than both ends hold
    with socket.create_server(("127.0.0.1", 0)) as listening:
        rest = short.send_now("127.0.0.1", listening.getsockname()[1], content)
        assert rest is not None
        assert rest.is_connected
        came, _ = listening.accept()
        reader, writer = await asyncio.open_connection(sock=came)
        sending = asyncio.ensure_future(short.finish(rest, 20, 20))
        assert await reader.read() == content
        await sending
        writer.close()


async def test_a_peer_that_takes_nothing_is_given_up() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        rest = short.send_now("127.0.0.1", listening.getsockname()[1], bytes(32 << 20))
        assert rest is not None
        with pytest.raises(TimeoutError):
            await short.finish(rest, 20, 0.05)
        assert rest.opened.fileno() == -1


@pytest.mark.parametrize(
    ("host", "found"),
    [("127.0.0.1", "127.0.0.1"), ("0:0::1", "::1"), ("localhost", ""), ("127.1", ""), ("", "")],
)
def test_addresses_in_numbers_are_told_from_names(host: str, found: str) -> None:
    assert short.numeric(host)[1] == found


async def test_a_peer_may_have_a_name() -> None:
    async with RawPeer() as raw:
        port = raw.address.rpartition(":")[2]
        assert await send(f"localhost:{port}", block("echo hello", raw.address)) in ("127.0.0.1", "::1")
        assert (await raw.next()).command == "echo hello"


async def test_who_does_not_listen_is_named() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
    with pytest.raises(EdgeLakeError, match=f"127.0.0.1:{port}.*refused"):
        await send(f"127.0.0.1:{port}", block("echo hello", "127.0.0.1:9"))


async def test_each_wait_ends_at_its_own_time() -> None:
    loop, deadlines = asyncio.get_running_loop(), Deadlines()
    ended: list[str] = []

    def wait(name: str, seconds: float) -> asyncio.Future[None]:
        future: asyncio.Future[None] = loop.create_future()
        future.add_done_callback(lambda _: ended.append(name))
        deadlines.end(future, seconds)
        return future

    last, first, second = wait("last", 0.3), wait("first", 0.05), wait("second", 0.15)
    answered = wait("answered", 0.1)
    answered.set_result(None)
    deadlines.forget(answered)
    await asyncio.gather(last, first, second)
    assert ended == ["answered", "first", "second", "last"]
    assert len(deadlines) == 0


async def test_a_block_may_come_in_pieces_and_others_are_served_meanwhile(tmp_path: Path) -> None:
    async with node(tmp_path, "b") as (_, at_b), RawPeer() as raw:
        host, _, port = at_b.rpartition(":")
        request = block("get status", raw.address, job=(1, 1, 1, 0))
        _, slow = await asyncio.open_connection(host, int(port))
        slow.write(request[:100])
        assert (await raw.request(at_b, "get status", job=(2, 2, 1, 0))).job[0] == 2
        slow.write(request[100:])
        answer = await raw.next()
        assert answer.job[0] == 1
        assert answer.data.decode() == f"b@{at_b} running"
        slow.close()


async def test_a_connection_without_a_word_is_not_counted_any_more(tmp_path: Path) -> None:
    async with node(tmp_path, "b") as (b, at_b), RawPeer() as raw:
        host, _, port = at_b.rpartition(":")
        for _ in range(3):
            _, writer = await asyncio.open_connection(host, int(port))
            writer.close()
            await writer.wait_closed()
        for _ in range(3):
            assert "running" in (await raw.request(at_b, "get status", job=(3, 3, 1, 0))).data.decode()
        await until(lambda: _nobody_is_there(b))
        assert server(b).refused == 0


async def _nobody_is_there(made: Node) -> bool:
    return not server(made)._open


async def test_commands_that_take_no_waiting_are_counted_as_the_others(tmp_path: Path) -> None:
    async with node(tmp_path, "b") as (b, at_b), RawPeer() as raw:
        before = server(b).pool.total
        for command in ("get status", "get status", "get processes", "get\tstatus where format = json"):
            assert not (await raw.request(at_b, command, job=(4, 4, 1, 0))).error
        assert server(b).pool.total == before + 4
        rows = (await b.execute("get event log")).tables[0].rows
        assert sum(row[1] for row in rows if "get status" in str(row[-1])) == 3
        assert len(block("get status", raw.address)) == BLOCK


async def test_a_fault_of_a_command_that_takes_no_waiting_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with node(tmp_path / "a", "a") as (a, _), node(tmp_path / "b", "b") as (_, at_b), RawPeer() as raw:
        for _ in range(2):
            assert (await a.execute(f"run client {at_b} get status")).text == f"b@{at_b} running"
        with monkeypatch.context() as broken:
            broken.setattr(status, "full_name", lambda _: 1 / 0)
            assert "ZeroDivisionError" in (await raw.request(at_b, "get status", job=(5, 5, 1, 0))).data.decode()
            with pytest.raises(EdgeLakeError, match="ZeroDivisionError"):
                await a.execute(f"run client {at_b} get status")
        assert (await a.execute(f"run client {at_b} get status")).text == f"b@{at_b} running"


async def test_a_line_that_comes_again_sees_what_has_changed(tmp_path: Path) -> None:
    async with node(tmp_path, "b") as (b, at_b), RawPeer() as raw:
        for name in ("one", "two", "three"):
            await b.execute(f"set node name {name}")
            assert (await raw.request(at_b, "get status", job=(6, 6, 1, 0))).data.decode() == f"{name}@{at_b} running"
            await b.execute(f"place = {name}")
            assert (await b.execute("!place")).text == name
        refused = [await raw.request(at_b, "exit node", job=(7, 7, 1, 0)) for _ in range(3)]
        assert all("not taken from other nodes" in said.data.decode() for said in refused)


async def test_who_lets_nobody_in_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edgelake.net.peer.send.CONNECT_S", 0.05)
    with ExitStack() as kept:
        full = kept.enter_context(socket.create_server(("127.0.0.1", 0), backlog=0))
        port = full.getsockname()[1]
        for _ in range(2):  # the system keeps one more than it was asked to
            waiting = kept.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(("127.0.0.1", port))
        with pytest.raises(EdgeLakeError, match=f"127.0.0.1:{port}: no connection within 0.05 seconds"):
            await send(f"127.0.0.1:{port}", block("echo hello", "127.0.0.1:9"))
