"""Who changed what: commands that administer the node or its network, and logins that failed.

Kept in a file of JSON lines, so that it outlives the process. Scripts named at the start, the library and tasks are
the owner's own program and leave no entries.
"""

from __future__ import annotations

import contextlib
import logging
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import msgspec

from edgelake.command.logs import mask
from edgelake.errors import NotPermittedError
from edgelake.model import Caller, CommandClass

log = logging.getLogger(__name__)

AUDITED: Final = frozenset({CommandClass.ADMIN, CommandClass.EXEC, CommandClass.METADATA, CommandClass.FILES})
ENTRIES: Final = frozenset({"prompt", "rest", "peer"})
SHOWN: Final = 1000
FILE_BYTES: Final = 8 << 20
FILES: Final = 4
_LONGEST: Final = 2000
_WAITING: Final = 10_000
_UNWATCHED: Final = contextlib.nullcontext()
_READS: Final = ("get ", "help", "test ", "blockchain get", "blockchain test")


class Entry(msgspec.Struct, frozen=True):
    """One line. ``outcome``: ``ok``, ``refused`` or ``failed``, with the reason in ``reason``."""

    time: str
    entry: str
    address: str
    user: str
    command: str
    outcome: str
    reason: str = ""


class Audit:
    """The last entries in memory, all of them in a file, which is turned over when it is long.

    Args:
        path: of the file; asked when it is needed, since the node's folder may be moved.
    """

    def __init__(self, path: Callable[[], Path]) -> None:
        self._path = path
        self.entries: deque[Entry] = deque(maxlen=SHOWN)
        self._unwritten: deque[Entry] = deque(maxlen=_WAITING)
        self._thread: ThreadPoolExecutor | None = None
        self._is_failing = False

    def watched(self, caller: Caller, cls: CommandClass, line: str) -> AbstractContextManager[None]:
        """Around a command: how it ends is kept. Commands that only read are passed over, unless refused."""
        if caller.entry not in ENTRIES or cls not in AUDITED:
            return _UNWATCHED
        return self._kept(caller, line)

    @contextlib.contextmanager
    def _kept(self, caller: Caller, line: str) -> Iterator[None]:
        where = (caller.entry, caller.address, caller.user, line)
        try:
            yield
        except NotPermittedError as refusal:
            self.add(*where, "refused", refusal.detail)
            raise
        except Exception as failure:
            self.add(*where, "failed", str(failure))
            raise
        if not line.lstrip().lower().startswith(_READS):
            self.add(*where, "ok")

    def add(self, entry: str, address: str, user: str, command: str, outcome: str, reason: str = "") -> None:
        """Keep an entry; secrets are masked."""
        now = datetime.now(UTC).isoformat(timespec="milliseconds")
        made = Entry(now, entry, address, user, mask(command)[:_LONGEST], outcome, mask(reason)[:_LONGEST])
        self.entries.append(made)
        self._unwritten.append(made)
        if len(self._unwritten) == 1 or self._thread is None:
            if self._thread is None:
                self._thread = ThreadPoolExecutor(1, thread_name_prefix="audit")
            self._thread.submit(self._write)

    def close(self) -> None:
        """Write what is left. Idempotent."""
        if self._thread is not None:
            self._thread.shutdown(wait=True)
            self._thread = None

    def _write(self) -> None:
        """In the thread: all that has come meanwhile, in one go."""
        lines = bytearray()
        is_needed = (path := self._path()).parent.parent.exists()
        while self._unwritten:
            entry = self._unwritten.popleft()
            is_needed = is_needed or entry.entry != "prompt"  # a prompt alone makes no folder where nothing is kept
            lines += msgspec.json.encode(entry) + b"\n"
        if not lines or not is_needed:
            return
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            if path.exists() and path.stat().st_size + len(lines) > FILE_BYTES:
                _turn_over(path)
            with path.open("ab") as file:
                file.write(lines)
            self._is_failing = False
        except OSError as problem:
            if not self._is_failing:
                log.error("audit log: cannot write %s: %s", path, problem.strerror)
            self._is_failing = True


def _turn_over(path: Path) -> None:
    """``audit.jsonl`` becomes ``audit.jsonl.1``, and so on; the oldest goes."""
    for number in range(FILES - 1, 0, -1):
        older = path if number == 1 else path.with_name(f"{path.name}.{number - 1}")
        if older.exists():
            older.replace(path.with_name(f"{path.name}.{number}"))
