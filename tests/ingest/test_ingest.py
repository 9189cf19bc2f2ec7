"""Payloads through the journal into a SQLite file, and back after a stop or a kill."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from edgelake.errors import JournalError, OverloadedError, PayloadError
from edgelake.ingest.service import Ingest
from edgelake.model import Stored
from edgelake.store.sqlite import SqliteStore

ROUNDS = 5


@asynccontextmanager
async def running(folder: Path, *, attached: bool = True, limit_bytes: int = 64 << 20) -> AsyncIterator[Ingest]:
    ingest = Ingest(folder / "journal", timezone="UTC", limit_bytes=limit_bytes)
    await ingest.start()
    store = SqliteStore("plant", folder / "plant.dbms")
    if attached:
        await ingest.attach(store)
    try:
        yield ingest
    finally:
        await ingest.stop()
        await store.close()


def numbers(folder: Path) -> list[int]:
    store = SqliteStore("plant", folder / "plant.dbms")
    try:
        with store.reader() as connection:
            return [row[0] for row in connection.execute("SELECT n FROM t ORDER BY row_id")]
    finally:
        store.close_blocking()


def test_rows_are_stored_in_order_and_counted(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with running(tmp_path) as ingest:
            stored = await asyncio.gather(*(ingest.submit("plant", "t", b'{"n": %d}' % n) for n in range(500)))
            assert [s.rows for s in stored] == [1] * 500
            await ingest.flush()
            stats = ingest.pipeline.stats()[0]
            assert (stats["rows"], stats["flushed_rows"], stats["buffered_rows"]) == (500, 500, 0)

    asyncio.run(scenario())
    assert numbers(tmp_path) == list(range(500))


def test_large_and_small_payloads_and_wrong_ones(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with running(tmp_path) as ingest:
            body = b"\n".join(b'{"n": %d, "pad": "%s"}' % (n, b"x" * 100) for n in range(1000))
            assert (await ingest.submit("plant", "t", body)).rows == 1000
            for wrong in (b"nonsense", b"[1, 2]", b"", b"x" * 100_000):
                with pytest.raises(PayloadError):
                    await ingest.submit("plant", "t", wrong)

    asyncio.run(scenario())
    assert numbers(tmp_path) == list(range(1000))


def test_rows_of_a_database_that_comes_later_wait_in_the_journal(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with running(tmp_path, attached=False) as ingest:
            for n in range(20):
                await ingest.submit("plant", "t", b'{"n": %d}' % n)
            assert ingest.pipeline.in_flight_bytes() == 0
        async with running(tmp_path) as ingest:
            await ingest.submit("plant", "t", b'{"n": 20}')

    asyncio.run(scenario())
    assert numbers(tmp_path) == list(range(21))


def test_new_columns_and_kinds_while_readings_arrive(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with running(tmp_path) as ingest:
            for payload in (b'{"n": 1}', b'{"n": 2.5}', b'{"n": 3, "unit": "C"}', b'{"n": "high"}'):
                await ingest.submit("plant", "t", payload)
                await ingest.flush()

    asyncio.run(scenario())
    assert numbers(tmp_path) == ["1", "2.5", "3.0", "high"]  # a float first, text once a text came


def test_a_full_pipeline_refuses_and_loses_nothing(tmp_path: Path) -> None:
    async def scenario() -> int:
        async with running(tmp_path, limit_bytes=20_000) as ingest:
            writer = ingest.writer("plant")
            assert writer is not None
            writer.slow_us_per_row = 2000.0
            accepted = 0
            refused = False
            while not refused:
                try:
                    await ingest.submit("plant", "t", b'{"n": %d, "pad": "%s"}' % (accepted, b"x" * 500))
                    accepted += 1
                except OverloadedError:
                    refused = True
            return accepted

    accepted = asyncio.run(scenario())
    assert numbers(tmp_path) == list(range(accepted))


def test_a_closed_pipeline_says_so(tmp_path: Path) -> None:
    async def scenario() -> None:
        ingest = Ingest(tmp_path / "journal")
        await ingest.submit("plant", "t", b'{"n": 1}')  # opens the journal
        await ingest.stop()
        await ingest.stop()
        with pytest.raises(JournalError):
            await ingest.submit("plant", "t", b'{"n": 1}')

    asyncio.run(scenario())


NODE = """
import asyncio, sys
from pathlib import Path
from tests.ingest.test_ingest import running

async def main(folder, first):
    async with running(Path(folder)) as ingest:
        async def one(n):
            await ingest.submit("plant", "t", b'{"n": %d}' % n)
            print(n, flush=True)
        n = first
        while True:
            await asyncio.gather(*(one(k) for k in range(n, n + 20)))
            n += 20

asyncio.run(main(sys.argv[1], int(sys.argv[2])))
"""


def test_every_acknowledged_row_is_there_once_after_kills(tmp_path: Path) -> None:
    root = Path(__file__).parents[2]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(root), str(root / "python")])}
    acknowledged: set[int] = set()
    for attempt in range(ROUNDS):
        first = attempt * 1_000_000
        node = subprocess.Popen(
            [sys.executable, "-c", NODE, str(tmp_path), str(first)], env=environment, stdout=subprocess.PIPE, text=True
        )
        assert node.stdout is not None
        acknowledged.add(int(node.stdout.readline()))
        time.sleep(random.uniform(0.0, 0.4))  # the moment of the kill is what the test varies
        node.send_signal(signal.SIGKILL)
        acknowledged |= {int(line) for line in node.stdout if line.endswith("\n")}
        node.wait(10)

    async def replay() -> None:
        async with running(tmp_path) as ingest:
            await ingest.flush()

    asyncio.run(replay())
    found = numbers(tmp_path)
    assert len(found) == len(set(found))
    assert acknowledged <= set(found)


def test_a_callback_hears_what_a_coroutine_would(tmp_path: Path) -> None:
    """The first payload opens the journal; later ones are taken at once; both are durable when they are told so."""

    async def scenario() -> list[tuple[Stored | None, BaseException | None]]:
        told: asyncio.Queue[tuple[Stored | None, BaseException | None]] = asyncio.Queue()

        def then(stored: Stored | None, failure: BaseException | None) -> None:
            told.put_nowait((stored, failure))

        ingest = Ingest(tmp_path / "journal", timezone="UTC")
        try:
            heard = []
            for payload in (b'{"n": 1}', b'{"n": 2}\n{"n": 3}'):
                ingest.submit_then("plant", "t", payload, "0", "0", then)
                heard.append(await told.get())
            with pytest.raises(PayloadError):
                ingest.submit_then("plant", "t", b"no JSON", "0", "0", then)
        finally:
            await ingest.stop()
        ingest.submit_then("plant", "t", b'{"n": 4}', "0", "0", then)
        heard.append(await told.get())
        return heard

    heard = asyncio.run(scenario())
    assert [stored and stored.rows for stored, _ in heard] == [1, 2, None]
    assert isinstance(heard[2][1], JournalError)
