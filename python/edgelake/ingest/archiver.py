"""Archive files of stored batches, written behind the writers in a thread of its own.

What is to be done stands in each database (``store.batches``), so nothing queues up in memory and a crash loses
nothing; the journal holds the rows until their file is durable.
Source: design, section 3.9; spec "Ingestion", sections 12 and 14.
"""

from __future__ import annotations

import logging
import threading
from collections import defaultdict
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from pathlib import Path

from edgelake._rust import Pipeline
from edgelake.errors import EdgeLakeError
from edgelake.ingest import filing
from edgelake.ingest.batches import BatchKeeper
from edgelake.store import batches
from edgelake.store.batches import StoredBatch
from edgelake.store.store import Store

log = logging.getLogger(__name__)

GROUP = 64
WRITERS = 3
"""Files that are written at a time: each waits for the disk."""
LONGEST_PAUSE_S = 5.0


class Archiver:
    """Does what the notes of the databases say, until it is stopped. ``last_error`` is empty while all goes well."""

    def __init__(self, pipeline: Pipeline) -> None:
        self._pipeline = pipeline
        self._keeper: BatchKeeper | None = None
        self._changed = threading.Condition()
        self._stores: dict[str, Store] = {}  # with open notes, as far as is known
        self._unbooked: dict[str, Store] = {}  # that may have notes for the next keeper
        self._busy = ""
        self._failed: set[str] = set()
        self._ending = False
        self._gates: defaultdict[str, threading.Lock] = defaultdict(threading.Lock)
        self._thread = threading.Thread(target=self._run, name="archiver", daemon=True)
        self._writers = ThreadPoolExecutor(WRITERS, "archive")
        self.last_error = ""

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """End; what is left to do is done at the next start."""
        with self._changed:
            self._ending = True
            self._changed.notify_all()
        if self._thread.is_alive():
            self._thread.join()
        self._writers.shutdown()

    def set_keeper(self, keeper: BatchKeeper | None) -> None:
        """Who has the TSD table; without one only files are written."""
        with self._changed:
            self._keeper = keeper
            if keeper is not None:
                self._stores |= self._unbooked
                self._unbooked.clear()
                self._changed.notify_all()

    def gate(self, dbms: str) -> threading.Lock:
        """Held by a writer from its commit until the pipeline knows of it: a note that is read in between would be of
        rows that the journal does not hold for their file yet."""
        with self._changed:
            return self._gates[dbms]

    def add(self, store: Store) -> None:
        """The database has notes."""
        with self._changed:
            self._stores[store.dbms] = store
            self._failed.discard(store.dbms)
            self._changed.notify_all()

    def finish(self, dbms: str) -> None:
        """Returns when all notes of a database were tried; it may be closed then. Not in the loop's thread."""
        with self._changed:
            self._changed.wait_for(
                lambda: self._ending or (self._busy != dbms and (dbms not in self._stores or dbms in self._failed))
            )
            self._stores.pop(dbms, None)
            self._unbooked.pop(dbms, None)

    def _run(self) -> None:
        pause_s = 0.0
        while (store := self._next(pause_s)) is not None:
            try:
                more = self._work(store)
                self.last_error, pause_s = "", 0.0
            except (EdgeLakeError, OSError) as problem:
                self._note(store, problem)
                more, pause_s = True, min(max(2 * pause_s, 0.05), LONGEST_PAUSE_S)
            with self._changed:
                self._busy = ""
                if pause_s:
                    self._failed.add(store.dbms)
                elif not more and self._stores.get(store.dbms) is store:
                    del self._stores[store.dbms]
                self._changed.notify_all()

    def _next(self, pause_s: float) -> Store | None:
        """A database with notes; None at the end. After a failure the next attempt waits."""
        with self._changed:
            if pause_s:
                self._changed.wait_for(lambda: self._ending, pause_s)
            self._changed.wait_for(lambda: self._ending or bool(self._stores))
            if self._ending:
                return None
            self._busy = next(iter(self._stores))
            store = self._stores.pop(self._busy)
            self._stores[self._busy] = store  # the others have their turn first
            return store

    def _work(self, store: Store) -> bool:
        """One group of notes; whether there may be more."""
        with self._changed:
            keeper = self._keeper
            if keeper is None:
                self._unbooked[store.dbms] = store
        with self.gate(store.dbms), store.reader() as db:
            found = batches.open_batches(db, limit=GROUP, with_file=keeper is None)
        if not found:
            return False
        self._write_all(store.dbms, found, keeper)
        rows = [(batch.tsd_hash, batch.rows) for batch in found if batch.tsd_hash]
        if keeper is not None and rows:
            keeper.set_rows(rows)
        booked = keeper is not None or not rows
        store.change_blocking(lambda tx: batches.close(tx, found, booked=booked), synchronous="NORMAL")
        return True

    def _write_all(self, dbms: str, found: Sequence[StoredBatch], keeper: BatchKeeper | None) -> None:
        """Several at a time; returns, or raises what one of them met, when none is in work any more."""

        def one(batch: StoredBatch) -> None:
            if batch.path is not None:
                self._write(dbms, batch, batch.path)
            if keeper is not None:
                keeper.hand_on(batch)

        writing = [self._writers.submit(one, batch) for batch in found]
        wait(writing)
        for done in writing:
            done.result()

    def _write(self, dbms: str, batch: StoredBatch, path: Path) -> None:
        if not path.exists():
            content = self._pipeline.held(dbms, batch.table, batch.first)
            if content is None:
                # Somebody removed the journal: the rows are in the table, the file cannot be made.
                log.error("%s is not archived: the journal does not have its rows any more", path.name)
                return
            path.parent.mkdir(parents=True, exist_ok=True)
            filing.write_file(path, content, compress=path.name.endswith(".gz"))
        self._pipeline.archived(dbms, batch.table, batch.first)

    def _note(self, store: Store, problem: Exception) -> None:
        text = str(problem)
        if text != self.last_error:  # a change of state, not every attempt
            log.error("archive of %s: %s; the journal keeps the rows until it is written", store.dbms, text)
        self.last_error = text
