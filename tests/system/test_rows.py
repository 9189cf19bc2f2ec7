"""Rows of a Python program in the database of a node, exactly as they were given."""

from __future__ import annotations

import asyncio
import datetime as dt
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from edgelake import Node


async def stored(node: Node, rows: object) -> list[tuple[Any, ...]]:
    """Ingest into a new database; returns the user's columns in order of time, times as microseconds."""
    await node.execute("create work directories")
    await node.execute("connect dbms plant where type = sqlite")
    await node.ingest("plant", "t", rows)
    await node.execute("flush buffers")
    store = node.ctx.stores.get("plant")
    names = ", ".join(f'"{column.name}"' for column in store.table("t").user_columns)
    with store.reader() as connection:
        return connection.execute(f"select {names} from t order by timestamp").fetchall()


def test_arrays_arrive_exactly(tmp_path: Path) -> None:
    count = 50_000
    columns = {
        "timestamp": np.datetime64("2026-01-01", "us") + np.arange(count),
        "device": np.array([f"dev-{n % 7}" for n in range(count)]),
        "value": np.random.default_rng(1).normal(size=count),
        "whole": np.arange(count, dtype="f8"),
        "number": np.arange(count) - 2**62,
        "on": np.arange(count) % 2 == 0,
    }
    columns["value"][::1000] = np.nan

    async def scenario() -> list[tuple[Any, ...]]:
        async with Node(tmp_path) as node:
            return await stored(node, columns)

    rows = asyncio.run(scenario())
    at, device, value, whole, number, on = (list(column) for column in zip(*rows, strict=True))
    assert at == columns["timestamp"].astype("i8").tolist()
    assert device == columns["device"].tolist()
    assert value == [None if v != v else v for v in columns["value"].tolist()]
    assert whole == columns["whole"].tolist()
    assert {type(w) for w in whole} == {float}
    assert number == columns["number"].tolist()
    assert [bool(o) for o in on] == columns["on"].tolist()


class Reading(msgspec.Struct):
    timestamp: dt.datetime
    value: float
    note: str | None = None


def test_records_arrive_exactly(tmp_path: Path) -> None:
    zone = dt.timezone(dt.timedelta(hours=2))
    records = [Reading(dt.datetime(2026, 1, 1, 12, n, tzinfo=zone), n / 3, "n" * n or None) for n in range(60)]

    async def scenario() -> list[tuple[Any, ...]]:
        async with Node(tmp_path) as node:
            return await stored(node, records)

    assert asyncio.run(scenario()) == [(int(r.timestamp.timestamp() * 1e6), r.value, r.note) for r in records]
