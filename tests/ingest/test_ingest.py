"""Payloads through the journal into a SQLite file, and back after a stop or a kill."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from edgelake.errors import EdgeLakeError, JournalError, OverloadedError, PayloadError
from edgelake.ingest.service import Ingest
from edgelake.model import Stored
from edgelake.store.sqlite import SqliteStore


@asynccontextmanager
async def running(folder: Path, *, attached: bool = True, **limits: int) -> AsyncIterator[Ingest]:
    ingest = Ingest(folder / "journal", timezone="UTC", **limits)
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
            (counts,) = ingest.streams()
            assert (counts.rows, counts.stored_rows, counts.cached_rows) == (500, 500, 0)
            assert ingest.totals().flushed_rows == 500

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
            assert ingest.pipeline.occupied_bytes() < 4000
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


def test_a_full_pipeline_refuses_tells_of_room_and_loses_nothing(tmp_path: Path) -> None:
    async def scenario() -> int:
        async with running(tmp_path, journal_limit_bytes=100_000) as ingest:
            writer = ingest.writer("plant")
            assert writer is not None
            writer.slow_us_per_row = 2000.0
            accepted = 0
            refused = False
            while not refused:
                try:
                    await ingest.submit("plant", "t", row(accepted))
                    accepted += 1
                except OverloadedError:
                    refused = True
            writer.slow_us_per_row = 0.0
            await ingest.submit("plant", "t", row(accepted), wait=True)
            return accepted + 1

    def row(n: int) -> bytes:
        return b'{"n": %d, "pad": "%s"}' % (n, b"x" * 500)

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
            with pytest.raises(EdgeLakeError):
                ingest.submit_then("plant", "t", b'{"n": 4}', "a.b", "0", then)
        finally:
            await ingest.stop()
        ingest.submit_then("plant", "t", b'{"n": 4}', "0", "0", then)
        heard.append(await told.get())
        return heard

    heard = asyncio.run(scenario())
    assert [stored and stored.rows for stored, _ in heard] == [1, 2, None]
    assert isinstance(heard[2][1], JournalError)
