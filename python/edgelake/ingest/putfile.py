"""PUT in file mode: the body becomes a file of the watch directory, durable before it is acknowledged.

Source: spec "Ingestion", sections 2, 3 and 5.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path

from edgelake import _rust
from edgelake.errors import CommandError, PayloadError, error
from edgelake.ingest import filing
from edgelake.ingest.names import FileName, check_part, content_hash
from edgelake.ingest.streaming import StreamCounts
from edgelake.model import Stored

FILE_TYPES = ("json",)


@dataclass(slots=True)
class _Count:
    files: int = 0
    rows: int = 0
    last_s: float = 0.0


class FilePut:
    """Takes bodies into files. One per node; the directories may change by ``run streamer`` and by scripts.

    Args:
        directories: (prep_dir, watch_dir) at the moment; raises 33 when one is not set.
    """

    def __init__(self, directories: Callable[[], tuple[Path, Path]]) -> None:
        self._directories = directories
        self._unique = itertools.count(1)
        self._counts: dict[tuple[str, str], _Count] = {}

    async def put(
        self,
        dbms: str,
        table: str,
        pieces: AsyncIterator[bytes],
        *,
        file_type: str = "json",
        source: str = "0",
        instructions: str = "0",
    ) -> Stored:
        """Write a body to prep_dir, check it, move it to watch_dir; returns its rows and hash.

        Raises PayloadError for a body that holds no rows, EdgeLakeError 67 for an empty one, 119 for names that
        cannot stand in a file name; what the pieces raise. No file stays behind then.
        """
        if file_type not in FILE_TYPES:
            raise CommandError(f"type '{file_type}'", hint="type is json")
        for text, what in ((dbms, "dbms"), (table, "table"), (source, "source"), (instructions, "instructions")):
            check_part(text, what)
        prep, watch = self._directories()
        working = prep / f"{dbms}.{table}.{os.getpid()}.{time.time_ns()}.{next(self._unique)}.put_tmp"
        try:
            await _write(working, pieces)
            rows, file_hash = await asyncio.to_thread(_inspect, working, dbms, table)
            name = FileName(dbms, table, source, file_hash, instructions)
            await asyncio.to_thread(_hand_over, working, watch, name)
        except BaseException:
            working.unlink(missing_ok=True)
            raise
        count = self._counts.setdefault((dbms, table), _Count())
        count.files, count.rows, count.last_s = count.files + 1, count.rows + rows, time.time()
        return Stored(rows, file_hash=file_hash)

    def counts(self) -> list[StreamCounts]:
        """Files and rows by table, for ``get streaming``."""
        return [
            StreamCounts(dbms, table, put_files=c.files, put_rows=c.rows, last_s=c.last_s)
            for (dbms, table), c in self._counts.items()
        ]


async def _write(working: Path, pieces: AsyncIterator[bytes]) -> None:
    with working.open("wb") as file:
        async for piece in pieces:
            await asyncio.to_thread(file.write, piece) if len(piece) > 65536 else file.write(piece)


def _inspect(working: Path, dbms: str, table: str) -> tuple[int, str]:
    content = working.read_bytes()
    if not content.strip():
        raise error(67, "Message Body is empty")
    rows = len(_rust.Rows.parse(content))
    if rows == 0:
        raise PayloadError("the body holds no rows")
    return rows, content_hash(dbms, table, content)


def _hand_over(working: Path, watch: Path, name: FileName) -> None:
    """Durable, then into the watch directory by one rename. A waiting file of equal content is another file."""
    with working.open("rb") as file:
        os.fsync(file.fileno())
    number = 0
    while True:
        target = watch / name.text(number)
        # A link fails where a rename would replace a file that still waits.
        with contextlib.suppress(FileExistsError):
            os.link(working, target)
            break
        number += 1
    working.unlink()
    filing.sync_directory(watch)
