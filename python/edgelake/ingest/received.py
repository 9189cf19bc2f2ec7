"""Data files of other nodes: each is taken once, however often its sender has to send it.

A sender whose connection breaks does not know whether its file was taken, so it sends the file again. The names of
taken files (with the hash of the content) are kept over restarts; a name is put down before its file appears in the
watch directory, and a file that a crash left between the two appears when it is sent again.
Source: spec "Ingestion and storage", section 6 (an acknowledgement per file hash, a resend is harmless).
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import weakref
from collections.abc import Awaitable, Callable
from pathlib import Path

from edgelake.durable import sync_directory, write_whole
from edgelake.errors import error
from edgelake.ingest.names import FileName

KEPT_NAMES = 100_000
"""The latest names; a sender that comes back after so many other files may be taken twice."""
MAX_TWINS = 100
"""Waiting files of equal content."""
_KEY_BYTES = 32


class Received:
    """Which files were taken. ``log``: where their names are kept, asked at the first file."""

    def __init__(self, log: Callable[[], Path]) -> None:
        self._log = log
        self._keys: dict[bytes, None] | None = None
        self._lines = 0
        self._locks: weakref.WeakValueDictionary[str, asyncio.Lock] = weakref.WeakValueDictionary()
        self._writing = asyncio.Lock()

    async def take(self, name: FileName, working: Path, arrive: Callable[[], Awaitable[object]], watch: Path) -> None:
        """Put a file into the watch directory, unless it was there before.

        Args:
            working: of the file system of the watch directory, a name that depends on ``name`` alone.
            arrive: writes the content there; it is durable then.

        Raises EdgeLakeError 86 for a file that was taken before, OSError.
        """
        text = name.text()
        async with self._locks.setdefault(text, asyncio.Lock()):
            async with self._writing:
                is_known = await asyncio.to_thread(self._knows, text)
            if is_known:
                await asyncio.to_thread(_finish, working, watch, name)
                raise error(86, f"{text} was taken before")
            await arrive()
            async with self._writing:
                await asyncio.to_thread(self._enter, text)
            await asyncio.to_thread(_place, working, watch, name)

    def _knows(self, text: str) -> bool:
        return _key(text) in self._loaded()

    def _loaded(self) -> dict[bytes, None]:
        if self._keys is None:
            try:
                content = self._log().read_bytes()
            except FileNotFoundError:
                content = b""
            lines = [line for line in content.split(b"\n") if len(line) == _KEY_BYTES]  # the last may be cut
            self._lines = len(lines)
            self._keys = dict.fromkeys(lines[-KEPT_NAMES:])
            if content and not content.endswith(b"\n"):
                self._rewrite()
        return self._keys

    def _enter(self, text: str) -> None:
        """Put a name down; it is durable on return."""
        keys, key = self._loaded(), _key(text)
        if self._lines >= 2 * KEPT_NAMES:
            self._rewrite()
        path = self._log()
        is_new = not path.exists()
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with path.open("ab") as log:
                log.write(key + b"\n")
                log.flush()
                os.fsync(log.fileno())
        except OSError:
            self._keys = None  # what is on the disk counts
            raise
        if is_new:
            sync_directory(path.parent)
        keys[key] = None
        self._lines += 1
        while len(keys) > KEPT_NAMES:
            del keys[next(iter(keys))]

    def _rewrite(self) -> None:
        assert self._keys is not None
        write_whole(self._log(), b"".join(key + b"\n" for key in self._keys))
        self._lines = len(self._keys)


def _key(text: str) -> bytes:
    return hashlib.md5(text.encode(), usedforsecurity=False).hexdigest().encode()


def _place(working: Path, watch: Path, name: FileName) -> None:
    """Into the watch directory under a free name.

    The working file is gone before the name appears: a crash leaves no moment at which the file is in the watch
    directory and could be placed again.
    """
    number = 0
    while True:
        target = watch / name.text(number)
        held = target.with_name(f"{target.name}_tmp")
        number += 1
        try:
            os.link(working, held)
        except FileExistsError:
            if not os.path.samefile(held, working):
                continue
        if not target.exists():
            break
        held.unlink()
    sync_directory(watch)
    working.unlink()
    sync_directory(working.parent)
    held.rename(target)
    sync_directory(watch)


def _finish(working: Path, watch: Path, name: FileName) -> None:
    """Place a file whose name had been put down when the node was killed; nothing when it was placed."""
    if working.exists():
        _place(working, watch, name)
        return
    for number in range(MAX_TWINS):
        target = watch / name.text(number)
        held = target.with_name(f"{target.name}_tmp")
        try:
            is_ours = held.stat().st_nlink == 1  # of one that is being handed over, another name stands elsewhere
        except FileNotFoundError:
            continue
        if is_ours:
            held.rename(target)
            sync_directory(watch)
            return
