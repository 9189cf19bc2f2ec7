"""Streaming conditions: what becomes of rows before they are buffered (spec: brokers and mapping, section 11)."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgelake.errors import EdgeLakeError
from tests.ingest.helpers import Edge, edge

SET = "set streaming condition where dbms = d and table = t "


async def values(node: Edge) -> list[int]:
    await node.ingest.flush()
    return [row[0] for row in await node.rows("SELECT v FROM t ORDER BY row_id")]


async def variable(node: Edge, name: str) -> str:
    """A name that a command beside the stream sets."""
    await node.ingest.conditions.settled()
    return str(node.ctx.variables.get(name))


async def test_rows_of_every_entry_are_dropped_before_they_are_stored(tmp_path: Path) -> None:
    async with edge(tmp_path) as node:
        await node.text(SET + "if [v] > 9 and not [keep] then return ignore entry")
        await node.text(
            "run msg client where broker = local and topic = (name = t and dbms = d and table = t and "
            'column.v.int = "bring [v]")'
        )
        stored = await node.put("t", '[{"v": 5}, {"v": 10}, {"v": 11, "keep": true}]')
        assert stored.rows == 2
        await node.text('mqtt publish where broker = local and topic = t and message = [{"v": 20}, {"v": 6}]')
        assert await values(node) == [5, 11, 6]
        await node.text("reset streaming conditions")
        await node.put("t", '{"v": 30}')
        assert await values(node) == [5, 11, 6, 30]


async def test_commands_run_with_the_row_as_their_context(tmp_path: Path) -> None:
    async with edge(tmp_path) as node:
        await node.text(SET + "if [name] == hot then seen = !v")
        await node.text(SET + "if [name] == 'hot' then no such command")
        await node.text(SET + "if [v] == 3 then last = !table")
        await node.put("t", '[{"v": 1, "name": "Hot"}, {"v": 2, "name": "cold"}, {"v": 3, "name": "cold"}]')
        assert await variable(node, "last") == "t"
        assert node.ctx.variables.get("seen") == "1"
        assert await values(node) == [1, 2, 3]


async def test_a_value_is_never_read_as_a_command(tmp_path: Path) -> None:
    async with edge(tmp_path) as node:
        await node.text(SET + "if [v] then seen = !name")
        await node.put("t", '{"v": 1, "name": "x and stolen = 1"}')
        assert await variable(node, "seen") == "x and stolen = 1"
        assert node.ctx.variables.get("stolen") == ""


async def test_limit_is_how_often_a_command_runs(tmp_path: Path) -> None:
    async with edge(tmp_path) as node:
        await node.text("n = 0")
        await node.text("set streaming condition where dbms = d and table = t and limit = 2 if [v] then n = incr !n")
        await node.put("t", '[{"v": 1}, {"v": 2}, {"v": 3}]')
        await node.text(SET + "if [v] == 9 then end = true")
        await node.put("t", '{"v": 9}')
        assert await variable(node, "end") == "true"
        assert node.ctx.variables.get("n") == "2"


async def test_conditions_are_listed_and_removed_by_table_and_id(tmp_path: Path) -> None:
    async with edge(tmp_path) as node:
        assert await node.text("get streaming conditions") == "No streaming conditions"
        for number in (1, 2, 3):
            await node.text(SET + f"if [v] == {number} then print {number}")
        await node.text("set streaming condition where dbms = d and table = u if [v] then print v")
        listed = await node.data("get streaming conditions where dbms = d and table = t")
        assert [one["ID"] for one in listed] == [1, 2, 3]
        assert listed[0] == {"DBMS": "d", "Table": "t", "ID": 1, "Condition": "if [v] == 1 then print 1"}
        await node.text("reset streaming conditions where dbms = d and table = t and id = 1 and id = 3")
        listed = await node.data("get streaming conditions where dbms = d")
        assert [(one["Table"], one["ID"]) for one in listed] == [("t", 2), ("u", 1)]


@pytest.mark.parametrize(
    "rule",
    ["if [v] > 1", "if [v] >> 1 then print x", "if then print x", "if [v] then return 5", "if [v] == 1 then print 1"],
)
async def test_what_is_no_condition_is_refused(tmp_path: Path, rule: str) -> None:
    async with edge(tmp_path) as node:
        await node.text(SET + "if [v] == 1 then print 1")
        with pytest.raises(EdgeLakeError):
            await node.text(SET + rule)
        assert len(await node.data("get streaming conditions")) == 1


async def test_scripts_of_policies_run_commands_beside_the_stream(tmp_path: Path) -> None:
    async with edge(tmp_path) as node:
        schema = {"v": {"type": "int", "bring": "[v]", "script": ["if [v] > 1 then alarm = !v"]}}
        policy = {"mapping": {"dbms": "d", "table": "t", "schema": schema}}
        found = await node.ctx.policies.insert(policy)
        await node.text(f"run msg client where broker = local and topic = (name = t and policy = {found})")
        await node.text('mqtt publish where broker = local and topic = t and message = [{"v": 1}, {"v": 2}]')
        assert await variable(node, "alarm") == "2"
        assert await values(node) == [1, 2]
