"""docs/kafka.md: its first script makes rows of a topic."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from edgelake import Node
from tests.docs.test_docs import ROOT
from tests.kafka.brokers import Kafka
from tests.kafka.nodes import until
from tests.mqtt.brokers import Files

PAGE = (ROOT / "docs" / "kafka.md").read_text()


@pytest.mark.slow
async def test_the_topic_of_the_page_becomes_rows(tmp_path: Path) -> None:
    script = re.findall(r"^```script\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)[0]
    with Kafka(tmp_path / "kafka", Files.made_in(tmp_path / "tls")) as kafka:
        await kafka.create("sensors")
        await kafka.send("sensors", [{"time": "2026-01-02T03:04:05Z", "value": n / 2} for n in range(3)])
        async with Node(tmp_path / "node", name="edge-1") as node:
            for line in script.replace("10.0.0.5 and port = 9092", f"127.0.0.1 and port = {kafka.port}").splitlines():
                await node.execute(line)
            await until(node, lambda one: one["Messages"] == 3 and not one["Lag"])
            await node.ctx.ingest.flush()
            values = [row["value"] async for row in node.query("select value from plant.readings order by value")]
            assert values == [0.0, 0.5, 1.0]
