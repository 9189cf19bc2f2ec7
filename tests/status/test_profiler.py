"""Profiles of requests and of the operator."""

from __future__ import annotations

import asyncio
import http.client
from pathlib import Path

import pytest

from edgelake.bench.processes import free_port
from edgelake.errors import CommandError
from edgelake.node import Node
from edgelake.profiling import Profiler
from tests.status.helpers import data, run, shown


def test_only_the_steps_of_the_target_are_counted() -> None:
    def inside() -> None:
        """Is counted."""

    def outside() -> None:
        """Is not."""

    async def work(turn: asyncio.Event) -> str:
        inside()
        await turn.wait()
        inside()
        raise ValueError("the end")

    async def scenario() -> None:
        profiler, turn = Profiler(), asyncio.Event()
        profiler.start("get")
        task = asyncio.create_task(profiler.run("get", work(turn)))
        await asyncio.sleep(0)
        outside()
        turn.set()
        with pytest.raises(ValueError, match="the end"):
            await task
        profiler.stop("get")
        lines = profiler.lines("get", 100)
        assert lines is not None
        calls = {line.function.rpartition("(")[2]: line.calls for line in lines}
        assert calls["inside)"] == 2
        assert "outside)" not in calls
        assert profiler.lines("put", 1) is None

    asyncio.run(scenario())


def test_a_cancelled_step_reaches_the_work() -> None:
    async def scenario() -> list[str]:
        ended: list[str] = []

        async def work() -> None:
            try:
                await asyncio.Event().wait()
            finally:
                ended.append("cleaned up")

        profiler = Profiler()
        profiler.start("get")
        task = asyncio.create_task(profiler.run("get", work()))
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        return ended

    assert asyncio.run(scenario()) == ["cleaned up"]


def test_requests_are_profiled_by_their_method(tmp_path: Path) -> None:
    def request(port: int, method: str, body: bytes | None, **headers: str) -> int:
        link = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
        link.request(method, "/", body, {"User-Agent": "AnyLog/1.23", **headers})
        status = link.getresponse().status
        link.close()
        return status

    async def scenario() -> None:
        port = free_port()
        async with Node(tmp_path) as node:
            ctx = node.ctx
            await node.execute("connect dbms plant where type = sqlite")
            await node.execute(f"run rest server where internal_ip = 127.0.0.1 and internal_port = {port}")
            assert "No profile of put" in await shown(ctx, "get profiler output where target = put")
            await node.execute("set profiler on where target = put")
            assert "-- in profiling mode" in await shown(ctx, "get status")
            assert (await data(ctx, "get status"))["profiling"] is True
            put = {"dbms": "plant", "table": "t", "mode": "streaming"}
            assert await asyncio.to_thread(request, port, "PUT", b'{"a": 1}', **put) == 200
            assert await asyncio.to_thread(request, port, "GET", None, command="get status") == 200
            await node.execute("set profiler off where target = put")
            assert (await data(ctx, "get status"))["profiling"] is False
            found = (await node.execute("get profiler output where target = put")).data
            functions = " ".join(line["function"] for line in found)
            assert "net/rest/data.py" in functions
            assert "net/rest/commands.py" not in functions
            assert "Profile of put" in await shown(ctx, "get profiler output where target = put")
            for line in ("set profiler on", "set profiler on where target = x", "get profiler output"):
                with pytest.raises(CommandError):
                    await node.execute(line)

    run(scenario)
