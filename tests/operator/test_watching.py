"""A file is taken at once when it is complete, and not before."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest

from edgelake.errors import EdgeLakeError
from edgelake.inputs.files import DirectoryWatcher
from tests.operator.node import running

LONG_S = 60.0


class Found:
    """Files that a watcher told of; ``next`` waits for one."""

    def __init__(self) -> None:
        self.queue: asyncio.Queue[Path] = asyncio.Queue()

    def __call__(self, path: Path) -> None:
        self.queue.put_nowait(path)

    async def next(self) -> str:
        return (await asyncio.wait_for(self.queue.get(), 10)).name


def watch(directory: Path, found: Found, *, scan_s: float = LONG_S, settle_s: float = LONG_S) -> DirectoryWatcher:
    watcher = DirectoryWatcher(
        directory, found, wanted=lambda name: name.endswith(".json"), scan_s=scan_s, settle_s=settle_s
    )
    watcher.start()
    return watcher


async def test_a_closed_file_and_a_renamed_one_are_told_by_notification(tmp_path: Path) -> None:
    found, watched = Found(), tmp_path / "watch"
    watched.mkdir()
    watcher = watch(watched, found)
    (watched / "closed.json").write_text("1")
    assert await found.next() == "closed.json"
    (tmp_path / "moved.json").write_text("1")
    (tmp_path / "moved.json").rename(watched / "moved.json")
    assert await found.next() == "moved.json"
    watcher.stop()


async def test_a_file_being_written_waits_for_its_close_however_long_the_writer_pauses(tmp_path: Path) -> None:
    found = Found()
    watcher = watch(tmp_path, found, scan_s=0.05, settle_s=0.02)
    with (tmp_path / "slow.json").open("w") as file:
        file.write("half")
        file.flush()
        (tmp_path / "other.json").write_text("1")
        assert await found.next() == "other.json"
        await asyncio.sleep(0.3)  # many scans and settle times: nothing may come
        assert found.queue.empty()
        file.write(" and the rest")
    assert await found.next() == "slow.json"
    watcher.stop()


async def test_a_linked_file_is_told_when_it_is_unchanged(tmp_path: Path) -> None:
    found, watched = Found(), tmp_path / "watch"
    watched.mkdir()
    (tmp_path / "whole.json").write_text("1")
    watcher = watch(watched, found, settle_s=0.05)
    os.link(tmp_path / "whole.json", watched / "linked.json")
    assert await found.next() == "linked.json"
    watcher.stop()


async def test_files_of_the_time_before_are_told_oldest_first(tmp_path: Path) -> None:
    for at, name in enumerate(("b.json", "a.json")):
        (tmp_path / name).write_text("1")
        os.utime(tmp_path / name, (1000 + at, 1000 + at))
    found = Found()
    watcher = watch(tmp_path, found)
    watcher._settle_s = 1.0
    watcher._look()
    assert [await found.next(), await found.next()] == ["b.json", "a.json"]
    watcher.stop()


async def test_names_of_work_in_progress_and_other_types_are_left_alone(tmp_path: Path) -> None:
    found = Found()
    watcher = watch(tmp_path, found, scan_s=0.05, settle_s=0.02)
    for name in ("a.json_tmp", ".hidden.json", "a.txt", "good.json"):
        (tmp_path / name).write_text("1")
    assert await found.next() == "good.json"
    assert found.queue.empty()
    watcher.stop()


async def test_a_file_is_told_once_until_it_is_released(tmp_path: Path) -> None:
    found = Found()
    watcher = watch(tmp_path, found, scan_s=0.02, settle_s=0.02)
    (tmp_path / "a.json").write_text("1")
    assert await found.next() == "a.json"
    await asyncio.sleep(0.1)
    assert found.queue.empty()
    watcher.release(tmp_path / "a.json")
    assert await found.next() == "a.json"
    watcher.stop()


async def test_a_directory_that_comes_back_is_watched_again(tmp_path: Path) -> None:
    found, watched = Found(), tmp_path / "watch"
    watched.mkdir()
    watcher = watch(watched, found, scan_s=0.05, settle_s=0.02)
    watched.rmdir()
    await asyncio.sleep(0.1)
    watched.mkdir()
    (watched / "a.json").write_text("1")
    assert await found.next() == "a.json"
    watcher.stop()


async def test_without_notifications_the_scan_finds_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def none(_: object) -> None:
        raise OSError("no inotify here")

    monkeypatch.setattr("edgelake.inputs.files.DirectoryWatch", none)
    found = Found()
    watcher = watch(tmp_path, found, scan_s=0.05, settle_s=0.02)
    assert not watcher.notified
    (tmp_path / "a.json").write_text("1")
    assert await found.next() == "a.json"
    watcher.stop()


async def test_a_missing_directory_is_error_35(tmp_path: Path) -> None:
    with pytest.raises(EdgeLakeError) as caught:
        watch(tmp_path / "none", Found())
    assert caught.value.number == 35


async def test_a_half_copied_file_is_stored_whole(tmp_path: Path) -> None:
    async with running(tmp_path) as node:
        with (node.folder("watch_dir") / "d.t.json").open("w") as file:
            file.write('{"a": 1}\n{"a"')
            file.flush()
            await asyncio.sleep(1.5)  # longer than the second after which an idle file counts as complete
            file.write(": 2}\n")
        await node.settled()
        assert await node.rows("SELECT a FROM t ORDER BY a") == [(1,), (2,)]
        assert node.names("err_dir") == []


async def test_many_files_at_once_with_several_threads(tmp_path: Path) -> None:
    line = "run operator where policy = !policy and threads = 3"
    async with running(tmp_path, line) as node:
        for number in range(60):
            node.drop(f"d.t{number % 3}.{number}.json", f'{{"a": {number}}}')
        await node.settled()
        assert await node.rows("SELECT a FROM t0 UNION SELECT a FROM t1 UNION SELECT a FROM t2 ORDER BY a") == [
            (number,) for number in range(60)
        ]
        assert len(node.names("archive_dir")) == 60
        assert sum(node.operator.calls) == 60
