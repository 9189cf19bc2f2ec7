"""Readings in over REST: the node and the load generator are processes of their own, as in the field."""

from __future__ import annotations

import json
import statistics
import time
from pathlib import Path

from edgelake.bench import Settings, bare, baselines, gathered, load, slow
from edgelake.bench.catalogue import measured
from edgelake.bench.processes import BenchError, Child, free_port, node, peak_resident_mb
from edgelake.bench.results import Result
from edgelake.ingest.service import Brake
from edgelake.processes import NodeProcess, RefusedError, answers

ROWS = 1_000_000
BODY_ROWS = 1000
CONNECTIONS = 8
SINGLE_REQUESTS = 100_000
SINGLE_CONNECTIONS = 64
ROUNDS = 3
"""Each round measures ours and the baseline right after each other; the round with the median ratio counts."""

ARRIVAL = 10
"""How many times faster than they are stored readings arrive, at least."""
BRAKE = Brake(sync_delay_us=5000, us_per_row=60.0)

SCRIPT = ("connect dbms bench where type = sqlite",)
COUNT_LIMIT_S = 180
NO_TABLE = 404


def run(settings: Settings) -> list[Result]:
    parts = ((stream, ("stream", "stream-naive")), (single, ("single",)), (memory, ("memory", "memory-lost")))
    return gathered(settings, *(part for part, keys in parts if settings.wants(*keys)))


def count(at: NodeProcess) -> int:
    """count(*) of the table, by SQL over REST; 0 before its first rows have made it."""
    try:
        reply = json.loads(at.command('sql bench format = json and stat = false "select count(*) as n from readings"'))
    except RefusedError as refused:
        if refused.status != NO_TABLE:
            raise
        return 0
    return int(reply["Query"][0]["n"])


def wait_for(at: NodeProcess, rows: int) -> float:
    """When count(*) showed all rows (monotonic clock). Raises BenchError when it never does, or shows more."""
    until = time.monotonic() + COUNT_LIMIT_S
    while True:
        seen = count(at)
        now = time.monotonic()
        if seen == rows:
            return now
        if seen > rows or now > until:
            raise BenchError(f"count(*) shows {seen} rows, {rows} were acknowledged")
        time.sleep(0.005)


def median_round(pairs: list[tuple[float, float]]) -> tuple[float, float]:
    """The (ours, baseline) whose ratio is the median."""
    return sorted(pairs, key=lambda pair: pair[0] / pair[1])[len(pairs) // 2]


# ---- W in bodies of 1,000 rows


def stream(settings: Settings) -> list[Result]:
    rows = settings.rows(ROWS)
    ours: list[float] = []
    native: list[float] = []
    naive: list[float] = []
    rounds = settings.rounds(ROUNDS)
    for at in range(rounds):
        for name, measure, into in (
            ("W by REST", stream_seconds, ours),
            ("native loop", baselines.native_seconds, native),
            ("json.loads and sqlite3", baselines.naive_seconds, naive),
        ):
            if measure is baselines.naive_seconds and (at > 0 or not settings.wants("stream-naive")):
                continue  # far off its bar and slow: once is enough
            with settings.folder("rest") as folder:
                into.append(rows / measure(Path(folder), rows))
            settings.say(f"round {at + 1} of {rounds}: {name}: {into[-1]:,.0f} rows/s")
    pairs = list(zip(ours, native, strict=True))
    figure, baseline = median_round(pairs)
    found = []
    if settings.wants("stream"):
        found.append(measured("rest", "stream", figure, baseline, rounds=pairs))
    if settings.wants("stream-naive"):
        found.append(measured("rest", "stream-naive", ours[0], naive[0]))
    return found


def stream_seconds(folder: Path, rows: int) -> float:
    """From the first byte sent until count(*) shows all rows."""
    with node(folder / "node", SCRIPT) as at:
        report = load.put(at.address, rows, BODY_ROWS, CONNECTIONS)
        check(report, rows // BODY_ROWS)
        return wait_for(at, rows) - float(report["begin"])


def check(report: dict[str, float | str], requests: int) -> None:
    """Raises BenchError unless each request was answered with 200."""
    if report["failures"] or report["requests"] != requests:
        raise BenchError(f"{report['requests']} of {requests} PUTs succeeded: {report['first_failure']}")


# ---- single rows


def single(settings: Settings) -> list[Result]:
    requests = settings.rows(SINGLE_REQUESTS)
    pairs: list[tuple[float, float]] = []
    latencies: list[float] = []
    with settings.folder("rest") as folder, node(Path(folder) / "node", SCRIPT) as at:
        bare_server = Child(bare.PROGRAM, {"port": free_port()})
        try:
            port = int(bare_server.line()["port"])
            while not answers(port):
                pass
            rounds = settings.rounds(ROUNDS)
            for number in range(rounds):
                report = load.put(at.address, requests, 1, SINGLE_CONNECTIONS, first=number * requests)
                check(report, requests)
                wait_for(at, (number + 1) * requests)
                idle = load.put(f"127.0.0.1:{port}", requests, 1, SINGLE_CONNECTIONS)
                check(idle, requests)
                pairs.append((requests / report["seconds"], requests / idle["seconds"]))
                latencies.append(report["p99_us"] / 1000)
                ours, bare_rate = pairs[-1]
                settings.say(f"round {number + 1} of {rounds}: {ours:,.0f} requests/s, bare granian {bare_rate:,.0f}")
        finally:
            bare_server.end()
    figure, baseline = median_round(pairs)
    return [measured("rest", "single", figure, baseline, rounds=pairs, p99_ms=statistics.median(latencies))]


# ---- faster in than it can be stored


def memory(settings: Settings) -> list[Result]:
    rows = settings.rows(ROWS)
    with settings.folder("rest") as folder, node(Path(folder) / "node", SCRIPT, slow.program(BRAKE)) as at:
        report = load.put(at.address, rows, BODY_ROWS, CONNECTIONS, limit_s=600)
        acknowledged = (int(report["requests"]) - int(report["failures"])) * BODY_ROWS
        offered = (int(report["requests"]) + int(report["retries"])) * BODY_ROWS / float(report["seconds"])
        ended = wait_for(at, acknowledged)
        stored = acknowledged / (ended - float(report["begin"]))
        peak = peak_resident_mb(at.process.pid)
    settings.say(f"peak {peak:.0f} MB; {offered:,.0f} rows/s arrived, {stored:,.0f} were stored")
    if settings.scale >= 1 and offered < ARRIVAL * stored:
        raise BenchError(f"readings arrived only {offered / stored:.1f} times as fast as they were stored")
    notes = {"arrived_rows_s": offered, "stored_rows_s": stored, "refused": report["retries"]}
    return [
        measured("rest", "memory", peak, **notes),
        measured("rest", "memory-lost", 0, acknowledged=acknowledged),
    ]
