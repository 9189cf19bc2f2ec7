"""Rows that are Python objects or numpy arrays, to payloads and back."""

from __future__ import annotations

import datetime
import gc
import json
import time
from collections.abc import Callable
from typing import Any

import msgspec

from edgelake._cython.rows import columns_from_records, objects_from_column, records_from_columns
from edgelake.bench import Settings
from edgelake.bench.catalogue import measured
from edgelake.bench.results import Result
from edgelake.ingest.payload import payload_of

FULL_ROWS = 200_000
RUNS = 5


def run(settings: Settings) -> list[Result]:
    import numpy as np

    count = settings.rows(FULL_ROWS)
    start = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)
    times = [start + datetime.timedelta(milliseconds=n) for n in range(count)]
    records = [{"timestamp": at, "device_name": f"dev-{n % 16:02}", "value": n * 0.37} for n, at in enumerate(times)]
    arrays = {
        "timestamp": np.array([at.replace(tzinfo=None) for at in times], dtype="M8[us]"),
        "device_name": np.array([record["device_name"] for record in records]),
        "value": np.array([record["value"] for record in records]),
    }
    columns = columns_from_records(records)
    encode = msgspec.json.Encoder().encode_lines
    _same_rows(payload_of(records), _dumped(records), payload_of(arrays), _value_by_value(arrays), encode(records))
    if records_from_columns(columns) != records or _zipped(columns) != records:
        raise RuntimeError("columns did not come back as the records they were made of")
    ways: dict[str, tuple[Callable[[], object], Callable[[], object]]] = {
        "records": (lambda: payload_of(records), lambda: _dumped(records)),
        "records-locked": (lambda: columns_from_records(records), lambda: encode(records)),
        "arrays": (lambda: payload_of(arrays), lambda: _value_by_value(arrays)),
        "back": (lambda: records_from_columns(columns), lambda: _zipped(columns)),
    }
    found = []
    for key, (ours, baseline) in ways.items():
        if settings.wants(key):
            settings.say(f"{key}, {count:,} rows")
            found.append(measured("rows", key, count / _best(ours), count / _best(baseline)))
    return found


def _best(work: Callable[[], object]) -> float:
    """Seconds of the fastest of several runs: the others were disturbed."""
    took = []
    gc.collect()
    gc.disable()
    try:
        for _ in range(RUNS):
            begin = time.perf_counter()
            work()
            took.append(time.perf_counter() - begin)
    finally:
        gc.enable()
    return min(took)


def _dumped(records: list[dict[str, Any]]) -> bytes:
    return "\n".join([json.dumps({**r, "timestamp": r["timestamp"].isoformat()}) for r in records]).encode()


def _value_by_value(arrays: dict[str, Any]) -> bytes:
    rows = zip(*arrays.values(), strict=True)
    return "\n".join(
        [json.dumps({"timestamp": str(at), "device_name": str(who), "value": float(value)}) for at, who, value in rows]
    ).encode()


def _zipped(columns: list[Any]) -> list[dict[str, Any]]:
    names = [column[0] for column in columns]
    return [dict(zip(names, row, strict=True)) for row in zip(*map(objects_from_column, columns), strict=True)]


def _same_rows(*payloads: bytes) -> None:
    """All ways must say the same."""
    decoded = []
    for payload in payloads:
        rows = [json.loads(line) for line in payload.splitlines()[:1000]]
        for row in rows:
            at = datetime.datetime.fromisoformat(row["timestamp"])
            row["timestamp"] = at if at.tzinfo else at.replace(tzinfo=datetime.UTC)
        decoded.append(rows)
    if any(rows != decoded[0] for rows in decoded[1:]):
        raise RuntimeError("the ways to a payload differ in their rows")
