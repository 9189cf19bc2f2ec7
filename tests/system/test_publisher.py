"""A publisher and two operators as processes that are killed while readings flow: each reading is stored once."""

from __future__ import annotations

import http.client
import json
import threading
import time
from pathlib import Path

from edgelake.bench.processes import free_port
from tests.net.peer.publishing import operator_script, publisher_script, write_ledger
from tests.system.program import Program

REST = "run rest server where external_ip = 127.0.0.1 and external_port = {port} and bind = true"
READINGS = 40
"""Put around each kill."""


class Sender:
    """Puts readings at the publisher, one after another; one that was not acknowledged is put again."""

    def __init__(self, publisher: Program) -> None:
        self.publisher = publisher
        self.acknowledged: list[int] = []
        self.unsure: set[int] = set()

    def put(self, begin: int) -> None:
        for value in range(begin, begin + READINGS):
            while not self._put(value):
                time.sleep(0.02)  # the node starts

    def _put(self, value: int) -> bool:
        try:
            status, _ = self.publisher.put(b'{"v": %d}' % value)
        except (OSError, http.client.HTTPException):
            self.unsure.add(value)  # it may be there: the client sends it again
            return False
        if status == 200:
            self.acknowledged.append(value)
        return status == 200


def test_kills_of_publisher_and_operator_neither_lose_nor_double_a_reading(tmp_path: Path) -> None:
    ports = [free_port(), free_port()]
    scripts = [publisher_script(free_port()), *(operator_script(n, port) for n, port in enumerate(ports, 1))]
    nodes = []
    for name, script in zip("pab", scripts, strict=True):
        write_ledger(tmp_path / name, ports)
        nodes.append(Program(tmp_path / name, "\n".join([*script, REST, ""])))
    publisher, *operators = nodes
    with publisher, operators[0], operators[1]:
        sender, victims = Sender(publisher), (operators[0], publisher, operators[1], publisher)
        for turn, victim in enumerate(victims):
            putting = threading.Thread(target=sender.put, args=(turn * READINGS,), daemon=True)
            putting.start()
            publisher.until(lambda turn=turn: len(sender.acknowledged) >= turn * READINGS + READINGS // 3)
            victim.kill()
            victim.start()
            putting.join(60)
        total = len(victims) * READINGS
        assert sorted(sender.acknowledged) == [*range(total)]

        def stored() -> list[int]:
            return sorted(value for node in operators for value in values(node))

        publisher.until(lambda: len(set(stored())) == total, limit_s=30)
        publisher.until(lambda: publisher.data("get publisher")["files_waiting"] == 0, limit_s=30)
        found = stored()
        assert set(found) == {*range(total)}
        # What the client itself sent twice, since the publisher died before it answered, may be there twice.
        assert {value for value in found if found.count(value) > 1} <= sender.unsure
        assert all(values(node) for node in operators)


def values(node: Program) -> list[int]:
    if "t" not in node.data("get tables where dbms = plant").get("plant", {}):
        return []
    return [row["v"] for row in json.loads(node.get('sql plant stat = false "select v from t"'))["Query"]]
