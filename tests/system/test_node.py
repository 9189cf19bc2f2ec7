"""The whole node in this process: commands, readings, stop and start again."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from edgelake import Node
from edgelake.command.render import reply_text
from edgelake.errors import JournalError


async def count(node: Node, dbms: str, table: str) -> int:
    return sum((await node.ctx.stores.get(dbms).row_counts([table])).values())


def test_a_node_that_only_answers_leaves_no_files(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with Node(tmp_path, name="edge-1") as node:
            assert "edge-1@" in reply_text(await node.execute("get status"))

    asyncio.run(scenario())
    assert list(tmp_path.iterdir()) == []


def test_readings_survive_a_restart(tmp_path: Path) -> None:
    async def run(rows: bytes) -> int:
        async with Node(tmp_path) as node:
            await node.execute("create work directories")
            await node.execute("connect dbms plant where type = sqlite")
            await node.ingest("plant", "t", rows)
            await node.execute("flush buffers")
            return await count(node, "plant", "t")

    assert asyncio.run(run(b'{"value": 1}')) == 1
    assert asyncio.run(run(b'[{"value": 2}, {"value": 3}]')) == 3


def test_readings_wait_for_a_database_that_connects_later(tmp_path: Path) -> None:
    async def first() -> None:
        async with Node(tmp_path) as node:
            await node.execute("create work directories")
            await node.ingest("plant", "t", b'{"value": 1}')

    async def connected() -> int:
        async with Node(tmp_path) as node:
            await node.execute("connect dbms plant where type = sqlite")
            return await count(node, "plant", "t") if node.ctx.stores.table("plant", "t") else 0

    asyncio.run(first())
    asyncio.run(connected())
    assert asyncio.run(connected()) == 1


def test_several_nodes_in_one_process_and_one_per_home(tmp_path: Path) -> None:
    async def scenario() -> Any:
        homes = [tmp_path / "a", tmp_path / "b"]
        for home in homes:
            home.mkdir()
        async with Node(homes[0]) as a, Node(homes[1]) as b, Node(homes[0]) as again:
            for node in (a, b):
                await node.execute("create work directories")
                await node.execute("connect dbms plant where type = sqlite")
                await node.ingest("plant", "t", b'{"value": 1}')
            with pytest.raises(JournalError):
                await again.ingest("plant", "t", b'{"value": 1}')
            await a.execute("flush buffers")
            return await count(a, "plant", "t")

    assert asyncio.run(scenario()) == 1


IDLE = {
    "get synchronizer": "Not Running",
    "get local broker": "Message Broker Stat",
    "get blobs archiver": "Archiver not active",
    "get grpc clients": "No active gRPC clients",
    "get kafka clients": "No active Kafka consumers",
    "get msg clients": "No message client subscriptions",
    "get rest pool": "Rest Pool is not declared",
    "get operator": "Not Active",
    "get databases": "No DBMS connections found",
    "get partitions": "No partitions declared",
    "get platforms": "No connections to blockchain platforms",
    "test node": "Pass",
}


@pytest.mark.parametrize("line", IDLE)
def test_status_of_what_does_not_run_is_no_error(tmp_path: Path, line: str) -> None:
    async def scenario() -> tuple[str, Any]:
        async with Node(tmp_path) as node:
            as_json = reply_text(await node.execute(f"{line} where format = json"))
            return reply_text(await node.execute(line)), as_json

    text, as_json = asyncio.run(scenario())
    assert IDLE[line] in text
    json.loads(as_json)
