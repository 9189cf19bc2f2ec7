"""The query pool, and jobs: what runs, and how it is stopped."""

from __future__ import annotations

import asyncio
import json
import re
from pathlib import Path
from typing import Any

import pytest

from edgelake.command.render import reply_text
from edgelake.errors import CommandError, QueryStoppedError, ServiceError
from edgelake.model import Reply
from edgelake.node import Node

ENDLESS = "with recursive n(i) as (select 1 union all select i + 1 from n) select i from n"


async def said(node: Node, line: str) -> str:
    return reply_text(await node.execute(line))


async def whole(work: asyncio.Future[Reply]) -> bytes:
    reply = await work
    assert reply.stream is not None
    return b"".join([piece async for piece in reply.stream])


async def data(node: Node, line: str) -> Any:
    return json.loads(await said(node, f"{line} where format = json"))


async def test_the_query_pool_is_shown_and_counts(tmp_path: Path) -> None:
    async with Node(tmp_path) as node:
        await node.execute("connect dbms plant where type = sqlite")
        assert (await data(node, "get processes"))["Query Pool"] == {"Status": "Running", "Details": "Threads Pool: 8"}
        await node.execute("set query pool 3")
        assert await said(node, "get query pool") == f"{'Query Pool with 3 threads:':<60}[0, 0, 0] (0)"
        for _ in range(5):
            [row async for row in node.query("select 1 as one", dbms="plant")]
        reply = await node.execute("get query pool where details = true and reset = true")
        assert reply.data["total"] >= 5
        assert (await node.execute("get query pool")).data["total"] == 0
        assert "Query Pool with 3 threads:" in await said(node, "get system threads")
        for wrong in ("0", "1000"):
            with pytest.raises(CommandError):
                await node.execute(f"set query pool {wrong}")


async def test_a_query_that_runs_is_busy_and_goes_on_in_another_pool(tmp_path: Path) -> None:
    async with Node(tmp_path) as node:
        await node.execute("connect dbms plant where type = sqlite")
        reply = await node.execute(f"sql plant {ENDLESS}")
        assert reply.stream is not None
        assert await anext(reply.stream)
        await node.execute("set query pool 2")
        assert await anext(reply.stream)
        assert len((await node.execute("get query pool")).data["threads"]) == 2


async def test_a_closed_pool_takes_no_query_until_it_is_set(tmp_path: Path) -> None:
    async with Node(tmp_path) as node:
        await node.execute("connect dbms plant where type = sqlite")
        running = await node.execute(f"sql plant {ENDLESS}")
        assert running.stream is not None
        await anext(running.stream)
        await node.execute("exit workers")
        with pytest.raises((QueryStoppedError, ServiceError)):
            await anext(running.stream)
        assert await said(node, "get query pool") == "Query Pool is not declared"
        assert (await data(node, "get processes"))["Query Pool"]["Status"] == "Not declared"
        with pytest.raises(ServiceError, match="set query pool"):
            await node.execute("sql plant select 1 as one")
        await node.execute("set query pool 2")
        assert "Threads Pool: 2" in await said(node, "get processes")
        assert await node.execute("sql plant select 1 as one")


async def test_a_query_is_stopped_by_its_number(tmp_path: Path) -> None:
    async with Node(tmp_path) as node:
        await node.execute("connect dbms plant where type = sqlite")
        counted = asyncio.ensure_future(
            node.execute("sql plant " + ENDLESS.replace("select i from", "select count(*) as c from"))
        )
        for _ in range(1000):
            if (await node.execute("job active")).data:
                break
            await asyncio.sleep(0)
        (job,) = (await node.execute("job active all")).data
        assert (job["Job"], job["Type"]) == ("0", "query")
        assert "select count(*)" in job["Command"]
        for identity in (0, 2):
            with pytest.raises(CommandError, match="has ended"):
                await node.execute(f"job stop 0 where identity = {identity}")
        await node.execute("job stop 0 where identity = 1")
        with pytest.raises(QueryStoppedError):
            await whole(counted)
        assert (await node.execute("job active all")).data == []
        assert (await node.execute("job status")).data[0]["Status"] == "Stopped"
        assert "Stopped" in await said(node, "query status")


async def test_an_answer_that_nobody_reads_frees_its_place(tmp_path: Path) -> None:
    async with Node(tmp_path) as node:
        await node.execute("connect dbms plant where type = sqlite")
        replies = [await node.execute(f"sql plant {ENDLESS}") for _ in range(2)]
        for reply in replies:
            assert reply.stream is not None
            await anext(reply.stream)
        await node.execute("job stop all")
        assert (await node.execute("job active")).data == []
        for reply in replies:
            assert reply.stream is not None
            with pytest.raises(QueryStoppedError):
                await anext(reply.stream)


async def test_scheduled_tasks_are_jobs(tmp_path: Path) -> None:
    async with Node(tmp_path) as node:
        await node.execute("run scheduler 1")
        await node.execute("schedule name = n and time = 1 hour and start = +1d and task x = get node name")
        (job,) = (await node.execute("job active")).data
        assert (job["Job"], job["Type"], job["Count"]) == ("1.1", "task", 0)
        await node.execute("job run 1.1")
        assert (await node.execute("job status 1.1")).data[0]["Count"] == 1
        await node.execute("job stop 1.1")
        assert (await node.execute("job active")).data == []
        assert re.search(r"Stopped: Success", await said(node, "job status all"))
        for line in ("job status 7", "job stop 1.9", "job run x", "job active 3"):
            with pytest.raises(CommandError, match="no job"):
                await node.execute(line)


async def test_a_repeated_query_runs_to_its_end_and_its_answer_is_kept(tmp_path: Path) -> None:
    async with Node(tmp_path) as node:
        printed: list[str] = []
        node.ctx.console = lambda text, end="\n": printed.append(text)
        await node.execute("connect dbms plant where type = sqlite")
        await node.ingest("plant", "motor", [{"speed": 1480}, {"speed": 1520}])
        await node.execute("flush buffers")
        await node.execute("run scheduler 1")
        query = "select max(speed) as fastest from motor where insert_timestamp <= TIME(CURRENT)"
        await node.execute(f'schedule name = fastest and time = 0.05 seconds task sql plant stat = false "{query}"')
        task = node.ctx.scheduler.need(1).find("fastest", None)
        while task.runs < 3 and not task.error:  # noqa: ASYNC110 - tasks of a scheduler have no event of their own
            await asyncio.sleep(0.01)
        assert (task.error, task.status) == ("", "Success")
        assert json.loads(task.result) == {"Query": [{"fastest": 1520}]}
        assert '"fastest"' in "".join(printed)
        assert not [job for job in node.ctx.queries.jobs if job.ended is None]
