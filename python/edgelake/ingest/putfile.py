"""PUT in file mode: the body becomes a file of the watch directory, durable before it is acknowledged.

Source: spec "Ingestion", sections 2, 3 and 5.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import time
from collections.abc import AsyncIterator, Callable, Iterable
from pathlib import Path

from msgspec import Struct
from msgspec.structs import replace

from edgelake._rust import PayloadCheck
from edgelake.durable import feed, sync_directory
from edgelake.errors import CommandError, PayloadError, error
from edgelake.ingest.names import FileName, check_part, running_hash
from edgelake.ingest.settings import BLOCK_BYTES, ROW_BYTES
from edgelake.ingest.streaming import StreamCounts
from edgelake.model import Stored

FILE_TYPES = ("json",)


class _Count(Struct):
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
        self._since_ns = time.time_ns()
        self._cleared: set[tuple[Path, Path]] = set()

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
        if (prep, watch) not in self._cleared:
            self._cleared.add((prep, watch))
            await asyncio.to_thread(_clear, prep, watch, self._since_ns)
        working = prep / f"{dbms}.{table}.{os.getpid()}.{time.time_ns()}.{next(self._unique)}.put_tmp"
        incoming = _Incoming(working, dbms, table)
        try:
            await feed(pieces, incoming.take)
            name = FileName(dbms, table, source, "0", instructions)
            rows, file_hash = await asyncio.to_thread(_complete, incoming, working, watch, name)
        except BaseException:
            working.unlink(missing_ok=True)
            raise
        finally:
            incoming.close()
        count = self._counts.setdefault((dbms, table), _Count())
        count.files, count.rows, count.last_s = count.files + 1, count.rows + rows, time.time()
        return Stored(rows, file_hash=file_hash)

    def counts(self) -> list[StreamCounts]:
        """Files and rows by table, for ``get streaming``."""
        return [
            StreamCounts(dbms, table, put_files=c.files, put_rows=c.rows, last_s=c.last_s)
            for (dbms, table), c in self._counts.items()
        ]


class _Incoming:
    """A body on its way into a file: written, hashed and looked through as it comes. In threads, one call at a time."""

    def __init__(self, working: Path, dbms: str, table: str) -> None:
        self._file = working.open("xb")
        self._hash = running_hash(dbms, table)
        self._check = PayloadCheck(block_bytes=BLOCK_BYTES, row_bytes=ROW_BYTES)
        self._blank = True

    def take(self, pieces: Iterable[bytes]) -> None:
        for piece in pieces:
            self._file.write(piece)
            self._hash.update(piece)
            self._blank = self._blank and not piece.strip()
            self._check.feed(piece)

    def finish(self) -> tuple[int, str]:
        """Rows and hash of the body, which is durable then. Raises as ``FilePut.put``."""
        if self._blank:
            raise error(67, "Message Body is empty")
        rows, _ = self._check.finish()
        if not rows:
            raise PayloadError("the body holds no rows")
        self._file.flush()
        os.fsync(self._file.fileno())
        return rows, self._hash.hexdigest()

    def close(self) -> None:
        self._file.close()


def _complete(incoming: _Incoming, working: Path, watch: Path, name: FileName) -> tuple[int, str]:
    rows, file_hash = incoming.finish()
    hand_over(working, watch, replace(name, hash=file_hash))
    return rows, file_hash


def _clear(prep: Path, watch: Path, before_ns: int) -> None:
    """Remove what bodies left that an earlier run of the node was taking in when it was killed; none was acknowledged.

    A name held in the watch directory is a link to the body's working file, so no file of anybody else is touched.
    """
    left: dict[int, Path] = {}
    for path in prep.glob("*.put_tmp"):
        begun_ns = path.name.split(".")[-3]
        if begun_ns.isdigit() and int(begun_ns) < before_ns:
            with contextlib.suppress(FileNotFoundError):
                left[path.stat().st_ino] = path
    if not left:
        return
    for held in watch.glob("*.json_tmp"):
        with contextlib.suppress(FileNotFoundError):
            if held.stat().st_ino in left:
                held.unlink()
    for path in left.values():
        path.unlink(missing_ok=True)


def hand_over(working: Path, watch: Path, name: FileName) -> None:
    """Into the watch directory by a rename, which its watcher takes at once.

    A waiting file of equal content is another file: nothing is replaced. Its own name with ``_tmp`` holds a name for
    the one that got it, since a rename would not fail.
    """
    number = 0
    while True:
        target = watch / name.text(number)
        number += 1
        held = target.with_name(f"{target.name}_tmp")
        try:
            os.link(working, held)
        except FileExistsError:
            continue
        if not target.exists():
            held.rename(target)
            break
        held.unlink()
    working.unlink()
    sync_directory(watch)
