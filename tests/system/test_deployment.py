"""A deployment by scripts, as the official one works: many files, policies, `on error`, services of later versions."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.system.deployed import SCRIPTS, Deployed
from tests.system.program import AGENT, Program

OPERATOR = {
    "NODE_TYPE": "operator",
    "NODE_NAME": "Edge 1",
    "COMPANY_NAME": "Acme Works",
    "DEFAULT_DBMS": "plant",
    "CITY": "San Jose",
    "ENABLE_MQTT": "true",
    "NODE_MONITORING": "true",
    "DEPLOY_LOCAL_SCRIPT": "true",
    "THRESHOLD_TIME": "1 second",
}


def policies(node: Program, kind: str) -> list[dict[str, object]]:
    return [policy[kind] for policy in json.loads(node.get(f"blockchain get {kind}"))]


def test_an_operator_is_deployed_and_takes_data(tmp_path: Path) -> None:
    with Deployed(tmp_path, **OPERATOR) as node:
        node.deployed("operator edge_1")
        said = node.variables()
        assert said["deployed"] == "true"
        assert "deploy_error" not in said
        assert [said[name] for name in ("config_applied", "operator_started", "monitoring", "msg_client")] == [
            "true",
            "true",
            "on",
            "on",
        ]
        assert (said["local_script"], said["thresholds"]) == ("done", "2")
        assert said["not_there"] == "2"  # what later versions bring was passed over
        assert json.loads(said["rest_check"])["status"] == "healthy"
        assert {"REST", "Operator", "Streamer", "Scheduler"} <= node.running()

        (operator,) = policies(node, "operator")
        (cluster,) = policies(node, "cluster")
        assert (operator["cluster"], operator["main"], operator["city"]) == (cluster["id"], True, "San Jose")
        assert operator["rest_port"] == node.port
        assert "branch" not in operator
        (config,) = policies(node, "config")
        assert config["rest_ip"] == "!overlay_ip"
        tasks = node.get("get scheduler 1")
        assert all(name in tasks for name in ("Drop Partitions", "Remove Archive", "cpu_percent", "monitor_node"))

        assert node.put(b'{"timestamp": "2026-01-02T03:04:05Z", "value": 1.5}', table="sensors")[0] == 200
        message = b'{"ts": "2026-01-02T03:04:05Z", "value": 2}'
        status, reply = node.request("POST", {**AGENT, "command": "data", "User-Agent": "anylog"}, message)
        assert status == 200, reply
        node.post("flush buffers")
        assert [node.count(table) for table in ("sensors", "mqtt_readings", "node_insight")] == [1, 1, 1]
        assert "par_sensors_" in node.get("get partitions info where dbms = plant and table = sensors")


def declared(node: Deployed) -> list[dict[str, Any]]:
    """The policies, but for those of tables and of clusters' tables, which come with the first rows."""
    found: list[dict[str, Any]] = json.loads(node.get("blockchain get *"))
    return [one for one in found if "table" not in one and "table" not in one.get("cluster", {})]


def test_a_deployment_runs_again_on_the_same_home(tmp_path: Path) -> None:
    with Deployed(tmp_path, **OPERATOR) as node:
        node.deployed("operator edge_1")
        first = declared(node)
        assert node.put(b'{"value": 1}', table="sensors")[0] == 200
    with Deployed(tmp_path, **OPERATOR) as node:
        node.deployed("operator edge_1", times=2)
        assert declared(node) == first
        assert "deploy_error" not in node.variables()
        assert node.put(b'{"value": 2}', table="sensors")[0] == 200
        node.post("flush buffers")
        assert node.count("sensors") == 2


def test_a_query_node_has_no_operator(tmp_path: Path) -> None:
    with Deployed(tmp_path, NODE_TYPE="query") as node:
        node.deployed("query edge-node")
        assert node.variables()["query_started"] == "true"
        assert "Operator" not in node.running()
        assert "plant" not in node.get("get databases")


@pytest.mark.parametrize(
    ("environment", "said"),
    [
        ({}, "Missing NODE_TYPE: master, operator or query"),
        ({"LOCAL_SCRIPTS": "/no/such/folder"}, "Missing LOCAL_SCRIPTS"),
        ({"LOCAL_SCRIPTS": ""}, "Missing LOCAL_SCRIPTS"),
        ({"NODE_TYPE": "operator", "DB_TYPE": "psql"}, "Failed to connect the databases"),
    ],
)
def test_a_deployment_that_cannot_go_on_says_why(tmp_path: Path, environment: dict[str, str], said: str) -> None:
    variables = {**os.environ, "EDGELAKE_HOME": str(tmp_path), "LOCAL_SCRIPTS": str(SCRIPTS), **environment}
    done = subprocess.run(
        [sys.executable, "-m", "edgelake", "-c", f"process {SCRIPTS}/main.al"],
        env=variables,
        capture_output=True,
        text=True,
        timeout=60,
        stdin=subprocess.DEVNULL,
    )
    assert said in done.stdout, done.stdout + done.stderr
