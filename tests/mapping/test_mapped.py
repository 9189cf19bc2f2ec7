"""Mapped payloads on the way of plain rows."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from pathlib import Path

import pytest

from edgelake.errors import OverloadedError
from edgelake.ingest.service import Ingest
from edgelake.inputs.mapped import MappedSubmit, declare_in
from edgelake.inputs.msg_client import MessageClients
from edgelake.model import Stored
from edgelake.store.stores import Stores

DEFINITION = json.dumps(
    {
        "topics": [
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
    }
)


class Tables:
    """Takes rows as the data path does; a table named `full` refuses."""

    def __init__(self) -> None:
        self.lines: dict[str, list[dict[str, object]]] = {}
        self.declared: list[tuple[str, str, list[tuple[str, str, bool]]]] = []

    async def submit(
        self, dbms: str, table: str, payload: bytes, *, source: str = "0", instructions: str = "0"
    ) -> Stored:
        if table == "full":
            raise OverloadedError
        rows = [json.loads(line) for line in payload.splitlines()]
        self.lines.setdefault(f"{dbms}.{table}", []).extend(rows)
        return Stored(len(rows))

    async def declare(self, dbms: str, table: str, columns: Sequence[tuple[str, str, bool]]) -> bool:
        self.declared.append((dbms, table, list(columns)))
        return True


def test_rows_go_to_their_tables_with_declared_types() -> None:
    tables = Tables()
    mapped = MappedSubmit(tables.submit, tables.declare, timezone="UTC")
    program = mapped.add_program(DEFINITION)
    payload = b'[{"kind": "a", "ts": 1607959427550, "v": 1}, {"kind": "b", "v": 2}, {"kind": "b", "ts": 1, "v": "2.5"}]'
    for _ in range(2):
        stored = asyncio.run(mapped.submit_mapped(program, "t", payload))
    assert (stored.rows, stored.rejected) == (2, 1)
    assert stored.reason.startswith("element 2: timestamp")
    assert tables.lines["d.a"][0] == {"timestamp": "2020-12-14T15:23:47.550000Z", "value": 1.0}
    assert [row["value"] for row in tables.lines["d.b"]] == [2.5, 2.5]
    assert [(table, columns) for _, table, columns in tables.declared] == [
        ("a", [("timestamp", "timestamp", False), ("value", "float", False)]),
        ("b", [("timestamp", "timestamp", False), ("value", "float", False)]),
    ]


def test_payload_is_not_acknowledged_when_one_table_refuses() -> None:
    tables = Tables()
    mapped = MappedSubmit(tables.submit)
    program = mapped.add_program(DEFINITION)
    with pytest.raises(OverloadedError):
        asyncio.run(
            mapped.submit_mapped(program, "t", b'[{"kind": "a", "ts": 1, "v": 1}, {"kind": "full", "ts": 1, "v": 1}]')
        )


POSTED = b'[{"kind": "a", "ts": "2026-01-01T00:00:00.000001Z", "v": 1}, {"kind": "a"}]'


async def session(folder: Path, *, connected: bool) -> Stored:
    """Start, take one POST, stop."""
    ingest = Ingest(folder / "journal", timezone="UTC")
    await ingest.start()
    stores = Stores(lambda: folder)
    if connected:
        await ingest.attach(await stores.connect("d"))
    clients = MessageClients(MappedSubmit(ingest.submit, declare_in(stores), timezone="UTC"))
    clients.declare_rest("anylog", json.loads(DEFINITION)["topics"])
    stored = await clients.post("AnyLog/1.23", "t", POSTED)
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
    rows, kinds = asyncio.run(table_of(tmp_path))
    assert rows == [(1_767_225_600_000_001, 1.0)]
    assert kinds == ["timestamp", "float"]


def test_rows_posted_before_their_database_is_connected_are_stored_after_a_restart(tmp_path: Path) -> None:
    assert asyncio.run(session(tmp_path, connected=False)).rows == 1
    asyncio.run(session(tmp_path, connected=True))
    rows, _ = asyncio.run(table_of(tmp_path))
    assert rows == [(1_767_225_600_000_001, 1.0)] * 2
