"""Readings in from a Python program: from memory into committed rows, without a network between."""

from __future__ import annotations

import asyncio
import json
import os
import sys
import threading
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import uvloop

from edgelake import _rust
from edgelake.bench import Settings, baselines
from edgelake.bench.catalogue import measured
from edgelake.bench.processes import BenchError, ask, tell
from edgelake.bench.results import Result
from edgelake.ingest.service import Ingest
from edgelake.store.sqlite import SqliteStore

PROGRAM = ("-m", "edgelake.bench.ingest")
ROWS = 1_000_000
BODY_ROWS = 1000
BODIES_AT_ONCE = 16
SINGLE_ROWS = 200_000
SINGLE_AT_ONCE = 64
ROUNDS = 5
"""Each round measures ours and the baseline right after each other; the round with the median ratio counts."""


def run(settings: Settings) -> list[Result]:
    found: list[Result] = []
    if settings.wants("library"):
        rows = settings.rows(ROWS)
        ask_ours = {"rows": rows, "body_rows": BODY_ROWS, "at_once": BODIES_AT_ONCE}
        found.append(compare(settings, "library", rows, ask_ours, baselines.native_seconds))
    if settings.wants("library-single"):
        rows = settings.rows(SINGLE_ROWS)
        ask_ours = {"rows": rows, "body_rows": 1, "at_once": SINGLE_AT_ONCE}
        found.append(compare(settings, "library-single", rows, ask_ours, bare_seconds))
    return found


def compare(
    settings: Settings, key: str, rows: int, ask_ours: dict[str, int], baseline: Callable[[Path, int], float]
) -> Result:
    pairs: list[tuple[float, float]] = []
    rounds = settings.rounds(ROUNDS)
    for at in range(rounds):
        with settings.folder("ingest") as folder:
            answer = ask(PROGRAM, {"folder": folder, **ask_ours})
        if answer["stored"] != rows:
            raise BenchError(f"{answer['stored']} rows are stored instead of {rows}")
        with settings.folder("ingest") as folder:
            theirs = baseline(Path(folder), rows)
        pairs.append((rows / answer["seconds"], rows / theirs))
        settings.say(f"round {at + 1} of {rounds}: {key}: {pairs[-1][0]:,.0f} rows/s, baseline {pairs[-1][1]:,.0f}")
    figure, other = sorted(pairs, key=lambda pair: pair[0] / pair[1])[rounds // 2]
    return measured("ingest", key, figure, other, rounds=pairs)


def bare_seconds(folder: Path, rows: int) -> float:
    """The same asyncio program over a thread that writes and syncs what has queued up: nothing parsed or inserted."""
    what = {"folder": str(folder), "rows": rows, "body_rows": 1, "at_once": SINGLE_AT_ONCE, "bare": True}
    return float(ask(PROGRAM, what)["seconds"])


# ---- the helper process


async def submit_all(submit: Callable[[bytes], Awaitable[object]], bodies: list[bytes], at_once: int) -> None:
    """Submit with so many unanswered at a time."""
    left = iter(bodies)

    async def sender() -> None:
        for body in left:
            await submit(body)

    await asyncio.gather(*(sender() for _ in range(at_once)))


async def store_all(folder: Path, bodies: list[bytes], at_once: int) -> tuple[int, float]:
    """Rows that are in the table, and the seconds from the first submit until all were committed."""
    ingest = Ingest(folder / "journal", timezone="UTC")
    await ingest.start()
    store = SqliteStore("bench", folder / "bench.dbms")
    await ingest.attach(store)
    begin = time.monotonic()
    await submit_all(lambda body: ingest.submit("bench", "readings", body, wait=True), bodies, at_once)
    await ingest.flush()
    seconds = time.monotonic() - begin
    stored = sum((await store.row_counts(["readings"])).values())
    await ingest.stop()
    await store.close()
    return stored, seconds


class Bare:
    """Futures that are resolved after a group fdatasync."""

    def __init__(self, path: Path) -> None:
        self._loop = asyncio.get_running_loop()
        self._queued: list[tuple[bytes, asyncio.Future[None]]] = []
        self._ready = threading.Condition()
        self._ended = False
        self._fd = os.open(path, os.O_CREAT | os.O_WRONLY | os.O_APPEND)
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    async def submit(self, body: bytes) -> None:
        done: asyncio.Future[None] = self._loop.create_future()
        with self._ready:
            self._queued.append((body, done))
            self._ready.notify()
        await done

    def end(self) -> None:
        with self._ready:
            self._ended = True
            self._ready.notify()
        self._thread.join()
        os.close(self._fd)

    def _run(self) -> None:
        while True:
            with self._ready:
                self._ready.wait_for(lambda: self._queued or self._ended)
                group, self._queued = self._queued, []
            if not group:
                return
            os.write(self._fd, b"".join(body for body, _ in group))
            os.fdatasync(self._fd)
            self._loop.call_soon_threadsafe(self._resolve, group)

    def _resolve(self, group: list[tuple[bytes, asyncio.Future[None]]]) -> None:
        for _, done in group:
            done.set_result(None)


async def sync_all(folder: Path, bodies: list[bytes], at_once: int) -> tuple[int, float]:
    """The baseline of single rows: as many bodies as were synced, and the seconds."""
    bare = Bare(folder / "bare")
    begin = time.monotonic()
    await submit_all(bare.submit, bodies, at_once)
    seconds = time.monotonic() - begin
    bare.end()
    return len(bodies), seconds


def main() -> None:
    what = json.loads(sys.argv[1])
    rows, size = what["rows"], what["body_rows"]
    if size == 1:
        bodies = _rust.workload_body(0, rows).splitlines()
    else:
        bodies = [_rust.workload_body(first, min(size, rows - first)) for first in range(0, rows, size)]
    work = sync_all if what.get("bare") else store_all
    stored, seconds = uvloop.run(work(Path(what["folder"]), bodies, what["at_once"]))
    tell(stored=stored, seconds=seconds)


if __name__ == "__main__":
    main()
