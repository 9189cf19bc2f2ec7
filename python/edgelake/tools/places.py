"""Where backups are kept: a folder, or object storage (Amazon S3 and what speaks its API, Azure, Google).

Object storage is reached by obstore (extra ``[blobs]``), with the keys that its environment variables hold.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib
import os
import re
import shutil
from collections.abc import Iterator, Mapping
from datetime import timedelta
from pathlib import Path, PurePosixPath
from typing import Any, Final, Protocol, cast
from urllib.parse import unquote, urlsplit

from edgelake.durable import make_folder, sync_directory, write_whole
from edgelake.errors import EdgeLakeError

PIECE_BYTES: Final = 1 << 20
PART_BYTES: Final = 8 << 20
PARTS_AT_ONCE: Final = 4
SCHEMES: Final = ("s3", "az", "gs", "file")
_TIMES: Final = {"connect_timeout": "5s", "timeout": "300s"}
_RETRIES: Final = {"max_retries": 5, "retry_timeout": timedelta(seconds=60)}
_NO_BUCKET: Final = re.compile(r"NoSuchBucket|ContainerNotFound|bucket does not exist", re.IGNORECASE)
_ENDPOINTS: Final = ("AWS_ENDPOINT_URL", "AWS_ENDPOINT", "AZURE_STORAGE_ENDPOINT", "AZURE_ENDPOINT")


class BackupError(EdgeLakeError):
    """A backup cannot be made, or is not what its list says."""

    code = "backup"
    text = "Backup"


Content = tuple[int, str]
"""Size and SHA-256."""


class Place(Protocol):
    """Named contents. All calls raise BackupError."""

    shown: str

    def begin(self, needed_bytes: int) -> None:
        """Make ready for so much. Raises BackupError when there is something already, or no room."""
        ...

    def put(self, name: str, source: Path) -> Content:
        """Keep the content of a file, and say what was kept. Raises FileNotFoundError when there is none any more."""
        ...

    def finish(self, name: str, data: bytes, run: str) -> None:
        """Keep the list, which makes what was put a backup: all at once, and never over another one.

        ``run``: the folder of what was put; what lies beside it is of backups that were cut off, and goes.
        """
        ...

    def read(self, name: str) -> bytes | None:
        """All of it; None = it is not there."""
        ...

    def pieces(self, name: str) -> Iterator[bytes]:
        """A content, piece by piece. Raises FileNotFoundError."""
        ...


def place(given: str, environment: Mapping[str, str]) -> Place:
    """Of a folder's name or a URL. Raises BackupError."""
    scheme, sign, _ = given.partition("://")
    if not sign:
        return Folder(Path(given).absolute())
    if scheme not in SCHEMES:
        raise BackupError(f"{given}: {scheme}://", hint="a folder, or s3://, az://, gs://, file://")
    if scheme == "file":
        parts = urlsplit(given)
        if parts.netloc not in ("", "localhost") or not parts.path.startswith("/"):
            raise BackupError(given, hint="file:///folder")
        return Folder(Path(unquote(parts.path)))
    return Bucket(given.rstrip("/"), environment)


def hashed(pieces: Iterator[bytes]) -> Content:
    """Size and hash of what is read to its end."""
    digest, size = hashlib.sha256(), 0
    for piece in pieces:
        digest.update(piece)
        size += len(piece)
    return size, digest.hexdigest()


def pieces_of(path: Path) -> Iterator[bytes]:
    """A file, piece by piece."""
    with path.open("rb") as file:
        while piece := file.read(PIECE_BYTES):
            yield piece


class Folder:
    """A folder of this machine."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.shown = str(root)

    def begin(self, needed_bytes: int) -> None:
        with self._told():
            if self.root.exists() and any(self.root.iterdir()):
                raise BackupError(f"{self.root} is not empty", hint="each backup has a folder of its own")
            make_folder(self.root)
            if (free := shutil.disk_usage(self.root).free) < needed_bytes:
                raise BackupError(f"{self.root}: {needed_bytes:,} bytes are needed, {free:,} are free")

    def put(self, name: str, source: Path) -> Content:
        target = self.root / name
        with self._told():
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, target)
            return synced(target)

    def finish(self, name: str, data: bytes, run: str) -> None:
        with self._told():
            write_whole(self.root / name, data)

    def read(self, name: str) -> bytes | None:
        try:
            with self._told():
                return (self.root / name).read_bytes()
        except FileNotFoundError:
            return None

    def pieces(self, name: str) -> Iterator[bytes]:
        with self._told():
            yield from pieces_of(self.root / name)

    @contextlib.contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except FileNotFoundError:
            raise
        except OSError as problem:
            raise BackupError(f"{problem.filename or self.root}: {problem.strerror}") from problem


class Bucket:
    """Object storage below a URL such as ``s3://bucket/backups/today``."""

    def __init__(self, url: str, environment: Mapping[str, str]) -> None:
        self.shown = url
        try:
            self._calls, self._exceptions, store = (
                cast(Any, importlib.import_module(name)) for name in ("obstore", "obstore.exceptions", "obstore.store")
            )
        except ModuleNotFoundError:
            raise BackupError(f"{url}: obstore is not installed", hint="pip install 'edgelake[blobs]'") from None
        plain = any(environment.get(name, "").startswith("http://") for name in _ENDPOINTS)
        options = {**_TIMES, **({"allow_http": True} if plain else {})}
        with self._told():
            self._store: Any = store.from_url(url, client_options=options, retry_config=_RETRIES)

    def begin(self, needed_bytes: int) -> None:
        with self._told():
            named = [one["path"] for group in self._calls.list(self._store, chunk_size=100) for one in group]
        if any(PurePosixPath(name).parts[0] != "files" for name in named):
            raise BackupError(f"{self.shown} is not empty", hint="each backup has a folder of its own")

    def put(self, name: str, source: Path) -> Content:
        digest, size = hashlib.sha256(), 0

        def counted() -> Iterator[bytes]:
            nonlocal size
            for piece in pieces_of(source):
                digest.update(piece)
                size += len(piece)
                yield piece

        if not source.exists():
            raise FileNotFoundError(source)
        with self._told():
            self._calls.put(self._store, name, counted(), chunk_size=PART_BYTES, max_concurrency=PARTS_AT_ONCE)
            kept = self._calls.head(self._store, name)["size"]
        if kept != size:
            raise BackupError(f"{self.shown}/{name}: {size:,} bytes were sent, {kept:,} are there", hint="try again")
        return size, digest.hexdigest()

    def finish(self, name: str, data: bytes, run: str) -> None:
        with self._told():
            try:
                self._calls.put(self._store, name, data, mode="create")
            except self._exceptions.AlreadyExistsError:
                raise BackupError(
                    f"{self.shown}: another backup was made there meanwhile", hint="backup again"
                ) from None
            for group in self._calls.list(self._store, "files"):
                gone = [one["path"] for one in group if not one["path"].startswith(f"{run}/")]
                if gone:
                    self._calls.delete(self._store, gone)

    def read(self, name: str) -> bytes | None:
        try:
            with self._told():
                return bytes(self._calls.get(self._store, name).bytes())
        except FileNotFoundError:
            return None

    def pieces(self, name: str) -> Iterator[bytes]:
        with self._told():
            for piece in self._calls.get(self._store, name).stream(PIECE_BYTES):
                yield bytes(piece)

    @contextlib.contextmanager
    def _told(self) -> Iterator[None]:
        """What the library raises, in a line that says where."""
        try:
            yield
        except self._exceptions.BaseError as problem:
            text = str(problem).partition("\n\nDebug source")[0]
            if _NO_BUCKET.search(text):
                raise BackupError(f"{self.shown}: there is no such bucket", hint="make it, or name another") from None
            if isinstance(problem, self._exceptions.NotFoundError):
                raise FileNotFoundError(text) from None
            said = " ".join(text.split())[:300]
            hint = "keys are taken from AWS_*, AZURE_* or GOOGLE_* variables of the environment"
            raise BackupError(f"{self.shown}: {said}", hint=hint) from None


def synced(path: Path) -> Content:
    """Put a file on disk; its size and hash."""
    found = hashed(pieces_of(path))
    fd = os.open(path, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
    sync_directory(path.parent)
    return found
