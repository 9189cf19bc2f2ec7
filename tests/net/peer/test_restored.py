"""Members that come back from an old backup, empty, or with another clock."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from edgelake.bench.processes import free_port
from edgelake.ingest import delivery, numbers
from tests.net.peer.clusters import Cluster, member_script
from tests.net.peer.nodes import until


@asynccontextmanager
async def pair(tmp_path: Path) -> AsyncIterator[Cluster]:
    """Two members that hold v = 1, which the first took in; nothing is on its way."""
    made = Cluster(tmp_path, [free_port(), free_port()])
    try:
        await made.start(0)
        await made.start(1)
        await made.node(0).ingest("plant", "t", [{"v": 1}])
        await made.hold([1])
        await made.quiet()
        yield made
    finally:
        await made.stop(1)
        await made.stop(0)


async def same_numbers(members: Cluster, values: list[int]) -> None:
    """Until both members hold the values, each once, and know each by the same number of the same member."""
    await members.hold(values)
    await members.quiet()
    first, second = [await members.values(number, "v, tsd_name, tsd_id") for number in (0, 1)]
    assert first == second
    assert len({row[1:] for row in first}) == len(values)


async def test_a_member_that_comes_back_from_a_backup_gets_what_it_took_in_itself_since(tmp_path: Path) -> None:
    async with pair(tmp_path) as members:
        await members.stop(0)
        home, backup = members.root / "m0", members.root / "backup"
        shutil.copytree(home, backup)
        await members.start(0)
        for value in (2, 3):
            await members.node(0).ingest("plant", "t", [{"v": value}])
            await members.hold([*range(1, value + 1)])
        await members.quiet()
        await members.stop(0)
        shutil.rmtree(home)
        backup.rename(home)
        await members.start(0)
        # Its journal gives the same positions once more: these are other rows, numbered behind the lost ones.
        await members.node(0).ingest("plant", "t", [{"v": 4}])
        await same_numbers(members, [1, 2, 3, 4])
        consumer = await members.data(0, "get consumer")
        (own,) = consumer["own"]
        assert (own["last_id"], own["complete_to"], own["fetched"]) == (3, 3, 2) or own["last_id"] == 4


@pytest.mark.parametrize("archive", [True, False], ids=["archive", "rows"])
async def test_a_member_that_is_empty_gets_what_it_took_in_itself(
    tmp_path: Path, archive: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(delivery, "SETTLE_S", 0.0)
    async with pair(tmp_path) as members:
        await members.node(1).ingest("plant", "t", [{"v": 2}])
        await members.hold([1, 2])
        await members.quiet()
        await members.stop(0)
        shutil.rmtree(members.root / "m0")
        if not archive:
            shutil.rmtree(members.folder(1, "archive_dir"))
            members.folder(1, "archive_dir").mkdir()
        await members.start(0)
        await members.node(0).ingest("plant", "t", [{"v": 3}])
        await same_numbers(members, [1, 2, 3])
        assert (await members.data(1, "test cluster rows"))["differences"] == []


async def test_rows_whose_list_of_files_was_lost_are_not_taken_in_again(tmp_path: Path) -> None:
    async with pair(tmp_path) as members:
        await members.node(1).ingest("plant", "t", [{"v": 2}])
        await members.hold([1, 2])
        await members.quiet()
        await members.stop(0)
        for path in (members.root / "m0" / "EdgeLake" / "data" / "dbms").glob("almgm.*"):
            path.unlink()
        await members.start(0)
        await members.node(0).ingest("plant", "t", [{"v": 3}])

        async def is_complete() -> bool:
            return bool((await members.data(0, "get consumer"))["is_complete"])

        await until(is_complete)
        await same_numbers(members, [1, 2, 3])


async def test_an_own_file_that_is_moved_back_into_the_watch_directory_is_dropped(tmp_path: Path) -> None:
    async with pair(tmp_path) as members:
        (kept,) = [path for path in members.folder(0, "archive_dir").rglob("*.json*") if path.is_file()]
        shutil.copy(kept, members.folder(0, "watch_dir") / kept.name)
        await members.quiet()
        await same_numbers(members, [1])
        assert not list(members.folder(0, "err_dir").iterdir())


async def test_numbers_wait_for_a_mute_member_only_so_long(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(numbers, "ANSWER_S", 0.5)

    async def take(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    async with await asyncio.start_server(take, "127.0.0.1", 0) as mute:
        members = Cluster(tmp_path, [free_port(), mute.sockets[0].getsockname()[1]])
        try:
            await members.start(0, without=["run data"])
            await members.node(0).ingest("plant", "t", [{"v": 1}])
            await members.hold([1])
            await members.node(0).execute("exit operator")
            await members.node(0).execute(member_script(1, members.ports[0])[5])
        finally:
            async with asyncio.timeout(10):  # nobody is waited for any more
                await members.stop(0)


async def test_numbers_do_not_wait_for_a_member_that_is_away(tmp_path: Path) -> None:
    members = Cluster(tmp_path, [free_port(), free_port()])
    try:
        await members.start(0)
        await members.node(0).ingest("plant", "t", [{"v": 1}])
        await members.hold([1])
    finally:
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
