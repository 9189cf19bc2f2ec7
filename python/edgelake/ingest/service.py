"""The durable entry of readings: what it returns from is on disk."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from edgelake._rust import Pipeline
from edgelake.errors import JournalError
from edgelake.ingest.writer import Writer
from edgelake.model import Status, Stored
from edgelake.store.sqlite import SqliteStore


@dataclass(frozen=True, slots=True)
class Brake:
    """How much a disk and a database are slowed, for benches of what happens when they don't keep up."""

    sync_delay_us: int = 0
    us_per_row: float = 0.0


class Ingest:
    """Payloads in, acknowledged once the journal has them; databases attached to it get their rows.

    The journal is opened by ``start``, or by the first payload or database: a node that only answers commands
    leaves no files.

    Args:
        directory: of the journal; a callable is asked when the journal is opened (scripts may move the node's home).

    Attributes:
        brake: set by benches before the journal is opened.
    """

    name = "ingest"

    def __init__(
        self, directory: Path | Callable[[], Path], *, timezone: str | None = None, limit_bytes: int = 64 << 20
    ) -> None:
        self._directory = directory
        self._timezone = timezone
        self._limit_bytes = limit_bytes
        self._pipeline: Pipeline | None = None
        self._waiting: dict[int, asyncio.Future[Stored]] = {}
        self._writers: dict[str, Writer] = {}
        self._opening = asyncio.Lock()
        self._stopped = False
        self.brake = Brake()

    @property
    def pipeline(self) -> Pipeline:
        """Raises JournalError before ``start`` and after ``stop``."""
        if self._pipeline is None:
            raise JournalError("the journal is not open")
        return self._pipeline

    async def start(self) -> None:
        """Open the journal; does nothing when it is open.

        Raises JournalError when another node uses it or it is damaged, StorageFullError.
        """
        async with self._opening:
            if self._pipeline is not None:
                return
            self._pipeline = await asyncio.to_thread(self._open)
            self._stopped = False
            asyncio.get_running_loop().add_reader(self._pipeline.fileno(), self._resolve)

    def _open(self) -> Pipeline:
        directory = self._directory() if callable(self._directory) else self._directory
        directory.parent.mkdir(parents=True, exist_ok=True)
        return Pipeline(
            directory,
            timezone=self._timezone,
            limit_bytes=self._limit_bytes,
            sync_delay_us=self.brake.sync_delay_us,
        )

    async def submit(
        self, dbms: str, table: str, payload: bytes, *, source: str = "0", instructions: str = "0"
    ) -> Stored:
        """Take rows for a table; returns when they are durable (at the level in force).

        Raises PayloadError (nothing stored), OverloadedError, StorageFullError, JournalError.
        """
        if self._pipeline is None and not self._stopped:
            await self.start()
        ticket = self.pipeline.submit(dbms.lower(), table.lower(), payload, source, instructions)
        waiting: asyncio.Future[Stored] = asyncio.get_running_loop().create_future()
        self._waiting[ticket] = waiting
        return await waiting

    def _resolve(self) -> None:
        for ticket, rows, rejected, reason, failure in self.pipeline.completions():
            waiting = self._waiting.pop(ticket, None)
            if waiting is None or waiting.done():  # the submitter was cancelled; the rows are kept all the same
                continue
            if failure is None:
                waiting.set_result(Stored(rows, rejected, reason))
            else:
                waiting.set_exception(failure)

    async def attach(self, store: SqliteStore) -> None:
        """Store this database's rows from now on, those that wait in the journal first."""
        await self.start()
        writer = Writer(self.pipeline, store)
        writer.slow_us_per_row = self.brake.us_per_row
        await asyncio.to_thread(writer.start)
        self._writers[store.dbms] = writer

    async def detach(self, dbms: str) -> None:
        """Store what is due and stop storing; no error when nothing was attached."""
        writer = self._writers.pop(dbms, None)
        if writer is not None:
            await asyncio.to_thread(writer.stop)

    def schema_changed(self, dbms: str, table: str, schema: list[tuple[str, str, bool]] | None) -> None:
        """Parse later payloads with a table's columns as they are now (None = it was dropped). In any thread."""
        if dbms in self._writers and self._pipeline is not None:
            self._pipeline.set_schema(dbms, table, schema)

    def writer(self, dbms: str) -> Writer | None:
        return self._writers.get(dbms)

    async def flush(self) -> None:
        """Make everything due and wait until the attached databases have committed it."""
        if self._pipeline is None:
            return
        while any(self.pipeline.pending(dbms) for dbms in self._writers):
            self.pipeline.flush_all()
            await asyncio.sleep(0.002)

    async def stop(self) -> None:
        """Store what was accepted, close the journal. Idempotent."""
        self._stopped = True
        for dbms in list(self._writers):
            await self.detach(dbms)
        if self._pipeline is None:
            return
        await asyncio.to_thread(self._pipeline.close)
        self._resolve()
        asyncio.get_running_loop().remove_reader(self._pipeline.fileno())
        self._pipeline = None

    def status(self) -> Status:
        running = self._pipeline is not None
        errors = [writer.last_error for writer in self._writers.values() if writer.last_error]
        waiting = self._pipeline.in_flight_bytes() if self._pipeline else 0
        return Status("Ingest", running, last_error="; ".join(errors), counters={"in_flight_bytes": waiting})
