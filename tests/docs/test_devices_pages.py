"""Telegraf and EdgeX: configurations lead where the page says, and messages of their form become rows."""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from paho.mqtt import client as paho
from paho.mqtt.enums import CallbackAPIVersion

from tests.docs.test_docs import ROOT, with_free_ports
from tests.mqtt.brokers import accepts
from tests.system.program import STANDALONE, Program

PORT = 32450


def fences(page: str, kind: str = "") -> list[str]:
    """The blocks of a kind on a page."""
    text = (ROOT / "docs" / f"{page}.md").read_text()
    return [
        body for found, body in re.findall(r"^```(\w*)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL) if found == kind
    ]


def of_telegraf() -> tuple[str, bytes]:
    (output,) = tomllib.loads(fences("telegraf")[0])["outputs"]["mqtt"]
    assert output["servers"] == [f"tcp://127.0.0.1:{PORT}"]
    assert (output["qos"], output["data_format"]) == (1, "json")
    metric = {
        "name": "cpu",
        "tags": {"cpu": "cpu-total", "host": "gw-1"},
        "fields": {"usage_idle": 91.5, "usage_user": 5.25},
        "timestamp": 1767225600,
    }
    return output["topic"].replace("{{ .PluginName }}", metric["name"]), json.dumps(metric).encode()


def of_edgex() -> tuple[str, bytes]:
    values = dict(re.findall(r"^ +(\w+): \"(.*)\"$", fences("edgex")[0], re.MULTILINE))
    assert values == {"BrokerAddress": f"tcp://127.0.0.1:{PORT}", "Topic": "edgex/readings", "QoS": "1"}
    readings = [
        {
            "id": f"reading-{number}",
            "origin": 1767225600000000000,
            "deviceName": "pump-1",
            "resourceName": resource,
            "profileName": "pump",
            "valueType": "Float64",
            "value": value,
        }
        for number, (resource, value) in enumerate((("Flow", "1.250000e+01"), ("Pressure", "3.5")))
    ]
    event = {"apiVersion": "v3", "id": "event-1", "deviceName": "pump-1", "profileName": "pump", "readings": readings}
    return values["Topic"], json.dumps(event).encode()


@pytest.mark.parametrize(
    ("page", "sent", "table", "columns", "rows"),
    [
        (
            "telegraf",
            of_telegraf,
            "cpu",
            "timestamp, host, usage_idle",
            [{"timestamp": "2026-01-01T00:00:00.000000Z", "host": "gw-1", "usage_idle": 91.5}],
        ),
        (
            "edgex",
            of_edgex,
            "edgex",
            "name, value",
            [{"name": "Flow", "value": "1.250000e+01"}, {"name": "Pressure", "value": "3.5"}],
        ),
    ],
)
def test_a_message_becomes_the_rows_of_the_page(
    tmp_path: Path,
    page: str,
    sent: Callable[[], tuple[str, bytes]],
    table: str,
    columns: str,
    rows: list[dict[str, Any]],
) -> None:
    topic, payload = sent()
    ports: dict[str, str] = {}
    (script,) = fences(page, "edgelake")
    script = "".join(line for line in script.splitlines(keepends=True) if not line.startswith("exit "))
    script = with_free_ports(script, ports)
    with Program(tmp_path / "node", STANDALONE + script.replace("{", "{{").replace("}", "}}")) as node:
        broker = int(ports[str(PORT)])
        node.until(lambda: accepts(broker) and "running" in node.get("get status").lower())
        node.until(lambda: topic.split("/")[0] in node.get("get msg clients"))
        client = paho.Client(CallbackAPIVersion.VERSION2, client_id=page)
        client.connect("127.0.0.1", broker)
        client.loop_start()
        client.publish(topic, payload, qos=1).wait_for_publish(20)
        client.disconnect()
        client.loop_stop()
        node.post("flush buffers")
        found = json.loads(
            node.get(
                f'sql plant format = json:list and stat = false and timezone = utc "select {columns} from {table}"'
            )
        )
    assert found == rows
