"""Members of a cluster hold the same readings, over sockets."""

from __future__ import annotations

import asyncio
import gzip
from pathlib import Path

import msgspec
import pytest

from edgelake.bench.processes import free_port
from edgelake.command import peerfiles
from edgelake.errors import EdgeLakeError
from edgelake.net.peer.config import PeerConfig
from edgelake.net.rest.config import BodyLimits
from edgelake.peering import FileTarget
from tests.net.peer.clusters import Cluster, cluster
from tests.net.peer.nodes import until
from tests.net.peer.relay import Relay


def row(value: int) -> bytes:
    return b'{"v": %d}\n' % value


async def test_readings_and_files_reach_every_member_once(tmp_path: Path) -> None:
    async with cluster(tmp_path, 3) as members:
        await members.node(0).ingest("plant", "t", [{"v": 1}, {"v": 2}])
        await members.node(1).ingest("plant", "t", [{"v": 3}])
        members.drop(2, row(4))
        await members.hold([1, 2, 3, 4])
        await members.quiet()
        assert await members.values(0) == [1, 2, 3, 4]
        # Rows say which member took them in, and carry the same times on each.
        seen = [await members.values(n, "v, tsd_name, tsd_id, insert_timestamp") for n in range(3)]
        assert seen[0] == seen[1] == seen[2]
        assert [one[1].strip() for one in seen[0]] == ["1", "1", "2", "3"]
        compared = (await members.node(0).execute("test cluster data where format = json")).data
        assert [one["Equal"] for one in compared] == ["+"]
        # The archive of each member has all files, under one name.
        archives = [sorted(path.name for path in members.folder(n, "archive_dir").rglob("*.gz")) for n in range(3)]
        assert archives[0] == archives[1] == archives[2]
        assert len(archives[0]) == 3
        state = await members.data(0, "get distributor")
        assert [one["files"] for one in state["members"]] == [1, 1]
        processes = await members.data(0, "get processes")
        assert processes["Distributor"]["Details"] == "Files distributed: 1, Files waiting: 0"
        assert processes["Consumer"]["Status"] == "Running"


async def test_a_member_that_was_away_catches_up(tmp_path: Path) -> None:
    async with cluster(tmp_path, 3) as members:
        await members.node(0).ingest("plant", "t", [{"v": 1}])
        await members.hold([1])
        await members.stop(2)
        for value in (2, 3):
            await members.node(0).ingest("plant", "t", [{"v": value}])
            await members.node(1).ingest("plant", "t", [{"v": value + 10}])
        await members.hold([1, 2, 3, 12, 13])
        await members.start(2)
        await members.hold([1, 2, 3, 12, 13])
        await members.quiet()
        assert await members.values(2) == [1, 2, 3, 12, 13]


async def test_readings_acknowledged_just_before_a_stop_reach_the_others(tmp_path: Path) -> None:
    async with cluster(tmp_path) as members:
        await members.node(0).execute("set buffer threshold where time = 60 seconds and volume = 1MB")
        await members.node(0).ingest("plant", "t", [{"v": 1}])
        await members.stop(0)
        await members.start(0)
        await members.hold([1])


async def test_a_new_member_fetches_what_was_there_before_it(tmp_path: Path) -> None:
    members = Cluster(tmp_path, [free_port(), free_port()])
    try:
        await members.start(0, without=["run data"])
        for value in range(5):
            members.drop(0, row(value), f"plant.t.0.{value:032x}.0.json")
        await members.hold([*range(5)])
        await members.start(1, without=["run data distributor"])
        await members.hold([*range(5)])

        async def is_complete() -> bool:
            return bool((await members.data(1, "get consumer"))["is_complete"])

        await until(is_complete)
        (state,) = (await members.data(1, "get consumer"))["members"]
        assert (state["last_id"], state["complete_to"], state["fetched"]) == (5, 5, 5)
    finally:
        await members.stop(1)
        await members.stop(0)


async def test_a_file_that_is_too_long_for_a_member_holds_up_no_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(peerfiles, "FILE_BYTES", 1000)  # of what it holds unpacked
    members = Cluster(tmp_path, [free_port(), free_port()])
    try:
        await members.start(0, without=["run data"])
        expected: list[int] = []
        for values in ([9] * 200, [1], [2]):
            members.drop(0, b"".join(map(row, values)), f"plant.t.0.{len(expected):032x}.0.json")
            expected = sorted([*values, *expected])
            await members.hold(expected)
        await members.start(1, without=["run data distributor"])

        async def others_are_here() -> bool:
            return await members.values(1) == [1, 2]

        await until(others_are_here)
        (state,) = (await members.data(1, "get consumer"))["members"]
        assert (state["last_id"], state["complete_to"]) == (3, 0)

        async def is_told() -> bool:
            shown = await members.data(1, "get consumer")
            return not shown["is_complete"] and "does not send" in shown["members"][0]["last_error"]

        await until(is_told)
    finally:
        await members.stop(1)
        await members.stop(0)


def test_what_one_member_takes_in_the_others_take_from_it() -> None:
    (from_members,) = (one.default for one in msgspec.structs.fields(PeerConfig) if one.name == "file_bytes")
    limits = BodyLimits()
    assert peerfiles.FILE_BYTES == from_members >= max(limits.file_bytes, limits.total_bytes)


async def test_without_an_archive_a_new_member_gets_the_rows_of_the_table(tmp_path: Path) -> None:
    members = Cluster(tmp_path, [free_port(), free_port()])
    try:
        first = await members.start(0, without=["run data"], archive=False)
        rows = [
            {"v": value, "at": f"2026-01-01T00:00:0{value}.123456Z", "name": 'it\'s "ü"', "on": True, "part": 0.1}
            for value in range(3)
        ]
        await first.ingest("plant", "t", rows)
        members.drop(0, b'{"v": 3, "other": [1, 2]}')
        await members.hold([0, 1, 2, 3])
        assert not [*members.folder(0, "archive_dir").rglob("*.json*")]
        for path in members.folder(0, "distr_dir").iterdir():
            path.unlink()
        # As if they had been taken in long ago: lately taken in files may be on their way into the archive.
        await _make_older(members)
        await members.start(1, without=["run data distributor"])
        await members.hold([0, 1, 2, 3])
        columns = "v, at, name, on, part, other, tsd_name, tsd_id"
        assert await members.values(0, columns) == await members.values(1, columns)
    finally:
        await members.stop(1)
        await members.stop(0)


async def _make_older(members: Cluster) -> None:
    store = members.node(0).ctx.stores.get("almgm")
    sql = "UPDATE tsd_info SET file_time = file_time - 120000000"
    await store.change(lambda tx: tx.execute(sql).fetchall())


async def test_what_a_silent_member_took_in_comes_from_another_one(tmp_path: Path) -> None:
    members = Cluster(tmp_path, [free_port() for _ in range(3)])
    try:
        await members.start(0)
        await members.start(1)
        await members.node(0).ingest("plant", "t", [{"v": 1}])
        await members.hold([1])
        await members.stop(0)
        await members.start(2)
        await members.hold([1])
    finally:
        for number in range(3):
            await members.stop(number)


async def test_a_file_whose_answer_was_cut_off_is_stored_once(tmp_path: Path) -> None:
    relay = Relay()
    await relay.start()
    ports = [free_port(), free_port()]
    relay.to = ports[1]
    async with cluster(tmp_path, ports=ports, shown=[[ports[0], relay.port], ports]) as members:
        relay.drop_answers_of = b"file write"
        await members.node(0).ingest("plant", "t", [{"v": 1}])
        await asyncio.wait_for(relay.cut.wait(), 30)
        relay.drop_answers_of = b""
        await members.quiet()
        await members.hold([1])
    await relay.stop()


async def test_a_packed_file_that_is_damaged_on_its_way_is_refused_and_comes_again(tmp_path: Path) -> None:
    async with cluster(tmp_path) as members:
        peers, at = members.node(0).ctx.parts["peers"], f"127.0.0.1:{members.ports[1]}"
        await peers.ask([at], "get status")
        name, packed = "plant.t.0.1.0.1.1.260101000000.json.gz", gzip.compress(row(1))
        with pytest.raises(EdgeLakeError) as refused:
            await peers.send_file(at, name, packed[:-6], FileTarget.DELIVERY)
        assert refused.value.number == 100
        assert not list(members.folder(1, "watch_dir").iterdir())
        await peers.send_file(at, name, packed, FileTarget.DELIVERY)

        async def is_in() -> bool:
            return await members.values(1) == [1]

        await until(is_in)
        await members.quiet()
        (kept,) = members.folder(1, "archive_dir").rglob("*.gz")
        assert (kept.name, kept.read_bytes()) == (name, packed)
        with pytest.raises(EdgeLakeError) as known:
            await peers.send_file(at, name, packed, FileTarget.DELIVERY)
        assert known.value.number == 86


async def test_files_that_have_come_are_not_asked_for_until_they_are_entered(tmp_path: Path) -> None:
    async with cluster(tmp_path) as members:
        files = members.node(1).ctx.parts["cluster"].files
        seen: list[bool] = []
        files.listeners.append(lambda member, file_id, news: seen.append(files.has_arrived(member, file_id)))
        await members.node(0).ingest("plant", "t", [{"v": 1}])
        await members.hold([1])
        await members.quiet()
        assert seen == [True, False]


async def test_equal_files_at_two_members_are_one(tmp_path: Path) -> None:
    async with cluster(tmp_path) as members:
        members.drop(0, row(1))
        members.drop(1, row(1))
        await members.hold([1])
        await members.quiet()
        await members.hold([1])


async def test_a_suspended_consumer_asks_for_nothing(tmp_path: Path) -> None:
    members = Cluster(tmp_path, [free_port(), free_port()])
    try:
        await members.start(0, without=["run data"])
        members.drop(0, row(1))
        await members.hold([1])
        node = await members.start(1, without=["run data"])
        with pytest.raises(EdgeLakeError, match="no consumer"):
            await node.execute("set consumer mode = suspend")
        await node.execute("run data consumer where start_date = -1d and mode = suspend")
        state = await members.data(1, "get consumer")
        assert (state["mode"], state["last_round"], state["is_complete"]) == ("suspend", "", False)
        assert await members.values(1) == []
        await node.execute("set consumer mode = active")
        await members.hold([1])
    finally:
        await members.stop(1)
        await members.stop(0)


async def test_files_that_are_nowhere_any_more_are_asked_for_once(tmp_path: Path) -> None:
    members = Cluster(tmp_path, [free_port(), free_port()])
    try:
        await members.start(0, without=["run data"])
        members.drop(0, row(1))
        await members.hold([1])
        members.drop(0, row(2), "plant.t.1.0.0.json")
        await members.hold([1, 2])
        await members.node(0).execute("time file delete 1 from tsd_info")
        await members.start(1, without=["run data distributor"])

        async def is_complete() -> bool:
            return bool((await members.data(1, "get consumer"))["is_complete"])

        await until(is_complete)
        assert await members.values(1) == [2]
    finally:
        await members.stop(1)
        await members.stop(0)


async def test_who_is_no_member_gets_and_brings_nothing(tmp_path: Path) -> None:
    members = Cluster(tmp_path, [free_port(), free_port()])
    try:
        first = await members.start(0, without=["run data"])
        members.drop(0, row(1))
        await members.hold([1])
        second = await members.start(1, without=["run operator"])
        state = await members.data(1, "get consumer")
        assert state["members"] == []
        peers, at = first.ctx.parts["peers"], f"127.0.0.1:{members.ports[1]}"
        await peers.ask([at], "get status")
        with pytest.raises(EdgeLakeError, match="not taken into the watch directory"):
            await peers.send_file(at, "plant.t.0.1.0.1.1.260101000000.json", row(1), FileTarget.DELIVERY)
        assert await members.values(1) == []
        assert (await second.execute("get distributor where format = json")).data["members"] == []
    finally:
        await members.stop(1)
        await members.stop(0)


async def test_members_that_were_cut_off_from_each_other_meet_again(tmp_path: Path) -> None:
    ports, relays = [free_port(), free_port()], [Relay(), Relay()]
    for relay, port in zip(relays, ports, strict=True):
        relay.to = port
        await relay.start()
    shown = [[ports[0], relays[1].port], [relays[0].port, ports[1]]]
    async with cluster(tmp_path, ports=ports, shown=shown) as members:
        await members.node(0).ingest("plant", "t", [{"v": 1}])
        await members.hold([1])
        for relay in relays:
            relay.is_cut = True
            relay.break_all()
        await members.node(0).ingest("plant", "t", [{"v": 2}])
        await members.node(1).ingest("plant", "t", [{"v": 3}])

        async def fail() -> bool:
            states = [await members.data(number, "get distributor") for number in range(2)]
            return all(state["members"][0]["errors"] for state in states)

        await until(fail)
        assert [await members.values(n) for n in range(2)] == [[1, 2], [1, 3]]
        for relay in relays:
            relay.is_cut = False
        await members.hold([1, 2, 3])
        await members.quiet()
        assert [await members.values(n) for n in range(2)] == [[1, 2, 3], [1, 2, 3]]
    for relay in relays:
        await relay.stop()


async def test_where_the_rows_of_a_table_are(tmp_path: Path) -> None:
    async with cluster(tmp_path) as members:
        await members.node(0).ingest("plant", "t", [{"v": 1}, {"v": 2}])
        await members.hold([1, 2])

        async def is_known() -> bool:
            nodes = [await members.data(number, "get data nodes") for number in range(2)]
            return all(len(one) == 2 for one in nodes)

        await until(is_known)
        for number in range(2):  # an operator counts its own rows, too
            command = "get data distribution where dbms = plant and table = t"
            assert [(one["Node Name"], one["Rows"], one["Percent"]) for one in await members.data(number, command)] == [
                ("op1", 2, "100.00"),
                ("op2", 2, "100.00"),
            ]
        command = 'get data distribution where dbms = plant and table = t and where = "v > 1"'
        assert [one["Rows"] for one in await members.data(0, command)] == [1, 1]
        with pytest.raises(EdgeLakeError):
            await members.node(0).execute("get data distribution where dbms = plant and table = unknown")


async def test_what_differs_between_members_is_named(tmp_path: Path) -> None:
    async with cluster(tmp_path, 2) as members:
        for value in range(6):
            members.drop(0, row(value), f"plant.t.0.{value:032x}.0.json")
        members.drop(1, b'{"v": 6, "name": "a"}', "plant.t.0.6.0.json")
        await members.hold([*range(7)])
        await members.quiet()

        async def is_known() -> bool:
            return len(await members.data(0, "get data nodes")) == 2

        await until(is_known)
        command = "test cluster rows where end_date = +1d"
        same = await members.data(0, command)
        assert (same["tables"], same["members"], same["differences"]) == (1, 2, [])
        await members.node(1).execute("sql plant delete from t where v = 3")
        await members.node(1).execute("sql plant update t set name = 'b' where v = 6")
        (third,) = [row async for row in members.node(0).query("select tsd_id from plant.t where v = 3")]
        found = (await members.data(0, command))["differences"]
        assert [(one["member"], one["file_id"], one["differs"]) for one in found] == [
            ("1", third["tsd_id"], "rows"),
            ("2", 1, "name min"),
        ]
        assert [one["values"] for one in found] == [{"op1": "1", "op2": "0"}, {"op1": "a", "op2": "b"}]
        await members.stop(1)
        alone = await members.data(0, command)
        assert (alone["members"], alone["differences"], len(alone["silent"])) == (1, [], 1)


async def test_contents_that_counts_and_sums_do_not_tell_apart_are_named(tmp_path: Path) -> None:
    """One value for another that the column has as well; values that changed places between two rows."""
    async with cluster(tmp_path, 2) as members:
        members.drop(0, b'{"v": 1, "d": 0.5, "name": "a"}\n{"v": 2, "d": 2, "name": "b"}\n{"v": 3, "name": "c"}\n')
        members.drop(1, b'{"v": 4, "d": 1.5, "name": "x"}\n{"v": 5, "d": 7.25, "name": "y"}\n', "plant.t.0.1.0.json")
        await members.hold([*range(1, 6)])
        await members.quiet()

        async def is_known() -> bool:
            return len(await members.data(0, "get data nodes")) == 2

        await until(is_known)
        command = "test cluster rows where end_date = +1d"
        assert (await members.data(0, command))["differences"] == []
        for change in ("set name = 'c' where v = 2", "set name = 'y' where v = 4", "set name = 'x' where v = 5"):
            await members.node(1).execute(f"sql plant update t {change}")
        found = (await members.data(0, command))["differences"]
        assert [(one["member"], one["file_id"], one["differs"]) for one in found] == [
            ("1", 1, "name hash"),
            ("2", 1, "content 0"),
        ]


async def test_a_file_that_a_member_has_forgotten_is_fetched_again(tmp_path: Path) -> None:
    async with cluster(tmp_path) as members:
        await members.node(0).ingest("plant", "t", [{"v": 1}])
        await members.hold([1])
        await members.quiet()

        async def is_complete() -> bool:
            return bool((await members.data(1, "get consumer"))["is_complete"])

        await until(is_complete)
        await members.node(1).execute("sql plant delete from t where tsd_name = '1' and tsd_id = 1")
        await members.node(1).execute("time file delete 1 from tsd_1")
        await members.hold([1])


@pytest.mark.parametrize("archive", [True, False])
async def test_alone_in_its_cluster_a_member_keeps_nothing_for_others(tmp_path: Path, archive: bool) -> None:
    members = Cluster(tmp_path, [free_port()])
    try:
        node = await members.start(0, archive=archive)
        await node.ingest("plant", "t", [{"v": 1}])
        members.drop(0, row(2))
        await members.hold([1, 2])
        await members.quiet()
        await members.stop(0)  # it ends when all is archived
        assert not list((tmp_path / "m0" / "EdgeLake" / "data" / "distr").iterdir())
    finally:
        await members.stop(0)
