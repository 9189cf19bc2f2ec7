"""``get operator`` and ``get stats`` as the reference prints them."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from edgelake.command.render import reply_text
from edgelake.errors import CommandError
from edgelake.ingest.counters import OperatorCounters, clock, partition_title
from tests.operator.node import Node, running

DAY = "2026_11_01_d14_insert_timestamp"


async def idle(tmp_path: Path) -> Node:
    node = Node(tmp_path)
    await node.open()
    return node


@pytest.mark.parametrize("line", ["get operator", "get operator json", "get stats where service = operator"])
async def test_an_idle_operator_shows_its_configuration_in_every_form(tmp_path: Path, line: str) -> None:
    node = await idle(tmp_path)
    text = reply_text(await node.ctx.execute(line))
    assert text.replace("\r\n", "\n") == (
        "\n\nStats: OPERATOR CONFIG\n"
        "Status     Operational time \n"
        "----------|----------------|\n"
        "Not Active|00:00:00        |\n"
    )
    assert len(text) == 117  # Content-Length of the reference's reply
    await node.close()


async def test_an_idle_operator_as_json(tmp_path: Path) -> None:
    node = await idle(tmp_path)
    assert await node.data("get operator") == {"status": "Not Active", "operational time": "00:00:00"}
    await node.close()


async def with_history(node: Node) -> None:
    """The counters of the reference's run, by a clock that the test sets."""
    counters = node.operator.counters
    moment = 1795453241.0
    counters.now = lambda: moment
    counters.file("new_company", "power_plant")
    counters.inserted("new_company", "power_plant", 1400, 0.1, partitions=[f"par_power_plant_{DAY}"])
    moment = 1795453246.0
    counters.file("new_company", "power_plant")
    counters.inserted("new_company", "power_plant", 100, 0.0060781478881836, partitions=[f"par_power_plant_{DAY}"])
    moment = 1795453547.0
    counters.file("new_company", "put_data", immediate=True)
    counters.inserted("new_company", "put_data", 1626, 0.008, immediate=True)
    counters.failed("JSON", "nosuchdb", "t1", 10, "DBMS not open")


async def test_topics_in_the_references_form(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with running(tmp_path) as node:
        await with_history(node)
        monkeypatch.setattr("edgelake.command.handlers.operator.time.time", lambda: 1795453639.0)
        assert await node.text("get operator json") == (
            "\n\nStats: OPERATOR JSON\n"
            "DBMS        Table       Files Immediate Timestamp  Elapsed_time \n"
            "-----------|-----------|-----|---------|----------|------------|\n"
            "new_company|power_plant|    2|        0|1795453246|00:06:33    |\n"
            "           |put_data   |    1|        1|1795453547|00:01:32    |\n"
        )
        assert await node.text("get operator inserts") == (
            "\n\nStats: OPERATOR INSERTS\n"
            "DBMS        Table       First insert Last insert Batch inserts Immediate inserts DBMS Seconds \n"
            "-----------|-----------|------------|-----------|-------------|-----------------|------------|\n"
            "new_company|power_plant|00:06:38    |00:06:33   |         1500|                0|       0.106|\n"
            "           |put_data   |00:01:32    |00:01:32   |            0|             1626|       0.008|\n"
        )
        assert await node.text("get operator error") == (
            "\n\nStats: OPERATOR ERROR\n"
            "Type        Counter Timestamp     Elapsed time Dbms name Table name Last error Last error text \n"
            "-----------|-------|-------------|------------|---------|----------|----------|---------------|\n"
            "JSON Errors|      1|1,795,453,547|00:01:32    |nosuchdb |t1        |        10|DBMS not open  |\n"
        )
        assert await node.data("get operator sql") == {
            "new_company": {
                f"power_plant.{DAY}": [2, 0, 1795453246, "00:06:33"],
                "put_data": [1, 1, 1795453547, "00:01:32"],
            }
        }
        whole = await node.data("get operator")
        assert whole[0] == {
            "new_company": {
                "power_plant": [2, 0, 1795453246, "00:06:33"],
                "put_data": [1, 1, 1795453547, "00:01:32"],
            }
        }
        assert whole[2]["new_company"]["power_plant"][:6] == [1795453241, 1795453246, "00:06:38", "00:06:33", 1500, 0]
        assert whole[3][0]["last error text"] == "DBMS not open"


async def test_summary_counts_what_is_new_since_the_last_call(tmp_path: Path) -> None:
    async with running(tmp_path) as node:
        await with_history(node)
        node.operator.counters.now = lambda: 1795453639.0
        first = await node.text("get operator summary")
        assert re.fullmatch(
            r"\n\nStats: OPERATOR SUMMARY\n"
            r"Node name        Status Operational time Processing time Elapsed time New rows Total rows New errors "
            r"Total errors Avg\. rows/sec \n"
            r"-{16}\|-{6}\|-{16}\|-{15}\|-{12}\|-{8}\|-{10}\|-{10}\|-{12}\|-{13}\|\n"
            r"edge-1@127.0.0.1\|Active\|[\d:]{8}        \|00:05:06       \|00:06:38    \|   3,126\|     3,126\|"
            r"         1\|           1\|        10.22\|\n",
            first,
        )
        second = await node.data("get stats where service = operator and topic = summary")
        keys = (
            "node name, status, operational time, processing time, elapsed time, new rows, total rows, new errors, "
            "total errors, avg. rows/sec"
        )
        assert ", ".join(second) == keys
        assert (second["new rows"], second["total rows"], second["new errors"]) == (0, 3126, 0)
        await node.text("reset stats where service = operator and topic = summary")
        third = await node.data("get operator summary")
        assert (third["total rows"], third["total errors"], third["avg. rows/sec"]) == (0, 0, 0.0)
        assert (await node.data("get operator error"))[0]["counter"] == 1


async def test_config_of_a_running_operator(tmp_path: Path) -> None:
    async with running(tmp_path) as node:
        found = await node.data("get operator config")
        assert list(found) == ["status", "operational time", "timestamp", "member", "policy", "cluster"]
        assert (found["status"], found["member"], found["policy"]) == ("Active", 95, node.ctx.variables.get("policy"))


@pytest.mark.parametrize(
    "line", ["get operator nothing", "get stats where service = x", "get stats where topic = json"]
)
async def test_unknown_topics_and_services_are_errors_of_structure(tmp_path: Path, line: str) -> None:
    node = await idle(tmp_path)
    with pytest.raises(CommandError):
        await node.text(line)
    await node.close()


async def test_counters_of_real_files(tmp_path: Path) -> None:
    async with running(tmp_path) as node:
        node.drop("d.t.json", '{"a": 1}\n{"a": 2}')
        node.drop("d.bad.json", "{")
        node.drop("none.t.json", "{}")
        await node.settled()
        assert (await node.data("get operator json"))["d"]["t"][0] == 1
        assert (await node.data("get operator inserts"))["d"]["t"][4] == 2
        summary = await node.data("get operator summary")
        assert (summary["total rows"], summary["total errors"]) == (2, 2)
        assert await node.text("get operator pool") == f"{'Operator Pool with 1 threads:':<60}[0] (3)"
        details = await node.text("get operator pool where details = true and reset = true")
        assert details.startswith("\nOperator Pool:\nThread Status Calls Percentage \n")
        assert (await node.text("get operator pool")).endswith("[0] (0)")


def test_clock_and_partition_titles() -> None:
    assert [clock(0), clock(3599.9), clock(360000), clock(-1)] == ["00:00:00", "00:59:59", "100:00:00", "00:00:00"]
    assert partition_title("t", "par_t_2026_11_d14_ts") == "t.2026_11_d14_ts"
    assert partition_title("t", "t") == "t"


def test_errors_of_both_kinds_are_told_apart() -> None:
    counters = OperatorCounters(now=lambda: 1.0)
    counters.failed("JSON", "d", "t", 6, "x")
    counters.failed("SQL", "d", "t", 16, "y")
    counters.failed("SQL", "d", "u", 16, "z")
    assert {kind: (c.counter, c.table) for kind, c in counters.errors.items()} == {
        "JSON Errors": (1, "t"),
        "SQL Errors": (2, "u"),
    }
