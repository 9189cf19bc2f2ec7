"""The public API of a running node, over sockets."""

from __future__ import annotations

import csv
import gzip
import io
import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow
import pytest
from prometheus_client.parser import text_string_to_metric_families
from pyarrow import parquet

from tests.system.program import AGENT, STANDALONE, Program

ROWS = [
    {"timestamp": "2026-01-01T00:00:00Z", "name": 'a "b", c\n', "value": 1.5, "count": 7},
    {"timestamp": "2026-01-01T00:00:01Z", "name": "é", "value": None, "count": 8},
    {"timestamp": "2026-01-01T00:00:02Z", "name": "<script>", "value": -2.25, "count": 9},
]
SELECT = "select timestamp, name, value, count from motor order by timestamp"


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Program]:
    with Program(tmp_path_factory.mktemp("node"), STANDALONE + "run scheduler 1\n") as running:
        status, reply = post(running, "/v1/data/plant/motor", ROWS)
        assert (status, reply["stored"]) == (200, 3)
        running.post("flush buffers")
        yield running


def get(node: Program, path: str, **headers: str) -> tuple[int, bytes]:
    return node.request("GET", headers, path=path)


def got(node: Program, path: str) -> Any:
    status, body = get(node, path)
    assert status == 200, body
    return json.loads(body)


def post(node: Program, path: str, body: Any, **headers: str) -> tuple[int, Any]:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    status, reply = node.request("POST", {"Content-Type": "application/json", **headers}, data, path=path)
    return status, json.loads(reply)


def sql(node: Program, statement: str = SELECT, **more: Any) -> bytes:
    body = json.dumps({"sql": statement, "dbms": "plant", **more}).encode()
    status, reply = node.request("POST", {"Content-Type": "application/json"}, body, path="/v1/sql")
    assert status == 200, reply
    return reply


# ---- queries


def test_json_has_values_as_they_are_and_null_as_null(node: Program) -> None:
    rows = json.loads(sql(node))
    assert [(row["name"], row["value"], row["count"]) for row in rows] == [
        (row["name"], row["value"], row["count"]) for row in ROWS
    ]
    assert rows[0]["timestamp"].startswith("2026-01-01T00:00:00")
    assert [json.loads(line) for line in sql(node, format="ndjson").splitlines()] == rows


def test_csv_reads_back(node: Program) -> None:
    rows = list(csv.DictReader(io.StringIO(sql(node, format="csv").decode(), newline="")))
    assert [row["name"] for row in rows] == [row["name"] for row in ROWS]
    assert [row["value"] for row in rows] == ["1.5", "", "-2.25"]


@pytest.mark.parametrize("form", ["arrow", "parquet"])
def test_arrow_and_parquet_have_types(node: Program, form: str) -> None:
    data = sql(node, format=form)
    table = pyarrow.ipc.open_stream(data).read_all() if form == "arrow" else parquet.read_table(io.BytesIO(data))
    assert table.column("value").to_pylist() == [1.5, None, -2.25]
    assert table.column("count").to_pylist() == [7, 8, 9]
    assert table.column("name").to_pylist() == [row["name"] for row in ROWS]
    assert str(table.schema.field("timestamp").type) == "timestamp[us, tz=UTC]"
    assert table.column("timestamp").to_pylist()[0].isoformat() == "2026-01-01T00:00:00+00:00"


@pytest.mark.parametrize("form", ["arrow", "parquet"])
def test_many_rows_come_in_pieces_that_fit(node: Program, form: str) -> None:
    lines = b"\n".join(b'{"v": %d}' % n for n in range(150_000))
    table = f"many_{form}"
    assert post(node, f"/v1/data/plant/{table}", lines, **{"Content-Type": "application/x-ndjson"})[0] == 200
    node.post("flush buffers")
    data = sql(node, f"select v from {table} order by v", format=form)
    found = pyarrow.ipc.open_stream(data).read_all() if form == "arrow" else parquet.read_table(io.BytesIO(data))
    assert found.column("v").to_pylist() == list(range(150_000))
    empty = sql(node, f"select v from {table} where v < 0", format=form)
    found = pyarrow.ipc.open_stream(empty).read_all() if form == "arrow" else parquet.read_table(io.BytesIO(empty))
    assert (found.num_rows, found.column_names) == (0, ["v"])


@pytest.mark.parametrize(
    ("form", "nothing"), [("json", b"[]"), ("ndjson", b""), ("csv", b"name,value\n")], ids=["json", "ndjson", "csv"]
)
def test_no_rows_are_no_rows(node: Program, form: str, nothing: bytes) -> None:
    assert sql(node, "select name, value from motor where count > 100", format=form) == nothing


def test_by_get_too(node: Program) -> None:
    assert got(node, "/v1/sql?sql=select+count(*)+as+n+from+motor&dbms=plant") == [{"n": 3}]
    assert got(node, "/v1/sql?sql=select+count(*)+as+n+from+plant.motor") == [{"n": 3}]


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        ({}, 400, "api.parameter"),
        ({"sql": ""}, 400, "api.parameter"),
        ({"sql": 7}, 400, "api.parameter"),
        ({"sql": SELECT, "dbms": "plant", "formt": "csv"}, 400, "api.parameter"),
        ({"sql": SELECT, "dbms": "plant", "format": "xml"}, 400, "api.parameter"),
        ({"sql": SELECT, "dbms": "nowhere"}, 404, "dbms.missing"),
        ({"sql": "select x from nothing", "dbms": "plant"}, 404, "table.missing"),
        ({"sql": "delete from motor", "dbms": "plant"}, 403, "command.not_permitted"),
        ({"sql": "drop table motor", "dbms": "plant"}, 403, "command.not_permitted"),
        ({"sql": "select 1; drop table motor", "dbms": "plant"}, 400, None),
        ({"sql": "attach database '/etc/passwd' as x", "dbms": "plant"}, 403, None),
        ({"sql": "select readfile('/etc/passwd') from motor", "dbms": "plant"}, 400, None),
        ({"sql": SELECT, "dbms": "../plant"}, 404, "dbms.missing"),
        ({"sql": SELECT, "dbms": "plant", "timezone": "Mars/Olympus"}, 400, None),
    ],
)
def test_what_is_wrong_is_said_in_one_form(node: Program, body: dict[str, Any], status: int, code: str | None) -> None:
    got_status, said = post(node, "/v1/sql", body)
    assert got_status == status, said
    assert {"title", "status", "code"} <= said.keys()
    assert said["status"] == status
    assert code in (None, said["code"])
    assert json.loads(sql(node, "select count(*) as n from motor")) == [{"n": 3}]


@pytest.mark.parametrize("body", [b"{", b"[]", b"\xff", b"7", b'{"sql": "a", "sql": '])
def test_bodies_that_are_none(node: Program, body: bytes) -> None:
    assert post(node, "/v1/sql", body)[0] == 400


# ---- readings


def test_rows_come_as_a_list_an_object_or_lines_and_compressed(node: Program) -> None:
    lines = b"\n".join(json.dumps({"v": n}).encode() for n in range(1000))
    for body, headers in (
        (b'{"v": 1}', {}),
        (b'[{"v": 1}, {"v": 2}]', {}),
        (lines, {"Content-Type": "application/x-ndjson"}),
        (gzip.compress(lines), {"Content-Type": "application/x-ndjson", "Content-Encoding": "gzip"}),
    ):
        assert post(node, "/v1/data/plant/forms", body, **headers)[0] == 200
    node.post("flush buffers")
    assert node.count("forms") == 2003


def test_the_same_key_stores_once(node: Program) -> None:
    key = {"Idempotency-Key": "k-1"}
    first = post(node, "/v1/data/plant/keys", [{"v": 1}, {"v": 2}], **key)
    assert first[0] == 200
    assert post(node, "/v1/data/plant/keys", [{"v": 1}, {"v": 2}], **key) == first
    status, said = post(node, "/v1/data/plant/keys", [{"v": 3}], **key)
    assert (status, said["code"]) == (422, "api.key_reused")
    assert post(node, "/v1/data/plant/keys", b"{", **{"Idempotency-Key": "k-2"})[0] == 400
    assert post(node, "/v1/data/plant/keys", [{"v": 3}], **{"Idempotency-Key": "k-2"})[0] == 200
    node.post("flush buffers")
    assert node.count("keys") == 3


@pytest.mark.parametrize(
    ("path", "body", "headers", "status"),
    [
        ("/v1/data/plant/bad", b"", {}, 400),
        ("/v1/data/plant/bad", b'{"v": ', {}, 400),
        ("/v1/data/plant/bad", b"a=1&b=2", {"Content-Type": "application/x-www-form-urlencoded"}, 400),
        ("/v1/data/plant/bad%2Fx%00", b'{"v": 1}', {}, 404),
        ("/v1/data/plant/..%2f..%2fx", b'{"v": 1}', {}, 404),
    ],
)
def test_rows_that_are_refused(node: Program, path: str, body: bytes, headers: dict[str, str], status: int) -> None:
    assert post(node, path, body, **headers)[0] == status
    assert "bad" not in node.get("get tables where dbms = plant")


# ---- state


def test_status_databases_policies_and_commands(node: Program) -> None:
    assert got(node, "/v1/status")["node"]["name"] == "edge-1"
    assert [one["name"] for one in got(node, "/v1/databases")["databases"]] == ["plant"]
    tables = {one["name"]: one for one in got(node, "/v1/databases/plant")["tables"]}
    assert {"name", "value", "count"} <= {column["name"] for column in tables["motor"]["columns"]}
    assert got(node, "/v1/processes")["REST"]["Status"] == "Running"
    assert "REST" in got(node, "/v1/connections")
    assert isinstance(got(node, "/v1/policies")["policies"], list)
    assert got(node, "/v1/policies/operator")["policies"] == []
    status, said = post(node, "/v1/command", {"command": "get status"})
    assert (status, said["result"]["Status"]) == (200, node.get("get status"))
    assert post(node, "/v1/command", {"command": "get nonsense"})[0] == 400
    assert post(node, "/v1/command", {"command": "system ls"})[0] == 403
    assert post(node, "/v1/command", {"command": "get status\nsystem ls"})[0] == 400


def test_metrics_are_what_prometheus_reads(node: Program) -> None:
    status, body = get(node, "/metrics")
    assert status == 200
    families = {family.name: family for family in text_string_to_metric_families(body.decode())}
    stored = {(s.labels["dbms"], s.labels["table"]): s.value for s in families["edgelake_rows_stored"].samples}
    assert stored["plant", "motor"] == 3
    up = {sample.labels["service"]: sample.value for sample in families["edgelake_service_up"].samples}
    assert up["rest"] == up["scheduler"] == 1
    assert families["process_resident_memory_bytes"].samples[0].value > 1e6
    took = families["edgelake_http_request_duration_seconds"]
    assert took.type == "histogram"
    counts = {(s.labels["kind"], s.labels["method"]): s.value for s in took.samples if s.name.endswith("_count")}
    assert counts["rows", "POST"] >= 1
    rows = [s for s in took.samples if s.labels.get("kind") == "rows" and s.labels["method"] == "POST"]
    buckets = [s.value for s in rows if s.name.endswith("_bucket")]
    assert buckets == sorted(buckets)
    assert buckets[-1] == counts["rows", "POST"]
    samples = [sample for family in families.values() for sample in family.samples]
    assert len(samples) <= 500
    assert all(math.isfinite(sample.value) for sample in samples)
    assert all(family.documentation for family in families.values())


def test_readiness_and_health(node: Program) -> None:
    assert got(node, "/readyz") == {"ready": True, "reasons": []}
    assert get(node, "/healthz")[0] == 200


def test_paths_and_methods_that_are_none(node: Program) -> None:
    assert get(node, "/v1/nothing")[0] == 404
    assert get(node, "/v1/")[0] == 404
    status, said = post(node, "/v1/databases", {})
    assert (status, said["code"]) == (405, "api.wrong_method")
    assert node.request("DELETE", {}, path="/v1/sql")[0] == 405
    assert node.request("HEAD", {}, path="/v1/status") == (200, b"")


def test_a_command_in_a_header_is_a_command_whatever_the_path(node: Program) -> None:
    status, body = node.request("GET", {**AGENT, "command": "get status"}, path="/v1/sql")
    assert (status, body.decode()) == (200, node.get("get status"))


# ---- who may


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://evil.example"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Host": "evil.example"},
        {"Origin": "null"},
    ],
)
def test_pages_of_other_sites_are_refused(node: Program, headers: dict[str, str]) -> None:
    assert get(node, "/v1/status", **headers)[0] == 403
    assert post(node, "/v1/data/plant/bad", [{"v": 1}], **headers)[0] == 403
    assert post(node, "/v1/command", {"command": "connect dbms x where type = sqlite"}, **headers)[0] == 403


def test_with_users_the_api_wants_a_name_and_health_does_not(tmp_path: Path) -> None:
    with Program(tmp_path) as node:
        node.post("id add user where name = ops and password = x and type = admin")
        token = node.post("id create token where name = scraper").split()[0]
        node.post("set user authentication on")
        for path in ("/v1/status", "/metrics", "/v1/sql?sql=select+1"):
            status, body = get(node, path)
            assert (status, json.loads(body)["code"]) == (401, "credentials")
        for path in ("/healthz", "/readyz", "/openapi.json", "/docs"):
            assert get(node, path)[0] == 200
        assert get(node, "/metrics", Authorization=f"Bearer {token}")[0] == 200
        bearer = {"Authorization": f"Bearer {token}"}
        assert post(node, "/v1/command", {"command": "connect dbms x where type = sqlite"}, **bearer)[0] == 403


def test_pages_that_are_listed_may_use_the_api_and_read_at_most(tmp_path: Path) -> None:
    script = STANDALONE.replace("bind = true", "bind = true and cors = (https://panel.example)")
    with Program(tmp_path, script) as node:
        panel = {"Origin": "https://panel.example"}
        assert get(node, "/v1/status", **panel)[0] == 200
        assert get(node, "/v1/status", Origin="https://other.example")[0] == 403
        status, said = post(node, "/v1/command", {"command": "connect dbms x where type = sqlite"}, **panel)
        assert (status, said["code"]) == (403, "command.not_permitted")
        assert "https://panel.example" in node.get("get rest server info")
