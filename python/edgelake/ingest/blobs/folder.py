"""Blobs as files: those that have just come in ``blobs_dir`` itself, then in a folder a day, ``blobs_dir/YY/MM/DD``.

A file is called ``<dbms>.<table>.<hash>[.type]``, with ``.gz`` at the end when it was compressed.
Source: spec "Ingestion and storage", section 3 (``folder = true``).
"""

from __future__ import annotations

import contextlib
import gzip
import os
import shutil
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from glob import escape
from pathlib import Path
from typing import Final

from edgelake.durable import make_folder, sync_directory
from edgelake.ingest.blobs.arrival import Arrival
from edgelake.ingest.blobs.content import check, note, noted, pieces_of
from edgelake.ingest.blobs.names import Blob, BlobName, Wanted
from edgelake.ingest.blobs.spool import Spool
from edgelake.ingest.filing import GZIP_LEVEL, day_folder

DAYS: Final = "[0-9][0-9]/[0-9][0-9]/[0-9][0-9]"
_KIND: Final = "folder"
_GZIPPED: Final = ".gz"
_WORKING: Final = "_tmp"
_UNFINISHED: Final = (_WORKING, ".part")
"""Ends of the names of files that are being written."""

PACKED_TYPES: Final = frozenset(
    (
        *("7z", "bz2", "gz", "rar", "xz", "zip", "zst"),
        *("gif", "heic", "jpeg", "jpg", "png", "webp"),
        *("avi", "flac", "m4a", "mkv", "mov", "mp3", "mp4", "ogg", "webm"),
    )
)
"""Types whose contents are compressed already."""


class BlobFolder:
    """A place of blobs. All calls are for threads, not for the loop.

    Args:
        folder: ``blobs_dir`` at the moment.
    """

    kind = _KIND

    def __init__(self, folder: Callable[[], Path]) -> None:
        self._folder = folder
        self._checked: dict[str, tuple[int, int, int]] = {}

    @property
    def root(self) -> Path:
        return self._folder()

    def day(self) -> Path:
        """Folder of what is stored now (UTC); it is made."""
        found = day_folder(self.root, datetime.now(UTC))
        make_folder(found)
        return found

    # ---- what is there

    def find(self, wanted: Wanted) -> list[Blob]:
        """Blobs that have just come first, then by day."""
        return [blob for blob in self._listed(wanted) if wanted.fits(blob.name.id, blob.day)]

    def names(self) -> set[BlobName]:
        """Of all blobs, those that have just come, too."""
        paths = [*self.root.glob("*.*.*"), *self.root.glob(f"{DAYS}/*.*.*")]
        return {found[0] for path in paths if (found := _parsed(path.name)) is not None}

    def count(self) -> Counter[tuple[str, str]]:
        """Blobs by database and table; one that is in two folders is counted once."""
        return Counter((name.dbms, name.table) for name in self.names())

    def arrivals(self) -> Iterator[Blob]:
        """Those that have just come."""
        return self._in(self.root, "*.*.*")

    def all(self, dbms: str) -> Iterator[Blob]:
        """What is in the folders of days."""
        for folder in self._days():
            yield from self._in(folder, f"{escape(dbms)}.*.*")

    def arrived(self, name: BlobName) -> Path | None:
        """The file of a blob that has just come; None when it is not there."""
        path = self.root / name.file
        return path if path.is_file() else None

    def _listed(self, wanted: Wanted) -> Iterator[Blob]:
        own = f"{wanted.dbms}.{wanted.table}."
        for folder in (self.root, *self._days(wanted.day)):
            if not wanted.id:
                yield from self._in(folder, f"{escape(own)}*")
                continue
            name = BlobName(wanted.dbms, wanted.table, wanted.id)
            for path in (folder / name.file, folder / _packed_name(name)):
                if (blob := _blob(path, name)) is not None:
                    yield blob

    def _days(self, day: str = "") -> list[Path]:
        if day:
            return [self.root / day[:2] / day[2:4] / day[4:]]
        return sorted(self.root.glob(DAYS))

    def _in(self, folder: Path, pattern: str) -> Iterator[Blob]:
        for path in sorted(folder.glob(pattern)):
            found = _parsed(path.name)
            if found is not None and (blob := _blob(path, found[0])) is not None:
                yield blob

    # ---- in and out

    def clear_left(self, before_s: float) -> None:
        """Remove contents that a node which was killed has not written to their end.

        Args:
            before_s: Unix time; nobody writes on to files that were last written to before it.
        """
        for folder in (self.root, *self._days()):
            for left in folder.glob(".*"):
                with contextlib.suppress(FileNotFoundError):
                    if left.name.endswith(_UNFINISHED) and left.stat().st_mtime < before_s:
                        left.unlink()

    def store(self, arrival: Arrival, *, compress: bool) -> None:
        """Put a file into the folder of today; durable on return. Raises BlobDamagedError, OSError."""
        source, name, content = arrival.path, arrival.name, arrival.checked()
        folder = self.day()
        target = folder / (_packed_name(name) if compress and name.type not in PACKED_TYPES else name.file)
        working = folder / f".{target.name}{_WORKING}"
        try:
            if target.suffix == _GZIPPED and target.name != name.file:
                _compress(source, working)
            else:
                _link(source, working)
            note(working, content)
            with working.open("rb") as file:
                os.fsync(file.fileno())
            working.replace(target)
        except BaseException:
            working.unlink(missing_ok=True)
            raise
        working.unlink(missing_ok=True)  # a rename onto another link of the same file does nothing
        sync_directory(folder)
        for twin in (folder / name.file, folder / _packed_name(name)):
            if twin != target:
                twin.unlink(missing_ok=True)

    def fetch(self, blob: Blob, spool: Spool) -> Path:
        """A file with the content, checked. Raises BlobDamagedError, OSError."""
        path = Path(blob.where)
        if path.name != blob.name.file:
            return spool.fill(blob.name, noted(path), _unpacked(path))
        self._check(path, blob.name)
        return path if self._in_day(blob) else spool.link(blob.name, path)  # which may be archived at any moment

    def remove_older(self, name: BlobName) -> None:
        """Of a blob that is in the folders of several days only the last stays."""
        stored = [blob for blob in self._listed(Wanted(name.dbms, name.table, name.id)) if self._in_day(blob)]
        for blob in stored[:-1]:
            self.remove(blob)

    def _in_day(self, blob: Blob) -> bool:
        return Path(blob.where).parent != self.root

    def remove(self, blob: Blob) -> None:
        path = Path(blob.where)
        path.unlink(missing_ok=True)
        for folder in (path.parent, path.parent.parent, path.parent.parent.parent):
            if folder == self.root or not folder.is_relative_to(self.root):
                break
            with contextlib.suppress(OSError):  # not empty
                folder.rmdir()

    def _check(self, path: Path, name: BlobName) -> None:
        """Once for each state of a file: a player of videos asks for a hundred ranges."""
        seen = path.stat()
        stamp = (seen.st_ino, seen.st_size, seen.st_mtime_ns)
        if self._checked.get(str(path)) == stamp:
            return
        check(name, noted(path), lambda: pieces_of(path))
        if len(self._checked) >= 1000:
            self._checked.clear()
        self._checked[str(path)] = stamp


def _packed_name(name: BlobName) -> str:
    """Five parts, of which the type may be empty: no id has so many."""
    return f"{name.file}{'' if name.type else '.'}{_GZIPPED}"


def _parsed(file: str) -> tuple[BlobName, bool] | None:
    """The blob of a file's name, and whether the file is compressed; None for another file."""
    packed = file.endswith(_GZIPPED) and file.count(".") == 4
    name = BlobName.parse(file.removesuffix(_GZIPPED).rstrip(".") if packed else file)
    return (name, packed) if name is not None and not file.endswith(_WORKING) else None


def _blob(path: Path, name: BlobName) -> Blob | None:
    """None for a file that is not there (any more)."""
    try:
        seen = path.stat()
    except OSError:
        return None
    by_day = "".join(path.parts[-4:-1])
    in_day = len(by_day) == 6 and by_day.isdigit() and all(len(part) == 2 for part in path.parts[-4:-1])
    day = by_day if in_day else datetime.fromtimestamp(seen.st_mtime, UTC).strftime("%y%m%d")
    return Blob(name, day, seen.st_size, _KIND, str(path))


def _link(source: Path, working: Path) -> None:
    working.unlink(missing_ok=True)
    try:
        os.link(source, working)
    except OSError:  # another file system, or one without links
        shutil.copyfile(source, working)


def _compress(source: Path, working: Path) -> None:
    with working.open("wb") as raw, gzip.GzipFile(fileobj=raw, mode="wb", compresslevel=GZIP_LEVEL, mtime=0) as out:
        for piece in pieces_of(source):
            out.write(piece)


def _unpacked(path: Path) -> Callable[[], Iterator[bytes]]:
    def pieces() -> Iterator[bytes]:
        with gzip.open(path, "rb") as file:
            try:
                while piece := file.read(1 << 20):
                    yield piece
            except (EOFError, gzip.BadGzipFile, zlib.error):
                return  # what is missing shows in the length

    return pieces
