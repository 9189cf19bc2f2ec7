"""Questions over one large table, asked over REST, beside the same questions put to apsw by hand."""

from __future__ import annotations

import http.client
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import msgspec

from edgelake import _rust
from edgelake.bench import Settings, by_hand
from edgelake.bench.catalogue import measured
from edgelake.bench.processes import BenchError, Child, node, peak_resident_mb, reset_peak, resident_mb
from edgelake.bench.results import Result
from edgelake.processes import AGENT, NodeProcess
from edgelake.store.insert import Insertion
from edgelake.store.sqlite import SqliteStore

ROWS: Final = 5_000_000
SELECTED: Final = 1_000_000
FLUSH_ROWS: Final = 100_000
ROUNDS: Final = 5
"""Each round measures ours and the baseline right after each other; the round with the median ratio counts."""

SCRIPT: Final = ("connect dbms bench where type = sqlite",)
SCHEMA: Final = [("timestamp", "timestamp", False), ("device_name", "varchar", False), ("value", "float", False)]
AGGREGATES: Final = "count(*) as n, min(value) as low, max(value) as high, avg(value) as mean"
PLAIN: Final = f"select {AGGREGATES} from readings"
INCREMENTS: Final = f"select increments(minute, 1, timestamp), {AGGREGATES} from readings"


class Row(msgspec.Struct):
    """A row of the select, to check it by."""

    timestamp: str
    device_name: str
    value: float


def run(settings: Settings) -> list[Result]:
    rows = settings.rows(ROWS)
    with settings.folder("query") as folder:
        home = Path(folder) / "node"
        file = home / "EdgeLake" / "data" / "dbms" / "bench.dbms"
        settings.say(f"a table of {rows:,} rows")
        fill(file, rows)
        with node(home, SCRIPT) as at:
            hand = Child(by_hand.PROGRAM, {"file": str(file)})
            try:
                return measure(settings, at, hand, rows)
            finally:
                hand.end()


def fill(file: Path, rows: int, begin: int = 0) -> None:
    """The table as the node itself stores it: rows of workload W, from that one on."""
    store = SqliteStore("bench", file)
    try:
        for first in range(begin, begin + rows, FLUSH_ROWS):
            body = _rust.workload_body(first, min(FLUSH_ROWS, begin + rows - first))
            parsed = _rust.Rows.parse(body, SCHEMA, "utc")
            store.store_many([Insertion("readings", parsed, time.time_ns() // 1000)])
        store.checkpoint()
    finally:
        store.close_blocking()


def measure(settings: Settings, at: NodeProcess, hand: Child, rows: int) -> list[Result]:
    found = []
    if settings.wants("plain"):
        check(ask(at, PLAIN), hand.asked("plain")["rows"])
        found.append(rounds(settings, "plain", lambda: ask(at, PLAIN), hand))
    if settings.wants("increments"):
        check(ask(at, INCREMENTS), hand.asked("increments")["rows"])
        found.append(rounds(settings, "increments", lambda: ask(at, INCREMENTS), hand))
    if settings.wants("select", "select-memory"):
        found += select(settings, at, hand, min(settings.rows(SELECTED), rows))
    return found


def rounds(
    settings: Settings, key: str, ours: Callable[[], object], hand: Child, bench: str = "query", **what: Any
) -> Result:
    """Time a question; the seconds of both sides in the round with the median ratio."""
    pairs = []
    for _ in range(settings.rounds(ROUNDS)):
        begin = time.perf_counter()
        ours()
        seconds = time.perf_counter() - begin
        pairs.append((seconds, float(hand.asked(key, **what)["seconds"])))
    figure, baseline = sorted(pairs, key=lambda pair: pair[0] / pair[1])[len(pairs) // 2]
    settings.say(f"{key}: {figure:.3f} s, by hand {baseline:.3f} s")
    return measured(bench, key, figure, baseline, rounds=pairs)


def select(settings: Settings, at: NodeProcess, hand: Child, rows: int) -> list[Result]:
    sql = f"select timestamp, device_name, value from readings limit {rows}"
    got = msgspec.json.decode(fetch(at, sql), type=dict[str, list[Row]])["Query"]
    values = hand.asked("select", limit=rows, values=True)["values"]
    if [row.value for row in got] != values:
        raise BenchError(f"the select gave {len(got)} rows, or other values than the table holds")
    del got, values
    before = resident_mb(at.process.pid)
    reset_peak(at.process.pid)
    result = rounds(settings, "select", lambda: drain(at, sql), hand, limit=rows)
    grown = max(peak_resident_mb(at.process.pid) - before, 0.0)
    settings.say(f"select: RSS grew by {grown:.1f} MB")
    return [result, measured("query", "select-memory", grown, before_mb=before)]


def check(ours: list[dict[str, Any]], theirs: list[list[Any]]) -> None:
    """Raises BenchError unless both sides give the same groups."""
    if len(ours) != len(theirs):
        raise BenchError(f"{len(ours)} rows instead of {len(theirs)}")
    for got, expected in zip(ours, theirs, strict=True):
        numbers = [got["n"], got["low"], got["high"]]
        if numbers != expected[:3] or abs(got["mean"] - expected[3]) > 1e-9 * abs(expected[3]):
            raise BenchError(f"{got} instead of {expected}")


def ask(at: NodeProcess, sql: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(fetch(at, sql))["Query"]
    return found


def fetch(at: NodeProcess, sql: str) -> bytes:
    return at.command(command(sql))


def command(sql: str) -> str:
    return f'sql bench format = json and stat = false "{sql}"'


def drain(at: NodeProcess, sql: str) -> None:
    """Read a reply as it comes, and forget it. Raises BenchError when it is no whole result."""
    link = http.client.HTTPConnection("127.0.0.1", at.port, timeout=120)
    try:
        link.request("GET", "/", headers={"User-Agent": AGENT, "command": command(sql)})
        reply = link.getresponse()
        end = b""
        while piece := reply.read(1 << 20):
            end = piece
        if reply.status != 200 or not end.endswith(b"]}"):
            raise BenchError(f"{reply.status}: a reply that ends in {end[-80:]!r}")
    finally:
        link.close()
