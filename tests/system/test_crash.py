"""SIGKILL at random moments of ingestion: what was answered with 200 is in the database once, and nothing twice."""

from __future__ import annotations

import http.client
import json
import random
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.system.program import AGENT, OPERATOR, STANDALONE, Program

KILLS = 20
LONGEST_S = 0.35


class Sender:
    """Sends numbered rows over one kept connection, and remembers which were acknowledged."""

    def __init__(self, node: Program, numbers: Callable[[], int], *, rows: int, mode: str) -> None:
        self._node = node
        self._numbers = numbers
        self._rows = rows
        self._mode = mode
        self.acknowledged: list[int] = []
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    def _run(self) -> None:
        link = http.client.HTTPConnection("127.0.0.1", self._node.port, timeout=10)
        headers = {**AGENT, "dbms": "plant", "table": "t", "mode": self._mode}
        try:
            while True:
                numbers = [self._numbers() for _ in range(self._rows)]
                body = "\n".join(json.dumps({"n": n, "mode": self._mode}) for n in numbers)
                link.request("PUT", "/", body=body.encode(), headers=headers)
                reply = link.getresponse()
                reply.read()
                if reply.status != 200:
                    return
                self.acknowledged += numbers
        except (OSError, http.client.HTTPException):
            return  # the node was killed
        finally:
            link.close()


class Numbers:
    """One number at a time, for all threads."""

    def __init__(self) -> None:
        self._next = 0
        self._lock = threading.Lock()

    def __call__(self) -> int:
        with self._lock:
            self._next += 1
            return self._next


@pytest.mark.parametrize("script", [STANDALONE, OPERATOR], ids=["alone", "operator"])
def test_acknowledged_rows_are_there_exactly_once_after_kills(tmp_path: Path, script: str) -> None:
    moments = random.Random()
    numbers = Numbers()
    acknowledged: set[int] = set()
    files = ["file"] if script is OPERATOR else []
    for _ in range(KILLS // 2 if script is STANDALONE else KILLS):
        node = Program(tmp_path, script)
        node.start()
        senders = [Sender(node, numbers, rows=1, mode="streaming") for _ in range(3)]
        senders += [Sender(node, numbers, rows=200, mode="streaming")]
        senders += [Sender(node, numbers, rows=50, mode=mode) for mode in files]
        time.sleep(moments.uniform(0.01, LONGEST_S))  # the moment of the kill is what varies
        node.kill()
        for sender in senders:
            sender.thread.join(15)
            acknowledged.update(sender.acknowledged)
    assert acknowledged
    found = settled(tmp_path, script, len(acknowledged))
    assert len(found) == len(set(found)), "rows stand twice"
    assert acknowledged <= set(found), "acknowledged rows are missing"


def settled(home: Path, script: str, at_least: int) -> list[int]:
    """Start once more, let it work off what waits, stop it, and read what its database holds."""
    with Program(home, script) as node:
        watch = home / "EdgeLake" / "data" / "watch"

        def idle() -> bool:
            node.post("flush buffers")
            # A kill in the middle of a hand-over leaves a *_tmp, which was not acknowledged and is nobody's input.
            waits = any(not path.name.endswith("_tmp") for path in watch.iterdir())
            return not waits and node.count("t") >= at_least

        node.until(idle, limit_s=60)
        assert node.stop() == 0
    return stored_numbers(home)


def stored_numbers(home: Path) -> list[int]:
    from edgelake.store.sqlite import SqliteStore

    store = SqliteStore("plant", home / "EdgeLake" / "data" / "dbms" / "plant.dbms")
    try:
        with store.reader() as connection:
            return [row[0] for row in connection.execute("SELECT n FROM t")]
    finally:
        store.close_blocking()
