"""A node that gets readings, and one browser for all tests of the console."""

from __future__ import annotations

import json
import math
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from edgelake.bench.processes import free_port
from tests.console.browser import Browser
from tests.system.program import STANDALONE, Program

SCRIPT = (
    STANDALONE
    + """\
run scheduler 1
run message broker where external_ip = 127.0.0.1 and external_port = {{broker}} and bind = true
run msg client where broker = rest and user-agent = anylog and topic = (name = pumps and dbms = plant and table = pump \
and column.timestamp.timestamp = now and column.value.float = "bring [value]")
set schema widening where value = off
partition plant motor using timestamp by 1 day
run tcp server where external_ip = 127.0.0.1 and external_port = {{tcp}} and bind = true
p = create policy cluster where name = berlin and company = acme
blockchain insert where policy = !p and local = true
c = blockchain get cluster bring.first [cluster][id]
p = {{"cluster": {{"parent": !c, "name": "berlin", "company": "acme", "table": [{{"dbms": "plant", "name": "motor"}}, \
{{"dbms": "plant", "name": "pump"}}]}}}}
blockchain insert where policy = !p and local = true
p = create policy operator where name = edge-1 and company = acme and cluster = !c and ip = 127.0.0.1 \
and port = {{tcp}} and loc = "52.52,13.40"
blockchain insert where policy = !p and local = true
p = create policy operator where name = edge-2 and company = acme and cluster = !c and ip = 127.0.0.1 and port = 9 \
and loc = "53.55,9.99"
blockchain insert where policy = !p and local = true
"""
)


def script() -> str:
    """The commands of a node, with ports that are free."""
    return SCRIPT.replace("{{broker}}", str(free_port())).replace("{{tcp}}", str(free_port()))


class Readings:
    """Sends rows and messages as long as it lives."""

    def __init__(self, node: Program) -> None:
        self._node = node
        self._ends = threading.Event()
        self._thread = threading.Thread(target=self._send)

    def __enter__(self) -> None:
        self._history()
        self._thread.start()

    def __exit__(self, *failure: object) -> None:
        self._ends.set()
        self._thread.join(20)

    def _history(self) -> None:
        begin = datetime.now(UTC) - timedelta(hours=2)
        rows = [
            {
                "timestamp": (begin + timedelta(seconds=30 * n)).isoformat(),
                "device": f"m{n % 3 + 1}",
                "speed": round(1480 + 20 * math.sin(n / 20 + n % 3), 1),
                "temperature": round(60 + 5 * math.sin(n / 30), 1),
            }
            for n in range(240)
        ]
        assert self._node.put(json.dumps(rows).encode(), table="motor")[0] == 200
        self._node.post("flush buffers")

    def _send(self) -> None:
        while not self._ends.wait(0.2):
            row = {"timestamp": datetime.now(UTC).isoformat(), "device": "m1", "speed": 1480 + time.time() % 7}
            self._node.put(json.dumps([row] * 5).encode(), table="motor")
            headers = {"User-Agent": "anylog", "command": "data", "topic": "pumps"}
            self._node.request("POST", headers, b'{"value": 1.5}')


@pytest.fixture(scope="session")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Program]:
    with Program(tmp_path_factory.mktemp("node"), script()) as running, Readings(running):
        yield running


@pytest.fixture(scope="session")
def one_browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    made = Browser(tmp_path_factory.mktemp("profile"))
    yield made
    made.close()


@pytest.fixture
def browser(one_browser: Browser) -> Iterator[Browser]:
    """Afterwards nothing may have gone wrong in it, and no page may have asked for anything elsewhere."""
    yield one_browser
    assert one_browser.errors == []
    assert not [url for url in one_browser.requests if not url.startswith(("http://127.0.0.1:", "data:", "blob:"))]


@pytest.fixture
def ui(node: Program) -> str:
    return f"http://127.0.0.1:{node.port}/ui"


def screenshots() -> Path:
    """Where the pictures of the documentation are."""
    return Path(__file__).parent.parent.parent / "docs" / "images"
