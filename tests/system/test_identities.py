"""Users, tokens and permissions at a running node: REST and MQTT, through restarts, without a trace of secrets."""

from __future__ import annotations

import base64
import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from edgelake.bench.processes import free_port
from edgelake.identity import keys
from tests.system.program import AGENT, STANDALONE, Program

ROW = b'{"timestamp": "2026-01-01T00:00:00Z", "value": 1.5}'
PUT = {"dbms": "plant", "table": "t", "mode": "streaming"}
GRAFANA = {"User-Agent": "Grafana/11.3.0", "Content-Type": "application/json"}
PANEL = b'{"targets": [{"target": "plant.t", "payload": {"sql": "select timestamp, value from t"}}]}'
ADMIN, EVA = "ops:pass-of-ops", "eva:pass-of-eva"


def basic(credentials: str) -> dict[str, str]:
    return {"Authorization": "Basic " + base64.b64encode(credentials.encode()).decode()}


def call(node: Program, command: str, credentials: dict[str, str] | None = None) -> tuple[int, str]:
    method = "GET" if command.startswith(("get ", "test ")) else "POST"
    status, body = node.request(method, {**AGENT, "command": command, **(credentials or {})})
    return status, body.decode()


@pytest.fixture
def node(tmp_path: Path) -> Program:
    return Program(tmp_path / "home")


def test_with_authentication_every_call_needs_a_name(node: Program) -> None:
    with node:
        for name, kind in ((ADMIN, "admin"), (EVA, "user")):
            user, _, password = name.partition(":")
            assert call(node, f"id add user where name = {user} and password = {password} and type = {kind}")[0] == 200
        assert call(node, "get status")[0] == 200  # clients of this machine, until it is on
        assert call(node, "set user authentication on")[0] == 200
        for method, headers in (
            ("GET", {**AGENT, "command": "get status"}),
            ("POST", {**AGENT, "command": "flush buffers"}),
            ("PUT", {**AGENT, **PUT}),
            ("PUT", {**AGENT, **PUT, "mode": "file"}),
            ("POST", {"User-Agent": "AnyLog/1.23", "command": "data", "topic": "x"}),
            ("POST", {**AGENT, "command": "file to !tmp_dir/x", "Content-Type": "application/octet-stream"}),
        ):
            status, body = node.request(method, headers, ROW)
            assert status == 401, (method, headers)
            assert json.loads(body)["code"] == "credentials"
        for path in ("/search", "/query", "/variable", "/annotations"):
            for who in (
                ({}, basic("eva:wrong")) if path == "/query" else ({},)
            ):  # those who guess are kept out for a while
                status, body = node.request("POST", {**GRAFANA, **who}, PANEL, path=path)
                assert (status, json.loads(body)["code"]) == (401, "credentials"), (path, who)
        assert node.request("GET", {}, path="/health")[0] == 200
        for _ in range(2):  # looked at, then remembered
            assert node.request("PUT", {**AGENT, **PUT, **basic(EVA)}, ROW)[0] == 200
        assert node.request("PUT", {**AGENT, **PUT, **basic("eva:wrong")}, ROW)[0] == 401
        assert call(node, "connect dbms more where type = sqlite", basic(EVA))[0] == 403
        assert call(node, "connect dbms more where type = sqlite", basic(ADMIN))[0] == 200
        assert call(node, "system ls", basic(ADMIN))[0] == 403
    with node:  # it holds from the first moment on
        assert call(node, "get status")[0] == 401
        assert call(node, "get status", basic(EVA))[0] == 200
        status, counts = call(node, "get rows count where dbms = plant and format = json", basic(EVA))
        assert (status, json.loads(counts)) == (200, {"plant.t": 2})


def test_a_panel_reads_what_the_classes_of_its_source_allow(node: Program) -> None:
    with node:
        for name, kind in ((ADMIN, "admin"), (EVA, "user")):
            user, _, password = name.partition(":")
            call(node, f"id add user where name = {user} and password = {password} and type = {kind}")
        call(node, "set user authentication on")
        assert node.request("PUT", {**AGENT, **PUT, **basic(EVA)}, ROW)[0] == 200
        call(node, "flush buffers", basic(ADMIN))

        def answers(classes: str) -> list[Any]:
            call(node, f"set permissions where user = eva and classes = ({classes})", basic(ADMIN))
            asked = [("/search", b"{}"), ("/query", PANEL)]
            return [
                json.loads(node.request("POST", {**GRAFANA, **basic(EVA)}, body, path=path)[1]) for path, body in asked
            ]

        search, panel = answers("data")
        assert (search, panel[0]["datapoints"]) == (["plant.t"], [[1.5, 1767225600000]])
        for classes in ("metadata", "files"):
            for said in answers(classes):
                assert "needs the command class 'data'" in said["message"]
        writing = {"targets": [{"target": "plant.t", "payload": {"sql": "delete from t"}}]}
        body = json.dumps(writing).encode()
        said = json.loads(node.request("POST", {**GRAFANA, **basic(ADMIN)}, body, path="/query")[1])
        assert "no select" in said["message"]  # an administrator's source, too


def test_a_login_is_asked_for_and_guessing_is_slowed_down(node: Program) -> None:
    with node:
        call(node, "id add user where name = ops and password = right and type = admin")
        found = [call(node, "get status", basic("ops:wrong"))[0] for _ in range(20)]
        assert found[:4] == [401] * 4
        assert 429 in found
        _, refused = call(node, "get audit log where format = json")
        assert [one["outcome"] for one in json.loads(refused)].count("refused") >= 4


def test_tokens_are_shown_once_and_end_when_removed(node: Program) -> None:
    with node:
        assert call(node, "id add user where name = ops and password = x and type = admin")[0] == 200
        status, said = call(node, "id create token where name = grafana and expiration = 1 hour")
        token = said.splitlines()[0].strip()
        assert (status, token[:4]) == (200, "elt_")
        bearer = {"Authorization": f"Bearer {token}"}
        call(node, "set user authentication on")
        assert call(node, "get status", bearer)[0] == 200
        assert node.request("PUT", {**AGENT, **PUT, **bearer}, ROW)[0] == 200
        assert call(node, "set permissions where user = grafana and classes = (metadata)", basic("ops:x"))[0] == 200
        assert node.request("PUT", {**AGENT, **PUT, **bearer}, ROW)[0] == 403
        shown = json.loads(call(node, "get tokens where format = json", basic("ops:x"))[1])
        assert [(one["name"], one["classes"], one["status"]) for one in shown] == [("grafana", "metadata", "valid")]
        call(node, "id remove token where name = grafana", basic("ops:x"))
        assert call(node, "get status", bearer)[0] == 401


def test_a_password_is_changed_by_who_knows_it(node: Program) -> None:
    with node:
        call(node, "id add user where name = ops and password = first and type = admin")
        change = "id update user password where name = ops and old = {} and new = second"
        assert call(node, change.format("guessed"))[0] == 401
        assert call(node, change.format("first"))[0] == 200
        assert call(node, "get status", basic("ops:first"))[0] == 401
        assert call(node, "get status", basic("ops:second"))[0] == 200


def test_no_secret_is_kept_or_shown(node: Program) -> None:
    secrets = ("pass-of-ops", "pass-of-eva", "new-of-eva")
    with node:
        call(node, "id add user where name = ops and password = pass-of-ops and type = admin")
        call(node, "id add user where name = eva and password = 'pass-of-eva'")
        call(node, "id update user password where name = eva and old = pass-of-eva and new = new-of-eva")
        token = call(node, "id create token where name = t")[1].split()[0]
        shown = [call(node, command)[1] for command in ("get event log", "get error log", "get audit log", "get users")]
        call(node, "get rest calls", {"Authorization": f"Bearer {token}"})
        shown += [call(node, "get rest calls")[1], call(node, "get streaming log")[1]]
    kept = [path.read_bytes() for path in node.home.rglob("*") if path.is_file()]
    for secret in (*secrets, token):
        assert not [text for text in shown if secret in text]
        assert not [content for content in kept if secret.encode() in content]


def test_who_changed_what_is_kept(node: Program) -> None:
    with node:
        call(node, "id add user where name = ops and password = x and type = admin")
        call(node, "set user authentication on")
        call(node, "connect dbms more where type = sqlite", basic("ops:x"))
        call(node, "connect dbms more where type = nonsense", basic("ops:x"))
        call(node, "system ls", basic("ops:x"))
        call(node, "get status", basic("ops:x"))
    lines = [json.loads(line) for line in (node.home / "EdgeLake/data/audit.jsonl").read_text().splitlines()]
    assert [(one["user"], one["command"].partition(" where")[0], one["outcome"]) for one in lines] == [
        ("", "id add user", "ok"),
        ("", "set user authentication on", "ok"),
        ("ops", "connect dbms more", "ok"),
        ("ops", "connect dbms more", "failed"),
        ("ops", "system ls", "refused"),
    ]
    assert all(one["address"].startswith("127.0.0.1:") for one in lines)


def test_policies_say_what_users_may_do(node: Program) -> None:
    root = keys.create("r")
    opened = keys.Opened(root.private, "r")

    def keep(policy: dict[str, Any]) -> str:
        command = f"blockchain insert where policy = {json.dumps(policy)} and local = true"
        status, said = call(node, command, basic(ADMIN))
        assert status == 200, said
        (kind,) = policy
        headers = {**AGENT, "command": f"blockchain get {kind}", **basic(ADMIN)}
        return str(json.loads(node.request("GET", headers)[1])[-1][kind]["id"])

    def sql(dbms: str, table: str) -> int:
        status, _ = call(node, f'sql {dbms} format = json "select value from {table}"', basic(EVA))
        query = json.dumps({"sql": f"select value from {dbms}.{table}"}).encode()
        api, _ = node.request("POST", {"Content-Type": "application/json", **basic(EVA)}, query, path="/v1/sql")
        assert (status == 403) == (api == 403)
        panel = {
            "targets": [{"target": f"{dbms}.{table}", "payload": {"sql": f"select timestamp, value from {table}"}}]
        }
        shown = grafana("/query", panel)
        assert (status == 403) == (isinstance(shown, dict) and "not permitted" in shown["message"]), shown
        return status

    def grafana(path: str, body: dict[str, Any]) -> Any:
        return json.loads(node.request("POST", {**GRAFANA, **basic(EVA)}, json.dumps(body).encode(), path=path)[1])

    with node:
        for user, _, password in (ADMIN.partition(":"), EVA.partition(":")):
            kind = "admin" if user == "ops" else "user"
            call(node, f"id add user where name = {user} and password = {password} and type = {kind}")
        eva = call(node, "id create keys where password = p and keys_file = eva", basic(ADMIN))[1].strip()
        assert call(node, "id create keys for node where password = n", basic(ADMIN))[0] == 200
        assert call(node, "set private password = n", basic(ADMIN))[0] == 200
        for table in ("motor", "pump"):
            assert node.request("PUT", {**AGENT, **PUT, "table": table, **basic(EVA)}, ROW)[0] == 200
        call(node, "flush buffers", basic(ADMIN))
        keep({"member": {"type": "root", "name": "boss", "public_key": opened.public}})
        keep({"member": {"type": "user", "name": "eva", "public_key": eva}})
        assert sql("plant", "motor") == 200  # policies are not asked yet
        assert call(node, "set node authentication on", basic(ADMIN))[0] == 200
        assert sql("plant", "motor") == 403
        assert node.request("PUT", {**AGENT, **PUT, **basic(EVA)}, ROW)[0] == 403
        body = {"name": "motors", "enable": ["sql", "put"], "databases": [], "tables": ["plant.motor"]}
        given = keep(keys.signed({"permissions": body}, opened))
        assigned = keep(keys.signed({"assignment": {"permissions": given, "members": [eva]}}, opened))
        assert [sql("plant", "motor"), sql("plant", "pump"), sql("plant", "motor_text")] == [200, 403, 200]
        assert node.request("PUT", {**AGENT, **PUT, "table": "motor", **basic(EVA)}, ROW)[0] == 200
        assert node.request("PUT", {**AGENT, **PUT, "table": "pump", **basic(EVA)}, ROW)[0] == 403
        assert node.request("POST", basic(EVA), ROW, path="/v1/data/plant/pump")[0] == 403
        assert call(node, "get status", basic(EVA))[0] == 403
        assert grafana("/search", {}) == ["plant.motor"]
        for payload in ({"type": "map", "member": "member"}, {"type": "info", "details": "get status"}):
            assert "not permit" in grafana("/query", {"targets": [{"target": "x", "payload": payload}]})["message"]
        both = 'sql plant "select value from motor" ', 'sql plant "select value from pump"'
        assert [isinstance(grafana("/variable", {"payload": {"target": one}}), list) for one in both] == [True, False]
        assert node.request("GET", basic(EVA), path="/v1/databases")[0] == 403
        shown = call(node, "get member permissions where name = eva and format = json", basic(ADMIN))[1]
        assert [(one["permissions"], one["in_force"]) for one in json.loads(shown)] == [("motors", True)]
        asked = f"id validate where key = {eva} and command = sql and dbms = plant and table = "
        assert [call(node, asked + table, basic(ADMIN))[1].strip() for table in ("motor", "pump")] == ["true", "false"]
        assert call(node, f"blockchain delete policy where id = {assigned}", basic(ADMIN))[0] == 200
        assert sql("plant", "motor") == 403
        forged = {"permissions": {**body, "name": "mine", "public_key": eva, "signature": "AAAA"}}
        command = f"blockchain insert where policy = {json.dumps(forged)} and local = true"
        status, said = call(node, command, basic(ADMIN))
        assert (status, "not as its author signed it" in said) == (403, True)
        assert call(node, "set node authentication off", basic(ADMIN))[0] == 200
        assert sql("plant", "motor") == 200


def test_a_damaged_file_of_users_stops_the_start_and_says_why(node: Program) -> None:
    with node:
        call(node, "id add user where name = ops and password = x and type = admin")
    (node.home / "EdgeLake/anylog/users.json").write_text("{")
    with pytest.raises(AssertionError, match=r"users\.json is damaged"):
        node.start()


def test_mqtt_clients_are_users_and_tokens_of_the_node(tmp_path: Path) -> None:
    port = free_port()
    broker = f"run message broker where external_ip = 127.0.0.1 and external_port = {port} and bind = true\n"

    def publish(*who: str) -> int:
        told = ["mosquitto_pub", "-p", str(port), "-t", "x", "-m", "1", "-q", "1", "-V", "5", *who]
        return subprocess.run(told, capture_output=True, timeout=20).returncode

    with Program(tmp_path / "home", STANDALONE.replace("run rest", f"{broker}run rest")) as node:
        assert publish() == 0
        call(node, "id add user where name = ops and password = right and type = admin")
        token = call(node, "id create token where name = pump")[1].split()[0]
        assert publish() == 0  # of this machine
        call(node, "set user authentication on")
        assert publish() != 0
        assert publish("-u", "ops", "-P", "right") == 0
        assert publish("-u", "ops", "-P", "wrong") != 0
        assert publish("-u", "pump", "-P", token) == 0
        assert publish("-u", "ops", "-P", token) != 0
        admin = basic("ops:right")
        call(node, "set permissions where user = pump and classes = (metadata)", admin)
        assert publish("-u", "pump", "-P", token) != 0
        call(node, "set permissions where user = anonymous and entry = mqtt and classes = (data)", admin)
        assert publish() == 0


def test_a_node_that_is_open_to_other_machines_says_so_until_there_is_a_user(tmp_path: Path) -> None:
    port = free_port()
    script = STANDALONE.replace("127.0.0.1", "0.0.0.0")
    script = script.replace(
        "run rest", f"run tcp server where external_ip = 0.0.0.0 and external_port = {port} and bind = true\nrun rest"
    )
    with Program(tmp_path / "home", script) as node:
        told = "clients of other machines need no name"
        shown = node.data("get processes")
        assert [told in shown[row]["Details"] for row in ("REST", "TCP")] == [True, True]
        assert told in call(node, "test node")[1]
        call(node, "id add user where name = ops and password = x and type = admin")
        assert told not in node.get("get processes")
        call(node, "set user authentication on")
        assert "it asks for a name" in call(node, "test node", basic("ops:x"))[1]
