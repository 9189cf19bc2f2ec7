"""A file of the watch directory while it is in work: read as often as wanted, never whole.

It stays open, so that its content is the same however its name changes. Source: spec "Ingestion", section 7.
"""

from __future__ import annotations

import gzip
import os
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Self

from msgspec import Struct

from edgelake._rust import PayloadCheck, PayloadSplitter, Rows
from edgelake.errors import PayloadError
from edgelake.ingest.names import FileName, running_hash
from edgelake.ingest.settings import BLOCK_BYTES, ROW_BYTES
from edgelake.store.catalogue import SchemaColumns
from edgelake.store.marker import FileMarker

PIECE_BYTES = 256 << 10
LEAST_PACKING = 16
"""A packed file above a block divided by this may be long."""


class RetryLater(Exception):
    """The file is good but has to wait (full disk, folder not writable, node stops): it stays where it is."""


Identity = tuple[int, int, int]
"""Inode, bytes and time of the last change, in ns."""


class SourceFile:
    """An open data file. For one thread at a time; ``with`` closes it.

    Args:
        go_on: False when the work is to be left for later; asked at every piece but the first.
        known_as: what the database calls the file; "" = by its name and its place on the disk.
    """

    def __init__(
        self, path: Path, name: FileName, go_on: Callable[[], bool] = lambda: True, *, known_as: str = ""
    ) -> None:
        """Raises OSError."""
        self.path = path
        self.name = name
        self._go_on, self._known_as = go_on, known_as
        self._file = path.open("rb", buffering=0)
        self.identity = _identity(os.fstat(self._file.fileno()))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()

    @property
    def may_be_long(self) -> bool:
        """Whether it may have to be taken in blocks, as far as its size tells."""
        return self.identity[1] > (BLOCK_BYTES // LEAST_PACKING if self.name.compressed else BLOCK_BYTES)

    def marker(self, file_hash: str, rows: int | None = None) -> FileMarker:
        """What the database remembers of the file. A later file of that name is another one."""
        return FileMarker(self._known_as or marker_name(self.path.name, self.identity), file_hash, rows)

    def pieces(self) -> Iterator[bytes]:
        """The content from its start, unpacked. Raises RetryLater, OSError, EOFError or zlib.error."""
        self._file.seek(0)
        packed = self.name.compressed
        content = gzip.GzipFile(fileobj=self._file, mode="rb") if packed else self._file
        wanted = PIECE_BYTES if packed else min(PIECE_BYTES, self.identity[1] + 1)
        begun = False
        while piece := content.read(wanted):
            if begun and not self._go_on():
                raise RetryLater(f"{self.path.name}: the operator stops, the rest of the file is for its next start")
            begun = True
            yield piece

    def check_unchanged(self) -> None:
        """Raises RetryLater for a file that somebody writes to: it is another file then."""
        if _identity(os.fstat(self._file.fileno())) != self.identity:
            raise RetryLater(f"{self.path.name}: it was changed while it was read")

    def is_in_place(self) -> bool:
        """Whether the name still stands for this file."""
        return identity_of(self.path) == self.identity


def identity_of(path: Path) -> Identity | None:
    try:
        return _identity(path.stat())
    except OSError:
        return None


def _identity(seen: os.stat_result) -> Identity:
    return seen.st_ino, seen.st_size, seen.st_mtime_ns


def marker_name(file_name: str, identity: Identity) -> str:
    inode, _, changed_ns = identity
    return f"{file_name}|{inode}|{changed_ns}"


def is_marker_of(marker: str, folder: Path) -> bool:
    """Whether the file that a marker names is still in the folder."""
    file_name = marker.partition("|")[0]
    seen = identity_of(folder / file_name)
    return seen is not None and marker_name(file_name, seen) == marker


class Content(Struct, frozen=True):
    """What the first reading of a JSON file found: every row is JSON.

    Attributes:
        columns: of a table that takes all rows; None when nobody asked.
        short: content and rows of a file that is one block; None = it has to be read again.
    """

    hash: str
    rows: int
    columns: SchemaColumns | None = None
    short: tuple[bytes, Rows] | None = None


def inspect(source: SourceFile, *, infer: bool) -> Content:
    """Read a JSON file through. Raises PayloadError for one that is not all rows, and as ``SourceFile.pieces``.

    ``infer``: find the columns of a new table.
    """
    name = source.name
    digest = running_hash(name.dbms, name.table) if name.hash == "0" else None
    check: PayloadCheck | None = None
    held: list[bytes] = []
    held_bytes = 0
    for piece in source.pieces():
        if digest is not None:
            digest.update(piece)
        if check is not None:
            check.feed(piece)
            continue
        held.append(piece)
        held_bytes += len(piece)
        if held_bytes > BLOCK_BYTES:
            check = PayloadCheck(block_bytes=BLOCK_BYTES, row_bytes=ROW_BYTES, infer=infer)
            for earlier in held:
                check.feed(earlier)
            held.clear()
    known = digest.hexdigest() if digest is not None else name.hash
    if check is None:
        content = held[0] if len(held) == 1 else b"".join(held)
        parsed = Rows.parse(content)
        return Content(known, len(parsed), short=(content, parsed))
    rows, columns = check.finish()
    if not rows:
        raise PayloadError(f"{source.path.name}: no rows")
    return Content(known, rows, columns if infer else None)


class Blocks:
    """The rows of a long file in blocks, the first ``skip_rows`` left out. ``next`` runs in a thread."""

    def __init__(self, source: SourceFile, skip_rows: int = 0) -> None:
        self._pieces = source.pieces()
        self._splitter = PayloadSplitter(block_bytes=BLOCK_BYTES, row_bytes=ROW_BYTES, skip_rows=skip_rows)
        self._ready: deque[bytes] = deque()
        self._ended = False

    def next(self) -> tuple[bytes, Rows] | None:
        """The next block, as it stands in the file and parsed; None at the end. Raises as ``inspect``."""
        while not self._ready and not self._ended:
            piece = next(self._pieces, None)
            self._ended = piece is None
            self._ready += self._splitter.finish() if piece is None else self._splitter.feed(piece)
        if not self._ready:
            return None
        content = self._ready.popleft()
        return content, Rows.parse(content)
