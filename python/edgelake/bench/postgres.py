"""Readings in over REST into a PostgreSQL server, beside the server's own client that copies the same rows."""

from __future__ import annotations

import contextlib
import json
import time
from pathlib import Path

from edgelake import _rust
from edgelake.bench import Settings, load
from edgelake.bench.catalogue import measured
from edgelake.bench.postgres_server import PostgresServer
from edgelake.bench.processes import BenchError, node
from edgelake.bench.rest import BODY_ROWS, CONNECTIONS, COUNT_LIMIT_S, ROWS, check, median_round, wait_for
from edgelake.bench.results import Result
from edgelake.processes import NodeProcess, RefusedError

ROUNDS = 3
COPY_ROWS = 10_000
"""Rows of one COPY of the baseline."""

TABLE = "readings"
COLUMNS = "timestamp, device_name, value"


def run(settings: Settings) -> list[Result]:
    rows = settings.rows(ROWS)
    pairs = []
    for _ in range(settings.rounds(ROUNDS)):
        server = PostgresServer()
        try:
            with settings.folder("postgres") as folder:
                ours = rows / stored_seconds(server, Path(folder), rows)
                pairs.append((ours, rows / copied_seconds(server, Path(folder), rows)))
        finally:
            server.stop()
        settings.say(f"W by REST into PostgreSQL: {ours:,.0f} rows/s, psql \\copy {pairs[-1][1]:,.0f}")
    figure, baseline = median_round(pairs)
    return [measured("postgres", "postgres", figure, baseline, rounds=pairs)]


def stored_seconds(server: PostgresServer, folder: Path, rows: int) -> float:
    """From the first byte sent until count(*) shows all rows."""
    with node(folder / "node", [f"connect dbms bench where {server.clause}"]) as at:
        report = load.put(at.address, rows, BODY_ROWS, CONNECTIONS)
        check(report, rows // BODY_ROWS)
        # Counting takes the server's time: not before the last rows are there.
        wait_for_last(at, rows)
        seconds = wait_for(at, rows) - float(report["begin"])
    stored = server.sql(f"SELECT count(DISTINCT row_id), round(sum(value)) FROM {TABLE}", "bench")
    if int(stored.split("|")[0]) != rows:
        raise BenchError(f"the server has {stored} (rows, sum) instead of {rows} rows")
    return seconds


def wait_for_last(at: NodeProcess, rows: int) -> None:
    """Until the row of the latest time is there: the server finds it in its index."""
    last = json.loads(_rust.workload_body(rows - 1, 1))["timestamp"].removesuffix("Z").replace("T", " ")
    ends = time.monotonic() + COUNT_LIMIT_S
    while time.monotonic() < ends:
        with contextlib.suppress(RefusedError):  # before the first rows there is no table
            if last.encode() in at.command(
                'sql bench format = json and stat = false "select max(timestamp) as t from readings"'
            ):
                return
        time.sleep(0.005)
    raise BenchError(f"the last of {rows} rows has not come within {COUNT_LIMIT_S} s")


def copied_seconds(server: PostgresServer, folder: Path, rows: int) -> float:
    """The same rows, from files, into the same table, emptied; what COPY leaves out gets the table's defaults."""
    server.sql(f"TRUNCATE {TABLE}", "bench")
    commands = []
    for first in range(0, rows, COPY_ROWS):
        path = folder / f"{first}.csv"
        count = min(COPY_ROWS, rows - first)
        found = [json.loads(line) for line in _rust.workload_body(first, count).splitlines()]
        path.write_text("".join(f"{r['timestamp']},{r['device_name']},{r['value']}\n" for r in found))
        commands.append(f"\\copy {TABLE} ({COLUMNS}) FROM '{path}' (FORMAT csv)")
    script = folder / "copy.sql"
    script.write_text("\n".join(commands) + "\n")
    begin = time.monotonic()
    server.run(script, "bench")
    seconds = time.monotonic() - begin
    if server.sql(f"SELECT count(*) FROM {TABLE}", "bench") != str(rows):
        raise BenchError(f"psql did not copy all {rows} rows")
    return seconds
