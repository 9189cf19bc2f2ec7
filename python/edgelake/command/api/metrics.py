"""``/metrics``: the numbers of the status commands in the text format of Prometheus.

Names and units by its conventions (base units, ``_total`` for what only grows). The number of series is bounded: of
tables, those with the most rows; the rest is one series, ``table="(other)"``.
"""

from __future__ import annotations

import os
import re
import shutil
import time
from collections.abc import Iterator, Sequence
from itertools import accumulate
from pathlib import Path
from typing import Final

from msgspec import Struct

from edgelake.command.context import Context
from edgelake.command.handlers.status import statuses
from edgelake.ingest.streaming import StreamCounts
from edgelake.net.rest.durations import BOUNDS_S
from edgelake.net.rest.server import RestServer

MEDIA_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"
TABLES_SHOWN: Final = 40
METHODS_SHOWN: Final = 10
_GAUGES: Final = re.compile(
    r"(^|_)(bytes|pending|queued|connected|sessions|clients|in_flight|open|waiting|lag|running|retained)(_|$)"
)
_PAGE_BYTES: Final = os.sysconf("SC_PAGE_SIZE")

Labels = Sequence[tuple[str, str]]
Sample = tuple[Labels, float]


class Text:
    """The exposition, metric by metric."""

    def __init__(self) -> None:
        self._lines: list[str] = []

    def add(self, name: str, kind: str, about: str, samples: Sequence[Sample]) -> None:
        """One metric; without samples it is left out."""
        if not samples:
            return
        self._lines += [f"# HELP {name} {_escaped(about)}", f"# TYPE {name} {kind}"]
        for labels, value in samples:
            shown = ",".join(f'{key}="{_escaped(text, quotes=True)}"' for key, text in labels)
            self._lines.append(f"{name}{{{shown}}} {_number(value)}" if shown else f"{name} {_number(value)}")

    def add_histogram(
        self, name: str, about: str, bounds: Sequence[float], samples: Sequence[tuple[Labels, Sequence[int], float]]
    ) -> None:
        """Of each sample: labels, counts between the bounds, and the sum of the values."""
        if not samples:
            return
        self._lines += [f"# HELP {name} {_escaped(about)}", f"# TYPE {name} histogram"]
        for labels, counts, total in samples:
            shown = "".join(f'{key}="{_escaped(text, quotes=True)}",' for key, text in labels)
            for bound, count in zip([*(f"{b:g}" for b in bounds), "+Inf"], accumulate(counts), strict=True):
                self._lines.append(f'{name}_bucket{{{shown}le="{bound}"}} {count}')
            self._lines.append(f"{name}_sum{{{shown[:-1]}}} {total!r}")
            self._lines.append(f"{name}_count{{{shown[:-1]}}} {sum(counts)}")

    def __str__(self) -> str:
        return "\n".join(self._lines) + "\n"


def _number(value: float) -> str:
    return str(value) if isinstance(value, int) else repr(float(value))


def _escaped(text: str, *, quotes: bool = False) -> str:
    text = text.replace("\\", r"\\").replace("\n", r"\n")
    return text.replace('"', r"\"") if quotes else text


class Machine(Struct, frozen=True):
    """What is asked of the operating system."""

    memory_bytes: int
    open_files: int
    disk_free_bytes: int
    disk_bytes: int


def look(folder: Path) -> Machine:
    """Memory and files of the process, room on the disk of a folder. For a thread."""
    return Machine(memory_bytes(), len(os.listdir("/proc/self/fd")), *disk(folder))


def metrics(ctx: Context, machine: Machine) -> str:
    """All of it; no I/O."""
    text = Text()
    text.add("edgelake_info", "gauge", "Version and name of the node.", [(_info(ctx), 1)])
    started_s = ctx.node.started_us / 1e6
    text.add("process_start_time_seconds", "gauge", "Start of the node, Unix time.", [((), started_s)])
    text.add("process_resident_memory_bytes", "gauge", "Memory of the process.", [((), machine.memory_bytes)])
    text.add("process_cpu_seconds_total", "counter", "Processor time of the process.", [((), time.process_time())])
    text.add("process_open_fds", "gauge", "Open files and sockets.", [((), machine.open_files)])
    text.add("edgelake_disk_free_bytes", "gauge", "Room on the disk of the node.", [((), machine.disk_free_bytes)])
    text.add("edgelake_disk_size_bytes", "gauge", "Size of that disk.", [((), machine.disk_bytes)])
    _services(ctx, text)
    _ingestion(ctx, text)
    _rest(ctx, text)
    return str(text)


def _info(ctx: Context) -> Labels:
    return (("version", ctx.node.version), ("name", ctx.node.name))


def memory_bytes() -> int:
    """What the process has in memory."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * _PAGE_BYTES


def disk(folder: Path) -> tuple[int, int]:
    """Free bytes and size of the disk that a folder is (or will be) on."""
    while not folder.exists():
        folder = folder.parent
    found = shutil.disk_usage(folder)
    return found.free, found.total


def _services(ctx: Context, text: Text) -> None:
    found = statuses(ctx)
    up = [((("service", _slug(row)),), int(status.running)) for row, status in found.items()]
    text.add("edgelake_service_up", "gauge", "Services: 1 = runs.", up)
    for row, status in found.items():
        for key, value in status.counters.items():
            name = f"edgelake_{_slug(row)}_{_slug(key)}"
            is_gauge = bool(_GAUGES.search(key))
            kind, suffix = ("gauge", "") if is_gauge else ("counter", "_total")
            text.add(name + suffix, kind, f"{row}: {key.replace('_', ' ')}.", [((), value)])


def _ingestion(ctx: Context, text: Text) -> None:
    if ctx.ingest is None:
        return
    for key, value in ctx.ingest.status().counters.items():
        text.add(f"edgelake_ingest_{key}", "gauge", f"Ingestion: {key.replace('_', ' ')}.", [((), value)])
    streams = list(_largest(ctx.ingest.streams()))
    for name, about, attribute in (
        ("stored", "Rows that are in the databases.", "stored_rows"),
        ("rejected", "Rows that fitted no column.", "rejected_rows"),
    ):
        samples = [(labels, getattr(counts, attribute)) for labels, counts in streams]
        text.add(f"edgelake_rows_{name}_total", "counter", about, samples)
    samples = [(labels, counts.cached_rows) for labels, counts in streams]
    text.add("edgelake_rows_buffered", "gauge", "Rows that are durable and wait for their transaction.", samples)


def _largest(streams: Sequence[StreamCounts]) -> Iterator[tuple[Labels, StreamCounts]]:
    """The tables with the most rows, and the sum of the others."""
    ordered = sorted(streams, key=lambda one: one.stored_rows, reverse=True)
    for one in ordered[:TABLES_SHOWN]:
        yield (("dbms", one.dbms), ("table", one.table)), one
    if others := ordered[TABLES_SHOWN:]:
        stored, rejected = sum(o.stored_rows for o in others), sum(o.rejected_rows for o in others)
        cached = sum(o.cached_rows for o in others)
        counts = StreamCounts("", "", stored_rows=stored, rejected_rows=rejected, cached_rows=cached)
        yield (("dbms", "(other)"), ("table", "(other)")), counts


def _rest(ctx: Context, text: Text) -> None:
    server = ctx.services.get(RestServer.name)
    if not isinstance(server, RestServer):
        return
    by_method: dict[str, tuple[int, int]] = {}
    for call in server.calls:
        processed, errors = by_method.get(call.method, (0, 0))
        by_method[call.method] = processed + call.processed, errors + call.errors
    known = {method: counts for method, counts in by_method.items() if method.isalpha() and len(method) < 8}
    shown = list(known.items())[:METHODS_SHOWN]
    all_requests: list[Sample] = [((("method", method),), counts[0]) for method, counts in shown]
    failed: list[Sample] = [((("method", method),), counts[1]) for method, counts in shown]
    text.add("edgelake_http_requests_total", "counter", "Requests at the REST server.", all_requests)
    text.add("edgelake_http_request_errors_total", "counter", "Requests that failed.", failed)
    samples = [(_of_kind(key), one.counts, one.sum_s) for key, one in server.durations]
    name, about = "edgelake_http_request_duration_seconds", "Time to the answer of requests, by kind and method."
    text.add_histogram(name, about, BOUNDS_S, samples)


def _of_kind(key: tuple[str, str]) -> Labels:
    return (("kind", key[0]), ("method", key[1]))


def _slug(text: str) -> str:
    return re.sub(r"[^a-z0-9]+", "_", text.lower()).strip("_")
