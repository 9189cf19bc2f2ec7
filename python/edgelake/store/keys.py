"""Idempotency keys on disk: which requests were begun, and what was answered.

A key is on disk (synced) before its rows are stored, its answer before it is sent. So after a crash a key is either
unknown (nothing was stored), answered, or begun: then nobody knows whether its rows were stored.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final

import apsw
from msgspec import Struct

from edgelake.errors import ServiceError

PART: Final = "idempotency_keys"
"""The node's part that is this."""
KEPT: Final = 10_000
KEPT_S: Final = 24 * 3600
_AT_A_TIME: Final = 500
_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS keys (
  caller TEXT NOT NULL, name TEXT NOT NULL, digest BLOB NOT NULL, at_s INTEGER NOT NULL,
  rows INTEGER, rejected INTEGER, reason TEXT, PRIMARY KEY (caller, name)
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS keys_at ON keys (at_s);
"""

Key = tuple[str, str]
"""Who sent it, and the text."""


class Known(Struct, frozen=True):
    """A key that came before. ``rows`` None: it was begun, and no answer is known."""

    digest: bytes
    rows: int | None
    rejected: int
    reason: str


_Work = Callable[[apsw.Connection], Any]


class Keys:
    """The file, with a thread of its own; what queues up meanwhile is one transaction. For one loop."""

    def __init__(self, path: Callable[[], Path]) -> None:
        self._path = path
        self._db: apsw.Connection | None = None
        self._thread: ThreadPoolExecutor | None = None
        self._waiting: list[tuple[_Work, asyncio.Future[Any]]] = []
        self._lock = threading.Lock()
        self._begun = _AT_A_TIME  # since the file was shortened

    async def begin(self, key: Key, digest: bytes) -> Known | None:
        """Note that its rows are about to be stored; what is known of the key, when it came before.

        Raises ServiceError when the file cannot be written.
        """

        def work(db: apsw.Connection) -> Known | None:
            now = int(time.time())
            db.execute("DELETE FROM keys WHERE at_s < ?", (now - KEPT_S,))
            found = db.execute(
                "SELECT digest, rows, rejected, reason FROM keys WHERE caller = ? AND name = ?", key
            ).fetchone()
            if found is not None:
                return Known(found[0], found[1], found[2] or 0, found[3] or "")
            db.execute("INSERT INTO keys (caller, name, digest, at_s) VALUES (?, ?, ?, ?)", (*key, digest, now))
            self._begun += 1
            if self._begun >= _AT_A_TIME:  # seldom, as it looks at all of them
                self._begun = 0
                _shorten(db)
            return None

        known: Known | None = await self._do(work)
        return known

    async def end(self, key: Key, rows: int, rejected: int, reason: str) -> None:
        """Note what is about to be answered."""
        await self._do(
            lambda db: db.execute(
                "UPDATE keys SET rows = ?, rejected = ?, reason = ? WHERE caller = ? AND name = ?",
                (rows, rejected, reason, *key),
            )
        )

    async def forget(self, key: Key) -> None:
        """Nothing of it was stored: the key may come again."""
        await self._do(lambda db: db.execute("DELETE FROM keys WHERE caller = ? AND name = ?", key))

    async def _do(self, work: _Work) -> Any:
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Any] = loop.create_future()
        with self._lock:
            is_first = not self._waiting
            self._waiting.append((work, future))
        if self._thread is None:
            self._thread = ThreadPoolExecutor(1, thread_name_prefix="keys")
        if is_first:
            self._thread.submit(self._carry_out, loop)
        return await future

    def _carry_out(self, loop: asyncio.AbstractEventLoop) -> None:
        with self._lock:
            works, self._waiting = self._waiting, []
        results: list[Any] = []
        failure: Exception | None = None
        try:
            db = self._open()
            with db:
                results = [work(db) for work, _ in works]
        except (apsw.Error, OSError, ValueError) as problem:  # ValueError: a text that is none for SQLite
            failure = ServiceError(f"Idempotency-Key: {self._path()}: {problem}", hint="send the rows without a key")
        loop.call_soon_threadsafe(_tell, [future for _, future in works], results, failure)

    def _open(self) -> apsw.Connection:
        if self._db is None:
            path = self._path()
            path.parent.mkdir(parents=True, exist_ok=True)
            db = apsw.Connection(str(path))
            db.execute("PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA busy_timeout = 5000")
            db.execute(_SCHEMA)
            self._db = db
        return self._db

    def close(self) -> None:
        """End the thread and close the file. Idempotent."""
        thread, self._thread = self._thread, None
        if thread is not None:
            thread.shutdown()
        db, self._db = self._db, None
        if db is not None:
            db.close()


def _shorten(db: apsw.Connection) -> None:
    """Forget the oldest beyond what is kept, those that are answered first."""
    db.execute(
        "DELETE FROM keys WHERE (caller, name) IN (SELECT caller, name FROM keys"
        " ORDER BY rows IS NULL, at_s LIMIT max(0, (SELECT count(*) FROM keys) - ?))",
        (KEPT,),
    )


def _tell(futures: list[asyncio.Future[Any]], results: list[Any], failure: Exception | None) -> None:
    for at, future in enumerate(futures):
        if future.done():
            continue
        if failure is not None:
            future.set_exception(failure)
        else:
            future.set_result(results[at])
