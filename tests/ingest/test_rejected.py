"""Rows that a database or a rule refuses: they stand in the error folder, the others in the table, nothing waits."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.ingest.helpers import OPERATOR, Edge, edge

SQL = 'sql d "{}"'


async def reasons(node: Edge) -> list[dict[str, object]]:
    folder = node.ctx.directories.path("err_dir")
    return [json.loads(path.read_text()) for path in sorted(folder.glob("*.reason"))]


async def plain_table(node: Edge, *statements: str) -> None:
    for sql in statements:
        await node.ctx.stores.get("d").execute(sql)


REFUSED = {
    "constraint": ("CREATE TABLE t (a integer, b text CHECK (b <> 'bad'))",),
    "unique": ("CREATE TABLE t (a integer UNIQUE, b text)", "INSERT INTO t VALUES (3, 'there')"),
    "trigger": (
        "CREATE TABLE t (a integer, b text)",
        "CREATE TRIGGER keep BEFORE INSERT ON t WHEN new.a = 3 BEGIN SELECT RAISE(ABORT, 'not three'); END",
    ),
}


@pytest.mark.parametrize("kind", REFUSED)
@pytest.mark.parametrize("operator", [False, True], ids=["alone", "operator"])
async def test_refused_rows_are_parted_from_the_others(tmp_path: Path, kind: str, operator: bool) -> None:
    async with edge(tmp_path, *([OPERATOR] if operator else [])) as node:
        store = node.ctx.stores.get("d")
        for sql in REFUSED[kind]:
            await store.change(lambda tx, sql=sql: (tx.execute(sql), setattr(tx, "foreign_changes", True)))
        rows = [{"a": n, "b": "bad" if n == 3 else "good"} for n in range(40)]
        await node.put("t", "\n".join(map(json.dumps, rows)))
        await node.put("other", '{"x": 1}')
        await node.ingest.flush()
        there = {a for (a,) in await node.rows("SELECT a FROM t WHERE b = 'good'")}
        assert there == set(range(40)) - {3}
        assert await node.rows("SELECT x FROM other") == [(1,)]
        assert [json.loads(line)["a"] for line in node.content("err_dir")[0].splitlines()] == [3]
        (reason,) = await reasons(node)
        assert reason["err_code"] == 16
        assert (node.counts("t").stored_rows, node.counts("t").rejected_rows) == (39, 1)
        node.exact()
        if operator:
            errors = (await node.data("get operator error"))[0]
            assert (errors["type"], errors["counter"], errors["table name"]) == ("SQL Errors", 1, "t")
            assert (await node.data("get operator inserts"))["d"]["t"][4] == 39


async def test_rows_of_a_table_that_refuses_everything_do_not_come_back_after_a_restart(tmp_path: Path) -> None:
    sql = "CREATE TABLE t (a integer CHECK (a < 0))"
    async with edge(tmp_path) as node:
        store = node.ctx.stores.get("d")
        await store.change(lambda tx: (tx.execute(sql), setattr(tx, "foreign_changes", True)))
        for n in range(3):
            await node.put("t", f'{{"a": {n}}}')
            await node.ingest.flush()
        assert node.content("err_dir") == ['{"a": 0}\n{"a": 1}\n{"a": 2}\n']  # one file takes them all
        assert (await reasons(node))[0]["count"] == 3
    async with edge(tmp_path) as node:
        await node.ingest.flush()
        assert len(node.content("err_dir")) == 1


@pytest.mark.parametrize(
    ("option", "number"), [("limit_tables = (d.good)", 130), ("create_table = false", 171)], ids=["130", "171"]
)
async def test_rules_of_the_operator_hold_for_streamed_rows(tmp_path: Path, option: str, number: int) -> None:
    async with edge(tmp_path) as node:
        await node.put("good", '{"a": 0}')
        await node.ingest.flush()
        await node.text(f"{OPERATOR} and {option}")
        await node.put("good", '{"a": 1}')
        await node.put("bad", '{"a": 2}\n{"a": 3}')
        await node.ingest.flush()
        assert await node.rows("SELECT a FROM good ORDER BY a") == [(0,), (1,)]
        assert "bad" not in node.ctx.stores.get("d").tables
        assert node.content("err_dir") == ['{"a": 2}\n{"a": 3}\n']
        (reason,) = await reasons(node)
        assert (reason["err_code"], reason["count"]) == (number, 2)
        assert any(f".err_{number}." in name for name in node.names("err_dir"))
        assert (await node.data("get operator summary"))["total errors"] == 1
        node.exact()


async def test_a_reserved_table_name_blocks_nothing(tmp_path: Path) -> None:
    async with edge(tmp_path) as node:
        await node.put("_edgelake_journal", '{"a": 1}')
        await node.put("sqlite_x", '{"a": 1}')
        await node.put("t", '{"a": 1}')
        await node.ingest.flush()
        assert await node.rows("SELECT a FROM t") == [(1,)]
        assert len(node.content("err_dir")) == 2
        node.exact()


async def test_an_error_folder_that_cannot_be_written_keeps_the_rows_waiting(tmp_path: Path) -> None:
    async with edge(tmp_path) as node:
        await node.put("t", '{"a": 1}')
        await node.ingest.flush()
        await node.text("set schema widening where value = off")
        folder = node.ctx.directories.path("err_dir")
        folder.rmdir()
        folder.write_text("a file stands in the way")
        await node.put("t", '{"a": "high"}\n{"a": 2}')
        with pytest.raises(OSError, match="error"):
            await node.ingest.flush()
        assert await node.rows("SELECT a FROM t") == [(1,)]
        assert "error" in node.ingest.status().last_error
        folder.unlink()
        folder.mkdir()
        await node.until(lambda: node.counts("t").cached_rows == 0)
        assert await node.rows("SELECT a FROM t ORDER BY a") == [(1,), (2,)]
        assert node.content("err_dir") == ['{"a": "high"}\n']
        node.exact()
