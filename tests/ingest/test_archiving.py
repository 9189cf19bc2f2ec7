"""While an operator runs: batches are stamped, counted and archived, each once, also over crashes."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from edgelake.ingest import filing
from edgelake.ingest.names import FileName
from edgelake.store.stores import Stores
from tests.ingest.helpers import OPERATOR, Edge, edge

TSD = f"{OPERATOR} and update_tsd_info = true"


async def archived(node: Edge, files: int) -> list[FileName]:
    await node.until(lambda: len(node.names("archive_dir")) == files)
    return [FileName.parse(name) for name in node.names("archive_dir")]


async def test_a_batch_is_stamped_counted_and_archived(tmp_path: Path) -> None:
    async with edge(tmp_path, TSD, tsd=True) as node:
        await node.put("t", '[{"a": 1}, {"a": 2}]', source="s1")
        await node.ingest.flush()
        (name,) = await archived(node, 1)
        assert (name.dbms, name.table, name.source, name.member, name.tsd_id) == ("d", "t", "s1", 95, 1)
        assert node.content("archive_dir") == ['{"a": 1}\n{"a": 2}\n']
        assert await node.rows("SELECT DISTINCT tsd_name, tsd_id FROM t") == [("95", 1)]
        sql = "SELECT file_hash, source, rows FROM tsd_info"
        while await node.rows("SELECT 1 FROM _edgelake_batches"):  # noqa: ASYNC110 - see ``until``
            await asyncio.sleep(0.01)
        assert await node.rows(sql, "almgm") == [(name.hash, "s1", 2)]
        assert (await node.data("get operator json"))["d"]["t"][0] == 1
        assert (await node.data("get operator inserts"))["d"]["t"][4] == 2
        summary = await node.data("get operator summary")
        assert (summary["total rows"], summary["total errors"]) == (2, 0)


async def test_rows_of_several_sources_go_to_files_of_their_own(tmp_path: Path) -> None:
    async with edge(tmp_path, f"{TSD} and compress_json = false", tsd=True) as node:
        await node.text("set buffer threshold where time = 0 seconds and volume = 1GB")
        for n in range(6):
            await node.put("t", f'{{"a": {n}}}', source=f"s{n % 2}")
        await node.ingest.flush()
        names = await archived(node, 2)
        assert sorted(name.source for name in names) == ["s0", "s1"]
        assert sorted(node.content("archive_dir")) == [
            '{"a": 0}\n{"a": 2}\n{"a": 4}\n',
            '{"a": 1}\n{"a": 3}\n{"a": 5}\n',
        ]
        stamped = await node.rows("SELECT tsd_id, count(*) FROM t GROUP BY tsd_id ORDER BY tsd_id")
        assert stamped == [(1, 3), (2, 3)]


async def test_without_archive_no_file_is_written_and_rows_are_counted(tmp_path: Path) -> None:
    async with edge(tmp_path, f"{OPERATOR} and archive_json = false") as node:
        await node.put("t", '{"a": 1}')
        await node.ingest.flush()
        assert (await node.data("get operator inserts"))["d"]["t"][4] == 1
        assert await node.rows("SELECT tsd_name, tsd_id FROM t") == [("0", 0)]
        assert await node.rows("SELECT count(*) FROM _edgelake_batches") == [(0,)]
    assert not list(tmp_path.rglob("*.json.gz"))


async def test_an_archive_that_cannot_be_written_is_written_when_it_can(tmp_path: Path) -> None:
    async with edge(tmp_path, OPERATOR) as node:
        folder = node.ctx.directories.path("archive_dir")
        folder.rmdir()
        folder.write_text("a file stands in the way")
        await node.put("t", '{"a": 1}')
        await node.ingest.flush()
        assert await node.rows("SELECT a FROM t") == [(1,)]
        await node.until(lambda: "archive" in node.ingest.status().last_error)
        folder.unlink()
        folder.mkdir()
        await archived(node, 1)
        await node.until(lambda: node.ingest.status().last_error == "")


@pytest.mark.parametrize("again", [OPERATOR, ""], ids=["operator", "without"])
async def test_what_was_not_archived_is_archived_after_the_next_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, again: str
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError("no space")

    async with edge(tmp_path, OPERATOR) as node:
        with monkeypatch.context() as patched:
            patched.setattr(filing, "write_file", full)
            await node.put("t", '{"a": 1}\n{"a": 2}')
            await node.ingest.flush()
            await node.until(lambda: "no space" in node.ingest.status().last_error)
            await node.ctx.services.stop_all()
            await node.ingest.stop()
        assert node.names("archive_dir") == []
    async with edge(tmp_path, *([again] if again else [])) as node:
        await archived(node, 1)
        assert node.content("archive_dir") == ['{"a": 1}\n{"a": 2}\n']
        await node.put("t", '{"a": 3}')
        await node.ingest.flush()
        assert await node.rows("SELECT a FROM t ORDER BY a") == [(1,), (2,), (3,)]


async def test_tsd_rows_are_completed_when_the_operator_comes_back(tmp_path: Path) -> None:
    async with edge(tmp_path, TSD, tsd=True) as node:
        await node.text("exit operator")
        await node.put("t", '{"a": 1}')
        await node.ingest.flush()
        await node.text(TSD)
        await node.put("t", '{"a": 2}')
        await node.ingest.flush()
        assert await node.rows("SELECT tsd_name, tsd_id FROM t ORDER BY a") == [("0", 0), ("95", 1)]
        await archived(node, 1)
    stores = Stores(lambda: tmp_path / "EdgeLake" / "data" / "dbms")
    store = await stores.connect("almgm")
    assert await store.read(lambda db: db.execute("SELECT rows FROM tsd_info").fetchall()) == [(1,)]
    await stores.close()
