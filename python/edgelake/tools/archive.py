"""A backup: a folder with the node's files as they were, and a list of them with their hashes."""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath
from typing import Final

import apsw
import msgspec

from edgelake.durable import make_folder, sync_directory, write_whole
from edgelake.errors import EdgeLakeError

MANIFEST: Final = "manifest.json"
FORMAT: Final = 1
PIECE_BYTES: Final = 1 << 20
DATABASES: Final = "data/dbms"
LIVE: Final = ("data/journal", "data/mqtt")
"""Files that a running node writes all the time; what the journal holds is in the databases after a flush."""

LEFT_OUT: Final = ("data/tmp", "attach.sock", "data/audit.jsonl.lock")
_SIDES: Final = ("-wal", "-shm", "-journal")
_UNFINISHED: Final = (".new", ".transfer", ".tmp")
_ROOM_BYTES: Final = 64 << 20

Progress = Callable[[int, int, int], None]
"""Files that are done, files there are, bytes that are done."""


class BackupError(EdgeLakeError):
    """A backup cannot be made, or is not what its list says."""

    code = "backup"
    text = "Backup"


class File(msgspec.Struct, frozen=True):
    """``path`` is relative to the node's folder, with slashes."""

    path: str
    size: int
    sha256: str
    mode: int


class Manifest(msgspec.Struct, frozen=True):
    """The list. It is written last: a backup without one is none."""

    format: int
    created: str
    version: str
    is_online: bool
    files: list[File]


# ---- making one


def make(root: Path, target: Path, *, version: str, is_online: bool, progress: Progress) -> Manifest:
    """Copy a node's folder. Raises BackupError.

    Args:
        root: the node's folder (``EdgeLake``).
        target: a new or empty folder.
        is_online: a node runs there: databases are copied by SQLite, and what it writes all the time is left out.
    """
    if not root.is_dir():
        raise BackupError(f"{root} is no folder of a node", hint="--home says where the node is")
    if target.resolve().is_relative_to(root.resolve()):
        raise BackupError(f"{target} lies inside the node's folder", hint="choose another disk")
    try:
        if target.exists() and any(target.iterdir()):
            raise BackupError(f"{target} is not empty", hint="each backup has a folder of its own")
        make_folder(target)
        names = sorted(_names(root, is_online))
        needed = sum((root / name).stat().st_size for name in names) + _ROOM_BYTES
        if (free := shutil.disk_usage(target).free) < needed:
            raise BackupError(f"{target}: {needed:,} bytes are needed, {free:,} are free")
        files = list(_copies(root, target, names, progress))
        manifest = Manifest(FORMAT, datetime.now(UTC).isoformat(timespec="seconds"), version, is_online, files)
        write_whole(target / MANIFEST, msgspec.json.format(msgspec.json.encode(manifest)))
    except OSError as problem:
        raise BackupError(f"{problem.filename or target}: {problem.strerror}") from problem
    except apsw.Error as problem:
        raise BackupError(f"a database cannot be copied: {problem}") from problem
    return manifest


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


def _copies(root: Path, target: Path, names: list[str], progress: Progress) -> Iterator[File]:
    done_bytes = 0
    for number, name in enumerate(names):
        source, copy = root / name, target / "files" / name
        copy.parent.mkdir(parents=True, exist_ok=True)
        try:
            made = _database(source, copy) if name.startswith(f"{DATABASES}/") else _plain(source, copy)
        except FileNotFoundError:
            continue  # the node has moved it on, as it does with files of its watch directory
        done_bytes += made[0]
        progress(number + 1, len(names), done_bytes)
        yield File(name, *made, source.stat().st_mode & 0o777 if source.exists() else 0o600)


def _database(source: Path, copy: Path) -> tuple[int, str]:
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
    return _synced(copy)


def _plain(source: Path, copy: Path) -> tuple[int, str]:
    shutil.copyfile(source, copy)
    return _synced(copy)


def _synced(path: Path) -> tuple[int, str]:
    """Put a file on disk; its size and hash."""
    size, digest = _hashed(path)
    fd = os.open(path, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
    return size, digest


def _hashed(path: Path) -> tuple[int, str]:
    found = hashlib.sha256()
    size = 0
    with path.open("rb") as file:
        while piece := file.read(PIECE_BYTES):
            found.update(piece)
            size += len(piece)
    return size, found.hexdigest()


# ---- using one


def read(source: Path) -> Manifest:
    """The list of a backup. Raises BackupError."""
    path = source / MANIFEST
    try:
        found = msgspec.json.decode(path.read_bytes(), type=Manifest)
    except FileNotFoundError:
        raise BackupError(f"{source} has no {MANIFEST}: it is no backup, or one that was cut off") from None
    except (OSError, msgspec.DecodeError) as problem:
        raise BackupError(f"{path}: {problem}") from problem
    if found.format != FORMAT:
        raise BackupError(f"{path} has the format {found.format}; this version reads {FORMAT}")
    for file in found.files:
        if PurePosixPath(file.path).is_absolute() or ".." in PurePosixPath(file.path).parts:
            raise BackupError(f"{path} names '{file.path}', which lies outside")
    return found


def check(source: Path, manifest: Manifest, progress: Progress) -> None:
    """Read all of it. Raises BackupError for the first file that is not as it was."""
    done_bytes = 0
    for number, file in enumerate(manifest.files, 1):
        try:
            size, digest = _hashed(source / "files" / file.path)
        except OSError as problem:
            raise BackupError(f"{file.path}: {problem.strerror}") from problem
        if (size, digest) != (file.size, file.sha256):
            raise BackupError(f"{file.path} is not what it was when the backup was made", hint="use another backup")
        done_bytes += size
        progress(number, len(manifest.files), done_bytes)


def restore(source: Path, root: Path, progress: Progress) -> Manifest:
    """Put a backup in place of a folder that is not there, whole or not at all. Raises BackupError."""
    manifest = read(source)
    if root.exists() and any(root.iterdir()):
        raise BackupError(f"{root} is there", hint="move it away; a backup is not laid over what there is")
    check(source, manifest, progress)
    working = root.with_name(f"{root.name}.restoring")
    try:
        shutil.rmtree(working, ignore_errors=True)
        make_folder(working)
        for file in manifest.files:
            place = working / file.path
            place.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source / "files" / file.path, place)
            place.chmod(file.mode)
            _synced(place)
            sync_directory(place.parent)
        if root.exists():
            root.rmdir()
        working.rename(root)
        sync_directory(root.parent)
    except OSError as problem:
        raise BackupError(f"{problem.filename or root}: {problem.strerror}") from problem
    return manifest
