"""Grafana's JSON data source against a running node: the requests as its plug-ins send them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest

from edgelake.bench.processes import free_port
from tests.docs.test_docs import ROOT
from tests.system.program import OPERATOR, STANDALONE, Program

GRAFANA = {"User-Agent": "Grafana/11.3.0", "Content-Type": "application/json"}
DAY = datetime(2026, 1, 1, tzinfo=UTC)
MS = round(DAY.timestamp() * 1000)
HOUR = 3_600_000
ROWS = [
    {
        "timestamp": f"2026-01-01T{hour:02}:{minute:02}:00Z",
        "device": ("m-1", "m-2")[minute // 30],
        "speed": hour + minute / 60,
        "on": minute == 0,
    }
    for hour in range(24)
    for minute in (0, 30)
]
PLACES = """\
p = create policy master where name = hall-1 and company = a and ip = 10.0.0.1 and port = 1 and loc = "52.5,13.4"
blockchain insert where policy = !p and local = true
p = create policy query where name = desk and company = a and ip = 10.0.0.2 and port = 1 and loc = "48.1,11.6"
blockchain insert where policy = !p and local = true
"""

# As the plug-in "JSON" (simpod-json-datasource) of a Grafana 11 sends it.
SIMPOD: dict[str, Any] = {
    "app": "dashboard",
    "requestId": "SQR102",
    "timezone": "browser",
    "panelId": 2,
    "panelPluginId": "timeseries",
    "dashboardUID": "ee7x1",
    "range": {
        "from": "2026-01-01T00:00:00.000Z",
        "to": "2026-01-01T23:59:59.999Z",
        "raw": {"from": "2026-01-01T00:00:00.000Z", "to": "2026-01-01T23:59:59.999Z"},
    },
    "timeInfo": "",
    "interval": "1m",
    "intervalMs": 60000,
    "maxDataPoints": 1147,
    "scopedVars": {"__interval": {"text": "1m", "value": "1m"}, "__interval_ms": {"text": "60000", "value": 60000}},
    "startTime": 1767225600000,
    "rangeRaw": {"from": "2026-01-01T00:00:00.000Z", "to": "2026-01-01T23:59:59.999Z"},
    "adhocFilters": [],
}
TARGET = {
    "datasource": {"type": "simpod-json-datasource", "uid": "edge"},
    "editorMode": "code",
    "refId": "A",
    "target": "plant.motor",
}
# As the older "SimpleJson" (grafana-simple-json-datasource) does: with a type, and "data" instead of "payload".
SIMPLE: dict[str, Any] = {
    "timezone": "utc",
    "panelId": 4,
    "dashboardId": 1,
    "range": {"from": "2026-01-01T00:00:00.000Z", "to": "2026-01-01T23:59:59.999Z"},
    "rangeRaw": {"from": "now-24h", "to": "now"},
    "interval": "30s",
    "intervalMs": 30000,
    "maxDataPoints": 600,
    "scopedVars": {},
    "adhocFilters": [],
}


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Program]:
    with Program(tmp_path_factory.mktemp("node"), STANDALONE + PLACES) as running:
        assert running.put(json.dumps(ROWS).encode(), table="motor")[0] == 200
        running.post("flush buffers")
        yield running


def call(node: Program, path: str, body: Any, **headers: str) -> tuple[int, Any]:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    status, reply = node.request("POST", {**GRAFANA, **headers}, data, path=path)
    return status, json.loads(reply)


def query(node: Program, payload: Any, *more: Any, **changes: Any) -> Any:
    """The answer to a panel with these payloads, a target each."""
    targets = [{**TARGET, "refId": "ABC"[n], "payload": one} for n, one in enumerate((payload, *more))]
    status, reply = call(node, "/query", {**SIMPOD, "targets": targets, **changes})
    assert status == 200, reply
    return reply


def test_the_connection_is_tested_by_get(node: Program) -> None:
    for path in ("/", "/anything"):
        assert node.request("GET", GRAFANA, path=path) == (200, b"OK")


@pytest.mark.parametrize("path", ["/search", "/metrics", "/api/search"])
def test_tables_to_choose_from(node: Program, path: str) -> None:
    assert call(node, path, {"target": ""}) == (200, ["plant.motor"])
    assert call(node, path, b"", **{"al.dbms.plant": ""}) == (200, ["motor"])
    assert call(node, path, {}, **{"al.dbms.other": "x"}) == (200, ["Error: No table connected"])


@pytest.mark.parametrize("path", ["/metric-payload-options", "/variable", "/tag-keys", "/tag-values"])
def test_what_newer_plug_ins_ask_has_no_answer_and_is_no_error(node: Program, path: str) -> None:
    assert call(node, path, {"metric": "plant.motor", "payload": {}, "name": "x"}) == (200, [])


def test_variables(node: Program) -> None:
    ask = {"payload": {"target": 'sql plant "select distinct(device) as d from motor order by d"'}, "range": {}}
    assert call(node, "/search-variables", ask) == (
        200,
        [{"text": "m-1", "value": "m-1"}, {"text": "m-2", "value": "m-2"}],
    )
    status, found = call(node, "/variable", ask)
    assert [one["__value"] for one in found] == ["m-1", "m-2"]
    names = {"payload": {"target": "blockchain get (master, query) bring [*][name] separator = ,"}}
    status, found = call(node, "/x", names)
    assert (status, {one["value"] for one in found}) == (200, {"hall-1", "desk"})
    status, said = call(node, "/x", {"payload": {}})
    assert status == 400
    assert said["message"].startswith("Missing Target in Grafana Payload")


# ---- time series


def test_increments_of_written_intervals(node: Program) -> None:
    payload = {"type": "increments", "value_column": "speed", "interval": "6 hours", "functions": ["max", "count"]}
    found = query(node, payload)
    assert [one["target"] for one in found] == ["max(speed)", "count(speed)"]
    assert found[0]["datapoints"] == [[value, MS + at * 6 * HOUR] for at, value in enumerate((5.5, 11.5, 17.5, 23.5))]
    assert [value for value, _ in found[1]["datapoints"]] == [12, 12, 12, 12]
    assert query(node, {**payload, "interval": "6h"}) == found


@pytest.mark.parametrize("payload", [{}, "", "{}"])
def test_a_table_alone_has_a_usable_default(node: Program, payload: Any) -> None:
    found = query(node, payload, maxDataPoints=4)
    names = [one["target"] for one in found]
    assert names == [f"{f}({column})" for column in ("speed", "on") for f in ("avg", "min", "max")]
    assert [one["datapoints"] for one in found if one["target"] == "min(speed)"] == [
        [[float(hour), MS + hour * HOUR] for hour in (0, 6, 12, 18)]
    ]
    assert {value for value, _ in found[-1]["datapoints"]} == {1}  # booleans are numbers


@pytest.mark.parametrize(
    ("payload", "points"),
    [
        ({"grafana": {"data_points": 2}}, 2),
        ({"interval": "1 hour", "grafana": {"data_points": "fixed"}}, 24),
        ({"interval": "dashboard"}, 12),
        ({"interval": "optimize"}, 8),
        ({"interval": "1 hour", "limit": 3}, 3),
        ({"interval": "1 hour", "where": "speed >= 12"}, 12),
        ({"interval": "1 hour", "where": "device = 'm-1' or device = 'm-2'"}, 24),
    ],
)
def test_how_many_points(node: Program, payload: dict[str, Any], points: int) -> None:
    payload = {"type": "increments", "value_column": "speed", "functions": "avg", **payload}
    (found,) = query(node, payload, intervalMs=2 * HOUR, maxDataPoints=8)
    assert len(found["datapoints"]) == points


def test_the_range_counts_unless_it_is_switched_off(node: Program) -> None:
    morning = {"from": "2026-01-01T06:00:00Z", "to": "2026-01-01T08:00:00+00:00"}
    payload = {"type": "increments", "value_column": "speed", "functions": ["count"], "interval": "1 day"}
    assert query(node, payload, range=morning)[0]["datapoints"] == [[5, MS + 6 * HOUR]]
    assert query(node, {**payload, "time_range": False}, range=morning)[0]["datapoints"] == [[48, MS]]


def test_the_statement_of_increments_gives_values_and_conditions(node: Program) -> None:
    payload = {
        "type": "increments",
        "sql": "select max(speed) as top from motor where device = 'm-1' or device = 'x'",
        "time_column": "timestamp",
        "interval": "12 hours",
    }
    assert query(node, payload) == [{"target": "top", "datapoints": [[11.0, MS], [23.0, MS + 12 * HOUR]]}]


def test_a_group_is_a_series(node: Program) -> None:
    payload = {
        "type": "increments",
        "sql": "select device, max(speed) as top from motor group by device",
        "interval": "1 day",
    }
    found = {one["target"]: one["datapoints"] for one in query(node, payload)}
    assert found == {"top m-1": [[23.0, MS]], "top m-2": [[23.5, MS + HOUR // 2]]}


def test_period_ends_with_the_last_reading_in_the_range(node: Program) -> None:
    payload = {"type": "period", "value_column": "speed", "functions": ["min", "max"], "interval": "2 hours"}
    noon = {"from": "2026-01-01T00:00:00Z", "to": "2026-01-01T12:10:00Z"}
    assert query(node, payload, range=noon) == [
        {"target": "min(speed)", "datapoints": [[10.5, MS + 12 * HOUR]]},
        {"target": "max(speed)", "datapoints": [[12.0, MS + 12 * HOUR]]},
    ]
    found = query(node, {**payload, "time_range": False, "where": "device = 'm-1'"}, range=noon)
    assert found[1]["datapoints"] == [[23.0, MS + 23 * HOUR]]


def test_a_zone_of_the_browser_that_nobody_knows_is_utc(node: Program) -> None:
    payload = {"type": "increments", "value_column": "speed", "functions": ["count"], "interval": "1 day"}
    for zone in ("Asia/Tokyo", "Mars/Olympus", "browser", None):
        assert query(node, payload, timezone=zone)[0]["datapoints"] == [[48, MS]]


def test_sql_as_it_is(node: Program) -> None:
    payload = {"sql": "select timestamp, speed, on from motor order by timestamp desc limit 2"}
    assert query(node, payload) == [
        {"target": "speed", "datapoints": [[23.0, MS + 23 * HOUR], [23.5, MS + 23 * HOUR + HOUR // 2]]},
        {"target": "on", "datapoints": [[1, MS + 23 * HOUR], [0, MS + 23 * HOUR + HOUR // 2]]},
    ]


def test_sql_with_a_time_column_is_cut_to_the_range(node: Program) -> None:
    payload = {"sql": "select count(*) as n from motor where speed >= 0 or speed < 0", "dbms": "plant"}
    morning = {"from": "2026-01-01T06:00:00Z", "to": "2026-01-01T06:30:00Z"}
    table = {**payload, "grafana": {"format_as": "table"}}
    assert query(node, table, range=morning)[0]["rows"] == [[48]]
    assert query(node, {**table, "time_column": "timestamp"}, range=morning)[0]["rows"] == [[2]]


# ---- tables


def test_a_view_with_readable_times_has_times(node: Program) -> None:
    select = {"sql": "select timestamp, speed from motor_text order by timestamp limit 2"}
    assert query(node, select) == [{"target": "speed", "datapoints": [[0.0, MS], [0.5, MS + HOUR // 2]]}]


def test_a_table_has_types(node: Program) -> None:
    payload = {"sql": "select timestamp, device, speed, on from motor order by timestamp limit 1"}
    targets = [{"target": "plant.motor", "refId": "A", "type": "table", "data": payload}]
    status, found = call(node, "/query", {**SIMPLE, "targets": targets})
    assert (status, found) == (
        200,
        [
            {
                "columns": [
                    {"text": "timestamp", "type": "time"},
                    {"text": "device", "type": "string"},
                    {"text": "speed", "type": "number"},
                    {"text": "on", "type": "string"},
                ],
                "rows": [[MS, "m-1", 0.0, "true"]],
                "type": "table",
            }
        ],
    )
    payload["timezone"] = "Asia/Tokyo"
    (found,) = query(node, {**payload, "grafana": {"format_as": "table"}})
    assert found["columns"][0]["type"] == "timestamp"
    assert found["rows"][0][0].startswith("2026-01-01 09:00:00")


def test_a_table_without_a_payload_shows_its_last_rows(node: Program) -> None:
    targets = [{"target": "plant.motor", "refId": "A", "type": "table", "payload": {}}]
    (found,) = call(node, "/query", {**SIMPLE, "targets": targets, "maxDataPoints": 3})[1]
    assert [column["text"] for column in found["columns"]] == ["timestamp", "device", "speed", "on"]
    assert [row[2] for row in found["rows"]] == [23.5, 23.0, 22.5]


def test_info_is_the_table_of_a_command(node: Program) -> None:
    (found,) = query(node, {"type": "info", "details": "get databases"})
    assert found["type"] == "table"
    assert any("plant" in row for row in found["rows"])
    (found,) = query(node, {"type": "info", "details": "get rows count where dbms = plant"})
    assert found["rows"]


def test_aggregations(node: Program) -> None:
    node.post("set aggregation where dbms = plant and table = pump and time_column = timestamp and value_column = flow")
    assert node.put(b'{"timestamp": "2026-01-01T00:00:00Z", "flow": 2.5}', table="pump")[0] == 200
    node.post("flush buffers")
    details = "get aggregation by time where dbms = plant and table = pump and value_column = flow"
    found = query(node, {"type": "aggregations", "details": details, "grafana": {"format_as": "table"}})
    assert isinstance(found, list)


def test_members_on_a_map(node: Program) -> None:
    payload = {"type": "map", "member": ["master", "query"], "metric": [0, 1], "attribute": "name"}
    (found,) = query(node, payload)
    assert [column["text"] for column in found["columns"]] == ["latitude", "longitude", "name", "metric", "member"]
    assert found["rows"] == [[52.5, 13.4, "hall-1", 0, "master"], [48.1, 11.6, "desk", 1, "query"]]


# ---- several targets, and what goes wrong


def test_no_data_is_an_empty_list(node: Program) -> None:
    payload = {"type": "increments", "value_column": "speed", "interval": "1 hour"}
    assert query(node, payload, range={"from": "2020-01-01T00:00:00Z", "to": "2020-01-02T00:00:00Z"}) == []
    assert query(node, {"sql": "select timestamp, speed from motor where speed > 99"}) == []
    status, found = call(node, "/query", {**SIMPOD, "targets": []})
    assert (status, found) == (200, [])
    hidden = {**TARGET, "payload": {}, "hide": True}
    assert call(node, "/query", {**SIMPOD, "targets": [hidden]}) == (200, [])


def test_targets_that_are_equal_run_once_and_a_wrong_one_leaves_the_others(node: Program) -> None:
    payload = {"sql": "select timestamp, speed from motor order by timestamp limit 7"}
    found = query(node, payload, payload, {"sql": "select nothing from motor"})
    assert found[0] == found[1]
    assert found[2]["datapoints"] == []
    assert "nothing" in found[2]["error"]
    assert node.get("query status all").count("limit 7") == 1


@pytest.mark.parametrize(
    ("payload", "said"),
    [
        (None, "Missing Data Source info"),
        ({"type": "histogram"}, "increments, period, sql"),
        ({"type": "sql"}, "'sql' is missing"),
        ({"type": "info"}, "needs 'details'"),
        ({"sql": "delete from motor"}, "no select"),
        ({"sql": "select 1; drop table motor"}, ""),
        ({"sql": "select speed from elsewhere"}, "elsewhere"),
        ({"sql": "select speed from motor limit 1"}, "no time column"),
        ({"type": "increments", "interval": "soon"}, "'interval'"),
        ({"type": "increments", "interval": "0 minutes"}, "'interval'"),
        ({"type": "increments", "functions": ["avg); drop table motor; --"]}, "'functions'"),
        ({"type": "increments", "value_column": 'a" from motor; --'}, "is no column"),
        ({"type": "increments", "table": "motor; drop table motor"}, "is no name"),
        ({"type": "increments", "where": "1 = 1) or (1 = 1"}, None),
        ({"type": "increments", "limit": -1}, "'limit'"),
        ({"type": "increments", "limit": "9" * 500}, "'limit'"),
        ({"type": "increments", "time_range": "perhaps"}, "true or false"),
        ({"type": "increments", "timezone": "Mars/Olympus"}, "Wrong timezone"),
        ({"type": "increments", "grafana": {"data_points": 10**12}}, "data_points"),
        ({"type": "increments", "sql": "insert into motor values (1)"}, "is a select"),
        ({"type": "increments", "sql": "select a from b where c from d"}, "is one select"),
        ({"type": {"a": 1}}, "'type' is a text"),
        ({"servers": "no address", "sql": "select timestamp, speed from motor"}, ""),
        ({"type": "info", "details": "exit node"}, "Wrong HTTP method"),
        ({"type": "info", "details": "system ls"}, ""),
        ({"type": "info", "details": "file get (dbms = a and table = b) /etc/passwd"}, ""),
        ({"type": "map", "member": ["operator"], "metric": [1, 2]}, "'metric' has 2 values"),
        ([1, 2], "is an object"),
        ("{nope", "is no JSON"),
    ],
)
def test_what_is_wrong_is_said_where_the_panel_shows_it(node: Program, payload: Any, said: str | None) -> None:
    found = query(node, payload)
    if said is not None:
        assert set(found) == {"message", "status"}
        assert said in found["message"]
    assert node.count("motor") == len(ROWS)


@pytest.mark.parametrize(
    "body",
    [
        b"{",
        b"[]",
        b"\xff",
        b"7",
        {"targets": 7},
        {"targets": [7]},
        {"targets": [{}] * 51},
        {"targets": [{**TARGET, "payload": {}}], "range": {"from": "yesterday", "to": "now"}},
        {"targets": [{**TARGET, "payload": {}}], "range": {"from": 1e300, "to": 2}},
        {
            "targets": [{**TARGET, "payload": {}}],
            "range": {"from": "2026-01-02T00:00:00Z", "to": "2026-01-01T00:00:00Z"},
        },
        {"targets": [{**TARGET, "payload": {}}], "range": 7},
        {"targets": [{**TARGET, "payload": {}}], "maxDataPoints": "many"},
        {"targets": [{**TARGET, "payload": {}}], "intervalMs": -1},
        b"[" * 100_000,
        b'{"a": "' + b"x" * (1 << 20) + b'"}',
    ],
    ids=range(15),
)
def test_bodies_that_are_none(node: Program, body: Any) -> None:
    status, found = call(node, "/query", body)
    assert status == 200
    assert set(found) == {"message", "status"}


def test_a_panel_reads_whatever_its_source_may_do(node: Program) -> None:
    """Everybody who edits a dashboard writes payloads."""
    for target in ("set node name x", "run mcp server", "x = 5", "get !missing", "subprocess ls"):
        status, said = call(node, "/variable", {"payload": {"target": target}})
        assert status >= 400 or said in ([], ""), (target, said)
    assert node.data("get status")["assigned_name"].startswith("edge-1")


def test_without_rights_there_is_nothing(node: Program) -> None:
    foreign = {"Origin": "http://evil.example"}
    assert call(node, "/query", {**SIMPOD, "targets": [{**TARGET, "payload": {}}]}, **foreign)[0] == 200
    status, _ = node.request("GET", {"User-Agent": "Mozilla/5.0", **foreign}, path="/v1/status")
    assert status == 403


def test_panels_ask_the_nodes_that_hold_the_table(tmp_path: Any) -> None:
    port = str(free_port())
    script = OPERATOR.replace("ip = !ip and port = 32148", f"ip = 127.0.0.1 and port = {port}")
    tcp = f"run tcp server where internal_ip = 127.0.0.1 and internal_port = {port} and bind = true\n"
    script = script.replace("run streamer", tcp + "run streamer")
    with Program(tmp_path, script) as node:
        assert node.put(json.dumps(ROWS).encode(), table="motor")[0] == 200
        node.post("flush buffers")
        node.until(lambda: "motor" in node.get("blockchain get table"))
        payload = {"type": "increments", "value_column": "speed", "functions": ["max"], "interval": "12 hours"}
        expected = [{"target": "max(speed)", "datapoints": [[11.5, MS], [23.5, MS + 12 * HOUR]]}]
        assert query(node, payload) == expected
        assert query(node, {**payload, "servers": [f"127.0.0.1:{port}"]}) == expected
        assert f"127.0.0.1:{port}" in node.get("query destination all")
        rows = query(node, {"sql": "select timestamp, device, speed from motor order by timestamp limit 2"})
        assert [(one["target"], one["datapoints"]) for one in rows] == [
            ("speed m-1", [[0.0, MS]]),
            ("speed m-2", [[0.5, MS + HOUR // 2]]),
        ]
        said = query(node, {**payload, "servers": "127.0.0.1:1"})
        assert set(said) == {"message", "status"}
        info = {"type": "info", "details": "get status", "servers": f"127.0.0.1:{port}"}
        assert "running" in json.dumps(query(node, info))


def test_every_panel_of_the_dashboard_has_an_answer(node: Program) -> None:
    dashboard = json.loads((ROOT / "docs/grafana/edgelake.json").read_text())
    assert len(dashboard["panels"]) >= 6
    for panel in dashboard["panels"]:
        targets = json.loads(json.dumps(panel["targets"]).replace("$table", "plant.motor"))
        status, found = call(node, "/query", {**SIMPOD, "targets": targets})
        assert (status, isinstance(found, list)) == (200, True), found
        assert found, panel["title"]


def test_the_provisioning_files_name_what_the_dashboard_uses() -> None:
    source = (ROOT / "docs/grafana/datasource.yaml").read_text()
    dashboard = json.loads((ROOT / "docs/grafana/edgelake.json").read_text())
    for panel in dashboard["panels"]:
        assert f"uid: {panel['datasource']['uid']}" in source
        assert f"type: {panel['datasource']['type']}" in source
