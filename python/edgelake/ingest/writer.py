"""One thread per database that takes what is due from the pipeline and stores it."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from typing import Protocol

from msgspec import Struct

from edgelake._rust import Flush, FlushPart, Pipeline
from edgelake.errors import EdgeLakeError, PayloadError
from edgelake.ingest.archiver import Archiver
from edgelake.ingest.batches import Batch, BatchKeeper, Stamp
from edgelake.ingest.errorfiles import ErrorFiles
from edgelake.ingest.names import FileName
from edgelake.store.batches import StoredBatch, open_batches
from edgelake.store.catalogue import user_schema
from edgelake.store.engine import refuses_rows
from edgelake.store.insert import Inserted, Insertion
from edgelake.store.store import Store

log = logging.getLogger(__name__)

WAIT_S = 0.5
GROUP = 16  # flushes of one transaction at most
GROUP_BYTES = 8 << 20
SYNC_AFTER_BYTES = 32 << 20
SYNC_AFTER_S = 1.0
LONGEST_PAUSE_S = 5.0


class Rules(Protocol):
    """What the writers ask the rest of ingestion; in their threads."""

    @property
    def keeper(self) -> BatchKeeper | None:
        """Who books batches; None while no operator runs."""

    def widens(self, dbms: str, table: str) -> bool: ...

    def call(self, work: Callable[[], None]) -> None:
        """Run something on the loop, before anybody is told of the rows."""

    def failed(self, problem: Exception) -> None:
        """Rows could not be stored now."""

    def report(self, text: str) -> None:
        """Say what users want to know: a database that takes no rows, and that it takes them again."""


class _Job(Struct):
    """A part of a flush on its way into the database."""

    flush: Flush
    part: FlushPart
    batch: Batch
    wanted: Insertion
    done: Inserted | None = None

    @property
    def name(self) -> FileName:
        """Of a file of its rows."""
        batch = self.batch
        return FileName(batch.dbms, batch.table, batch.source, "0", batch.instructions)


class Writer:
    """Moves rows of one database from the pipeline into its store until it is stopped.

    Rows that cannot be stored now (busy database, full disk) are put back and tried again, with longer and longer
    pauses: nothing that was accepted is dropped. Rows that the database refuses for good go to the error folder.
    ``last_error`` is empty while all goes well.
    """

    def __init__(self, pipeline: Pipeline, store: Store, rules: Rules, archiver: Archiver, errors: ErrorFiles) -> None:
        self._pipeline = pipeline
        self._store = store
        self._rules = rules
        self._archiver = archiver
        self._errors = errors
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"writer-{store.dbms}", daemon=True)
        self._unsynced_since = 0.0
        self._journal_bytes = 0
        self.last_error = ""
        self.slow_us_per_row = 0.0

    def start(self) -> None:
        """Begin where the database stands. Raises EdgeLakeError when that cannot be read."""
        store = self._store
        for name in store.tables:
            self._tell_schema(name)
        with store.reader() as db:
            left = open_batches(db)
        # What is archived already (the crash came behind that) needs no rows of the journal.
        held = [b for b in left if b.path is not None and not b.path.exists()]
        keys = [(b.table, b.first, b.last, b.source, b.instructions) for b in held]
        self._pipeline.attach(store.dbms, store.watermarks(), keys)
        if left:
            self._archiver.add(store)
        self._thread.start()

    def stop(self) -> None:
        """Store what is due, sync, end. Idempotent."""
        self._ending.set()
        while self._thread.is_alive():
            self._pipeline.hurry()
            self._thread.join(0.05)
        self._archiver.finish(self._store.dbms)
        self._pipeline.detach(self._store.dbms)

    def _tell_schema(self, table: str) -> None:
        schema = user_schema(self._store.table(table))
        self._pipeline.set_schema(self._store.dbms, table, schema)

    # ---- the thread

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
        while len(group) < GROUP and sum(flush.payload_bytes for flush in group) < GROUP_BYTES:
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
        """Store a group; where rows are refused for good, each flush alone, without them."""
        keeper = self._rules.keeper
        if self.slow_us_per_row:
            time.sleep(sum(flush.rows for flush in group) * self.slow_us_per_row / 1e6)
        try:
            jobs = self._prepare(group, keeper)
            try:
                self._commit(jobs, group, keeper)
                return True
            except Exception as problem:
                if not refuses_rows(problem):
                    raise
            while group:
                own = [job for job in jobs if job.flush is group[0]]
                self._commit_sparing(own, group[0], keeper)
                del group[0]
            return True
        except (EdgeLakeError, OSError) as problem:
            self._note(problem)
        except Exception as fault:
            log.exception("fault in the writer of %s", self._store.dbms)
            self._note(fault)
        # Last taken first: of one table the older rows must come first again.
        for flush in reversed(group):
            self._pipeline.put_back(flush)
        return False

    def _prepare(self, group: Sequence[Flush], keeper: BatchKeeper | None) -> list[_Job]:
        """Insertions for all parts. The position goes with the last part of each flush."""
        dbms, now_us = self._store.dbms, time.time_ns() // 1000
        pairs = [(flush, part) for flush in group for part in flush.parts]
        batches = [Batch(dbms, f.table, p.first, p.arrival_us, p.source, p.instructions, f.immediate) for f, p in pairs]
        stamps: list[Stamp | None] = [None] * len(batches)
        if keeper is not None:
            stamps = [*keeper.stamp(batches)]
        jobs = []
        for (flush, part), batch, stamp in zip(pairs, batches, stamps, strict=True):
            wanted = Insertion(
                flush.table,
                part.rows,
                (stamp.time_us if stamp else 0) or now_us,
                tsd_name=stamp.tsd_name if stamp else "0",
                tsd_id=stamp.tsd_id if stamp else 0,
                position=flush.last if part is flush.parts[-1] else None,
                create=keeper is None or keeper.config.create_table,
                declared=self._pipeline.declared(dbms, flush.table),
                widen=self._rules.widens(dbms, flush.table),
                batch=_stored_batch(flush, part, stamp),
                refusal=keeper.refusal(dbms, flush.table) if keeper is not None else None,
            )
            jobs.append(_Job(flush, part, batch, wanted))
        return jobs

    def _commit(
        self, jobs: Sequence[_Job], group: Sequence[Flush], keeper: BatchKeeper | None, *, sparing: bool = False
    ) -> None:
        """One transaction; what is kept out is in the error folder before it ends."""

        def keep_rejected(done: Sequence[Inserted]) -> None:
            for job, outcome in zip(jobs, done, strict=True):
                job.done = outcome
                self._keep_rejected(job, outcome)
            for flush in group:
                self._keep_unread(flush)

        with self._archiver.gate(self._store.dbms):
            self._store.store_many([job.wanted for job in jobs], sparing=sparing, before_commit=keep_rejected)
            self._tell(jobs, group, keeper)

    def _commit_sparing(self, jobs: Sequence[_Job], flush: Flush, keeper: BatchKeeper | None) -> None:
        try:
            self._commit(jobs, [flush], keeper, sparing=True)
        except Exception as problem:
            if not refuses_rows(problem):
                raise
            # The rows at fault cannot be told from the others (a trigger that ends the transaction).
            refusal = problem if isinstance(problem, EdgeLakeError) else EdgeLakeError(str(problem))
            for job in jobs:
                job.wanted = _refused(job.wanted, refusal)
            self._commit(jobs, [flush], keeper)

    def _tell(self, jobs: Sequence[_Job], group: Sequence[Flush], keeper: BatchKeeper | None) -> None:
        """The group is committed."""
        for job in jobs:
            if job.done is not None and job.done.changes:
                self._tell_schema(job.flush.table)
        if keeper is not None:
            self._rules.call(lambda: _count(jobs, keeper))
        for flush in group:
            of_flush = [job for job in jobs if job.flush is flush]
            self._pipeline.committed(flush, [_ended(job) for job in of_flush])
        if any(job.wanted.batch for job in jobs):
            self._archiver.add(self._store)
        self._unsynced_since = self._unsynced_since or time.monotonic()
        if self.last_error:
            self._rules.report(f"database {self._store.dbms}: rows are stored again")
        self.last_error = ""

    # ---- rows kept out

    def _keep_rejected(self, job: _Job, done: Inserted) -> None:
        if not done.rejected:
            return
        lines = job.part.rows.take([row for row, _ in done.rejected]).to_json_lines()
        failure = done.refusal or PayloadError(f"rows that do not fit {job.batch.dbms}.{job.batch.table}")
        self._errors.add(job.name, failure, lines, [why for _, why in done.rejected])

    def _keep_unread(self, flush: Flush) -> None:
        name = FileName(self._store.dbms, flush.table)
        for payload, why in flush.unread:
            self._errors.add(name, PayloadError(why), payload.replace(b"\n", b" ") + b"\n", [why])

    # ---- durability of the database

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
            self._rules.report(f"database {self._store.dbms}: {text}")
        self.last_error = text
        self._rules.failed(problem)


def _stored_batch(flush: Flush, part: FlushPart, stamp: Stamp | None) -> StoredBatch | None:
    """What is left to do behind the commit, if anything."""
    if stamp is None or (stamp.path is None and not stamp.tsd_id):
        return None
    tsd_hash = stamp.file_hash if stamp.tsd_id else ""
    return StoredBatch(flush.table, part.first, part.last, part.source, part.instructions, stamp.path, tsd_hash)


def _refused(wanted: Insertion, refusal: EdgeLakeError) -> Insertion:
    return Insertion(
        wanted.table,
        wanted.rows,
        wanted.insert_timestamp_us,
        position=wanted.position,
        batch=wanted.batch,
        refusal=refusal,
    )


def _ended(job: _Job) -> tuple[list[tuple[int, str]], bool]:
    done, batch = job.done, job.wanted.batch
    rejected = list(done.rejected) if done is not None else []
    return rejected, batch is not None and batch.path is not None


def _count(jobs: Sequence[_Job], keeper: BatchKeeper) -> None:
    for job in jobs:
        if job.done is not None and not job.done.replayed:
            keeper.count(job.batch, job.done)
