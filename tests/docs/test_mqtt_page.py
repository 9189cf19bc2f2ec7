"""What docs/mqtt.md tells clients to do: the programs run, the configuration files say what the page says."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path

from tests.docs.test_docs import ROOT, with_free_ports
from tests.mqtt.brokers import accepts
from tests.system.program import STANDALONE, Program

PAGE = (ROOT / "docs" / "mqtt.md").read_text()
PORT, TOPIC = 32450, "line/1/motor"


def shown(client: str) -> str:
    """The block behind the line that names a client."""
    found = re.search(rf"^{client}:.*?^```(?:\w*)\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    assert found, client
    return found[1]


def test_the_paho_program_makes_a_row(tmp_path: Path) -> None:
    ports: dict[str, str] = {}
    users = tmp_path / "users"
    script = STANDALONE + with_free_ports(
        f"mqtt password where user = sensor-7 and password = s3cret and file = {users}\n"
        'run msg client where broker = local and topic = (name = "line/+/motor" and dbms = plant and table = motor and '
        'column.device.str = "bring [device]" and column.speed.float = "bring [speed]")\n'
        f"run message broker where external_ip = 127.0.0.1 and external_port = {PORT} and bind = true"
        f" and users = {users} and anonymous = false\n",
        ports,
    )
    with Program(tmp_path / "node", script) as node:
        node.until(lambda: accepts(int(ports[str(PORT)])))
        program = with_free_ports(shown("paho"), ports)
        done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=30)
        assert done.returncode == 0, done.stderr
        node.post("flush buffers")
        assert node.count("motor") == 1


def test_the_flow_of_node_red_publishes_to_the_broker() -> None:
    nodes = {node["id"]: node for node in json.loads(shown("Node-RED"))}
    (out,) = (node for node in nodes.values() if node["type"] == "mqtt out")
    broker = nodes[out["broker"]]
    assert (out["topic"], out["qos"]) == (TOPIC, "1")
    assert (broker["type"], broker["broker"], broker["port"]) == ("mqtt-broker", "127.0.0.1", str(PORT))
    wires = [target for node in nodes.values() for wire in node.get("wires", []) for target in wire]
    assert out["id"] in wires


def test_the_configuration_of_telegraf_names_the_broker() -> None:
    (output,) = tomllib.loads(shown("Telegraf"))["outputs"]["mqtt"]
    assert output["servers"] == [f"tcp://127.0.0.1:{PORT}"]
    assert (output["qos"], output["data_format"]) == (1, "json")
    assert output["topic"].startswith("telegraf/")


def test_the_configuration_of_edgex_names_the_broker_and_the_topic_of_the_message_client() -> None:
    text = shown("EdgeX")
    values = dict(re.findall(r"^ +(\w+): \"(.*)\"$", text, re.MULTILINE))
    assert values == {"BrokerAddress": f"tcp://127.0.0.1:{PORT}", "Topic": "edgex/readings", "QoS": "1"}
    depths = [len(line) - len(line.lstrip()) for line in text.splitlines()]
    assert depths == [0, 2, 4, 6, 8, 10, 10, 10]
    assert "name = edgex/readings and" in PAGE
