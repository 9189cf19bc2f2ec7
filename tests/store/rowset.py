"""Rows and small questions that the tests of the store share."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

from edgelake._rust import Rows
from edgelake.store.insert import Insertion
from edgelake.store.sqlite import SqliteStore

NOW_US = 1_790_000_000_000_000
DAY_US = 86_400_000_000


def rows(*documents: dict[str, Any]) -> Rows:
    """Rows as a payload of newline separated objects brings them."""
    return Rows.parse(b"\n".join(json.dumps(d).encode() for d in documents))


def insertion(*documents: dict[str, Any], table: str = "t", **more: Any) -> Insertion:
    return Insertion(table, rows(*documents), NOW_US, **more)


def us(text: str) -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp() * 1_000_000)


def fetch(store: SqliteStore, sql: str) -> list[Any]:
    """What a reader's connection sees."""
    with store.reader() as connection:
        return connection.execute(sql).fetchall()


def kinds(store: SqliteStore, table: str = "t") -> dict[str, str]:
    return {c.name: c.kind for c in store.table(table).user_columns}
