"""Is the content of a blob what was stored? By what was noted beside it, else by the hash in its name.

A content that came coded in a message is named by the text in which it came, so it is coded again to check it.
"""

from __future__ import annotations

import base64
import errno
import hashlib
import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from edgelake.errors import BlobDamagedError
from edgelake.ingest.blobs.names import BlobName
from edgelake.ingest.names import running_hash

PIECE_BYTES: Final = 3 << 18
"""A multiple of three, so that pieces of base64 can be joined."""

_NOTE: Final = "user.edgelake.content"
_CODINGS: Final[tuple[Callable[[bytes], bytes], ...]] = (
    base64.b64encode,
    lambda piece: piece.hex().encode(),
)


@dataclass(frozen=True, slots=True)
class Content:
    """What is known of a content (a guard against damage, not against forgery).

    Attributes:
        md5: of the content alone; "" = it is the hash in the blob's name that tells it from others.
    """

    bytes: int
    md5: str = ""

    def __str__(self) -> str:
        return f"{self.bytes} {self.md5}"

    @classmethod
    def parse(cls, text: str) -> Content | None:
        size, _, md5 = text.partition(" ")
        return cls(int(size), md5) if size.isdigit() and len(md5) == 32 else None


class Summed:
    """Adds up a content that comes in pieces."""

    def __init__(self) -> None:
        self._bytes = 0
        self._md5 = hashlib.md5(usedforsecurity=False)

    def update(self, piece: bytes) -> None:
        self._bytes += len(piece)
        self._md5.update(piece)

    @property
    def content(self) -> Content:
        return Content(self._bytes, self._md5.hexdigest())


def noted(path: Path) -> Content | None:
    """What was noted of a file's content, in an attribute of the file."""
    try:
        return Content.parse(os.getxattr(path, _NOTE).decode("latin-1"))
    except (OSError, AttributeError):  # none there; a system without attributes
        return None


def note(path: Path, content: Content) -> bool:
    """Note what a file's content is, to be synced with the file; False where the file system keeps no attributes."""
    try:
        os.setxattr(path, _NOTE, str(content).encode())
    except AttributeError:
        return False
    except OSError as cause:
        if cause.errno in {errno.ENOTSUP, errno.EPERM, errno.E2BIG}:
            return False
        raise
    return True


def pieces_of(path: Path) -> Iterator[bytes]:
    """Raises OSError."""
    with path.open("rb") as file:
        while piece := file.read(PIECE_BYTES):
            yield piece


def check(name: BlobName, known: Content | None, pieces: Callable[[], Iterable[bytes]]) -> Content:
    """Read a content and compare; what it is. Raises BlobDamagedError.

    Args:
        known: what was noted; None = the name has to say it.
        pieces: reads it from its beginning; more than once where the name has to say it.
    """
    compared, summed = Check(name, known), Summed()
    is_noted = known is not None and bool(known.md5)
    for piece in pieces():
        compared.update(piece)
        if not is_noted:
            summed.update(piece)
    compared.finish(pieces)
    return known if known is not None and is_noted else summed.content


class Check:
    """Compares a content that comes in pieces with what is known of it; see ``check``."""

    def __init__(self, name: BlobName, known: Content | None) -> None:
        self._name, self._known = name, known
        self._is_noted = known is not None and bool(known.md5)
        self._hash = hashlib.md5(usedforsecurity=False) if self._is_noted else running_hash(name.dbms, name.table)
        self._bytes = 0

    def update(self, piece: bytes) -> None:
        self._bytes += len(piece)
        self._hash.update(piece)

    @property
    def has_all(self) -> bool:
        """Whether as many bytes have come as are known of, or more."""
        return self._known is not None and self._bytes >= self._known.bytes

    def finish(self, pieces: Callable[[], Iterable[bytes]]) -> None:
        """All has come; ``pieces`` reads it once more where it is named by a coded form. Raises BlobDamagedError."""
        known, found = self._known, self._hash.hexdigest()
        if known is not None and self._bytes != known.bytes:
            is_whole = False
        elif known is not None and self._is_noted:
            is_whole = found == known.md5
        else:
            is_whole = found == self._name.hash or any(_is_named_by(self._name, code, pieces()) for code in _CODINGS)
        if not is_whole:
            raise damaged(self._name, self._bytes, known)


def _is_named_by(name: BlobName, coded: Callable[[bytes], bytes], pieces: Iterable[bytes]) -> bool:
    own = running_hash(name.dbms, name.table)
    for piece in pieces:
        own.update(coded(piece))
    return own.hexdigest() == name.hash


def damaged(name: BlobName, found_bytes: int, known: Content | None) -> BlobDamagedError:
    """The error for a content that is not what was stored."""
    if known is not None and found_bytes != known.bytes:
        what = f"{found_bytes:,} of {known.bytes:,} bytes are there"
    else:
        what = f"its {found_bytes:,} bytes do not fit its hash"
    return BlobDamagedError(f"{name.file}: {what}", hint="it was cut or changed on disk: bring it from a copy")
