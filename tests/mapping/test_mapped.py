"""Mapped payloads on the way of plain rows."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

from edgelake.errors import EdgeLakeError, OverloadedError
from edgelake.ingest.service import Ingest
from edgelake.inputs.mapped import MappedSubmit
from edgelake.inputs.msg_client import MessageClients
from edgelake.model import Stored
from edgelake.store.stores import Stores
from tests.ingest.helpers import edge

TOPICS = [
    {
        "name": "t",
        "dbms": "d",
        "table": "bring [kind]",
        "columns": [
            {"name": "timestamp", "type": "timestamp", "value": "bring [ts]"},
            {"name": "value", "type": "float", "value": "bring [v]"},
        ],
    }
]
POSTED = b'[{"kind": "a", "ts": "2026-01-01T00:00:00.000001Z", "v": 1}, {"kind": "a"}]'


async def session(folder: Path, *, connected: bool) -> Stored:
    """Start, take one POST, stop."""
    ingest = Ingest(folder / "journal", timezone="UTC")
    await ingest.start()
    stores = Stores(lambda: folder)
    if connected:
        await ingest.attach(await stores.connect("d"))
    clients = MessageClients(MappedSubmit(ingest.submit_native, timezone="UTC"))
    clients.declare_rest("anylog", TOPICS)
    stored = await clients.post("AnyLog/1.23", "t", POSTED)
    await clients.close()
    await ingest.stop()
    await stores.close()
    return stored


async def table_of(folder: Path) -> tuple[list[tuple[object, ...]], list[str]]:
    stores = Stores(lambda: folder)
    store = await stores.connect("d")
    rows = await store.read(lambda db: list(db.execute("SELECT timestamp, value FROM a")))
    kinds = [column.kind for column in store.table("a").user_columns]
    await stores.close()
    return rows, kinds


def test_tables_of_mapped_rows_have_the_declared_types(tmp_path: Path) -> None:
    stored = asyncio.run(session(tmp_path, connected=True))
    assert (stored.rows, stored.rejected) == (1, 1)
    assert stored.reason.startswith("element 2: timestamp")
    rows, kinds = asyncio.run(table_of(tmp_path))
    assert rows == [(1_767_225_600_000_001, 1.0)]
    assert kinds == ["timestamp", "float"]


def test_rows_posted_before_their_database_is_connected_are_stored_after_a_restart(tmp_path: Path) -> None:
    assert asyncio.run(session(tmp_path, connected=False)).rows == 1
    asyncio.run(session(tmp_path, connected=True))
    rows, kinds = asyncio.run(table_of(tmp_path))
    assert rows == [(1_767_225_600_000_001, 1.0)] * 2
    assert kinds == ["timestamp", "float"]


def test_types_outlive_the_process_that_declared_them(tmp_path: Path) -> None:
    """The table is made by rows of the journal, in a process that knows no message client."""

    async def attach_only() -> None:
        ingest = Ingest(tmp_path / "journal", timezone="UTC")
        stores = Stores(lambda: tmp_path)
        await ingest.attach(await stores.connect("d"))
        await ingest.stop()
        await stores.close()

    asyncio.run(session(tmp_path, connected=False))
    asyncio.run(attach_only())
    rows, kinds = asyncio.run(table_of(tmp_path))
    assert (rows, kinds) == ([(1_767_225_600_000_001, 1.0)], ["timestamp", "float"])


def test_batches_of_messages_go_to_all_their_tables_and_what_fails_is_counted(tmp_path: Path) -> None:
    async def run() -> None:
        reported: list[str] = []
        ingest = Ingest(tmp_path / "journal", timezone="UTC")
        entry = MappedSubmit(ingest.submit_native, timezone="UTC")
        clients = MessageClients(entry, reported.append)
        client = clients.declare_local(TOPICS)
        large = b'{"kind": "a", "ts": 1, "v": 2, "pad": "%s"}' % (b"x" * 100_000)
        messages = [("t", b'{"kind": "b", "ts": 1, "v": 1}'), ("t", b"nothing"), ("t", large)]
        await clients.publish_local(messages)
        await clients.deliver(client, messages[:1])
        with pytest.raises(EdgeLakeError, match="Non-subscribed topic 'other'"):
            await clients.publish_local([("other", b"{}")])
        assert (client.counters.messages, client.counters.success, client.counters.errors) == (4, 3, 1)
        counts = {f"{s.dbms}.{s.table}": (s.calls, s.rows) for s in ingest.streams()}
        assert counts == {"d.a": (1, 1), "d.b": (2, 2)}
        await clients.close()
        assert len(reported) == 1
        assert "topic 't': error 299: Failed to identify application data" in reported[0]
        await ingest.stop()

    asyncio.run(run())


def test_payload_is_refused_before_it_is_mapped_when_there_is_no_room(tmp_path: Path) -> None:
    async def run() -> None:
        ingest = Ingest(tmp_path / "journal", timezone="UTC", journal_limit_bytes=1 << 10)
        clients = MessageClients(MappedSubmit(ingest.submit_native, timezone="UTC"))
        client = clients.declare_rest("a", TOPICS)
        with pytest.raises(OverloadedError):
            await clients.post("a", "t", json.dumps({"kind": "a", "ts": 1, "v": 1, "pad": "x" * 2000}).encode())
        assert (client.counters.success, client.counters.errors, client.topics[0].counters.errors) == (0, 1, 1)
        await clients.close()
        await ingest.stop()

    asyncio.run(run())


async def test_clients_follow_changes_of_their_policies(tmp_path: Path) -> None:
    def policy(table: str, kind: str = "float") -> str:
        schema = {"v": {"type": kind, "bring": "[v]"}}
        return json.dumps({"mapping": {"id": "p", "dbms": "d", "table": table, "schema": schema}})

    async with edge(tmp_path) as node:
        publish = 'mqtt publish where broker = local and topic = t and message = {"v": 1}'
        await node.text(f"blockchain insert where policy = {policy('before')} and local = true")
        await node.text("run msg client where broker = local and topic = (name = t and policy = p)")
        await node.text(publish)
        for wanted in (policy("after"), policy("lost", "nosuch")):
            await node.ctx.policies.delete("p")
            await node.text(f"blockchain insert where policy = {wanted} and local = true")
            await node.text(publish)
        await node.ingest.flush()
        assert await node.rows("SELECT v FROM before") == [(1.0,)]
        assert await node.rows("SELECT v FROM after") == [(1.0,), (1.0,)]
        assert "a changed policy is not used" in await node.text("get error log")
