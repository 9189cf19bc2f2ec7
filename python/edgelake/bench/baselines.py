"""Baselines, each in a process of its own so that nothing of ours is in its way."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

import apsw

from edgelake import _rust
from edgelake.bench.processes import BenchError, ask, tell
from edgelake.store.engine import load_native

PROGRAM = ("-m", "edgelake.bench.baselines")
NAIVE_PROGRAM = ("-I", str(Path(__file__).with_name("naive.py")))
BODY_ROWS = 1000
CORE = 0


def native_seconds(folder: Path, rows: int) -> float:
    """W by the minimal native loop on one core: parse, bind and step, 1,000 rows a transaction, WAL, FULL."""
    answer = ask(PROGRAM, {"file": str(folder / "native.dbms"), "rows": rows}, core=CORE)
    return _checked(answer, rows)


def naive_seconds(folder: Path, rows: int) -> float:
    """W by json.loads and one execute a row, commit every 1,000 rows, the same schema and settings."""
    source = folder / "w.json"
    with source.open("wb") as out:
        for first in range(0, rows, 100_000):
            out.write(_rust.workload_body(first, min(100_000, rows - first)))
    answer = ask(NAIVE_PROGRAM, {"file": str(folder / "naive.dbms"), "source": str(source), "body_rows": BODY_ROWS})
    source.unlink()
    return _checked(answer, rows)


def _checked(answer: dict[str, Any], rows: int) -> float:
    if answer["rows"] != rows:
        raise BenchError(f"the baseline stored {answer['rows']} rows instead of {rows}")
    return float(answer["seconds"])


def main() -> None:
    """The helper process of ``native_seconds``."""
    what = json.loads(sys.argv[1])
    rows = what["rows"]
    bodies = [_rust.workload_body(first, min(BODY_ROWS, rows - first)) for first in range(0, rows, BODY_ROWS)]
    load_native()
    connection = apsw.Connection(what["file"])
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=FULL")
    begin = time.monotonic()
    _rust.bench_native_loop(connection.sqlite3_pointer(), bodies, "readings")
    seconds = time.monotonic() - begin
    stored = connection.execute("SELECT count(*) FROM readings").get
    connection.close()
    tell(rows=stored, seconds=seconds)


if __name__ == "__main__":
    main()
