"""One thread per database that takes what is due from the pipeline and stores it."""

from __future__ import annotations

import logging
import threading
import time

from edgelake._rust import Flush, Pipeline
from edgelake.errors import EdgeLakeError
from edgelake.store.catalogue import user_schema
from edgelake.store.insert import Insertion
from edgelake.store.sqlite import SqliteStore

log = logging.getLogger(__name__)

WAIT_S = 0.5
GROUP = 16  # flushes of one transaction at most
SYNC_AFTER_BYTES = 32 << 20
SYNC_AFTER_S = 1.0
LONGEST_PAUSE_S = 5.0


class Writer:
    """Moves rows of one database from the pipeline into its store until it is stopped.

    Rows that cannot be stored now are put back and tried again, with longer and longer pauses: nothing that was
    accepted is dropped. ``last_error`` is empty while all goes well.
    """

    def __init__(self, pipeline: Pipeline, store: SqliteStore) -> None:
        self._pipeline = pipeline
        self._store = store
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"writer-{store.dbms}", daemon=True)
        self._unsynced_since = 0.0
        self._journal_bytes = 0
        self.last_error = ""
        self.slow_us_per_row = 0.0

    def start(self) -> None:
        """Begin where the database stands. Raises EdgeLakeError when that cannot be read."""
        for name in self._store.tables:
            self._tell_schema(name)
        self._pipeline.attach(self._store.dbms, self._store.watermarks())
        self._thread.start()

    def stop(self) -> None:
        """Store what is due, sync, end. Idempotent."""
        self._ending.set()
        self._pipeline.flush_all()
        if self._thread.is_alive():
            self._thread.join()
        self._pipeline.detach(self._store.dbms)

    def _tell_schema(self, table: str) -> None:
        schema = user_schema(self._store.table(table))
        self._pipeline.set_schema(self._store.dbms, table, schema)

    def _run(self) -> None:
        pause_s = 0.05
        while True:
            group = self._take()
            if group:
                if self._stored(group):
                    pause_s = 0.05
                    self._sync_if_due()
                elif self._ending.wait(pause_s):
                    return  # what was put back is in the journal
                else:
                    pause_s = min(pause_s * 2, LONGEST_PAUSE_S)
            else:
                self._sync_if_due()
                if self._ending.is_set():
                    self._sync()
                    return

    def _take(self) -> list[Flush]:
        """What is due now, one transaction's worth; waits a little when there is nothing."""
        group: list[Flush] = []
        while len(group) < GROUP:
            try:
                wait_s = 0.0 if group or self._ending.is_set() else WAIT_S
                flush = self._pipeline.take(self._store.dbms, wait_s)
            except EdgeLakeError as problem:
                self._note(problem)
                self._ending.wait(LONGEST_PAUSE_S)
                break
            if flush is None:
                break
            group.append(flush)
        return group

    def _stored(self, group: list[Flush]) -> bool:
        now_us = time.time_ns() // 1000
        wanted = [Insertion(flush.table, flush.rows, now_us, position=flush.last) for flush in group]
        if self.slow_us_per_row:
            time.sleep(sum(len(flush.rows) for flush in group) * self.slow_us_per_row / 1e6)
        try:
            done = self._store.store_many(wanted)
        except EdgeLakeError as problem:
            self._note(problem)
            # Last taken first: of one table the older rows must come first again.
            for flush in reversed(group):
                self._pipeline.put_back(flush)
            return False
        for flush, inserted in zip(group, done, strict=True):
            if inserted.changes:
                self._tell_schema(flush.table)
            self._pipeline.committed(flush)
        self._unsynced_since = self._unsynced_since or time.monotonic()
        self.last_error = ""
        return True

    def _sync_if_due(self) -> None:
        """Free journal segments: after much data, or when a second has passed."""
        if not self._unsynced_since:
            return
        waited_s = time.monotonic() - self._unsynced_since
        grown = self._pipeline.journal_bytes() - self._journal_bytes
        if waited_s >= SYNC_AFTER_S or grown >= SYNC_AFTER_BYTES:
            self._sync()

    def _sync(self) -> None:
        if not self._unsynced_since:
            return
        try:
            if self._store.checkpoint():
                self._pipeline.synced(self._store.dbms)
                self._unsynced_since = 0.0
                self._journal_bytes = self._pipeline.journal_bytes()
        except (EdgeLakeError, OSError) as problem:
            self._note(problem)

    def _note(self, problem: Exception) -> None:
        text = str(problem)
        if text != self.last_error:  # a change of state, not every attempt
            log.error("database %s: %s", self._store.dbms, text)
        self.last_error = text
