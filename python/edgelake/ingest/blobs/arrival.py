"""A blob that is on its way to where it stays: read and checked in one go.

A place that reads all of it (object storage) gets it checked as it reads; it keeps nothing when the end does not fit. A
place that does not, or that has to know the md5 first, has it checked before.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from edgelake.errors import BlobDamagedError
from edgelake.ingest.blobs.content import PIECE_BYTES, Check, Content, check, damaged, noted, pieces_of
from edgelake.ingest.blobs.names import BlobName


class Arrival:
    """The file of a blob. For one thread.

    Attributes:
        known: what it has to be, as far as that can be told without reading it.
    """

    def __init__(self, path: Path, name: BlobName) -> None:
        """Raises OSError."""
        self.path, self.name = path, name
        self.known = noted(path) or Content(path.stat().st_size)
        self._checked: Content | None = None

    def checked(self) -> Content:
        """What it is, read and compared once. Raises BlobDamagedError, OSError."""
        if self._checked is None:
            self._checked = check(self.name, self.known, lambda: pieces_of(self.path))
        return self._checked

    @contextmanager
    def reading(self) -> Iterator[Reader]:
        """Its content. Raises BlobDamagedError and OSError as they are, whatever a library makes of them meanwhile."""
        with self.path.open("rb") as file:
            if (size := os.fstat(file.fileno()).st_size) != self.known.bytes:
                raise damaged(self.name, size, self.known)
            reader = Reader(self, file)
            try:
                yield reader
            except Exception:
                if reader.failure is not None:
                    raise reader.failure from None
                raise


class Reader:
    """A content as a file that is read once, from its beginning.

    What comes with its last byte has been checked: a reader that gets all of it may keep it.

    Attributes:
        failure: what it raised.
    """

    def __init__(self, arrival: Arrival, file: BinaryIO) -> None:
        self._arrival, self._file = arrival, file
        self._check = Check(arrival.name, arrival.known)
        self.failure: BlobDamagedError | OSError | None = None

    def read(self, size: int = -1) -> bytes:
        """Raises BlobDamagedError, OSError."""
        try:
            piece = self._file.read(size)
            self._check.update(piece)
            if not piece or self._check.has_all:
                self._check.finish(lambda: pieces_of(self._arrival.path))
        except (BlobDamagedError, OSError) as failure:
            self.failure = failure
            raise
        return piece

    def pieces(self) -> Iterator[bytes]:
        """All of it. Raises as ``read``."""
        while piece := self.read(PIECE_BYTES):
            yield piece

    def seek(self, offset: int, whence: int = 0) -> int:
        """For who asks how long it is, before reading."""
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        return self._file.tell()
