"""Files that appear in a directory: each is handed on once, when it is complete.

Source: spec "Ingestion", sections 7 and 14 (notifications, not a poll; never a half-copied file).
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from msgspec import Struct

from edgelake._rust import DirectoryWatch
from edgelake.errors import error

log = logging.getLogger(__name__)

SCAN_S = 5.0  # slow scan: file systems without notifications, and whatever was missed
SETTLE_S = 1.0  # a file of which nothing else is known is complete when unchanged for so long


class _Waiting(Struct):
    """A file that is not complete yet."""

    stamp: tuple[int, int, int]
    since: float  # loop time at which the stamp was first seen
    open: bool  # a writer has it open: its close will be told


class DirectoryWatcher:
    """Tells of each complete file of a directory: closed by its writer, renamed in, or unchanged for a second.

    A file that notifications show as open for writing waits for its close, however long the writer pauses; the
    one-second rule is for files of which no notification tells (present at start, hard links, network file systems).
    A file is told once; ``release`` makes its name free again, for a file of the same name or for a retry.
    """

    def __init__(
        self,
        directory: Path,
        found: Callable[[Path], None],
        *,
        wanted: Callable[[str], bool] = lambda name: True,
        scan_s: float = SCAN_S,
        settle_s: float = SETTLE_S,
    ) -> None:
        self.directory = directory
        self._found = found
        self._wanted = wanted
        self._scan_s = scan_s
        self._settle_s = settle_s
        self._notes: DirectoryWatch | None = None
        self._waiting: dict[str, _Waiting] = {}
        self._taken: set[str] = set()
        self._settle: asyncio.TimerHandle | None = None
        self._scan: asyncio.TimerHandle | None = None

    @property
    def notified(self) -> bool:
        """False where the system gives no notifications: the scan alone finds files."""
        return self._notes is not None

    def start(self) -> None:
        """Begin. Files that are complete already are told before this returns.

        Raises: EdgeLakeError 35 when the directory cannot be read.
        """
        if not self.directory.is_dir():
            raise error(35, f"'{self.directory}' is not a directory")
        self._observe()
        self._look()

    def stop(self) -> None:
        """Tell no more files."""
        for timer in (self._settle, self._scan):
            if timer is not None:
                timer.cancel()
        self._settle = self._scan = None
        self._forget_notes()

    def release(self, path: Path) -> None:
        """The file was dealt with: should one of its name be there (still, or again), it is told."""
        self._taken.discard(path.name)
        if self._scan is not None:
            self._wait(path.name)

    def _observe(self) -> None:
        try:
            self._notes = DirectoryWatch(self.directory)
        except OSError as e:
            log.warning("no notifications for %s (%s): it is scanned every %g s", self.directory, e, self._scan_s)
            return
        asyncio.get_running_loop().add_reader(self._notes.fileno(), self._read_notes)

    def _forget_notes(self) -> None:
        if self._notes is not None:
            asyncio.get_running_loop().remove_reader(self._notes.fileno())
            self._notes.close()
            self._notes = None

    def _read_notes(self) -> None:
        assert self._notes is not None
        for change, name in self._notes.read():
            match change:
                case "written" | "moved in":
                    self._take(name)
                case "created":
                    self._wait(name)
                case "open":
                    self._wait(name, is_open=True)
                case "gone":
                    self._waiting.pop(name, None)
                case "lost":
                    self._lost()

    def _lost(self) -> None:
        """The queue overflowed, or the directory went away (it may come back): nothing is known to be open."""
        for waiting in self._waiting.values():
            waiting.open = False
        self._forget_notes()
        asyncio.get_running_loop().call_soon(self._look)

    def _take(self, name: str) -> None:
        self._waiting.pop(name, None)
        if self._ours(name):
            self._taken.add(name)
            self._found(self.directory / name)

    def _ours(self, name: str) -> bool:
        return name not in self._taken and not name.endswith("_tmp") and name[:1] != "." and self._wanted(name)

    def _wait(self, name: str, *, is_open: bool = False) -> None:
        stamp = _stamp(self.directory / name)
        if stamp is None or not self._ours(name):
            self._waiting.pop(name, None)
            return
        now = asyncio.get_running_loop().time()
        known = self._waiting.get(name)
        if known is None:
            known = self._waiting[name] = _Waiting(stamp, now, is_open)
        elif stamp != known.stamp:
            known.stamp, known.since = stamp, now
        known.open = known.open or is_open
        if self._settle is None:
            self._settle = asyncio.get_running_loop().call_later(self._settle_s / 4, self._take_settled)

    def _take_settled(self) -> None:
        self._settle = None
        now = asyncio.get_running_loop().time()
        for name in list(self._waiting):
            self._wait(name)
            waiting = self._waiting.get(name)
            if waiting is None or waiting.open or (waiting.stamp[1] == 0 and self._notes is not None):
                continue  # an empty file is one whose writer has not begun; its close will be told
            if now - waiting.since >= self._settle_s:
                self._take(name)

    def _look(self) -> None:
        """The slow scan."""
        if self._scan is not None:
            self._scan.cancel()
        self._scan = asyncio.get_running_loop().call_later(self._scan_s, self._look)
        if self._notes is None and self.directory.is_dir():
            self._observe()
        names = set()
        for name, age_s in _listed(self.directory):
            names.add(name)
            if name in self._waiting:
                continue
            if age_s >= self._settle_s and self._ours(name):
                self._take(name)
            else:
                self._wait(name)
        for name in self._waiting.keys() - names:
            del self._waiting[name]


def _stamp(path: Path) -> tuple[int, int, int] | None:
    try:
        seen = path.stat()
    except OSError:
        return None
    return (seen.st_ino, seen.st_size, seen.st_mtime_ns)


def _listed(directory: Path) -> Iterator[tuple[str, float]]:
    """Files of the directory, oldest first, each with the seconds since it was last changed."""
    now = time.time()
    found = []
    with contextlib.suppress(OSError), os.scandir(directory) as entries:
        for entry in entries:
            with contextlib.suppress(OSError):
                if entry.is_file():
                    found.append((entry.stat().st_mtime, entry.name))
    for changed, name in sorted(found):
        yield name, max(now - changed, 0.0)
