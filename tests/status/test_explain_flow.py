"""``explain flow`` on flows that work, and on flows that stop."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from edgelake.bench.processes import free_port
from edgelake.errors import EdgeLakeError
from edgelake.node import Node
from tests.system.program import OPERATOR, Program

READING = '{"timestamp": "2026-01-01T00:00:00Z", "value": 1.5}'
TOPIC = (
    "run msg client where broker = local and topic = (name = {name} and dbms = plant and table = motor"
    " and column.timestamp.timestamp = bring [timestamp] and column.value.float = bring [value])"
)


@asynccontextmanager
async def node(home: Path, *lines: str, broker: bool = True) -> AsyncIterator[Callable[[str], Awaitable[Any]]]:
    async with Node(home) as made:

        async def execute(line: str) -> Any:
            return (await made.execute(line)).data

        if broker:
            where = f"external_ip = 127.0.0.1 and external_port = {free_port()} and bind = true"
            await execute(f"run message broker where {where}")
        for line in lines:
            await execute(line)
        yield execute


def states(found: dict[str, Any]) -> dict[str, str]:
    return {stage["stage"]: stage["state"] for stage in found["stages"]}


def counts(found: dict[str, Any], stage: str) -> dict[str, int]:
    one: dict[str, int] = next(each for each in found["stages"] if each["stage"] == stage)["counts"]
    return one


async def publish(execute: Callable[[str], Awaitable[Any]], topic: str, payload: str) -> None:
    await execute(f"mqtt publish where broker = local and topic = {topic} and message = {payload}")


async def test_a_flow_that_works(tmp_path: Path) -> None:
    async with node(tmp_path, "connect dbms plant where type = sqlite", TOPIC.format(name="sensors")) as execute:
        before = await execute("explain flow sensors")
        assert before["stopped_at"] is None
        assert states(before)["topic"] == "idle"
        for _ in range(3):
            await publish(execute, "sensors", READING)
        await execute("flush buffers")
        found = await execute("explain flow sensors")
        assert (found["kind"], found["stopped_at"]) == ("topic", None)
        assert counts(found, "topic") == {"messages": 3}
        assert counts(found, "mapping") == {"mapped": 3, "failed": 0}
        assert counts(found, "buffer") == {"rows": 3, "waiting": 0}
        assert counts(found, "table") == {"stored": 3, "kept out": 0}
        assert states(found)["database"] == "note"  # there is no operator
        by_table = await execute("explain flow plant.motor")
        assert by_table["kind"] == "table"
        assert [s for s in by_table["stages"] if s["stage"] != "journal"] == [
            s for s in found["stages"] if s["stage"] != "journal"
        ]


async def test_rows_of_rest_are_followed_by_their_table(tmp_path: Path) -> None:
    with Program(tmp_path, OPERATOR + "partition plant t using timestamp by 1 day\n") as running:
        assert running.put(READING.encode())[0] == 200
        running.post("flush buffers")
        running.until(lambda: running.data("explain flow t")["stages"][-1]["state"] == "ok")
        found = running.data("explain flow t")
        assert found["stopped_at"] is None
        assert set(states(found).values()) == {"ok"}
        text = running.get("explain flow t")
        assert "Table t: no stage stops it" in text
        assert "a partition each 1 day" in text


async def test_nobody_subscribes(tmp_path: Path) -> None:
    async with node(tmp_path, "connect dbms plant where type = sqlite") as execute:
        with pytest.raises(EdgeLakeError, match="Non-subscribed topic"):
            await publish(execute, "sensors/7", READING)
        found = await execute("explain flow sensors/7")
        assert found["stopped_at"] == "topic"
        assert "no message client subscribes to 'sensors/7'" in found["reason"]
        await execute(found["command"].replace("TABLE", "motor"))  # what it advises works
        await publish(execute, "sensors/7", READING)
        await execute("flush buffers")
        assert (await execute("explain flow sensors/7"))["stopped_at"] is None


async def test_the_listener_does_not_run(tmp_path: Path) -> None:
    async with node(tmp_path, TOPIC.format(name="sensors"), broker=False) as execute:
        found = await execute("explain flow sensors")
        assert (found["stopped_at"], found["reason"]) == ("arrival", "it does not run")
        assert found["command"].startswith("run message broker")


async def test_another_broker_is_away(tmp_path: Path) -> None:
    port = free_port()
    line = TOPIC.format(name="sensors").replace("broker = local", f"broker = 127.0.0.1 and port = {port}")
    async with node(tmp_path, line, broker=False) as execute:
        found = await execute("explain flow sensors")
        assert found["stopped_at"] == "arrival"
        assert found["command"] == f"test connection 127.0.0.1:{port}"


async def test_the_mapping_fails(tmp_path: Path) -> None:
    async with node(tmp_path, "connect dbms plant where type = sqlite", TOPIC.format(name="sensors/#")) as execute:
        await publish(execute, "sensors/a", '{"other": 1}')
        found = await execute("explain flow sensors/a")
        assert found["stopped_at"] == "mapping"
        assert "timestamp: Error with data" in found["reason"]
        assert counts(found, "mapping") == {"mapped": 0, "failed": 1}
        assert await execute(found["command"])
        await publish(execute, "sensors/a", READING)
        assert states(await execute("explain flow sensors/a"))["mapping"] in ("ok", "note")


async def test_rows_that_do_not_fit_their_table(tmp_path: Path) -> None:
    async with Node(tmp_path) as made:
        await made.execute("connect dbms plant where type = sqlite")
        await made.ingest("plant", "motor", READING)
        await made.execute("flush buffers")
        await made.execute("set schema widening where dbms = plant and value = off")
        await made.ingest("plant", "motor", '{"timestamp": "2026-01-01T00:00:00Z", "value": "high"}')
        await made.execute("flush buffers")
        found = (await made.execute("explain flow motor")).data
        assert states(found)["table"] == "note"
        assert "high" in next(stage for stage in found["stages"] if stage["stage"] == "table")["reason"]


async def test_the_database_is_not_connected_and_no_operator_runs(tmp_path: Path) -> None:
    async with node(tmp_path, TOPIC.format(name="sensors"), "create work directories", "run streamer") as execute:
        await publish(execute, "sensors", READING)
        await execute("flush buffers")
        found = await execute("explain flow sensors")
        assert found["stopped_at"] == "database"
        assert counts(found, "database")["files waiting"] == 1
        assert found["command"] == "connect dbms plant where type = sqlite"
        await execute(found["command"])
        again = await execute("explain flow sensors")
        assert again["stopped_at"] == "database"
        assert "wait in the watch directory for an operator" in again["reason"]
        assert again["command"].startswith("run operator")


async def test_an_operator_waits_for_the_database(tmp_path: Path) -> None:
    with Program(tmp_path, OPERATOR) as running:
        assert running.put(READING.encode(), dbms="other")[0] == 200
        found = running.data("explain flow other.t")
        assert found["stopped_at"] == "database"
        assert "rows wait in the journal" in found["reason"]
        running.post(found["command"])
        running.post("flush buffers")
        assert running.data("explain flow other.t")["stopped_at"] is None
        assert running.count("t", dbms="other") == 1


async def fill(made: Node) -> None:
    for _ in range(100):
        await made.ingest("plant", "motor", "\n".join([READING] * 200))


async def test_the_journal_is_at_its_limit(tmp_path: Path) -> None:
    async with Node(tmp_path) as made:
        made.ctx.ingest._limits["journal_limit_bytes"] = 100_000
        with pytest.raises(EdgeLakeError):
            await fill(made)
        found = (await made.execute("explain flow plant.motor")).data
        assert found["stopped_at"] == "journal"
        assert "limit is 100000" in found["reason"]
        await made.execute("connect dbms plant where type = sqlite")
        await made.execute("flush buffers")
        async with asyncio.timeout(20):
            while True:
                try:
                    await made.ingest("plant", "motor", READING)
                    break
                except EdgeLakeError:
                    await asyncio.sleep(0.05)  # until a checkpoint has freed a segment
        assert (await made.execute("explain flow plant.motor")).data["stopped_at"] is None


async def test_the_reply_is_json_for_programs(tmp_path: Path) -> None:
    async with Node(tmp_path) as made:
        reply = await made.execute("explain flow nothing where dbms = plant and format = json")
        assert json.loads(json.dumps(reply.data))["stopped_at"] is not None
        assert reply.json_wanted
