"""SIGKILL of the node under load of another broker: the broker's sessions and our journal lose nothing together."""

from __future__ import annotations

import json
import random
import time
from pathlib import Path

import pytest

from tests.mqtt.brokers import Mosquitto
from tests.mqtt.numbers import Publisher, stored_numbers
from tests.system.program import STANDALONE, Program

KILLS = 5
LONGEST_S = 0.4

SCRIPT = STANDALONE + (
    "run msg client where broker = 127.0.0.1 and port = {mqtt} "
    'and topic = (name = load and qos = {qos} and dbms = plant and table = t and column.n.int = "bring [n]")\n'
)


@pytest.mark.parametrize("qos", [1, 2])
def test_nothing_that_the_broker_took_is_lost(tmp_path: Path, qos: int) -> None:
    home = tmp_path / "node"
    with Mosquitto(tmp_path / "mosquitto") as broker:
        script = SCRIPT.replace("{mqtt}", str(broker.port)).replace("{qos}", str(qos))
        node = Program(home, script)
        node.start()
        node.until(lambda: _connected(node))  # from here on the broker keeps what comes
        publisher = Publisher(broker.port, "load", 1, qos=qos, client_id="publisher")
        for _ in range(KILLS):
            time.sleep(random.uniform(0.05, LONGEST_S))  # the moment of the kill is what varies
            node.kill()
            node.start()
        published = publisher.finish()
        assert published
        node.until(lambda: _distinct(node) >= len(published), limit_s=60)
        assert node.stop() == 0
    missing = set(published) - set(stored_numbers(home))
    assert not missing, f"{len(missing)} of {len(published)} messages are lost, the first {min(missing)}"


def _connected(node: Program) -> bool:
    return bool(node.data("get msg clients")[0]["Connection"] == "Connected")


def _distinct(node: Program) -> int:
    node.post("flush buffers")
    rows = json.loads(
        node.get('sql plant format = json:output and stat = false "select count(distinct n) as n from t"')
    )
    return int((rows if isinstance(rows, dict) else rows[0])["n"])
