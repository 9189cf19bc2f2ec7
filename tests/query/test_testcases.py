"""``analyze output`` and ``test case``: answers beside trusted ones."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from edgelake.errors import EdgeLakeError
from edgelake.model import PROMPT
from edgelake.node import Node

SQL = (
    'sql plant format = table and stat = false and test = true and title = "All values" and file = {file} '
    '"select v from t order by v"'
)


async def filled(node: Node, *values: int) -> None:
    for value in values:
        await node.execute(f"sql plant insert into t (v) values ({value})")


async def said(node: Node, command: str) -> dict[str, Any]:
    reply = await node.execute(command)
    return reply.data if isinstance(reply.data, dict) else json.loads(str(reply.text))


async def test_an_answer_is_compared_with_a_trusted_one_and_asked_again(tmp_path: Path) -> None:
    async with Node(tmp_path / "n", caller=PROMPT) as node:
        await node.execute("create work directories")
        await node.execute("connect dbms plant where type = sqlite and memory = true")
        await node.execute("sql plant create table t (v int)")
        await filled(node, 1, 2)
        trusted, other = tmp_path / "trusted.out", tmp_path / "other.out"
        await node.execute(SQL.format(file=trusted))
        await node.execute(SQL.format(file=other))
        passed = {"result": "Passed", "Title": "All values", "Reason": ""}
        assert await said(node, f"analyze output where file = {other} and source = {trusted}") == passed
        assert await said(node, f"test case where source = {trusted}") == passed
        before = trusted.read_bytes()
        await filled(node, 3)
        failed = await said(node, f"test case where source = {trusted}")
        assert failed["result"] == "Failed"
        assert "lines" in failed["Reason"]
        assert trusted.read_bytes() == before  # its own option file = ... is not done again
        other.unlink()
        await node.execute(SQL.format(file=other))
        failed = await said(node, f"analyze output where file = {other} and source = {trusted} and option = time")
        assert failed["result"] == "Failed"


async def test_other_files_are_refused(tmp_path: Path) -> None:
    async with Node(tmp_path / "n", caller=PROMPT) as node:
        plain = tmp_path / "plain"
        plain.write_text("v\n1\n")
        with pytest.raises(EdgeLakeError) as wrong:
            await node.execute(f"test case where source = {plain}")
        assert wrong.value.number == 175
        with pytest.raises(EdgeLakeError) as missing:
            await node.execute(f"analyze output where file = {tmp_path / 'none'} and source = {plain}")
        assert missing.value.number == 78
