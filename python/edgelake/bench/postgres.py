"""Readings in over REST into a PostgreSQL server, beside the server's own client that copies the same rows."""

from __future__ import annotations

import contextlib
import json
import time
from pathlib import Path

from edgelake import _rust
from edgelake.bench import Settings, gathered, load
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


ASKED_ROWS = 5_000_000
QUESTIONS = {
    "aggregate": ("count(*) as n, min(value) as low, max(value) as high, avg(value) as mean", "", ""),
    "grouped": ("device_name, count(*) as n, sum(value) as total, avg(value) as mean", "device_name", "device_name"),
    "increments": (
        "increments(hour, 1, timestamp), min(value) as low, max(value) as high, avg(value) as mean",
        "date_trunc('hour', timestamp)",
        "",
    ),
}
"""By key: the select list, what the server groups by, and what the node is told to."""


def run(settings: Settings) -> list[Result]:
    return gathered(settings, _stored, _asked)


def _stored(settings: Settings) -> list[Result]:
    if not settings.wants("postgres"):
        return []
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


def _asked(settings: Settings) -> list[Result]:
    """Questions to a table of the node's, beside the server's own client that asks the same."""
    keys = [key for key in QUESTIONS if settings.wants(key)]
    if not keys:
        return []
    rows = settings.rows(ASKED_ROWS)
    server = PostgresServer()
    try:
        with (
            settings.folder("postgres") as folder,
            node(Path(folder) / "node", [f"connect dbms bench where {server.clause}", f"sql bench {CREATE}"]) as at,
        ):
            fill_server(server, rows)
            return [_asked_one(settings, server, at, key) for key in keys]
    finally:
        server.stop()


CREATE = "create table readings (timestamp timestamp not null, device_name varchar, value decimal)"


def fill_server(server: PostgresServer, rows: int) -> None:
    """Ten rows a second of 1,000 devices, made by the server."""
    server.sql(
        "INSERT INTO readings (timestamp, device_name, value) SELECT timestamp '2025-01-01' + g * interval '0.1 s',"
        f" 'dev' || g % 1000, round((random() * 100)::numeric, 2) FROM generate_series(1, {rows}) g",
        "bench",
        limit_s=600,
    )
    server.sql("VACUUM ANALYZE readings", "bench", limit_s=600)


def _asked_one(settings: Settings, server: PostgresServer, at: NodeProcess, key: str) -> Result:
    listed, by_server, by_node = QUESTIONS[key]
    group = f" group by {by_node}" if by_node else ""
    ours = f'sql bench format = json and stat = false "select {listed} from readings{group}"'
    columns = listed.removeprefix("increments(hour, 1, timestamp), ")
    alone = f"SELECT {columns} FROM readings" + (f" GROUP BY {by_server}" if by_server else "")
    pairs = []
    for _ in range(settings.rounds(ROUNDS)):
        begin = time.monotonic()
        answer = json.loads(at.command(ours))["Query"]
        middle = time.monotonic()
        alone_rows = server.sql(alone, "bench", limit_s=600).splitlines()
        pairs.append(((middle - begin) * 1e3, (time.monotonic() - middle) * 1e3))
        if len(answer) != len(alone_rows):
            raise BenchError(f"{len(answer)} rows from the node, {len(alone_rows)} from the server")
    figure, baseline = median_round(pairs)
    settings.say(f"{key}: {figure:,.0f} ms, the server alone {baseline:,.0f} ms")
    return measured("postgres", key, figure, baseline, rounds=pairs)


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
