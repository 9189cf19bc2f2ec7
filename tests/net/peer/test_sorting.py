"""Rows of several nodes that are put in order where the query was asked: in memory, beyond a bound on disk."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import random
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from edgelake._rust import Rows
from edgelake.errors import QueryStoppedError, QueryTooLargeError
from edgelake.query import spill
from edgelake.store.insert import Insertion
from tests.net.peer.two_clusters import Net
from tests.net.peer.two_clusters import network as two_clusters

ROWS = 5000
SQL = "select name, value from t where id = 99 order by value desc, name"


def content() -> list[dict[str, Any]]:
    drawn = random.Random(7)
    return [
        {
            "timestamp": "2025-03-01T00:00:00Z",
            "id": 99,
            "name": f"n{drawn.randrange(50)}" + "ö" * 30,
            "value": drawn.choice([None, drawn.randrange(400) / 4]),
        }
        for _ in range(ROWS)
    ]


@asynccontextmanager
async def network(home: Path) -> AsyncIterator[tuple[Net, list[dict[str, Any]]]]:
    rows = content()
    async with two_clusters(home) as net:
        for half, (made, _) in enumerate(net.operators):
            lines = "\n".join(json.dumps(row) for row in rows[half::2]).encode()
            parsed = await asyncio.to_thread(Rows.parse, lines, timezone="utc")
            await made.ctx.stores.get("edge").insert(Insertion("t", parsed, 0, tsd_name="128", tsd_id=2))
        yield net, rows


def unnamed_files() -> set[str]:
    """Temporary files that this process has open and that no name leads to."""
    found = set()
    for entry in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(OSError):  # of the listing itself
            target = os.readlink(entry)
            if target.startswith(spill.folder()) and target.endswith("(deleted)"):
                found.add(target)
    return found


def in_order(rows: list[dict[str, Any]]) -> list[tuple[Any, str]]:
    """Values from the largest on, nulls behind all; then names."""
    keys = [(row["value"], row["name"]) for row in rows]
    return sorted(keys, key=lambda key: (key[0] is None, -(key[0] or 0), key[1]))


async def test_rows_beyond_the_memory_bound_come_in_the_same_order(tmp_path: Path) -> None:
    before = unnamed_files()
    async with network(tmp_path) as (net, rows):
        kept = await net.rows(SQL)
        await net.asks.execute("set query mode using sort_memory = 50KB")
        spilled = await net.rows(SQL)
        assert [(row["value"], row["name"]) for row in spilled] == in_order(rows)
        assert sorted(spilled, key=str) == sorted(kept, key=str)
        assert unnamed_files() == before
        found = await net.rows("select distinct name from t where id = 99 order by name desc limit 3")
        names = sorted({row["name"] for row in rows}, reverse=True)
        assert [row["name"] for row in found] == names[:3]


async def test_rows_beyond_the_disk_bound_are_refused_and_leave_nothing(tmp_path: Path) -> None:
    before = unnamed_files()
    async with network(tmp_path) as (net, _):
        await net.asks.execute("set query mode using sort_memory = 50KB and sort_disk = 100KB")
        failure = await net.failure(SQL)
        assert isinstance(failure, QueryTooLargeError)
        assert "more than 102,400 bytes on disk" in str(failure) or "more than 100,000 bytes on disk" in str(failure)
        assert "sort_disk" in (failure.hint or "")
        assert unnamed_files() == before
        assert len(await net.rows("select name from t where id = 99 limit 5")) == 5


async def test_a_query_that_is_stopped_while_its_rows_go_to_disk_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = unnamed_files()
    spilling, go_on = asyncio.Event(), asyncio.Event()
    loop = asyncio.get_running_loop()
    spill_once = spill.SortedRows._spill

    def slowly(self: spill.SortedRows) -> None:
        spill_once(self)
        if unnamed_files() > before:
            loop.call_soon_threadsafe(spilling.set)
            asyncio.run_coroutine_threadsafe(go_on.wait(), loop).result()

    monkeypatch.setattr(spill.SortedRows, "_spill", slowly)
    async with network(tmp_path) as (net, _):
        await net.asks.execute("set query mode using sort_memory = 50KB")
        asked = asyncio.ensure_future(net.rows(SQL))
        await spilling.wait()
        assert unnamed_files() > before
        job = net.asks.ctx.queries.jobs.latest
        assert job is not None
        await net.asks.execute(f"job stop {job.number}")
        go_on.set()
        with pytest.raises(QueryStoppedError):
            await asked
        assert unnamed_files() == before


async def test_who_leaves_in_the_middle_of_sorted_rows_leaves_nothing(tmp_path: Path) -> None:
    before = unnamed_files()
    async with network(tmp_path) as (net, _):
        await net.asks.execute("set query mode using sort_memory = 50KB")
        reply = await net.asks.execute(f"run client () sql edge {SQL}")
        assert reply.stream is not None
        pieces = reply.stream
        assert await anext(pieces)
        assert unnamed_files() > before
        await pieces.aclose()  # type: ignore[attr-defined]
        assert unnamed_files() == before


async def test_bounds_are_shown_and_wrong_ones_refused(tmp_path: Path) -> None:
    async with two_clusters(tmp_path) as net:
        shown = (await net.asks.execute("get query mode")).data
        assert (shown["sort_memory"], shown["sort_disk"]) == (str(spill.MEMORY_BYTES), str(spill.DISK_BYTES))
        failure = await asyncio.gather(
            net.asks.execute("set query mode using sort_disk = much"), return_exceptions=True
        )
        assert "sort_disk = much" in str(failure[0])


SPILLING = """
import time
from edgelake.store import engine
connection = engine.open_temporary(1 << 16)
connection.execute("CREATE TABLE t (a)")
connection.execute("WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 20000) "
                   "INSERT INTO t SELECT randomblob(100) FROM n")
print(connection.execute("PRAGMA page_count").fetchone()[0], flush=True)
time.sleep(600)
"""


def test_files_of_a_node_that_is_killed_are_gone_with_it(tmp_path: Path) -> None:
    environment = {**os.environ, "SQLITE_TMPDIR": str(tmp_path)}
    with subprocess.Popen([sys.executable, "-c", SPILLING], stdout=subprocess.PIPE, env=environment) as child:
        assert child.stdout is not None
        assert int(child.stdout.readline()) > 400
        opened = [os.readlink(entry) for entry in Path(f"/proc/{child.pid}/fd").iterdir()]
        assert any(name.startswith(str(tmp_path)) for name in opened)
        child.kill()
    assert list(tmp_path.iterdir()) == []
