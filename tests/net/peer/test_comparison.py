"""Members of a cluster compare what they hold in the background, over sockets."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from edgelake.bench.postgres_server import PostgresServer
from edgelake.command.api.problems import problems
from edgelake.command.cluster import CLUSTER
from edgelake.command.handlers.comparison import comparison_of
from edgelake.command.health import contents, health_of
from edgelake.errors import EdgeLakeError
from edgelake.ingest import comparison, consumer
from tests.net.peer.clusters import Cluster, cluster
from tests.net.peer.nodes import until

JANUARY, FEBRUARY = "par_t_2026_01_m01_at", "par_t_2026_02_m01_at"


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """No rest, no minute between two looks at what differs; members know soon what the others have."""
    monkeypatch.setattr(consumer, "ROUND_S", 0.2)
    monkeypatch.setattr(comparison, "REST", 0)
    monkeypatch.setattr(comparison, "SETTLE_S", 0)


def rows(*values: int) -> list[dict[str, Any]]:
    """The first in January, the others in February."""
    return [{"v": value, "at": f"2026-0{1 if n == 0 else 2}-05T00:00:00Z"} for n, value in enumerate(values)]


async def settle(members: Cluster, values: list[int], files: int = 1) -> None:
    """Until these rows are everywhere, and every member knows that every one has so many files of each."""
    await members.hold(values)
    await members.quiet()

    async def is_known() -> bool:
        for number in range(len(members.ports)):
            safe = await members.node(number).ctx.parts[CLUSTER].safe_ids()
            if min(safe.values()) < files or len(await members.data(number, "get data nodes")) < len(members.ports):
                return False
        return True

    await until(is_known)


@asynccontextmanager
async def filled(root: Path, count: int) -> AsyncIterator[Cluster]:
    """Members with two partitions; each has taken one file in."""
    async with cluster(root, count) as members:
        for number in range(count):
            await members.node(number).execute("partition plant t using at by month")
        for number in range(count):
            await members.node(number).ingest("plant", "t", rows(10 * number + 1, 10 * number + 2, 10 * number + 3))
        await settle(members, sorted(10 * n + v for n in range(count) for v in (1, 2, 3)))
        yield members


async def touch(members: Cluster, value: int) -> None:
    """Have a row come to February on every member, so that it is looked at again."""
    await members.node(0).ingest("plant", "t", [{"v": value, "at": "2026-02-06T00:00:00Z"}])

    async def is_there() -> bool:
        return all([value in await members.values(number) for number in range(len(members.ports))])

    await until(is_there)


async def compare(members: Cluster, number: int) -> dict[str, Any]:
    """Have a member compare, or take over what another one found; what it says of it."""
    running = comparison_of(members.node(number).ctx)
    assert running is not None
    await running.round()
    found: dict[str, Any] = await members.data(number, "get cluster comparison")
    assert found["last_error"] == ""
    return found


def told(found: dict[str, Any]) -> list[tuple[str, list[str]]]:
    """Partitions that differ, each with the members that do."""
    return [
        (look["place"]["partition"], [name.split()[0] for one in look["differing"] for name in one["odd"]])
        for look in found["report"]["looks"]
        if look["differing"]
    ]


async def test_what_differs_is_told_on_every_member_until_it_is_mended(tmp_path: Path) -> None:
    async with filled(tmp_path, 3) as members:
        found = await compare(members, 0)
        assert [(look["place"]["partition"], look["rows"]) for look in found["report"]["looks"]] == [
            (JANUARY, 3),
            (FEBRUARY, 6),
        ]
        assert told(found) == []
        await members.node(2).execute("sql plant update t set v = 99 where v = 12")
        await members.node(2).execute("sql plant delete from t where v = 3")
        await touch(members, 100)
        assert told(await compare(members, 0)) == [(FEBRUARY, ["op3", "op3"])]
        assert told(await compare(members, 1)) == [(FEBRUARY, ["op3", "op3"])]  # taken over
        for number in (0, 1):
            node = members.node(number)
            (entry,) = await members.data(number, "test cluster data")
            assert (entry["Equal"], entry["Equal Rows"]) == ("+", "-")  # the lists of files are the same
            shown = (await node.execute("test cluster data")).tables
            assert list(shown[1].rows[0][:3]) == ["plant", "t", 2]
            assert [(row[2], row[3], row[6].split()[0]) for row in shown[2].rows] == [
                (FEBRUARY, "1", "op3"),
                (FEBRUARY, "2", "op3"),
            ]
            (looked,) = [one for one in contents(members.root / f"m{number}") if one.verdict == "fail"]
            assert looked.what.startswith(f"plant.t, partition {FEBRUARY}: op3 127.0.0.1:{members.ports[2]} differs")
            assert "the 2 rows that member 2 took in have other values" in looked.what
            assert "of the rows that member 1 took in there are " in looked.what
            if (looking := health_of(node.ctx).refresh()) is not None:
                await looking
            (problem,) = [one for one in problems(node.ctx) if one.where == "Cluster"]
            assert (problem.weight, problem.what) == ("error", looked.what)
            differing = (await members.data(number, f"{problem.command} and end_date = +1d"))["differences"]
            assert [(one["member"], one["differs"]) for one in differing] == [("1", "rows"), ("2", "v min")]
        await members.node(2).execute("sql plant update t set v = 12 where v = 99")
        await members.node(2).execute("sql plant delete from t where tsd_name = '1' and tsd_id = 1")
        await members.node(2).execute("time file delete 1 from tsd_1")
        await settle(members, [1, 2, 3, 11, 12, 13, 21, 22, 23, 100])
        assert told(await compare(members, 0)) == []
        assert told(await compare(members, 1)) == []
        assert [one.verdict for one in contents(members.root / "m1")] == ["ok"]


async def test_members_that_cut_their_tables_otherwise_are_compared_by_time(tmp_path: Path) -> None:
    async with cluster(tmp_path, 2) as members:
        await members.node(0).execute("partition plant t using at by month")
        await members.node(0).ingest("plant", "t", rows(1, 2))
        await members.node(1).ingest("plant", "t", rows(3, 4))
        await settle(members, [1, 2, 3, 4])
        found = await compare(members, 0)
        assert [look["place"]["partition"] for look in found["report"]["looks"]] == [JANUARY, FEBRUARY, ""]
        assert told(found) == []
        await members.node(1).execute("sql plant delete from t where v = 2")
        await touch(members, 5)
        found = await compare(members, 0)
        assert [partition for partition, _ in told(found)] == [FEBRUARY, ""]


async def test_a_member_that_is_told_to_leaves_it_to_another_one(tmp_path: Path) -> None:
    async with filled(tmp_path, 2) as members:
        first = members.node(0)
        await first.execute("set cluster comparison where mode = suspend and time = 1 hour")
        found = await compare(members, 1)
        assert found["report"]["compared_by"].startswith("op2 ")
        assert len(found["report"]["looks"]) == 2
        said = await members.data(0, "get cluster comparison")
        assert (said["mode"], said["time"], said["compares"]) == ("suspend", 3600.0, False)
        for line in ("set cluster comparison", "set cluster comparison where time = 0 seconds"):
            with pytest.raises(EdgeLakeError):
                await first.execute(line)
        await first.execute("exit consumer")
        assert (await first.execute("get cluster comparison")).tables[0].rows[0][0] == "not active"


async def test_it_looks_for_changes_by_itself(tmp_path: Path) -> None:
    async with filled(tmp_path, 2) as members:
        await members.node(0).execute("set cluster comparison where time = 1 second")

        async def is_compared() -> bool:
            return len((await members.data(0, "get cluster comparison"))["report"]["looks"]) == 2

        await until(is_compared)


async def test_checksums_count_the_files_that_they_are_asked_for(tmp_path: Path) -> None:
    async with filled(tmp_path, 2) as members:
        node = members.node(0)
        line = "get table checksum where dbms = plant and table = t"
        found = (await node.execute(f"{line} and upto = (1 = 1 and 2 = 0)")).data
        assert [(origin, one["rows"], one["later"]) for origin, one in found.items()] == [("1", 3, 0), ("2", 0, 3)]
        limits = f"{line} and upto = (1 = 1) and column = at and from = 2026-01-01 and to = 2026-02-01"
        assert (await node.execute(limits)).data["1"]["rows"] == 1
        for wrong in ("and upto = (1 = x)", "and upto = (1 = 1) and column = v and from = 2026-01-01"):
            with pytest.raises(EdgeLakeError):
                await node.execute(f"{line} {wrong}")
        with pytest.raises(EdgeLakeError):
            await node.execute("test cluster rows where dbms = plant and table = t and partition = par_none")


async def test_rows_are_the_same_on_either_engine(tmp_path: Path, postgres: PostgresServer) -> None:
    postgres.sql("DROP DATABASE IF EXISTS plant WITH (FORCE)")
    async with cluster(tmp_path, 2) as members:
        second = members.node(1)
        await second.execute("disconnect dbms plant")
        server = postgres.server()
        await second.ctx.stores.connect("plant", kind="psql", server=server)
        for number in (0, 1):
            await members.node(number).execute("partition plant t using at by month")
        await members.node(0).ingest("plant", "t", rows(1, 2))
        await second.ingest("plant", "t", rows(3, 4))
        await settle(members, [1, 2, 3, 4])
        found = await compare(members, 0)
        assert (len(found["report"]["looks"]), told(found)) == (2, [])
        await second.execute("sql plant delete from t where v = 4")
        await touch(members, 5)
        assert told(await compare(members, 0)) == [(FEBRUARY, ["op1", "op2"])]
