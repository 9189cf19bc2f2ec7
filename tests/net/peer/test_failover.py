"""Operators that are gone, silent, or break off in the middle of their rows; those that come back."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from edgelake._rust import PeerReader, PeerRowWriter
from edgelake.bench.processes import free_port
from edgelake.metadata import returning
from edgelake.metadata.routing import ROUTING
from edgelake.query import gather
from tests.net.peer.nodes import until
from tests.net.peer.two_clusters import Net, insert, network


async def test_a_dead_member_of_a_cluster_costs_the_query_nothing(tmp_path: Path) -> None:
    async with network(tmp_path) as net:
        dead = {
            "name": "dead",
            "ip": "127.0.0.1",
            "local_ip": "127.0.0.1",
            "port": free_port(),
            "cluster": "cluster-a",
            "company": "acme",
            "main": True,
        }
        await insert(net.asks, {"operator": dead})
        for _ in range(4):  # whoever's turn it is
            assert await net.rows("select count(*) from t") == [{"count(*)": 14}]


async def test_partial_answers_are_given_only_when_asked_for_and_say_so(tmp_path: Path) -> None:
    async with network(tmp_path) as net:
        await net.operators[1][0].execute("exit tcp")
        failure = await net.failure("select count(*) from t")
        assert failure.number == 208
        assert net.operators[1][1] in str(failure)
        text = await net.text("select count(*) from t", "stat = true", "(subset = true)")
        assert json.loads(text)["Query"] == [{"count(*)": 7}]
        assert json.loads(text)["Statistics"][0]["Target Nodes"] == 2
        assert json.loads(text)["Statistics"][0]["Participating Nodes"] == 1


async def test_a_silent_node_is_named_when_the_time_is_over(tmp_path: Path) -> None:
    async def ignored(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    async with network(tmp_path) as net, await asyncio.start_server(ignored, "127.0.0.1", 0) as silent:
        at = f"127.0.0.1:{silent.sockets[0].getsockname()[1]}"
        failure = await net.failure("select count(*) from t", to=f"({net.operators[0][1]}, {at}, timeout = 1)")
        assert at in str(failure)
        assert net.operators[0][1] not in str(failure)
        found = await net.rows(
            "select count(*) from t", to=f"({net.operators[0][1]}, {at}, timeout = 1, subset = true)"
        )
        assert found == [{"count(*)": 7}]


@asynccontextmanager
async def mute() -> AsyncIterator[tuple[int, list[str]]]:
    """Port of a node that takes what comes and says nothing, and what came."""
    came: list[str] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        (message,) = PeerReader(1 << 16).feed(await reader.readexactly(2048))
        came.append(message.command)
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        yield server.sockets[0].getsockname()[1], came


@pytest.fixture
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nodes that are silent are soon asked whether they are there."""
    monkeypatch.setattr(gather, "QUIET_S", 0.1)
    monkeypatch.setattr(gather, "PROBE_S", 0.3)


@pytest.mark.usefixtures("hasty")
async def test_a_mute_operator_is_replaced_and_asked_no_more(tmp_path: Path) -> None:
    async with network(tmp_path) as net, mute() as (port, came):
        address = {"company": "acme", "ip": "127.0.0.1", "local_ip": "127.0.0.1", "port": port}
        await insert(net.asks, {"operator": {"name": "mute", "cluster": "cluster-a", "main": True, **address}})
        assert await net.rows("select count(*) from t") == [{"count(*)": 14}]
        assert [command.split()[0] for command in came[:2]] == ["sql", "get"]
        assert await net.rows("select count(*) from t") == [{"count(*)": 14}]
        assert not [command for command in came[2:] if command.startswith("sql")]


@pytest.mark.usefixtures("hasty")
async def test_a_mute_operator_is_left_out_when_some_are_enough(tmp_path: Path) -> None:
    async with network(tmp_path) as net, mute() as (port, came):
        table = [{"dbms": "edge", "name": "t", "status": "active"}]
        await insert(net.asks, {"cluster": {"company": "acme", "name": "m", "table": table, "id": "cluster-m"}})
        address = {"company": "acme", "ip": "127.0.0.1", "local_ip": "127.0.0.1", "port": port}
        await insert(net.asks, {"operator": {"name": "mute", "cluster": "cluster-m", **address}})
        failure = await net.failure("select count(*) from t")
        assert failure.number == 208
        assert f"127.0.0.1:{port}: it does not answer" in str(failure)
        came.clear()
        text = await net.text("select count(*) from t", "stat = true", "(subset = true)")
        assert json.loads(text)["Query"] == [{"count(*)": 14}]
        assert json.loads(text)["Statistics"][0]["Participating Nodes"] == 2
        assert not [command for command in came if command.startswith("sql")]


async def test_a_node_that_returns_is_found_without_a_query(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(returning, "FIRST_S", 0.05)
    async with network(tmp_path) as net:
        made, at = net.operators[0]
        routes = net.asks.ctx.parts[ROUTING]
        await made.execute("exit tcp")
        assert (await net.failure("select count(*) from t")).number == 208
        assert routes.silent().keys() == {at}

        async def asked_again() -> bool:
            return routes.silent()[at].failures > 2

        await until(asked_again)
        port = at.rpartition(":")[2]
        await made.execute(f"run tcp server where external_ip = 127.0.0.1 and external_port = {port} and bind = true")

        async def answers() -> bool:
            return not routes.silent()

        await until(answers)
        shown = await net.asks.execute("get members status")
        assert (at, "active") in [row[:2] for row in shown.tables[0].rows]


@asynccontextmanager
async def begins(*, goes_mute: bool) -> AsyncIterator[tuple[str, list[Any]]]:
    """Address of a node that sends some rows of its answer, then ends the connection or says nothing more; and the
    answers that it began."""
    backs: list[asyncio.StreamWriter] = []
    row = b'{"Query":[{"0":"1000","1":"1.5"}]}\n'

    async def begin(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        (request,) = PeerReader(1 << 20).feed(await reader.readexactly(2048))
        writer.close()
        if not request.command.startswith("sql"):
            return
        _, back = await asyncio.open_connection(*request.source)
        backs.append(back)
        back.write(PeerRowWriter(("127.0.0.1", port), request.job).rows(row * 200))
        await back.drain()
        if not goes_mute:
            back.close()

    async with await asyncio.start_server(begin, "127.0.0.1", 0) as listening:
        port = listening.sockets[0].getsockname()[1]
        yield f"127.0.0.1:{port}", backs
        for back in backs:
            back.close()


async def test_rows_that_break_off_fail_the_query_at_once(tmp_path: Path) -> None:
    """Nobody waits for the time limit."""
    async with network(tmp_path) as net, begins(goes_mute=False) as (at, _):
        failure = await net.failure("select name, value from t", to=f"({at}, timeout = 60)")
        assert failure.number == 15
        assert at in str(failure)


@pytest.mark.usefixtures("hasty")
async def test_a_node_that_goes_mute_in_the_middle_of_its_rows_is_found_out(tmp_path: Path) -> None:
    async with network(tmp_path) as net, begins(goes_mute=True) as (at, _):
        failure = await net.failure("select name, value from t", to=f"({at}, timeout = 60)")
        assert failure.number == 208
        assert f"{at}: it does not answer" in str(failure)


async def first_of_cluster_a(net: Net, at: str) -> None:
    host, _, port = at.partition(":")
    address = {"company": "acme", "ip": host, "local_ip": host, "port": int(port)}
    await insert(net.asks, {"operator": {"name": "broken", "cluster": "cluster-a", "main": True, **address}})


@pytest.mark.usefixtures("hasty")
@pytest.mark.parametrize("goes_mute", [True, False], ids=["mute", "ends"])
async def test_rows_of_a_member_that_breaks_off_are_dropped_and_another_one_is_asked(
    tmp_path: Path, goes_mute: bool
) -> None:
    for sql in ("select count(*), min(value) from t", "select name, value from t"):
        async with network(tmp_path / sql[7:12]) as net, begins(goes_mute=goes_mute) as (at, begun):
            whole = await net.rows(sql)
            await first_of_cluster_a(net, at)
            assert sorted(await net.rows(sql), key=str) == sorted(whole, key=str)
            assert len(begun) == 1


async def test_rows_that_were_given_out_are_never_given_out_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gather, "HELD_TO_PRINT_BYTES", 1000)
    async with network(tmp_path) as net, begins(goes_mute=False) as (at, _):
        await first_of_cluster_a(net, at)
        assert (await net.failure("select name, value from t")).number == 15
