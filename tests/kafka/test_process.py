"""A node in a process of its own: broker and node are killed in turn, and no row is lost or there twice."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.kafka.brokers import Kafka
from tests.kafka.nodes import run
from tests.system.program import STANDALONE, Program


@pytest.mark.slow
async def test_broker_and_node_are_killed_in_mid_stream(tmp_path: Path, broker: Callable[[], Kafka]) -> None:
    kafka = broker()
    await kafka.create("stream", 2)
    node = Program(tmp_path / "node", STANDALONE.replace("run rest", f"{run(kafka.port, 'stream')}\nrun rest"))
    sent = 0

    async def send(count: int) -> None:
        nonlocal sent
        await kafka.send("stream", [{"n": n} for n in range(sent, sent + count)])
        sent += count

    def counted() -> int:
        node.post("flush buffers")
        return node.count("t")

    async def meanwhile(wait: Callable[[], None]) -> None:
        await asyncio.to_thread(wait)

    await send(20_000)
    with node:
        for _ in range(3):
            await send(20_000)
            # Killed at any moment of the batches: the group's offsets lag behind the journal then.
            await meanwhile(lambda: node.until(lambda: node.data("get kafka clients")[0]["Messages"] > 0, limit_s=60))
            node.kill()
            node.start()
        await meanwhile(lambda: node.until(lambda: node.data("get kafka clients")[0]["Status"] == "Connected"))
        kafka.kill()
        await meanwhile(lambda: node.until(lambda: node.data("get kafka clients")[0]["Last Error"] != "", limit_s=60))
        kafka.start()
        await send(20_000)
        await meanwhile(lambda: node.until(lambda: counted() >= sent, limit_s=90))
        reply = node.get("sql plant format = json and stat = false select n from t order by n")
        assert [int(row["n"]) for row in json.loads(reply)["Query"]] == list(range(sent))
