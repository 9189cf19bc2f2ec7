"""The image and the compose files, run without an engine: the same program, environment and health check."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import yaml

from edgelake.bench.processes import free_port
from tests.docs.test_docs import ROOT
from tests.system.program import AGENT, Program

COMPOSE = ("compose.yaml", "compose.network.yaml")
LOOPBACK = "127.0.0.1"


class Container(Program):
    """A service of a compose file, as a process; what the engine maps is mapped to this machine's loopback."""

    def __init__(self, home: Path, service: dict[str, Any]) -> None:
        super().__init__(home)
        given = {key: str(value) for key, value in service["environment"].items()}
        self.peers = free_port()
        moved = {
            "OVERLAY_IP": LOOPBACK,
            "ANYLOG_SERVER_PORT": str(self.peers),
            "ANYLOG_REST_PORT": str(self.port),
        }
        if "EXTERNAL_DNS" in given:
            moved["EXTERNAL_DNS"] = "localhost"
        if "ANYLOG_BROKER_PORT" in given:
            moved["ANYLOG_BROKER_PORT"] = str(free_port())
        self._environment |= given | moved

    def set(self, name: str, value: str) -> None:
        self._environment[name] = value

    def start(self) -> None:
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", *_entry()],
                cwd=self.home,
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )

    def healthy(self) -> bool:
        assert self.process is not None
        assert self.process.poll() is None, self.log.read_text()
        check = [sys.executable, str(ROOT / "docker/healthy.py")]
        return subprocess.run(check, env=self._environment, timeout=20).returncode == 0


def _entry() -> list[str]:
    """ENTRYPOINT and CMD."""
    text = (ROOT / "Dockerfile").read_text()
    found = [re.findall(rf"^{word} (\[.*\])$", text, re.M)[-1] for word in ("ENTRYPOINT", "CMD")]
    return [word for part in found for word in json.loads(part)]


def _services(name: str) -> dict[str, Any]:
    services: dict[str, Any] = yaml.safe_load((ROOT / name).read_text())["services"]
    return services


@pytest.fixture
def network(tmp_path: Path) -> Iterator[dict[str, Container]]:
    """All services of the network, begun as depends_on says."""
    services = _services("compose.network.yaml")
    nodes = {name: Container(tmp_path / name, service) for name, service in services.items()}
    ledger = f"localhost:{nodes['master'].peers}"
    with ExitStack() as running:
        for wave in (["master"], [name for name in nodes if name != "master"]):
            for name in wave:
                nodes[name].set("LEDGER_CONN", ledger)
                running.enter_context(nodes[name])
            for name in wave:
                nodes[name].until(nodes[name].healthy, limit_s=60)
        yield nodes


def test_the_network_answers_for_both_operators_also_after_a_restart(network: dict[str, Container]) -> None:
    for name, speed in (("operator-1", 10), ("operator-2", 20)):
        status, reply = network[name].put(json.dumps([{"speed": speed}] * 3).encode(), table="motor")
        assert status == 200, reply
        network[name].post("flush buffers")
    query = network["query"]
    query.until(lambda: _asked(query) == (6, 90))
    again = network["operator-2"]
    again.until(lambda: _operators(again) == 2)
    assert again.stop() == 0
    again.start()
    again.until(again.healthy, limit_s=60)
    assert _operators(again) == 2  # it is known from its first start
    query.until(lambda: _asked(query) == (6, 90))


def _operators(node: Container) -> int:
    """Those that a node knows."""
    return len(json.loads(node.get("blockchain get operator")))


def _asked(query: Container) -> tuple[int, int] | None:
    """Count and sum over the network; None as long as the table is not known, or an operator is away."""
    sql = 'sql plant format = json:list and stat = false "select count(*) as n, sum(speed) as s from motor"'
    status, body = query.request("GET", {**AGENT, "destination": "network", "command": sql})
    if status != 200:
        return None
    found = json.loads(body)
    row = found[0] if isinstance(found, list) and found else {}
    return (int(row["n"]), int(row["s"])) if row.get("n") else None


def test_the_single_node_takes_rows_and_answers(tmp_path: Path) -> None:
    with Container(tmp_path, _services("compose.yaml")["node"]) as node:
        node.until(node.healthy, limit_s=60)
        assert node.put(b'[{"speed": 12.5}]', table="motor")[0] == 200
        node.post("flush buffers")
        assert "12.5" in node.get('sql plant format = table "select max(speed) from motor"')
        assert b"<title>" in node.request("GET", {"Accept": "text/html"}, path="/ui")[1]
        assert node.stop() == 0


def test_a_node_that_is_there_before_its_master_is_known_when_that_comes(tmp_path: Path) -> None:
    services = _services("compose.network.yaml")
    master, query = (Container(tmp_path / name, services[name]) for name in ("master", "query"))
    query.set("LEDGER_CONN", f"localhost:{master.peers}")
    query.set("BLOCKCHAIN_SYNC", "1 second")
    with query:
        query.until(query.healthy, limit_s=60)
        with master:
            master.until(master.healthy, limit_s=60)
            master.until(lambda: len(json.loads(master.get("blockchain get query"))) == 1, limit_s=40)


def test_a_node_that_cannot_start_ends_so_that_it_is_tried_again(tmp_path: Path) -> None:
    node = Container(tmp_path, _services("compose.yaml")["node"])
    node.set("DB_TYPE", "psql")
    node.set("DB_PORT", str(free_port()))
    with node:
        assert node.process is not None
        assert node.process.wait(60) == 1
    assert "run rest server" not in node.log.read_text()


@pytest.mark.parametrize("name", COMPOSE)
def test_containers_have_few_rights_and_nothing_outside_reaches_them_unasked(name: str) -> None:
    for service in _services(name).values():
        assert service["read_only"] is True
        assert service["cap_drop"] == ["ALL"]
        assert service["security_opt"] == ["no-new-privileges:true"]
        assert all(port.startswith(f"{LOOPBACK}:") for port in service.get("ports", ()))
        assert [volume.partition(":")[2] for volume in service["volumes"]] == ["/var/lib/edgelake"]
        inner = {port.rpartition(":")[2] for port in service.get("ports", ())}
        assert inner <= {str(value) for key, value in service["environment"].items() if key.endswith("_PORT")}


def test_the_image_is_as_its_linter_wants_it() -> None:
    hadolint = Path(sys.executable).parent / "hadolint"
    found = subprocess.run([hadolint, ROOT / "Dockerfile"], capture_output=True, text=True, timeout=60)
    assert (found.returncode, found.stdout) == (0, "")


def test_all_that_the_image_copies_is_there_and_not_ignored() -> None:
    kept = [line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")]
    assert all((ROOT / path).exists() for path in kept)
    copied = re.findall(r"^COPY (?!--from)(\S+) ", (ROOT / "Dockerfile").read_text(), re.M)
    assert copied == [".", "docker/healthy.py"]
    assert "docker" in kept
    members = re.findall(r"^members = \[(.*)\]", (ROOT / "Cargo.toml").read_text(), re.M)[0]
    assert {member.strip('" ').split("/")[0] for member in members.split(",")} <= {path.split("/")[0] for path in kept}


def test_the_health_check_fails_where_nothing_answers() -> None:
    environment = {**os.environ, "ANYLOG_REST_PORT": str(free_port())}
    check = [sys.executable, str(ROOT / "docker/healthy.py")]
    assert subprocess.run(check, env=environment, timeout=20).returncode == 1


def test_a_stopped_container_ends_at_once(tmp_path: Path) -> None:
    """``docker stop`` sends SIGTERM and kills after ten seconds."""
    with Container(tmp_path, _services("compose.yaml")["node"]) as node:
        node.until(node.healthy, limit_s=60)
        assert node.process is not None
        node.process.send_signal(signal.SIGTERM)
        assert node.process.wait(10) == 0
