"""Thresholds, durability, widening and stored-before-acknowledged, as commands set them; counters as commands show."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from edgelake.errors import EdgeLakeError
from edgelake.ingest.streaming import StreamSettings, Threshold
from tests.ingest.helpers import OPERATOR, edge

NEVER = "set buffer threshold where time = 0 seconds and volume = 1GB"


async def test_a_threshold_by_volume_holds_for_the_next_buffer(tmp_path: Path) -> None:
    async with edge(tmp_path, NEVER) as node:
        await node.put("t", '{"a": 1}')
        await node.text("set buffer threshold where dbms = d and table = t and time = 0 seconds and volume = 20")
        await node.put("t", '{"a": 2, "pad": "more than twenty bytes"}')
        assert node.counts("t").cached_rows == 2
        await node.text("flush buffers")
        await node.put("t", '{"a": 3, "pad": "more than twenty bytes"}')
        await node.until(lambda: node.counts("t").stored_rows == 3)
        node.exact()


async def test_settings_given_before_the_journal_is_open_hold(tmp_path: Path) -> None:
    async with edge(tmp_path, NEVER, "set durability where level = fast", connected=False) as node:
        assert node.ingest.settings() == [StreamSettings(threshold=Threshold(0, 1 << 30), durability="fast")]
        await node.text("connect dbms d where type = sqlite")
        await node.put("t", '{"a": 1}')
        await node.until(lambda: node.counts("t").cached_rows == 1)
        (shown,) = await node.data("get streaming")
        assert (shown["table"], shown["Streaming Rows"], shown["Streaming Cached"]) == ("d.t", 1, 1)
        await node.text("flush buffers")
        (shown,) = await node.data("get streaming")
        assert (shown["Streaming Put"], shown["Streaming Cached"]) == (1, 0)
        config = await node.data("get streaming config")
        assert (config["Buffered_Rows"], config["Flushed_Rows"]) == (0, 1)


@pytest.mark.parametrize("level", ["durable", "fast", "memory"])
async def test_rows_of_every_level_are_stored(tmp_path: Path, level: str) -> None:
    async with edge(tmp_path, f"set durability where dbms = d and level = {level}") as node:
        for n in range(10):
            await node.put("t", f'{{"n": {n}}}')
        await node.text("flush buffers")
        await node.until(lambda: node.counts("t").stored_rows == 10)
        assert await node.rows("SELECT n FROM t ORDER BY n") == [(n,) for n in range(10)]


async def test_put_files_are_counted_beside_streamed_rows(tmp_path: Path) -> None:
    async def body() -> object:
        yield b'{"a": 1}\n{"a": 2}'

    async with edge(tmp_path) as node:
        await node.ctx.parts["put_file"]("d", "t", body())
        await node.put("t", '{"a": 3}')
        counts = node.counts("t")
        assert (counts.put_files, counts.put_rows, counts.rows) == (1, 2, 1)


async def test_without_widening_misfits_go_to_the_error_folder_and_the_rest_goes_in(tmp_path: Path) -> None:
    async with edge(tmp_path) as node:
        await node.put("t", '{"a": 1}')
        await node.ingest.flush()
        await node.text("set schema widening where dbms = d and value = off")
        await node.put("t", '{"a": 2}\n{"a": "high"}\n{"a": 3}')
        await node.ingest.flush()
        assert await node.rows("SELECT a FROM t ORDER BY row_id") == [(1,), (2,), (3,)]
        assert node.content("err_dir") == ['{"a": "high"}\n']
        assert (node.counts("t").stored_rows, node.counts("t").rejected_rows) == (3, 1)
        node.exact()


@pytest.mark.parametrize("operator", [False, True], ids=["alone", "operator"])
async def test_immediate_rows_are_stored_before_they_are_acknowledged(tmp_path: Path, operator: bool) -> None:
    lines = [OPERATOR + " and update_tsd_info = true"] if operator else []
    immediate = "set buffer threshold where dbms = d and write_immediate = true and time = 60 seconds"
    async with edge(tmp_path, *lines, immediate, tsd=operator) as node:
        for n in range(3):
            await node.put("t", f'{{"a": {n}}}')
            assert await node.rows("SELECT count(*) FROM t") == [(n + 1,)]
        await asyncio.gather(*(node.put("t", f'{{"a": {n}}}') for n in range(3, 20)))
        assert await node.rows("SELECT count(*) FROM t") == [(20,)]
        (shown,) = await node.data("get streaming")
        assert shown["Immediate"] == 20
        node.exact()
        if operator:
            inserts = await node.data("get operator inserts")
            assert inserts["d"]["t"][4:6] == [0, 20]
            await node.until(lambda: "".join(node.content("archive_dir")).count("\n") == 20)
            assert all(".0.@." in name for name in node.names("archive_dir"))


async def test_an_immediate_reply_counts_the_rows_that_the_table_refused(tmp_path: Path) -> None:
    async with edge(tmp_path, "set buffer threshold where dbms = d and write_immediate = true") as node:
        await node.put("t", '{"a": 1}')
        await node.text("set schema widening where value = off")
        stored = await node.put("t", '{"a": 2}\n{"a": "high"}')
        assert (stored.rows, stored.rejected) == (1, 1)
        assert "high" in stored.reason


async def test_names_that_break_file_names_are_refused_or_made_to_fit(tmp_path: Path) -> None:
    async with edge(tmp_path) as node:
        with pytest.raises(EdgeLakeError, match="cannot stand in a file name"):
            await node.put("t", '{"a": 1}', source="a.b")
        await node.put("My-Table.x", '{"a": 1}')
        await node.ingest.flush()
        assert await node.rows("SELECT a FROM my_table_x") == [(1,)]
