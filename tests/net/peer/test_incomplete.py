"""A member that lacks data of its cluster answers queries only when no other member does."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from edgelake.bench.processes import free_port
from edgelake.errors import EdgeLakeError
from tests.net.peer.clusters import Cluster
from tests.net.peer.nodes import until

SUSPENDED = "run data consumer where start_date = -1d and mode = suspend"
COUNT = '"select count(*) as n from t"'


async def counted(members: Cluster, number: int, *, options: str = "", nodes: str = "") -> int:
    sql = f"run client ({nodes}) sql plant stat = false and format = json {options} {COUNT}"
    reply = await members.node(number).execute(sql)
    assert reply.stream is not None
    text = b"".join([piece async for piece in reply.stream])
    return int(text.partition(b'"n":')[2].strip(b' "}]\n').split(b'"')[0])


async def statuses(members: Cluster, number: int) -> list[str]:
    return [one["Node Status"] for one in await members.data(number, "get data nodes where table = t")]


async def is_known(members: Cluster, number: int) -> None:
    async def has_both() -> bool:
        return len(await statuses(members, number)) == 2

    await until(has_both)


async def test_a_member_that_lacks_data_leaves_queries_to_the_others(tmp_path: Path) -> None:
    members = Cluster(tmp_path, [free_port(), free_port()])
    try:
        await members.start(0, without=["run data"])  # nothing is sent, only fetched
        await members.node(0).ingest("plant", "t", [{"v": value} for value in range(3)])
        await members.hold([0, 1, 2])
        second = await members.start(1, without=["run data consumer", "run data distributor"])
        await second.execute(SUSPENDED)
        await is_known(members, 0)
        # They are asked in turn; the one that lacks the rows declines each time.
        for _ in range(4):
            assert await counted(members, 0, options="and nodes = all") == 3
        assert await statuses(members, 0) == ["active", "incomplete"]
        assert (await members.data(1, "get consumer"))["is_complete"] is False
        # Who names it gets what is there.
        assert await counted(members, 0, nodes=f"127.0.0.1:{members.ports[1]}") == 0
        await second.execute("set consumer mode = active")
        await members.hold([0, 1, 2])

        async def is_complete() -> bool:
            return bool((await members.data(1, "get consumer"))["is_complete"])

        await until(is_complete)
        assert await counted(members, 0, nodes=f"127.0.0.1:{members.ports[1]}") == 3
        await is_known(members, 1)
        assert await statuses(members, 1) == ["active", "active"]
    finally:
        await members.stop(1)
        await members.stop(0)


async def test_a_member_that_lacks_data_answers_when_the_others_are_gone(tmp_path: Path) -> None:
    members = Cluster(tmp_path, [free_port(), free_port()])
    try:
        await members.start(0)
        await members.start(1)
        await members.node(0).ingest("plant", "t", [{"v": 1}])
        await members.hold([1])
        await is_known(members, 1)
        await members.node(1).execute("exit consumer")
        assert await statuses(members, 1) == ["active", "active"]
        await members.node(1).execute(SUSPENDED)
        await members.stop(0)
        assert await statuses(members, 1) == ["active", "incomplete"]
        assert await counted(members, 1) == 1
    finally:
        await members.stop(1)
        await members.stop(0)


async def committed(members: Cluster, number: int, nodes: str = "") -> int:
    if nodes:
        return await counted(members, number, options="and committed = true", nodes=nodes)
    reply = await members.node(number).execute(f"sql plant stat = false and committed = true {COUNT}")
    assert reply.stream is not None
    return int(json.loads(b"".join([piece async for piece in reply.stream]))["Query"][0]["n"])


async def test_rows_count_as_committed_when_every_member_has_them(tmp_path: Path) -> None:
    members = Cluster(tmp_path, [free_port(), free_port()])
    try:
        first = await members.start(0, without=["run data distributor"])
        await first.ingest("plant", "t", [{"v": value} for value in range(3)])
        await members.hold([0, 1, 2])
        second = await members.start(1, without=["run data consumer", "run data distributor"])
        with pytest.raises(EdgeLakeError) as unknown:
            await second.execute(f"sql plant committed = true {COUNT}")
        assert unknown.value.number == 175
        await second.execute(SUSPENDED)
        assert await committed(members, 0) == 0
        assert await committed(members, 0, f"127.0.0.1:{members.ports[0]}") == 0
        await second.execute("set consumer mode = active")
        await members.hold([0, 1, 2])

        async def is_committed() -> bool:
            await first.execute("set consumer mode = active")  # the members are asked at once
            return await committed(members, 0) == 3

        await until(is_committed)
        assert await committed(members, 0, f"127.0.0.1:{members.ports[0]}") == 3
        with pytest.raises(EdgeLakeError, match="committed"):
            await first.execute('sql plant committed = true "select a.v from t as a join t as b on a.v = b.v"')
    finally:
        await members.stop(1)
        await members.stop(0)


async def test_a_node_without_other_members_has_committed_all(tmp_path: Path) -> None:
    members = Cluster(tmp_path, [free_port()])
    try:
        node = await members.start(0)
        await node.ingest("plant", "t", [{"v": 1}])
        await members.hold([1])
        assert await committed(members, 0) == 1
    finally:
        await members.stop(0)
