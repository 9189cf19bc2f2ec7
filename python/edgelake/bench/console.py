"""The web console: its first paint, and what fifty open ones cost."""

from __future__ import annotations

import asyncio
import statistics
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from edgelake.bench import Settings, gathered, listeners, load
from edgelake.bench.catalogue import measured
from edgelake.bench.chromium import first_paint
from edgelake.bench.processes import Child, node
from edgelake.bench.rest import BODY_ROWS, CONNECTIONS, SCRIPT, check, median_round, wait_for
from edgelake.bench.results import Result

ROWS = 2_000_000
LISTENERS = 50
PAINTS = 5
ROUNDS = 9
"""Single ones differ by a tenth either way."""


def run(settings: Settings) -> list[Result]:
    parts = ((paint, ("paint", "paint-requests")), (listening, ("listeners",)))
    return gathered(settings, *(part for part, keys in parts if settings.wants(*keys)))


def paint(settings: Settings) -> list[Result]:
    """A fresh browser each time; the median counts."""
    with settings.folder("console") as folder, node(Path(folder) / "node", SCRIPT) as at:
        found = []
        for number in range(settings.rounds(PAINTS)):
            found.append(asyncio.run(first_paint(f"http://{at.address}/ui")))
            settings.say(f"first paint {number + 1}: {found[-1][0]:.3f} s, {found[-1][1]} requests")
    made = []
    if settings.wants("paint"):
        made.append(measured("console", "paint", statistics.median(seconds for seconds, _ in found)))
    if settings.wants("paint-requests"):
        made.append(measured("console", "paint-requests", max(requests for _, requests in found)))
    return made


def listening(settings: Settings) -> list[Result]:
    """The same node takes W with listeners and without them, in turn."""
    rows = settings.rows(ROWS)
    pairs: list[tuple[float, float]] = []
    with settings.folder("console") as folder, node(Path(folder) / "node", SCRIPT) as at:
        port = int(at.address.rpartition(":")[2])
        sent = 0
        for number in range(settings.rounds(ROUNDS)):
            rates: dict[bool, float] = {}
            for with_them in (True, False) if number % 2 else (False, True):
                with _listeners(port, LISTENERS if with_them else 0):
                    report = load.put(at.address, rows, BODY_ROWS, CONNECTIONS, first=sent)
                    check(report, rows // BODY_ROWS)
                    sent += rows
                    rates[with_them] = rows / (wait_for(at, sent) - float(report["begin"]))
            pairs.append((rates[True], rates[False]))
            settings.say(f"round {number + 1}: {rates[True]:,.0f} rows/s with {LISTENERS}, {rates[False]:,.0f} without")
    figure, baseline = median_round(pairs)
    return [measured("console", "listeners", figure, baseline, rounds=pairs)]


@contextmanager
def _listeners(port: int, count: int) -> Iterator[None]:
    if not count:
        yield
        return
    child = Child(listeners.PROGRAM, {"port": port, "listeners": count})
    try:
        child.line()
        yield
    finally:
        child.end()
