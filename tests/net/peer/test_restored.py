"""Members that come back from an old backup, empty, or with another clock."""

from __future__ import annotations

import shutil
from pathlib import Path

from edgelake.bench.processes import free_port
from tests.net.peer.clusters import Cluster
from tests.net.peer.nodes import until


async def test_what_a_member_takes_in_after_it_came_back_from_a_backup_reaches_the_others(tmp_path: Path) -> None:
    members = Cluster(tmp_path, [free_port(), free_port()])
    try:
        await members.start(0)
        await members.start(1)
        await members.node(0).ingest("plant", "t", [{"v": 1}])
        await members.hold([1])
        await members.quiet()
        await members.stop(0)
        home, backup = tmp_path / "m0", tmp_path / "backup"
        shutil.copytree(home, backup)
        await members.start(0)
        await members.node(0).ingest("plant", "t", [{"v": 2}])
        await members.hold([1, 2])
        await members.quiet()
        await members.stop(0)
        shutil.rmtree(home)
        backup.rename(home)
        await members.start(0)
        # Its journal gives the same position once more: these are other rows.
        await members.node(0).ingest("plant", "t", [{"v": 3}])

        async def are_there() -> bool:
            return await members.values(1) == [1, 2, 3]

        await until(are_there)
    finally:
        await members.stop(1)
        await members.stop(0)


async def test_a_member_that_is_replaced_by_an_empty_one_gets_what_the_others_took_in(tmp_path: Path) -> None:
    members = Cluster(tmp_path, [free_port(), free_port()])
    try:
        await members.start(0)
        await members.start(1)
        await members.node(0).ingest("plant", "t", [{"v": 1}])
        await members.hold([1])
        await members.quiet()
        await members.stop(1)
        await members.node(0).ingest("plant", "t", [{"v": 2}])
        shutil.rmtree(tmp_path / "m1")
        await members.start(1)
        await members.hold([1, 2])
    finally:
        await members.stop(1)
        await members.stop(0)


async def test_files_of_a_clock_that_was_wrong_are_fetched(tmp_path: Path) -> None:
    members = Cluster(tmp_path, [free_port(), free_port()])
    try:
        first = await members.start(0, without=["run data"], archive=False)
        for value in (1, 2, 3):
            await first.ingest("plant", "t", [{"v": value}])
            await members.hold([*range(1, value + 1)])

        async def are_handed_on() -> bool:
            return len(list(members.folder(0, "distr_dir").glob("*.json*"))) == 3

        await until(are_handed_on)
        for path in members.folder(0, "distr_dir").iterdir():
            path.unlink()
        store = first.ctx.stores.get("almgm")
        for file_id, days in ((1, -1), (2, 1), (3, -400)):  # put forward, then far back
            shift = days * 86_400_000_000
            sql = f"UPDATE tsd_info SET file_time = file_time + {shift} WHERE file_id = {file_id}"
            await store.change(lambda tx, sql=sql: tx.execute(sql).fetchall())
        await members.start(1, without=["run data distributor"])
        await members.hold([1, 2, 3])
    finally:
        await members.stop(1)
        await members.stop(0)
