"""Helper process: what somebody would write with apsw to answer the questions of the query bench."""

from __future__ import annotations

import csv
import io
import json
import sys
import time
from collections.abc import Callable
from typing import Any, Final

import apsw
import msgspec

from edgelake.bench.processes import tell

PROGRAM: Final = ("-m", "edgelake.bench.by_hand")
AGGREGATES: Final = "count(*), min(value), max(value), avg(value)"
STATEMENTS: Final = {
    "plain": f"SELECT {AGGREGATES} FROM readings",
    "increments": f"SELECT {AGGREGATES} FROM readings GROUP BY timestamp / 60000000",
}


def main() -> None:
    """Open the file, then answer one line of JSON after another."""
    connection = apsw.Connection(json.loads(sys.argv[1])["file"], flags=apsw.SQLITE_OPEN_READONLY)
    for line in sys.stdin:
        what = json.loads(line)
        if what["key"] == "select":
            select(connection, what["limit"], what.get("values", False))
            continue
        if what["key"] in ENCODED:
            encode(connection, what["limit"], ENCODED[what["key"]])
            continue
        begin = time.perf_counter()
        rows = connection.execute(STATEMENTS[what["key"]]).fetchall()
        tell(seconds=time.perf_counter() - begin, rows=rows)


def select(connection: apsw.Connection, limit: int, values: bool) -> None:
    """Fetch and encode; times stay the numbers that they are stored as."""
    begin = time.perf_counter()
    rows: list[Any] = connection.execute(f"SELECT timestamp, device_name, value FROM readings LIMIT {limit}").fetchall()
    encoded = msgspec.json.encode([{"timestamp": t, "device_name": name, "value": v} for t, name, v in rows])
    seconds = time.perf_counter() - begin
    tell(seconds=seconds, bytes=len(encoded), values=[v for _, _, v in rows] if values else None)


def encode(connection: apsw.Connection, limit: int, into: Callable[[apsw.Cursor], bytes]) -> None:
    """Fetch, and encode as the API does; times stay the numbers that they are stored as."""
    begin = time.perf_counter()
    encoded = into(connection.execute(f"SELECT timestamp, device_name, value FROM readings LIMIT {limit}"))
    tell(seconds=time.perf_counter() - begin, bytes=len(encoded))


def _csv(cursor: apsw.Cursor) -> bytes:
    out = io.StringIO(newline="")
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(("timestamp", "device_name", "value"))
    writer.writerows(cursor)
    return out.getvalue().encode()


def _arrow(cursor: apsw.Cursor) -> bytes:
    import pyarrow

    times, names, values = zip(*cursor, strict=True)
    columns = [pyarrow.array(times, pyarrow.timestamp("us", "UTC")), pyarrow.array(names), pyarrow.array(values)]
    batch = pyarrow.RecordBatch.from_arrays(columns, ["timestamp", "device_name", "value"])
    sink = pyarrow.BufferOutputStream()
    with pyarrow.ipc.new_stream(sink, batch.schema) as writer:
        writer.write_batch(batch)
    found: bytes = sink.getvalue().to_pybytes()
    return found


ENCODED: Final = {"sql-csv": _csv, "sql-arrow": _arrow}


if __name__ == "__main__":
    main()
