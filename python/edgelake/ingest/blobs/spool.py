"""Copies of blobs that are kept elsewhere or compressed, so that they can be sent from a file, with ranges.

A copy appears when all of it is there and checked. Copies that are asked for again are there already; the oldest go
when there is more than the limit.
"""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Final

from edgelake.errors import StorageFullError
from edgelake.ingest.blobs.content import Content, check, noted
from edgelake.ingest.blobs.names import BlobName

KEPT_BYTES: Final = 2 << 30
IN_USE_S: Final = 600.0
"""For so long a copy is not removed after it was asked for: a reply may begin with it."""


class Spool:
    """Args: folder: where the copies are; nothing else is in it."""

    def __init__(self, folder: Callable[[], Path], kept_bytes: int = KEPT_BYTES) -> None:
        self._folder = folder
        self._kept_bytes = kept_bytes

    def fill(self, name: BlobName, known: Content | None, pieces: Callable[[], Iterable[bytes]]) -> Path:
        """The copy of a blob, written from ``pieces`` when it is not there. In threads.

        Raises BlobDamagedError for a content that is not what was stored, StorageFullError, OSError, and what the
        pieces raise; nothing stays then.
        """
        folder = self._folder()
        path = folder / name.file
        with contextlib.suppress(FileNotFoundError):
            if known is not None and path.stat().st_size == known.bytes:
                os.utime(path)
                return path
        folder.mkdir(parents=True, exist_ok=True)
        self._make_room(folder)
        working = folder / f".{secrets.token_hex(12)}.part"
        try:
            with working.open("xb") as file:
                for piece in pieces():
                    file.write(piece)
            check(name, known, lambda: _read(working))
            working.replace(path)
        except OSError as cause:
            if cause.errno in {errno.ENOSPC, errno.EDQUOT}:
                raise StorageFullError(f"'{folder}': no room for a copy of {name.file}", hint="make room") from cause
            raise
        finally:
            working.unlink(missing_ok=True)
        return path

    def link(self, name: BlobName, source: Path) -> Path:
        """The copy of a file that may go, without copying it where the file system can. Raises as ``fill``."""
        path = self._folder() / name.file
        path.parent.mkdir(parents=True, exist_ok=True)
        working = path.with_name(f".{secrets.token_hex(12)}.part")
        try:
            os.link(source, working)
            working.replace(path)
            working.unlink(missing_ok=True)
        except FileNotFoundError:
            raise
        except OSError:
            return self.fill(name, noted(source), lambda: _read(source))
        return path

    def forget(self, name: BlobName) -> None:
        """The blob was removed."""
        (self._folder() / name.file).unlink(missing_ok=True)

    def _make_room(self, folder: Path) -> None:
        with os.scandir(folder) as entries:
            found = sorted((entry.stat().st_mtime, entry.stat().st_size, entry.path) for entry in entries)
        held = sum(size for _, size, _ in found)
        before = time.time() - IN_USE_S
        for changed, size, path in found:
            if held <= self._kept_bytes or changed > before:
                break
            Path(path).unlink(missing_ok=True)
            held -= size


def _read(path: Path) -> Iterable[bytes]:
    with path.open("rb") as file:
        while piece := file.read(3 << 18):
            yield piece
