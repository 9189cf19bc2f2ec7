"""Where an answer goes other than back to who asked: a file, a table of ``system_query`` (spec: query, section 2)."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Final

from edgelake._rust import Rows
from edgelake.errors import error
from edgelake.store.insert import Insertion
from edgelake.store.schema import Transaction
from edgelake.store.stores import Stores

RESULTS: Final = "system_query"
"""Database of kept results; made in memory when it is not connected."""

INSERT_BYTES: Final = 4 << 20
MESSAGE_BYTES: Final = 256 << 10  # brokers take 1 MB by default


def file_path(name: str, now: Callable[[], float] = time.time) -> Path:
    """The file that an option names: ``*`` at the end of its name makes it unique; without a type it gets ``.out``."""
    path = Path(name).expanduser()
    stem, suffix = path.stem, path.suffix or ".out"
    if stem.endswith("*"):
        stem = f"{stem[:-1]}{int(now() * 1_000_000)}"
    return path.with_name(stem + suffix)


async def to_file(pieces: AsyncIterator[bytes], path: Path) -> None:
    """Append an answer to a file. Raises EdgeLakeError 63."""
    try:
        with path.open("ab") as file:
            async for piece in pieces:
                await asyncio.to_thread(file.write, piece)
            await asyncio.to_thread(file.write, b"\n")
    except OSError as cause:
        raise error(63, f"{path}: {cause}", hint="make room, or choose another file") from cause


async def messages_of(lines: AsyncIterator[bytes], form: str) -> AsyncIterator[list[bytes]]:
    """Messages of rows that come as JSON lines: a row each with ``json:output``; else a block of rows each, in the form
    ``json`` (an object with the key Query) or ``json:list``."""
    before, behind = (b'{"Query":[', b"]}") if form == "json" else (b"[", b"]")
    rest = b""

    def packed(whole: bytes) -> list[bytes]:
        rows = [line for line in whole.split(b"\n") if line.strip()]
        return rows if form == "json:output" or not rows else [before + b",".join(rows) + behind]

    async for piece in lines:
        rest += piece
        if len(rest) >= MESSAGE_BYTES:
            whole, _, rest = rest.rpartition(b"\n")
            yield packed(whole)
    yield packed(rest)


async def to_table(stores: Stores, lines: AsyncIterator[bytes], table: str, *, drop: bool) -> int:
    """Put rows that come as JSON lines into ``system_query.<table>``; ``drop``: in place of what is there.

    Returns the number of rows. They are stored as they come: an answer that breaks off leaves those before it.
    """
    store = stores.find(RESULTS) or await stores.connect(RESULTS, memory=True)
    if drop and table in store.tables:

        def work(tx: Transaction) -> None:
            info = tx.table(table)
            if info is not None:
                tx.drop_table(info)

        await store.change(work)
    count = 0
    rest = b""
    async for piece in lines:
        rest += piece
        if len(rest) >= INSERT_BYTES:
            whole, _, rest = rest.rpartition(b"\n")
            count += await _insert(stores, table, whole)
    return count + await _insert(stores, table, rest)


async def _insert(stores: Stores, table: str, lines: bytes) -> int:
    if not lines.strip():
        return 0
    rows = await asyncio.to_thread(Rows.parse, lines)
    stored = await stores.get(RESULTS).insert(Insertion(table, rows, time.time_ns() // 1000))
    return stored.rows
