"""A publisher and its operators, over sockets."""

from __future__ import annotations

import asyncio
import gzip
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from edgelake.bench.processes import free_port
from edgelake.errors import EdgeLakeError
from edgelake.model import PROMPT
from edgelake.node import Node
from tests.net.peer.nodes import until
from tests.net.peer.publishing import operator_script, publisher_script, write_ledger
from tests.net.peer.relay import Relay


class Network:
    """A publisher and two operators."""

    def __init__(self, publisher: Node, operators: list[Node], addresses: list[str]) -> None:
        self.publisher, self.operators, self.addresses = publisher, operators, addresses

    def folder(self, name: str) -> Path:
        return Path(self.publisher.ctx.directories.path(name))

    def put(self, content: bytes, name: str = "plant.t.0.0.0.json") -> None:
        working = self.folder("prep_dir") / name
        working.write_bytes(content)
        working.rename(self.folder("watch_dir") / name)

    async def state(self) -> Any:
        return (await self.publisher.execute("get publisher where format = json")).data

    async def sent(self, count: int) -> None:
        async def are_sent() -> bool:
            return bool((await self.state())["files_sent"] == count)

        await until(are_sent)

    async def values(self, number: int) -> list[int]:
        """What is in the table at an operator."""
        node = self.operators[number]
        if (node.ctx.stores.table("plant", "t")) is None:
            return []
        return [row["v"] async for row in node.query("select v from plant.t order by v")]

    async def arrived(self, expected: list[int]) -> None:
        async def are_there() -> bool:
            return sorted(await self.values(0) + await self.values(1)) == expected

        await until(are_there)


@asynccontextmanager
async def network(root: Path, shown: list[int] | None = None) -> AsyncIterator[Network]:
    """``shown``: ports that the policies name, in place of those of the operators."""
    ports = [free_port(), free_port()]
    async with AsyncExitStack() as stack:
        nodes = []
        scripts = [publisher_script(free_port()), *(operator_script(n, port) for n, port in enumerate(ports, 1))]
        for name, script in zip("pab", scripts, strict=True):
            write_ledger(root / name, [shown[n] if shown and name == "p" else port for n, port in enumerate(ports)])
            node = await stack.enter_async_context(Node(root / name, name=name, caller=PROMPT))
            for line in script:
                await node.execute(line)
            nodes.append(node)
        yield Network(nodes[0], nodes[1:], [f"127.0.0.1:{port}" for port in ports])


def row(value: int) -> bytes:
    return b'{"v": %d}\n' % value


async def test_rows_and_files_go_to_operators_in_turn(tmp_path: Path) -> None:
    async with network(tmp_path) as net:
        for value in range(6):
            net.put(row(value), f"plant.t.0.{value:032x}.0.json")
        await net.publisher.ingest("plant", "t", [{"v": 6}, {"v": 7}])
        (net.folder("watch_dir") / "plant.t.1.0.0.json.gz").write_bytes(gzip.compress(row(8)))
        await net.arrived([*range(9)])
        await net.sent(8)
        assert await net.values(0)
        assert await net.values(1)
        assert list(net.folder("watch_dir").iterdir()) == []
        kept = sorted(path.name for path in net.folder("bkup_dir").iterdir())
        assert len(kept) == 8
        assert all(name.endswith(".json.gz") for name in kept)
        assert not list((net.publisher.ctx.directories.root / "data" / "publisher").iterdir())
        processes = (await net.publisher.execute("get processes where format = json")).data
        assert processes["Publisher"] == {"Status": "Running", "Details": "Files sent: 8, Files waiting: 0"}
        state = await net.state()
        assert sorted(one["destination"] for one in state["destinations"]) == sorted(net.addresses)


async def test_equal_readings_of_two_nodes_are_two_readings(tmp_path: Path) -> None:
    names = set()
    for place in ("a", "b"):
        # As in two containers: the same paths, the same position, the same content.
        home = tmp_path / "node"
        async with Node(home, caller=PROMPT) as node:
            await node.execute("create work directories")
            await node.execute("run streamer")
            await node.ingest("plant", "t", [{"v": 1}])
            await node.execute("flush buffers")
            names |= {path.name for path in (home / "EdgeLake" / "data" / "watch").glob("*.json")}
        home.rename(tmp_path / place)
    assert len(names) == 2


async def test_data_goes_where_the_owner_says(tmp_path: Path) -> None:
    async with network(tmp_path) as net:
        first, second = net.addresses
        await net.publisher.execute(f"set data distribution where dbms = plant and table = * and dest = {second}")
        for value in range(4):
            net.put(row(value), f"plant.t.0.{value:032x}.0.json")
        await net.arrived([*range(4)])
        assert await net.values(1) == [*range(4)]
        await net.publisher.execute(f"set data distribution where dbms = plant and table = t and dest = {first}")
        entries = (await net.publisher.execute("get publisher distribution where format = json")).data
        assert entries == [
            {"dbms": "plant", "table": "*", "destination": second},
            {"dbms": "plant", "table": "t", "destination": first},
        ]
        net.put(row(4), "plant.t.0.4.0.json")
        await net.arrived([*range(5)])
        assert await net.values(0) == [4]
        await net.publisher.execute("set data distribution where dbms = plant and table = t and remove = true")
        with pytest.raises(EdgeLakeError, match="no such destination"):
            await net.publisher.execute("set data distribution where dbms = plant and table = t and remove = true")


async def test_an_operator_that_refuses_is_passed_over(tmp_path: Path) -> None:
    async with network(tmp_path) as net:
        await net.operators[0].execute("reset peer files")
        for value in range(6):
            net.put(row(value), f"plant.t.0.{value:032x}.0.json")
        await net.arrived([*range(6)])
        assert await net.values(0) == []
        (refusing,) = [d for d in (await net.state())["destinations"] if d["destination"] == net.addresses[0]]
        assert "watch_dir = true" in refusing["last_error"]


async def test_files_wait_while_no_operator_answers(tmp_path: Path) -> None:
    async with network(tmp_path) as net:
        for node in net.operators:
            await node.execute("exit tcp")
        net.put(row(1))

        async def failed() -> bool:
            return len([d for d in (await net.state())["destinations"] if d["errors"]]) == 2

        await until(failed)
        assert len(list(net.folder("watch_dir").iterdir())) == 1
        for node, address in zip(net.operators, net.addresses, strict=True):
            port = address.rpartition(":")[2]
            await node.execute(
                f"run tcp server where external_ip = 127.0.0.1 and external_port = {port} and bind = true"
            )
        await net.arrived([1])


async def test_what_no_operator_takes_is_in_the_error_folder(tmp_path: Path) -> None:
    async with network(tmp_path) as net:
        await net.publisher.execute(f"set data distribution where dbms = plant and dest = {net.addresses[0]}")
        net.put(row(1))
        await net.arrived([1])
        await net.sent(1)
        net.put(row(1))  # the same content once more
        net.put(b"insert into t values (1)", "plant.t.0.0.0.insert.sql")
        (net.folder("watch_dir") / "plant.t.0.cut.0.json.gz").write_bytes(gzip.compress(row(3) * 1000)[:-20])

        async def refused() -> bool:
            return bool((await net.state())["files_refused"] == 3)

        await until(refused)
        net.put(row(2))
        await net.arrived([1, 2])
        names = sorted(path.name for path in net.folder("err_dir").iterdir() if not path.name.endswith(".reason"))
        assert [name.split(".err_")[1].partition(".")[0] for name in names] == ["119", "86", "100"]


async def test_a_file_whose_answer_was_cut_off_is_stored_once(tmp_path: Path) -> None:
    relay = Relay()
    await relay.start()
    async with network(tmp_path, shown=[relay.port, free_port()]) as net:
        relay.to = int(net.addresses[0].rpartition(":")[2])
        relay.drop_answers_of = b"file write"
        net.put(row(1))
        await asyncio.wait_for(relay.cut.wait(), 30)

        async def is_held() -> bool:
            return any(d["held"] for d in (await net.state())["destinations"])

        await net.arrived([1])
        await until(is_held)
        relay.drop_answers_of = b""
        net.put(row(2), "plant.t.0.2.0.json")
        await net.sent(2)
        await net.arrived([1, 2])
        assert list(net.folder("watch_dir").iterdir()) == []
        assert not list(net.folder("err_dir").iterdir())
    await relay.stop()


async def test_a_publisher_and_an_operator_do_not_share_a_node(tmp_path: Path) -> None:
    async with network(tmp_path) as net:
        with pytest.raises(EdgeLakeError, match="exit operator"):
            await net.operators[0].execute("run publisher")
        with pytest.raises(EdgeLakeError, match="exit publisher"):
            await net.publisher.execute(operator_script(1, 1)[-1])
        await net.publisher.execute("exit publisher")
        assert (await net.publisher.execute("get publisher")).text == "Publisher not active"
