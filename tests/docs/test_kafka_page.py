"""docs/kafka.md: its scripts make rows of topics, and messages of rows."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime
from pathlib import Path

import pytest

from edgelake import Node
from tests.docs.nodes import network, text_of
from tests.docs.test_docs import ROOT
from tests.kafka.brokers import Kafka
from tests.kafka.nodes import until
from tests.mqtt.brokers import PASSWORD, USER, Files

PAGE = (ROOT / "docs" / "kafka.md").read_text()


SCRIPTS = re.findall(r"^```script\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
POLICY = {
    "mapping": {
        "id": "sensors-policy",
        "dbms": "plant",
        "table": "readings",
        "schema": {"value": {"type": "float", "bring": "[value]"}},
    }
}


@pytest.mark.slow
async def test_the_topic_of_the_page_becomes_rows(tmp_path: Path) -> None:
    script = SCRIPTS[0]
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


@pytest.mark.slow
async def test_a_listener_with_users_and_certificates_is_read_and_gets_answers(tmp_path: Path) -> None:
    assert len(SCRIPTS) == 3
    files = Files.made_in(tmp_path / "tls")
    with Kafka(tmp_path / "kafka", files) as kafka:
        for topic in ("sensors", "results"):
            await kafka.create(topic)
        await kafka.send("sensors", [{"value": n / 2} for n in range(3)])
        now = datetime.now(UTC).isoformat()
        rows = [{"timestamp": now, "value": n} for n in range(60)]
        async with network(tmp_path, "plant", {"readings": rows}) as (node, _, _):
            await node.execute("connect dbms plant where type = sqlite")
            await node.execute(f"blockchain insert where policy = {json.dumps(POLICY)} and local = true")
            node.ctx.variables.set("kafka_password", PASSWORD)
            own = {"10.0.0.5 and port = 9093": f"127.0.0.1 and port = {kafka.both_port} and reset = earliest"}
            own |= {"user = node": f"user = {USER}", "/etc/ssl/plant-ca.pem": str(files.ca)}
            line = SCRIPTS[1].strip()
            for shown, here in own.items():
                assert shown in line
                line = line.replace(shown, here)
            await node.execute(line)
            await until(node, lambda one: one["Messages"] == 3)
            await node.execute("exit kafka")
            said = await text_of(await node.execute(SCRIPTS[2].strip().replace("10.0.0.5:9092", kafka.address)))
            assert json.loads(said) == {"Reply": "Query output send to kafka", "Rows": 60}
            assert len(await kafka.read("results", 60)) == 60
