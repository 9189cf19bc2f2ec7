"""A backup: the node's files as they were, and a list of them with their hashes, in a folder or in object storage."""

from __future__ import annotations

import contextlib
import hashlib
import os
import secrets
import shutil
import tempfile
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Final

import apsw
import msgspec

from edgelake.durable import make_folder, sync_directory
from edgelake.tools.places import BackupError, Content, Folder, Place, hashed

MANIFEST: Final = "manifest.json"
FORMAT: Final = 1
DATABASES: Final = "data/dbms"
TEMPORARY: Final = "data/tmp"
LIVE: Final = ("data/journal", "data/mqtt")
"""Files that a running node writes all the time; what the journal holds is in the databases after a flush."""

LEFT_OUT: Final = (TEMPORARY, "attach.sock", "data/audit.jsonl.lock")
_SIDES: Final = ("-wal", "-shm", "-journal")
_UNFINISHED: Final = (".new", ".transfer", ".tmp")
_ROOM_BYTES: Final = 64 << 20

Progress = Callable[[int, int, int], None]
"""Files that are done, files there are, bytes that are done."""


class File(msgspec.Struct, frozen=True):
    """``path`` is relative to the node's folder, with slashes."""

    path: str
    size: int
    sha256: str
    mode: int


class Manifest(msgspec.Struct, frozen=True):
    """The list. It is written last: a backup without one is none.

    Attributes:
        folder: of the contents, beside the list.
    """

    format: int
    created: str
    version: str
    is_online: bool
    files: list[File]
    folder: str = "files"


# ---- making one


def make(root: Path, target: Place, *, version: str, is_online: bool, progress: Progress) -> Manifest:
    """Copy a node's folder. Raises BackupError.

    Args:
        root: the node's folder (``EdgeLake``).
        is_online: a node runs there: databases are copied by SQLite, and what it writes all the time is left out.
    """
    if not root.is_dir():
        raise BackupError(f"{root} is no folder of a node", hint="--home says where the node is")
    if isinstance(target, Folder) and target.root.resolve().is_relative_to(root.resolve()):
        raise BackupError(f"{target.shown} lies inside the node's folder", hint="choose another disk")
    run = "files" if isinstance(target, Folder) else f"files/{secrets.token_hex(8)}"
    try:
        names = sorted(_names(root, is_online))
        target.begin(sum((root / name).stat().st_size for name in names) + _ROOM_BYTES)
        with _temporary(root) as temporary:
            files = list(_copies(root, target, run, names, temporary, progress))
    except OSError as problem:
        raise BackupError(f"{problem.filename or root}: {problem.strerror}") from problem
    except apsw.Error as problem:
        raise BackupError(f"a database cannot be copied: {problem}") from problem
    manifest = Manifest(FORMAT, datetime.now(UTC).isoformat(timespec="seconds"), version, is_online, files, run)
    target.finish(MANIFEST, msgspec.json.format(msgspec.json.encode(manifest)), run)
    return manifest


@contextlib.contextmanager
def _temporary(root: Path) -> Iterator[Path]:
    """A folder for copies of databases on their way, on the node's disk; gone afterwards."""
    (root / TEMPORARY).mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="backup-", dir=root / TEMPORARY) as made:
        yield Path(made)


def _names(root: Path, is_online: bool) -> Iterator[str]:
    left_out = (*LEFT_OUT, *(LIVE if is_online else ()))
    for folder, folders, names in os.walk(root):
        here = Path(folder).relative_to(root)
        folders[:] = [name for name in folders if (here / name).as_posix() not in left_out]
        for name in names:
            path = (here / name).as_posix()
            is_side = path.startswith(DATABASES) and name.endswith(_SIDES)
            if path not in left_out and not is_side and not name.endswith(_UNFINISHED) and (root / path).is_file():
                yield path


def _copies(
    root: Path, target: Place, run: str, names: list[str], temporary: Path, progress: Progress
) -> Iterator[File]:
    done_bytes = 0
    for number, name in enumerate(names):
        source = root / name
        try:
            mode = source.stat().st_mode & 0o777
            if name.startswith(f"{DATABASES}/"):
                made = _through(source, temporary / "database", partial(target.put, f"{run}/{name}"))
            else:
                made = target.put(f"{run}/{name}", source)
        except FileNotFoundError:
            continue  # the node has moved it on, as it does with files of its watch directory
        done_bytes += made[0]
        progress(number + 1, len(names), done_bytes)
        yield File(name, *made, mode)


def _through(source: Path, copy: Path, put: Callable[[Path], Content]) -> Content:
    """Put one moment of a database."""
    if (free := shutil.disk_usage(copy.parent).free) < (needed := source.stat().st_size + _ROOM_BYTES):
        raise BackupError(f"{copy.parent}: {needed:,} bytes are needed for a copy of {source.name}, {free:,} are free")
    try:
        _database(source, copy)
        return put(copy)
    finally:
        copy.unlink(missing_ok=True)


def _database(source: Path, copy: Path) -> None:
    """One moment of a database, also while a node writes to it."""
    flags = apsw.SQLITE_OPEN_READWRITE | apsw.SQLITE_OPEN_URI
    with contextlib.closing(apsw.Connection(str(source), flags=flags)) as there:
        there.set_busy_timeout(30_000)
        with contextlib.closing(apsw.Connection(str(copy))) as here:
            with here.backup("main", there, "main") as backup:
                while not backup.done:
                    backup.step(-1)  # in one go: pieces would begin again after each write of the node
            for (problem,) in here.execute("PRAGMA quick_check(1)"):
                if problem != "ok":
                    raise BackupError(f"{source} is damaged: {problem}", hint="restore an earlier backup")
            here.execute("PRAGMA journal_mode=DELETE")  # so that the copy is one file; the node sets its own again


# ---- using one


def read(source: Place) -> Manifest:
    """The list of a backup. Raises BackupError."""
    data = source.read(MANIFEST)
    if data is None:
        raise BackupError(f"{source.shown} has no {MANIFEST}: it is no backup, or one that was cut off")
    try:
        found = msgspec.json.decode(data, type=Manifest)
    except msgspec.DecodeError as problem:
        raise BackupError(f"{source.shown}/{MANIFEST}: {problem}") from problem
    if found.format != FORMAT:
        raise BackupError(f"{source.shown} has the format {found.format}; this version reads {FORMAT}")
    for name in (found.folder, *(file.path for file in found.files)):
        if PurePosixPath(name).is_absolute() or ".." in PurePosixPath(name).parts or not name:
            raise BackupError(f"{source.shown}/{MANIFEST} names '{name}', which lies outside")
    return found


def check(source: Place, manifest: Manifest, progress: Progress) -> None:
    """Read all of it. Raises BackupError for the first file that is not as it was."""
    done_bytes = 0
    for number, file in enumerate(manifest.files, 1):
        _equal(file, hashed(_pieces(source, manifest, file)))
        done_bytes += file.size
        progress(number, len(manifest.files), done_bytes)


def _pieces(source: Place, manifest: Manifest, file: File) -> Iterator[bytes]:
    try:
        yield from source.pieces(f"{manifest.folder}/{file.path}")
    except FileNotFoundError:
        raise BackupError(f"{file.path} is missing in {source.shown}", hint="use another backup") from None


def _equal(file: File, found: Content) -> None:
    if found != (file.size, file.sha256):
        raise BackupError(f"{file.path} is not what it was when the backup was made", hint="use another backup")


def restore(source: Place, root: Path, progress: Progress) -> Manifest:
    """Put a backup in place of a folder that is not there, whole or not at all. Raises BackupError."""
    manifest = read(source)
    if root.exists() and any(root.iterdir()):
        raise BackupError(f"{root} is there", hint="move it away; a backup is not laid over what there is")
    working = root.with_name(f"{root.name}.restoring")
    try:
        shutil.rmtree(working, ignore_errors=True)
        make_folder(working)
        needed = sum(file.size for file in manifest.files) + _ROOM_BYTES
        if (free := shutil.disk_usage(working).free) < needed:
            raise BackupError(f"{root}: {needed:,} bytes are needed, {free:,} are free")
        _fetch(source, manifest, working, progress)
        if root.exists():
            root.rmdir()
        working.rename(root)
        sync_directory(root.parent)
    except OSError as problem:
        raise BackupError(f"{problem.filename or root}: {problem.strerror}") from problem
    finally:
        shutil.rmtree(working, ignore_errors=True)
    return manifest


def _fetch(source: Place, manifest: Manifest, working: Path, progress: Progress) -> None:
    """All files, each checked as it comes."""
    done_bytes = 0
    for number, file in enumerate(manifest.files, 1):
        path = working / file.path
        path.parent.mkdir(parents=True, exist_ok=True)
        with os.fdopen(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "wb") as out:
            os.fchmod(out.fileno(), file.mode & 0o777)
            digest, size = hashlib.sha256(), 0
            for piece in _pieces(source, manifest, file):
                out.write(piece)
                digest.update(piece)
                size += len(piece)
            out.flush()
            os.fsync(out.fileno())
        _equal(file, (size, digest.hexdigest()))
        sync_directory(path.parent)
        done_bytes += file.size
        progress(number, len(manifest.files), done_bytes)
