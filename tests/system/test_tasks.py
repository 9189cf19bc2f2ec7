"""Tasks and alerts of a node that runs as a process of its own."""

from __future__ import annotations

import json
from pathlib import Path

from tests.system.program import STANDALONE, Program

SCRIPT = (
    STANDALONE
    + """\
temperature = 20
run scheduler 1
schedule name = broken and time = 0.05 seconds task no such command
<schedule name = alert and time = 0.05 seconds task if !temperature.float > 90 then
rest put where url = http://127.0.0.1:{port} and dbms = plant and table = alert and mode = streaming and
body = {{"temperature": !temperature.float}}>
"""
)


def tasks(node: Program) -> dict[str, dict[str, str]]:
    (shown,) = node.data("get scheduler 1")
    return {task["Name"]: task for task in shown["Scheduled Tasks"]}


def test_an_alert_reaches_another_server_when_its_condition_holds(tmp_path: Path) -> None:
    with Program(tmp_path / "node", SCRIPT) as node:
        node.until(lambda: int(tasks(node)["alert"]["Counter"]) >= 3)
        assert "alert" not in node.get("get tables where dbms = plant")
        node.post("temperature = 91.5")
        node.until(lambda: "alert" in node.get("get tables where dbms = plant") and node.count("alert") > 0)
        node.post("temperature = 20")
        found = json.loads(node.get('sql plant stat = false "select max(temperature) as most from alert"'))
        assert found == {"Query": [{"most": 91.5}]}
        assert tasks(node)["broken"]["Run Status"] == "Unrecognized Command"
        processes = node.data("get processes")
        assert processes["Scheduler"]["Details"] == "Schedulers IDs in use: [0 (system)] [1 (user)]"
        runs = int(tasks(node)["broken"]["Failed"])
        assert node.log.read_text().count("task 'broken' failed") <= runs.bit_length() + 1
        assert node.stop() == 0


def test_a_node_stops_while_a_task_runs(tmp_path: Path) -> None:
    script = STANDALONE + "run scheduler 1\nschedule name = long and time = 1 hour task system sleep 100\n"
    with Program(tmp_path / "node", script) as node:
        node.until(lambda: "task" in node.get("job status 1.1") and "Processing" in node.get("job status 1.1"))
        assert node.stop() == 0
