"""Where rows go when their database is not connected."""

from __future__ import annotations

import asyncio
from pathlib import Path

from edgelake.ingest.names import FileName
from tests.ingest.helpers import OPERATOR, edge


async def test_without_database_and_operator_a_flush_becomes_a_file_of_the_watch_directory(tmp_path: Path) -> None:
    async with edge(tmp_path, "run streamer", connected=False) as node:
        await asyncio.gather(*(node.put("t", f'[{{"a": {n}}}]', source="s1") for n in range(5)))
        await node.put("u", '{"b": 1}')
        await node.text("flush buffers")
        names = [FileName.parse(name) for name in node.names("watch_dir")]
        assert [(name.dbms, name.table, name.source) for name in names] == [("d", "t", "s1"), ("d", "u", "0")]
        text, _ = node.content("watch_dir")
        assert sorted(text.splitlines()) == [f'{{"a": {n}}}' for n in range(5)]
        node.exact()
        # An operator takes the files later.
        await node.text("connect dbms d where type = sqlite")
        await node.text(OPERATOR)
        await node.until(lambda: not node.names("watch_dir"))
        await node.ctx.services.get("operator").idle()
        assert await node.rows("SELECT a FROM t ORDER BY a") == [(n,) for n in range(5)]


async def test_with_an_operator_rows_wait_for_their_database(tmp_path: Path) -> None:
    async with edge(tmp_path, "run streamer", OPERATOR, connected=False) as node:
        await node.put("t", '{"a": 1}')
        await node.text("flush buffers")
        assert (node.names("watch_dir"), node.counts("t").cached_rows) == ([], 1)
        await node.text("connect dbms d where type = sqlite")
        await node.text("flush buffers")
        assert await node.rows("SELECT a FROM t") == [(1,)]
        assert node.names("watch_dir") == []


async def test_rows_of_an_earlier_run_wait_for_their_database_or_for_flush_buffers(tmp_path: Path) -> None:
    async with edge(tmp_path, connected=False) as node:
        await node.put("t", '{"a": 1}')
        await node.put("u", '{"a": 2}')
    async with edge(
        tmp_path, "run streamer", "set buffer threshold where time = 0.01 seconds", connected=False
    ) as node:
        await node.put("v", '{"a": 3}')
        await node.until(lambda: len(node.names("watch_dir")) == 1)
        assert (node.counts("t").cached_rows, node.counts("u").cached_rows) == (1, 1)
        await node.text("flush buffers")
        assert len(node.names("watch_dir")) == 3
    async with edge(tmp_path) as node:
        await node.ingest.flush()
        assert "t" not in node.ctx.stores.get("d").tables


async def test_a_connected_database_needs_no_streamer(tmp_path: Path) -> None:
    async with edge(tmp_path) as node:
        await node.put("t", '{"a": 1}')
        await node.until(lambda: node.counts("t").stored_rows == 1)
        await node.text("disconnect dbms d")
        await node.put("t", '{"a": 2}')
        assert node.counts("t").cached_rows == 1
        await node.text("connect dbms d where type = sqlite")
        await node.ingest.flush()
        assert await node.rows("SELECT a FROM t ORDER BY a") == [(1,), (2,)]
        node.exact()
