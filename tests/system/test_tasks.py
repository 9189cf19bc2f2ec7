"""Tasks and alerts of a node that runs as a process of its own."""

from __future__ import annotations

import json
import subprocess
import time
from pathlib import Path

from tests.net.smtp.servers import EMAIL, PASSWORD, MailServer
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
    return {task["Name"]: task for shown in node.data("get scheduler 1") for task in shown["Scheduled Tasks"]}


def times(node: Program, name: str) -> int:
    """Times of a task that have come."""
    task = tasks(node)[name]
    return int(task["Counter"]) + int(task["Skipped"])


def test_an_alert_reaches_another_server_when_its_condition_holds(tmp_path: Path) -> None:
    with Program(tmp_path / "node", SCRIPT) as node:
        node.until(lambda: "alert" in tasks(node) and int(tasks(node)["alert"]["Counter"]) >= 3)
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


def test_setting_the_clock_of_the_machine_neither_loses_nor_doubles_a_run(tmp_path: Path) -> None:
    clock = tmp_path / "clock"
    clock.write_text("+0")
    fake = ["faketime", "-m", "--exclude-monotonic", "-f", "+0", "printenv", "LD_PRELOAD"]
    environment = {
        "LD_PRELOAD": subprocess.run(fake, capture_output=True, text=True, check=True).stdout.strip(),
        "FAKETIME_TIMESTAMP_FILE": str(clock),
        "FAKETIME_NO_CACHE": "1",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
    }
    script = STANDALONE + (
        "run scheduler 1\n"
        "schedule name = far and time = 1 hour and start = +1d task x = 1\n"
        "schedule name = tick and time = 0.1 seconds task x = 2\n"
    )
    with Program(tmp_path / "node", script, environment=environment) as node:
        node.until(lambda: "tick" in tasks(node))
        begin, first = time.monotonic(), times(node, "tick")
        day = node.get("get datetime UTC now()")[:10]
        for jump in ("+2d", "-1h", "-3d", "+0"):
            before = int(tasks(node)["tick"]["Counter"])
            clock.write_text(jump)
            node.until(lambda before=before: int(tasks(node)["tick"]["Counter"]) >= before + 5)
            if jump == "+2d":
                assert node.get("get datetime UTC now()")[:10] > day, "the node sees another clock"
        most = (time.monotonic() - begin) / 0.1 + 2
        assert times(node, "tick") - first <= most
        assert times(node, "far") == 0
        assert node.stop() == 0


def test_a_node_stops_while_a_task_runs(tmp_path: Path) -> None:
    script = STANDALONE + "run scheduler 1\nschedule name = long and time = 1 hour task system sleep 100\n"
    with Program(tmp_path / "node", script) as node:
        node.until(lambda: "Processing" in node.get("job status all"))
        assert node.stop() == 0


def test_a_row_that_fits_a_condition_is_mailed_and_a_killed_node_loses_no_mail(tmp_path: Path) -> None:
    with MailServer(tmp_path, security="starttls", auth=True) as server:
        script = STANDALONE + (
            f"run smtp client where host = 127.0.0.1 and port = {server.port} and email = {EMAIL} "
            f"and password = {PASSWORD} and ca = {server.ca}\n"
            "set streaming condition where dbms = plant and table = motor if [speed] > 1500 then "
            "email to boss@plant.example where subject = fast and message = !device and message = !speed\n"
        )
        with Program(tmp_path / "node", script) as node:
            node.until(lambda: "email to" in node.get("get streaming conditions"))
            rows = b'{"device": "m1", "speed": 1480}\n{"device": "m2", "speed": 1520}'
            assert node.put(rows, table="motor")[0] == 200
            mail = server.post.next()
            assert mail.get_content().splitlines() == ["m2", "1520"]
            server.post.refused["boss@plant.example"] = "451 not now"
            assert "waits and is sent again" in node.post("email to boss@plant.example where message = kept")
            node.kill()
            server.post.refused.clear()
            node.start()
            assert server.post.next().get_content().splitlines() == ["kept"]
            node.until(lambda: node.data("get smtp client")["Waiting"] == 0)
            assert PASSWORD not in node.log.read_text() + node.get("get event log") + node.get("get processes")
            assert node.stop() == 0
        assert server.post.mails.empty()
