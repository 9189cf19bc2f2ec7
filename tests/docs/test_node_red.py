"""The flows of the page of Node-RED, run by Node-RED."""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from edgelake.bench.processes import free_port
from tests.docs.test_devices_pages import PORT, fences
from tests.docs.test_docs import ROOT, with_free_ports
from tests.mqtt.brokers import accepts
from tests.system.program import STANDALONE, Program

_PROGRAM = Path(__file__).parent / "nodered/node_modules/node-red/red.js"
_CONFIGURATIONS = ("mqtt-broker",)


def flow(number: int) -> dict[str, dict[str, Any]]:
    """A flow of Node-RED, by the ids of its nodes."""
    nodes = {node["id"]: node for node in json.loads(fences("nodered")[number])}
    wired = [target for node in nodes.values() for wire in node.get("wires", []) for target in wire]
    assert set(wired) <= nodes.keys()
    return nodes


@contextmanager
def node_red(folder: Path, number: int, replaced: dict[str, str]) -> Iterator[Path]:
    """Node-RED with a flow of the page and no editor; its log."""
    assert _PROGRAM.exists(), "Node-RED is missing: make tests/docs/nodered/node_modules/.installed"
    folder.mkdir()
    tab = {"id": "edge-tab", "type": "tab", "label": "EdgeLake"}
    nodes = [tab] + [
        node if node["type"] in _CONFIGURATIONS else {**node, "z": tab["id"], "x": 100, "y": 100}
        for node in flow(number).values()
    ]
    text = json.dumps(nodes)
    for old, new in replaced.items():
        assert old in text
        text = text.replace(old, new)
    (folder / "flows.json").write_text(text)
    (folder / "settings.js").write_text(
        "module.exports = {httpAdminRoot: false, httpNodeRoot: false, uiHost: '127.0.0.1', telemetry: {enabled: false}}"
    )
    command = ["node", str(_PROGRAM), "--userDir", str(folder), "--port", str(free_port()), "flows.json"]
    log = folder / "log"
    with log.open("wb") as out:
        program = subprocess.Popen(
            command,
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=out,
            env={**os.environ, "HOME": str(folder)},
        )
    try:
        yield log
    finally:
        program.terminate()
        try:
            program.wait(10)
        except subprocess.TimeoutExpired:
            program.kill()
            program.wait(10)


def _until_rows(node: Program, log: Path) -> list[dict[str, object]]:
    found: list[dict[str, object]] = []

    def there() -> bool:
        node.post("flush buffers")
        path = "/v1/sql?dbms=plant&sql=select+device,+speed+from+motor+limit+1"
        status, answer = node.request("GET", {}, path=path)
        found[:] = json.loads(answer) if status == 200 else []  # the table comes with the first reading
        return bool(found)

    try:
        node.until(there, limit_s=60)
    except AssertionError as failure:
        raise AssertionError(f"{failure}\n{log.read_text()}") from failure
    return found


def test_the_flow_by_mqtt_makes_rows(tmp_path: Path) -> None:
    ports: dict[str, str] = {}
    (script,) = fences("nodered", "edgelake")
    script = "".join(line for line in script.splitlines(keepends=True) if not line.startswith("exit "))
    script = with_free_ports(script, ports)
    with Program(tmp_path / "node", STANDALONE + script) as node:
        broker = ports[str(PORT)]
        node.until(lambda: accepts(int(broker)) and "line/+/motor" in node.get("get msg clients"))
        with node_red(tmp_path / "red", 0, {f'"{PORT}"': f'"{broker}"'}) as log:
            assert _until_rows(node, log) == [{"device": "m1", "speed": 10.0}]


def test_the_flow_by_http_makes_rows(tmp_path: Path) -> None:
    with (
        Program(tmp_path / "node") as node,
        node_red(tmp_path / "red", 1, {"127.0.0.1:32049": f"127.0.0.1:{node.port}"}) as log,
    ):
        assert _until_rows(node, log) == [{"device": "m1", "speed": 10}]
        text = (ROOT / "docs/nodered.md").read_text()
        ask = re.findall(r"http://127\.0\.0\.1:32049(/v1/sql\S+)`", text)[0]
        status, answer = node.request("GET", {}, path=ask)
    assert (status, json.loads(answer)) == (200, [{"top": 10}])
