"""Full disks, folders that cannot be written, damaged journals: clear errors, nothing acknowledged is lost."""

from __future__ import annotations

import asyncio
import contextlib
import os
import resource
import subprocess
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from edgelake.errors import EdgeLakeError, JournalError, StorageFullError
from edgelake.ingest.service import Ingest
from edgelake.store.sqlite import SqliteStore

DISK_BYTES = 3 << 20
PAD = "x" * 2000


@contextlib.contextmanager
def small_disk(folder: Path) -> Iterator[Callable[[], None]]:
    """A folder on a disk of 3 MiB (root), or where no file grows above that; the callable makes room."""
    folder.mkdir()
    mounted = (
        os.geteuid() == 0
        and not subprocess.run(
            ["mount", "-t", "tmpfs", "-o", f"size={DISK_BYTES}", "tmpfs", str(folder)], capture_output=True, check=False
        ).returncode
    )
    if mounted:
        filler = folder / "filler"
        filler.write_bytes(bytes(DISK_BYTES // 2))
        try:
            yield filler.unlink
        finally:
            subprocess.run(["umount", str(folder)], check=True)
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (DISK_BYTES // 2, hard))
    try:
        yield lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@asynccontextmanager
async def storing(journal: Path, database: Path | None) -> AsyncIterator[Ingest]:
    ingest = Ingest(journal, timezone="UTC")
    await ingest.start()
    store = SqliteStore("d", database) if database else None
    if store is not None:
        await ingest.attach(store)
    try:
        yield ingest
    finally:
        await ingest.stop()
        if store is not None:
            await store.close()


async def submit_until_refused(ingest: Ingest) -> tuple[int, EdgeLakeError]:
    """How many rows were acknowledged, and what stopped that."""
    n = 0
    while True:
        try:
            await ingest.submit("d", "t", b'{"n": %d, "pad": "%s"}' % (n, PAD.encode()))
        except EdgeLakeError as problem:
            return n, problem
        n += 1
        assert n < 10_000


def numbers(database: Path) -> list[int]:
    store = SqliteStore("d", database)
    try:
        with store.reader() as connection:
            return [row[0] for row in connection.execute("SELECT n FROM t ORDER BY n")]
    finally:
        store.close_blocking()


async def test_a_full_disk_under_the_journal_refuses_and_goes_on_when_there_is_room(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk") as make_room:
        async with storing(tmp_path / "disk" / "journal", None) as ingest:
            accepted, problem = await submit_until_refused(ingest)
            assert isinstance(problem, StorageFullError)
            assert ".journal" in str(problem)
            assert accepted > 100
            make_room()
            await ingest.submit("d", "t", b'{"n": %d, "pad": "after"}' % accepted)
        async with storing(tmp_path / "disk" / "journal", tmp_path / "d.dbms") as ingest:
            await ingest.flush()
            (counts,) = ingest.streams()
            assert (counts.recovered_rows, counts.stored_rows) == (accepted + 1, accepted + 1)
        assert numbers(tmp_path / "d.dbms") == list(range(accepted + 1))


async def test_a_full_journal_whose_rows_are_stored_makes_its_own_room(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk") as _:
        async with storing(tmp_path / "disk" / "journal", None) as ingest:
            accepted, _ = await submit_until_refused(ingest)
            store = SqliteStore("d", tmp_path / "d.dbms")
            await ingest.attach(store)
            async with asyncio.timeout(20):
                while True:
                    with contextlib.suppress(StorageFullError):
                        await ingest.submit("d", "t", b'{"n": %d}' % accepted)
                        break
                    await ingest.flush()
                    await asyncio.sleep(0.01)
            await ingest.detach("d")
            await store.close()
    assert numbers(tmp_path / "d.dbms") == list(range(accepted + 1))


async def test_a_full_disk_under_the_database_lets_rows_wait_in_the_journal(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk") as make_room:
        database = tmp_path / "disk" / "d.dbms"
        async with storing(tmp_path / "journal", database) as ingest:
            rows = 1200  # more than the disk holds
            problem: Exception | None = None
            for first in range(0, rows, 100):
                lines = "\n".join(f'{{"n": {n}, "pad": "{PAD}"}}' for n in range(first, first + 100))
                await ingest.submit("d", "t", lines.encode())
                try:
                    await ingest.flush()
                except EdgeLakeError as failed:
                    problem = failed
                    break
            assert isinstance(problem, StorageFullError)
            assert "d: database or disk is full" in str(problem)
            assert ingest.status().last_error
            make_room()
            accepted = sum(one.rows for one in ingest.streams())
            async with asyncio.timeout(30):
                while ingest.totals().buffered_rows:  # noqa: ASYNC110 - a thread of the node tells no event
                    await asyncio.sleep(0.02)
            assert ingest.status().last_error == ""
        assert numbers(database) == list(range(accepted))


async def test_a_journal_that_cannot_be_made_says_where(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(JournalError, match=r"file.journal.*the node needs a directory"):
        await Ingest(tmp_path / "file" / "journal").start()


async def test_a_folder_that_takes_no_files_says_so() -> None:
    with pytest.raises(JournalError, match="the node needs a directory"):
        await Ingest(Path("/proc/self/journal")).start()  # not even root may write there


async def waiting(folder: Path, rows: int) -> Path:
    """A journal with rows that wait for their database; its segment."""
    async with storing(folder, None) as ingest:
        for n in range(rows):
            await ingest.submit("d", "t", b'{"n": %d}' % n)
    return max(path for path in folder.glob("*.journal") if path.stat().st_size > 100)


@pytest.mark.parametrize("tail", [b"\x00" * 500, b"garbage" * 50, b"\x10\x00\x00\x00half a record"])
async def test_a_torn_end_costs_nothing_that_was_acknowledged(tmp_path: Path, tail: bytes) -> None:
    segment = await waiting(tmp_path / "journal", 10)
    with segment.open("ab") as file:
        file.write(tail)
    async with storing(tmp_path / "journal", tmp_path / "d.dbms") as ingest:
        await ingest.submit("d", "t", b'{"n": 10}')
        await ingest.flush()
    assert numbers(tmp_path / "d.dbms") == list(range(11))


async def test_damage_of_what_was_synced_is_told_and_not_passed_over(tmp_path: Path) -> None:
    segment = await waiting(tmp_path / "journal", 10)
    content = bytearray(segment.read_bytes())
    content[len(content) // 2] ^= 1
    segment.write_bytes(content)
    with pytest.raises(JournalError, match=rf"{segment.name}: damaged record at byte \d+; check the disk"):
        await Ingest(tmp_path / "journal").start()
