"""Rows of other nodes that are to be put in order here: in memory, and beyond a bound in a file without a name.

The file is a temporary database of SQLite, and so are those in which SQLite sorts: they have no names, or lose them as
soon as they are open, so that nothing is left of them however the query or the node ends. They lie where
``SQLITE_TMPDIR`` or ``TMPDIR`` says, else in ``/var/tmp``.
"""

from __future__ import annotations

import os
import shutil
import threading
from typing import Final

import apsw

from edgelake._rust import BatchTable, PeerMerge, PeerMessage, Rows
from edgelake.errors import QueryTooLargeError
from edgelake.store import engine

MEMORY_BYTES: Final = 64 << 20
DISK_BYTES: Final = 8 << 30
_TABLE: Final = "edgelake_rows"


class SortedRows:
    """Keeps rows until all are there. Its methods but ``close`` are for one thread at a time.

    Attributes:
        is_spilled: whether ``connection`` has the rows; else ``take`` gives them.
    """

    def __init__(self, kinds: str, columns: int, memory_bytes: int, disk_bytes: int) -> None:
        """``kinds``: of the columns, as PeerMerge takes them. ``disk_bytes`` bounds the file, and sorting it takes as
        much again; half of the free room of the disk bounds both."""
        self._merge = PeerMerge(kinds)
        self._columns = columns
        self._memory_bytes = memory_bytes
        self._disk_bytes = disk_bytes
        self._connection: apsw.Connection | None = None
        self._batch: BatchTable | None = None
        self._lock = threading.Lock()
        self._is_closed = False

    @property
    def rows(self) -> int:
        return self._merge.rows

    @property
    def is_full(self) -> bool:
        return False

    @property
    def is_spilled(self) -> bool:
        return self._connection is not None

    def add(self, messages: list[PeerMessage]) -> bytes:
        """Take rows. Raises QueryError, QueryTooLargeError, StorageFullError, DatabaseError."""
        try:
            with self._lock:
                for message in messages:
                    self._merge.add([message])
                    if self._merge.held_bytes > self._memory_bytes:
                        self._spill()
        finally:
            if self._is_closed:  # meanwhile
                self.close()
        return b""

    def end(self, elapsed_s: int, target_nodes: int, participating_nodes: int) -> bytes:
        return b""

    def take(self) -> Rows:
        """The rows, where all of them are in memory."""
        return self._merge.take()

    def whole(self) -> apsw.Connection:
        """A connection with all rows in the table ``edgelake_batch``, which the caller closes. Raises as ``add``."""
        with self._lock:
            self._spill()
            connection, self._connection, self._batch = self._connection, None, None
        assert connection is not None
        try:
            connection.execute(f"ALTER TABLE {_TABLE} RENAME TO edgelake_batch")
        except apsw.Error as problem:
            connection.close()
            raise _failure(problem) from problem
        return connection

    def close(self) -> None:
        """Drop what is here; while rows are being added, right behind that. Idempotent, from any thread."""
        self._is_closed = True
        if self._lock.acquire(blocking=False):
            try:
                connection, self._connection, self._batch = self._connection, None, None
                if connection is not None:
                    connection.close()
            finally:
                self._lock.release()

    def _spill(self) -> None:
        """Move what is in memory into the file."""
        try:
            if self._connection is None:
                self._connection = self._opened()
                self._batch = BatchTable(self._connection.sqlite3_pointer())
            assert self._batch is not None
            self._batch.load(self._merge.take())
            self._batch.take(0)
            names = ", ".join(f"c{at}" for at in range(self._columns))
            self._connection.execute(f"INSERT INTO {_TABLE} SELECT {names} FROM edgelake_batch")
            self._batch.clear()
        except apsw.Error as problem:
            raise self._failure(problem) from problem

    def _opened(self) -> apsw.Connection:
        connection = engine.open_temporary(self._memory_bytes // 2)
        room = shutil.disk_usage(folder()).free // 4  # sorting takes as much again
        self._disk_bytes = min(self._disk_bytes, room)
        pages = max(self._disk_bytes // engine.PAGE_BYTES, 1)
        connection.execute(f"PRAGMA max_page_count={pages}")
        names = ", ".join(f"c{at}" for at in range(self._columns))
        connection.execute(f"CREATE TABLE {_TABLE} ({names})")
        return connection

    def _failure(self, problem: apsw.Error) -> Exception:
        if isinstance(problem, apsw.FullError):
            return QueryTooLargeError(
                f"rows of other nodes that are to be sorted take more than {self._disk_bytes:,} bytes on disk "
                f"({folder()}), after {self.rows:,} rows",
                hint="narrow it, set a limit, or raise it: set query mode using sort_disk = 20GB",
            )
        return _failure(problem)


def _failure(problem: apsw.Error) -> Exception:
    return engine.to_error(problem, f"rows to be sorted, in {folder()}")


def folder() -> str:
    """Where SQLite puts temporary files."""
    for folder in (os.environ.get("SQLITE_TMPDIR"), os.environ.get("TMPDIR"), "/var/tmp", "/usr/tmp", "/tmp"):
        if folder and os.path.isdir(folder) and os.access(folder, os.W_OK | os.X_OK):
            return folder
    return "."
