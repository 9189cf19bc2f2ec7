"""What the pages of the console ask for: tables, sources, previews, the network, problems."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from edgelake.command.api.network import place_of
from edgelake.command.health import Health
from edgelake.command.registry import Registry
from edgelake.command.tokenizer import tokenise
from tests.api.test_api import got, post
from tests.system.program import STANDALONE, Program
from tests.tools.test_configuration import edgelake

SCRIPT = (
    STANDALONE
    + """\
partition plant motor using timestamp by 1 day
run msg client where broker = rest and user-agent = anylog and topic = (name = pumps and dbms = plant and table = pump \
and column.timestamp.timestamp = now and column.value.float = "bring [value]")
p = create policy cluster where name = c1 and company = acme
blockchain insert where policy = !p and local = true
c = blockchain get cluster bring.first [cluster][id]
p = create policy operator where name = op1 and company = acme and cluster = !c and ip = 127.0.0.1 and port = 9 \
and loc = "52.52,13.40"
blockchain insert where policy = !p and local = true
"""
)
ROWS = [
    {"timestamp": "2026-01-01T00:00:00Z", "device": "m1", "speed": 1480.5},
    {"timestamp": "2026-01-03T12:00:00Z", "device": "m2", "speed": 1475.0},
]


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Program]:
    with Program(tmp_path_factory.mktemp("node"), SCRIPT) as running:
        assert running.put(json.dumps(ROWS).encode(), table="motor")[0] == 200
        running.post("flush buffers")
        yield running


def previewed(node: Program, payload: Any, **more: Any) -> tuple[int, Any]:
    text = payload if isinstance(payload, str) else json.dumps(payload)
    return post(node, "/v1/preview", {"payload": text, **more})


def test_a_table_says_what_it_holds(node: Program) -> None:
    found = got(node, "/v1/databases/plant/motor")
    assert (found["rows"], found["time_column"]) == (2, "timestamp")
    assert found["bytes"] > 0
    assert (found["first"], found["last"]) == ("2026-01-01T00:00:00+00:00", "2026-01-03T12:00:00+00:00")
    assert [(one["from"], one["rows"]) for one in found["partitions"]] == [("2026-01-01", 1), ("2026-01-03", 1)]
    assert found["partitioned"] == {"column": "timestamp", "every": "1 day"}
    assert [c["name"] for c in found["columns"] if not c["automatic"]] == ["timestamp", "device", "speed"]
    node.post("delete rows where dbms = plant and table = motor and days = 100000")
    assert got(node, "/v1/databases/plant/motor")["retention"][0]["rule"] == "days = 100000"
    assert node.request("GET", {}, path="/v1/databases/plant/nowhere")[0] == 404


def test_a_plan_is_shown_and_no_row_is_read(node: Program) -> None:
    before = node.get("query status all")
    grouped = {"dbms": "plant", "sql": "select device, avg(speed) as mean from motor group by device"}
    status, plan = post(node, "/v1/explain", grouped)
    assert (status, plan["columns"], plan["partitions"]) == (200, ["device", "mean"], 2)
    assert len(plan["scans"]) == 2
    assert "edgelake_batch" in plan["merge"]
    status, plan = post(node, "/v1/explain", {"dbms": "plant", "sql": "select speed from motor order by speed"})
    assert (status, plan["columns"], plan["merge"]) == (200, ["speed"], None)
    assert post(node, "/v1/explain", {"dbms": "plant", "sql": "select nothing from motor"})[0] == 400
    assert node.get("query status all") == before  # it is no query of the node's


def test_clients_say_what_they_map(node: Program) -> None:
    found = got(node, "/v1/clients")
    (client,) = found["clients"]
    (topic,) = client["topics"]
    assert (client["broker"], topic["name"], topic["dbms"], topic["table"]) == ("rest", "pumps", "plant", "pump")
    assert [column["name"] for column in topic["columns"]] == ["timestamp", "value"]


def test_a_payload_for_a_client_becomes_the_row_that_would_be_stored(node: Program) -> None:
    status, found = previewed(node, {"value": 2.5}, client=1, topic="pumps")
    assert status == 200
    (target,) = found["targets"]
    assert (target["dbms"], target["table"], target["count"]) == ("plant", "pump", 1)
    assert target["rows"][0]["value"] == 2.5
    status, found = previewed(node, [{"value": 2.5}, {"other": 1}], client=1)
    assert (found["targets"][0]["count"], found["rejected"][0]["element"]) == (1, 2)
    assert "value" in found["rejected"][0]["reason"]
    assert "pump" not in json.dumps(got(node, "/v1/databases/plant"))  # nothing of it was stored


def test_a_payload_for_a_table_shows_new_columns_and_values_that_do_not_fit(node: Program) -> None:
    _, found = previewed(node, {"device": "m9", "speed": 1.5, "phase": 3}, dbms="plant", table="motor")
    (target,) = found["targets"]
    assert [c["name"] for c in target["columns"] if c["new"]] == ["phase"]
    misfit = [{"timestamp": "soon"}, {"speed": 1}]
    assert previewed(node, misfit, dbms="plant", table="motor")[1]["targets"][0]["unfit"] == []  # the column widens
    node.post("set schema widening where value = off")
    (target,) = previewed(node, misfit, dbms="plant", table="motor")[1]["targets"]
    assert (target["count"], target["unfit"][0]["row"]) == (1, 1)
    _, found = previewed(node, {"a": 1}, dbms="plant", table="quite_new")
    assert found["targets"][0]["exists"] is False


@pytest.mark.parametrize(
    ("payload", "more", "status"),
    [
        ('{"value": 1', {"dbms": "plant", "table": "motor"}, 400),
        ("nonsense", {"client": 1}, 400),
        ('{"value": 1}', {}, 400),
        ('{"value": 1}', {"client": 77}, 400),
        ('{"value": 1}', {"policy": "none"}, 400),
        ('{"value": 1}', {"dbms": "nowhere", "table": "t"}, 404),
        ('{"value": 1}', {"client": 1, "topic": "unknown"}, 400),
    ],
)
def test_a_payload_that_is_none_says_what_is_wrong(node: Program, payload: str, more: Any, status: int) -> None:
    told, found = previewed(node, payload, **more)
    assert (told, bool(found["title"])) == (status, True)


def test_the_place_of_the_fault_is_told(node: Program) -> None:
    _, found = previewed(node, '{"a": 1}\n{"b": }\n', dbms="plant", table="motor")
    assert "2" in found["detail"]


def test_rows_that_were_kept_out_show_with_their_reasons(node: Program) -> None:
    node.post("set schema widening where value = off")
    node.put(b'{"timestamp": "never", "device": "bad"}\n{"device": "good"}', table="motor")
    node.post("flush buffers")
    node.until(lambda: bool(got(node, "/v1/rejected")["files"]))
    found = got(node, "/v1/rejected")
    file = found["files"][0]
    assert (file["dbms"], file["table"], file["count"]) == ("plant", "motor", 1)
    assert "never" in file["rows"][0]
    assert file["reasons"][0]["reason"]
    assert {"dbms": "plant", "table": "motor", "rows": 1} in found["tables"]
    assert any("plant.motor" in one["what"] for one in got(node, "/v1/problems")["problems"])


def test_the_network_shows_its_nodes_with_their_places(node: Program) -> None:
    found = got(node, "/v1/network")
    (one,) = found["nodes"]
    assert (one["type"], one["name"], one["address"], one["place"]) == ("operator", "op1", "127.0.0.1:9", [52.52, 13.4])
    assert found["clusters"][0]["members"] == [one["id"]]
    assert found["metadata"]["policies"] == 2


def test_every_problem_has_a_command_that_exists(node: Program) -> None:
    registry = Registry.discover()
    for one in got(node, "/v1/problems")["problems"]:
        assert one["cause"]
        assert registry.match(tokenise(one["command"]).words) is not None, one


def test_what_the_doctor_finds_is_a_problem_of_a_node_that_runs(tmp_path: Path) -> None:
    """Files that others can read, certificates that are none: the same words, and a command that exists."""
    with Program(tmp_path, environment={"EDGELAKE_LOG": "error"}) as sick:
        sick.post("id add user where name = eva and password = x and type = admin")
        users = tmp_path / "EdgeLake/anylog/users.json"
        users.chmod(0o644)
        pem = tmp_path / "EdgeLake/data/pem"
        pem.mkdir(exist_ok=True)
        (pem / "other.crt").write_text("nonsense")
        found = {one["where"]: one for one in got(sick, "/v1/problems")["problems"]}
        assert found["Users"]["weight"] == found["Certificates"]["weight"] == "error"
        assert f"others can read {users}" in found["Users"]["what"]
        assert f"chmod 600 {users}" in found["Users"]["cause"]
        assert "other.crt cannot be read" in found["Certificates"]["what"]
        registry = Registry.discover()
        for one in found.values():
            assert registry.match(tokenise(one["command"]).words) is not None, one
    doctor = edgelake("doctor", "--home", str(tmp_path), cwd=tmp_path).stdout
    for one in (found["Users"], found["Certificates"]):
        assert one["what"] in doctor


async def test_a_node_is_looked_at_once_however_many_ask(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    looked: list[Path] = []
    monkeypatch.setattr("edgelake.command.health.looks", lambda home: looked.append(home) or iter(()))
    health = Health(lambda: tmp_path)
    tasks = {health.refresh() for _ in range(10)}
    assert len(tasks) == 1
    for task in tasks:
        assert task is not None
        await task
    assert health.refresh() is None  # not due
    assert looked == [tmp_path]


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("37.78,-122.39", (37.78, -122.39)),
        (" 0 , 0 ", (0.0, 0.0)),
        ("91,0", None),
        ("<script>", None),
        ("", None),
        (7, None),
        (None, None),
        ("1,2,3", None),
    ],
)
def test_places(text: Any, place: Any) -> None:
    assert place_of(text) == place


def test_a_folder_of_errors_that_is_not_there_is_no_failure(tmp_path: Path) -> None:
    with Program(tmp_path) as fresh:
        assert got(fresh, "/v1/rejected") == {"tables": [], "files": []}
