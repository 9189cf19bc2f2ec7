"""Rows that name a mapping policy: PUT with instructions, and files by their name."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from edgelake.errors import EdgeLakeError
from tests.ingest.helpers import OPERATOR, Edge, edge

SCHEMA = {
    "timestamp": {"type": "timestamp", "bring": "[ts]"},
    "value": {"type": "float", "bring": "[reading]"},
}
RAW = '{"ts": "2026-01-01T00:00:00Z", "reading": 21}\n{"ts": "none", "reading": 22}'


async def policy(node: Edge, schema: dict[str, object]) -> str:
    found: str = await node.ctx.policies.insert({"mapping": {"dbms": "x", "table": "y", "schema": schema}})
    return found


async def kinds(node: Edge) -> list[tuple[str, str]]:
    return [(c.name, c.kind) for c in node.ctx.stores.get("d").table("t").user_columns]


async def test_streamed_rows_are_mapped_and_misfits_stand_in_the_error_folder(tmp_path: Path) -> None:
    async with edge(tmp_path) as node:
        stored = await node.ingest.submit("d", "t", RAW.encode(), instructions=await policy(node, SCHEMA))
        assert (stored.rows, stored.rejected) == (1, 1)
        await node.ingest.flush()
        assert await node.rows("SELECT timestamp, value FROM t") == [(1_767_225_600_000_000, 21.0)]
        assert await kinds(node) == [("timestamp", "timestamp"), ("value", "float")]
        assert node.content("err_dir") == ['{"ts": "none", "reading": 22}\n']


async def test_rows_in_the_form_of_the_schema_are_taken_as_mapped(tmp_path: Path) -> None:
    async with edge(tmp_path) as node:
        row = {"timestamp": "2026-01-01T00:00:00Z", "value": 1}
        await node.ingest.submit("d", "t", json.dumps(row).encode(), instructions=await policy(node, SCHEMA))
        await node.ingest.flush()
        assert await node.rows("SELECT timestamp, value FROM t") == [(1_767_225_600_000_000, 1.0)]
        assert await kinds(node) == [("timestamp", "timestamp"), ("value", "float")]


async def test_acknowledged_rows_stay_as_they_were_mapped_when_the_policy_goes(tmp_path: Path) -> None:
    async with edge(tmp_path, connected=False) as node:
        id_ = await policy(node, SCHEMA)
        await node.ingest.submit("d", "t", RAW.encode(), instructions=id_)
        await node.ctx.policies.delete(id_)
    async with edge(tmp_path) as node:
        await node.ingest.flush()
        assert await node.rows("SELECT timestamp, value FROM t") == [(1_767_225_600_000_000, 21.0)]


async def test_an_unknown_policy_is_refused(tmp_path: Path) -> None:
    async with edge(tmp_path) as node:
        with pytest.raises(EdgeLakeError) as caught:
            await node.ingest.submit("d", "t", b'{"a": 1}', instructions="nosuch")
        assert caught.value.number == 113


async def test_files_are_mapped_by_the_policy_of_their_name(tmp_path: Path) -> None:
    async with edge(tmp_path, OPERATOR) as node:
        id_ = await policy(node, SCHEMA)
        watch = node.ctx.directories.path("watch_dir")
        (watch / "a_tmp").write_text(RAW)
        (watch / "a_tmp").rename(watch / f"d.t.0.0.{id_}.json")
        (watch / "b_tmp").write_text('{"a": 1}')
        (watch / "b_tmp").rename(watch / "d.u.0.0.nosuch.json")
        await node.until(lambda: not node.names("watch_dir"))
        await node.ctx.services.get("operator").idle()
        assert await node.rows("SELECT timestamp, value FROM t") == [(1_767_225_600_000_000, 21.0)]
        assert sorted(node.content("err_dir")) == ['{"a": 1}', '{"ts": "none", "reading": 22}\n']
        assert any(".err_113." in name for name in node.names("err_dir"))
