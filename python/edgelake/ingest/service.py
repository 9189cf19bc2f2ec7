"""The durable entry of readings: what it returns from is on disk.

Where accepted rows go:

- Their database is connected: they are stored there at the threshold of their table, with or without an operator and
  a streamer. While an operator runs it books each batch (TSD row, archive file, counters) and its rules hold
  (``limit_tables``, ``create_table``).
  Rows that an operator was to book when the node died wait for the next one, for ten seconds.
- Their database is not connected and an operator runs, or its server is away: they wait in the journal, up to its
  limit.
- Neither: they become a file of the watch directory, once ``run streamer`` has set the directories. Rows of an earlier
  run of the node go on waiting for their database; ``flush buffers`` makes files of them too.

Rows that a table cannot take go to the error folder, with the reason.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from msgspec import Struct
from msgspec.structs import replace

from edgelake import _rust
from edgelake._rust import Pipeline
from edgelake.durable import write_whole
from edgelake.errors import JournalError, MappingError, OverloadedError
from edgelake.ingest.archiver import Archiver
from edgelake.ingest.batches import BatchKeeper
from edgelake.ingest.conditions import StreamConditions
from edgelake.ingest.errorfiles import ErrorFiles
from edgelake.ingest.filer import Filer
from edgelake.ingest.names import FileName, check_part
from edgelake.ingest.streaming import (
    MappedRows,
    MapRows,
    StreamCounts,
    StreamSettings,
    StreamTotals,
    Take,
    in_force,
)
from edgelake.ingest.tickets import Tickets
from edgelake.ingest.writer import Writer
from edgelake.model import Status, Stored, Then
from edgelake.store.store import Store

ACTIONS = (1 << 48) - 1  # the ticket under which the pipeline tells that commands of conditions wait
ROOM = 0  # the ticket under which the pipeline tells that there is room again
KNOWN_NAMES = 4096
LARGE_BYTES = 64 << 10  # from here on the loop doesn't wait for the mapping


class Brake(Struct, frozen=True):
    """How much a disk and a database are slowed, for benches of what happens when they don't keep up."""

    sync_delay_us: int = 0
    us_per_row: float = 0.0


class Ingest:
    """Payloads in, acknowledged once the journal has them; databases attached to it get their rows.

    The journal is opened by ``start``, or by the first payload or database: a node that only answers commands
    leaves no files. It offers ``ingest.streaming.Streaming`` and ``Storing``.

    Args:
        directory: of the journal; a callable is asked when the journal is opened (scripts may move the node's home).
        limit_bytes: memory of payloads and rows; rows beyond half of it stay in the journal alone, payloads beyond it
            are refused.
        journal_limit_bytes: size of the journal; payloads beyond it are refused.

    Attributes:
        brake: set by benches before the journal is opened.
    """

    name = "ingest"

    def __init__(
        self,
        directory: Path | Callable[[], Path],
        *,
        timezone: str | None = None,
        limit_bytes: int = 64 << 20,
        journal_limit_bytes: int = 1 << 30,
    ) -> None:
        self._directory = directory
        self._timezone = timezone
        self._limits = {
            "limit_bytes": limit_bytes,
            "journal_limit_bytes": journal_limit_bytes,
        }
        self.brake = Brake()
        self._pipeline: Pipeline | None = None
        self._archiver: Archiver | None = None
        self._filer: Filer | None = None
        self._journal_id = ""
        self._loop: asyncio.AbstractEventLoop | None = None
        self._tickets = Tickets()
        self.conditions = StreamConditions()
        self.on_report: Callable[[str], None] = lambda _text: None
        """Told on the loop when a database stops taking rows, and when it takes them again."""
        self._first: set[asyncio.Task[None]] = set()
        self._flushes: dict[int, asyncio.Future[None]] = {}
        self._room: asyncio.Future[None] | None = None
        self._writers: dict[str, Writer] = {}
        self._expected: set[str] = set()
        self._errors = ErrorFiles(self._err_dir)
        self._settings: dict[tuple[str, str], StreamSettings] = {}
        self._directories: tuple[Path, Path, Path] | None = None
        self._names: dict[str, str] = {}
        self._opening = asyncio.Lock()
        self._stopped = False
        self.keeper: BatchKeeper | None = None
        self.put_counts: Callable[[], Iterable[StreamCounts]] = tuple
        """Counters of PUT in file mode, which ``streams`` shows too."""
        self.map_rows: MapRows | None = None
        """Applies the mapping policy that rows name as their instructions; None = they are taken as they are."""

    @property
    def limit_bytes(self) -> int:
        """Readings that may be in memory before new ones are refused."""
        return self._limits["limit_bytes"]

    @property
    def pipeline(self) -> Pipeline:
        """Raises JournalError before ``start`` and after ``stop``."""
        if self._pipeline is None:
            raise JournalError("the journal is not open")
        return self._pipeline

    @property
    def journal_directory(self) -> Path:
        """Where the journal is, or will be."""
        return self._journal_dir()

    @property
    def refusal(self) -> str:
        """Why the last payload could not be made durable; empty when it was."""
        return self._tickets.refusal

    def rejection(self, dbms: str, table: str) -> str:
        """Why the last row of a table that was kept out did not fit; empty when none was."""
        return self._errors.last_reason(dbms, table)

    # ---- life

    async def start(self) -> None:
        """Open the journal; does nothing when it is open.

        Raises JournalError when another node uses it or it is damaged, StorageFullError.
        """
        async with self._opening:
            if self._pipeline is not None:
                return
            self._loop = asyncio.get_running_loop()
            pipeline = await asyncio.to_thread(self._open)
            self._pipeline = pipeline
            pipeline.set_by_origin(self.keeper is not None)
            for dbms in self._expected:
                pipeline.expect(dbms, True)
            self.conditions.attach(pipeline)
            self._archiver = Archiver(pipeline)
            self._archiver.set_keeper(self.keeper)
            self._archiver.start()
            self._stopped = False
            for settings in self._settings.values():
                self._put(settings)
            self._loop.add_reader(pipeline.fileno(), self._resolve)
            self._set_filing()

    def _open(self) -> Pipeline:
        directory = self._journal_dir()
        try:
            directory.mkdir(parents=True, exist_ok=True)
        except OSError as problem:
            hint = "the node needs a directory that it may write for its journal"
            raise JournalError(f"{directory}: {problem.strerror or problem}", hint=hint) from problem
        pipeline = Pipeline(directory, timezone=self._timezone, sync_delay_us=self.brake.sync_delay_us, **self._limits)
        try:
            self._journal_id = _id_of(directory)  # the journal's lock is ours: nobody else makes one
        except OSError as problem:
            pipeline.close()
            raise JournalError(f"{directory}: {problem.strerror or problem}") from problem
        return pipeline

    def _journal_dir(self) -> Path:
        return self._directory() if callable(self._directory) else self._directory

    async def stop(self) -> None:
        """Store what was accepted, close the journal. Idempotent."""
        self._stopped = True
        await self.conditions.stop()
        self.conditions.attach(None)
        if self._pipeline is None:
            return
        if self._filer is not None:
            await asyncio.to_thread(self._filer.stop)
            self._filer = None
        for dbms in list(self._writers):
            await self.detach(dbms)
        if self._archiver is not None:
            await asyncio.to_thread(self._archiver.stop)
            self._archiver = None
        await asyncio.to_thread(self._pipeline.close)
        self._resolve()
        self._fail_flushes(JournalError("the node stops"))
        asyncio.get_running_loop().remove_reader(self._pipeline.fileno())
        self._pipeline = None
        self._give_room()

    # ---- entry

    async def submit(
        self,
        dbms: str,
        table: str,
        payload: bytes,
        *,
        source: str = "0",
        instructions: str = "0",
        wait: bool = False,
    ) -> Stored:
        """Take rows for a table; returns when they are durable (at the level in force), or stored (write_immediate).

        Args:
            wait: wait for room instead of raising OverloadedError.

        Raises PayloadError (nothing stored), OverloadedError, StorageFullError, JournalError, EdgeLakeError 119 for
        names that cannot stand in a file name.
        """
        if self._pipeline is None and not self._stopped:
            await self.start()
        if instructions == "0" or self.map_rows is None:
            return await self._submit(dbms, table, payload, source, instructions, wait)
        check_part(instructions, "instructions")
        return await self._submit_mapped(self._name(dbms), self._name(table), payload, source, instructions, wait)

    async def _submit_mapped(
        self, dbms: str, table: str, payload: bytes, source: str, instructions: str, wait: bool
    ) -> Stored:
        """Rows that name a mapping policy."""
        assert self.map_rows is not None
        if source != "0":
            check_part(source, "source")
        mapped = await self.map_rows(dbms, table, payload, instructions)
        rows, declared = mapped.rows, [*mapped.declared]
        stored = Stored(0)
        if rows is None:
            self.pipeline.declare(dbms, table, declared)
            stored = await self._submit(dbms, table, payload, source, instructions, wait)
        elif len(rows):

            def take(pipeline: Pipeline) -> list[int]:
                return [pipeline.submit_rows(dbms, table, rows, declared, source, instructions)]

            stored = (await self.submit_native(take, len(payload), wait=wait))[0]
        if not mapped.rejected:
            return stored
        name = FileName(dbms, table, source, "0", instructions)
        await asyncio.to_thread(self._keep_unmapped, name, mapped)
        return Stored(stored.rows, stored.rejected + len(mapped.rejected), mapped.rejected[0][1])

    def _keep_unmapped(self, name: FileName, mapped: MappedRows) -> None:
        failure = MappingError(f"elements that mapping policy {name.instructions} does not fit")
        lines = b"".join(line + b"\n" for line, _ in mapped.rejected)
        self._errors.add(name, failure, lines, [reason for _, reason in mapped.rejected])

    async def submit_native(self, take: Take, payload_bytes: int, *, wait: bool = False) -> list[Stored]:
        """Hand rows to the pipeline in their native form; returns what became of each ticket when all are durable.

        Args:
            take: is run in another thread when the payload is large.
            wait: wait for room instead of raising OverloadedError.

        Raises OverloadedError, StorageFullError, JournalError; other tickets may be kept then.
        """
        if self._pipeline is None and not self._stopped:
            await self.start()
        while True:
            try:
                if payload_bytes > LARGE_BYTES:
                    waiting = await self._take_aside(take)
                else:
                    waiting = [self._tickets.future(ticket) for ticket in take(self.pipeline)]
                return await asyncio.gather(*waiting)
            except OverloadedError as refused:
                self._tickets.refusal = str(refused)
                if not wait:
                    raise
                await self.room(payload_bytes)

    async def _take_aside(self, take: Take) -> list[asyncio.Future[Stored]]:
        with self._tickets.aside():
            tickets = await asyncio.to_thread(take, self.pipeline)
            return [self._tickets.future(ticket) for ticket in tickets]

    async def _submit(
        self, dbms: str, table: str, payload: bytes, source: str, instructions: str, wait: bool
    ) -> Stored:
        while True:
            try:
                ticket = self._taken(dbms, table, payload, source, instructions)
                break
            except OverloadedError:
                if not wait:
                    raise
                await self.room(len(payload))
        return await self._tickets.future(ticket)

    def submit_then(self, dbms: str, table: str, payload: bytes, source: str, instructions: str, then: Then) -> None:
        """As ``submit``, with a callback instead of a coroutine: for entries that take single readings."""
        if self._pipeline is not None and (instructions == "0" or self.map_rows is None):
            self._tickets.then(self._taken(dbms, table, payload, source, instructions), then)
            return

        async def first() -> None:  # opens the journal, or maps
            try:
                stored = await self.submit(dbms, table, payload, source=source, instructions=instructions)
            except Exception as failure:  # noqa: BLE001 - a fault too must reach the entry: its client waits
                then(None, failure)
            else:
                then(stored, None)

        task = asyncio.get_running_loop().create_task(first())
        self._first.add(task)
        task.add_done_callback(self._first.discard)

    def _taken(self, dbms: str, table: str, payload: bytes, source: str, instructions: str) -> int:
        """The ticket of a payload that the pipeline took."""
        if source != "0":
            check_part(source, "source")
        if instructions != "0":
            check_part(instructions, "instructions")
        try:
            return self.pipeline.submit(self._name(dbms), self._name(table), payload, source, instructions)
        except OverloadedError as refused:
            self._tickets.refusal = str(refused)
            raise

    def _name(self, name: str) -> str:
        """A database's or table's name as it stands in databases and files (spec: ingestion, section 8)."""
        known = self._names.get(name)
        if known is None:
            known = _rust.sanitize_name(name)
            if len(self._names) >= KNOWN_NAMES:
                self._names.clear()
            self._names[name] = known
        return known

    async def room(self, payload_bytes: int = 0) -> None:
        """Returns when a payload of this size would be taken."""
        while not self.pipeline.has_room(payload_bytes):
            if self._room is None:
                self._room = asyncio.get_running_loop().create_future()
            await asyncio.shield(self._room)

    def _give_room(self) -> None:
        if self._room is not None:
            self._room.set_result(None)
            self._room = None

    def _resolve(self) -> None:
        for ticket in self._tickets.settle(self.pipeline.completions()):
            if ticket == ROOM:
                self._give_room()
            elif ticket == ACTIONS:
                self.conditions.acted()
            elif (flush := self._flushes.pop(ticket, None)) is not None and not flush.done():
                flush.set_result(None)

    # ---- databases

    async def attach(self, store: Store) -> None:
        """Store this database's rows from now on, those that wait in the journal first."""
        await self.start()
        assert self._archiver is not None
        writer = Writer(self.pipeline, store, self, self._archiver, self._errors)
        writer.slow_us_per_row = self.brake.us_per_row
        await asyncio.to_thread(writer.start)
        self._writers[store.dbms] = writer

    async def detach(self, dbms: str) -> None:
        """Store what is due and stop storing; no error when nothing was attached."""
        writer = self._writers.pop(dbms, None)
        if writer is not None:
            await asyncio.to_thread(writer.stop)

    def expect(self, dbms: str, wanted: bool) -> None:
        """A database is about to be attached (its server is away), or no longer: its rows wait in the journal."""
        (self._expected.add if wanted else self._expected.discard)(dbms)
        if self._pipeline is not None:
            self._pipeline.expect(dbms, wanted)

    def schema_changed(self, dbms: str, table: str, schema: list[tuple[str, str, bool]] | None) -> None:
        """Parse later payloads with a table's columns as they are now (None = it was dropped). In any thread."""
        if dbms in self._writers and self._pipeline is not None:
            self._pipeline.set_schema(dbms, table, schema)

    def writer(self, dbms: str) -> Writer | None:
        return self._writers.get(dbms)

    async def flush(self) -> None:
        """Make everything due; returns when what is here now is stored, as far as a database or a file takes it.

        Raises EdgeLakeError or OSError when it cannot be stored now (it stays in the journal then).
        """
        if self._pipeline is None:
            return
        ticket = self._pipeline.flush_all()
        self._flushes[ticket] = asyncio.get_running_loop().create_future()
        await self._flushes[ticket]

    # ---- what writers ask (``ingest.writer.Rules``), in their threads

    def widens(self, dbms: str, table: str) -> bool:
        return bool(in_force([*self._settings.values()], dbms, table).widening)

    def call(self, work: Callable[[], None]) -> None:
        assert self._loop is not None
        self._loop.call_soon_threadsafe(work)

    def failed(self, problem: Exception) -> None:
        self.call(lambda: self._fail_flushes(problem))

    def report(self, text: str) -> None:
        self.call(lambda: self.on_report(text))

    def _fail_flushes(self, problem: Exception) -> None:
        flushes, self._flushes = self._flushes, {}
        for waiting in flushes.values():
            if not waiting.done():
                waiting.set_exception(problem)

    # ---- operator and streamer

    def set_storing(self, keeper: BatchKeeper | None) -> None:
        """Who books batches from now on; None when the operator stops.

        Rows that wait for an operator are let go when the writers know it: one that is quick would store them unbooked.
        """
        if self._pipeline is not None and keeper is not None:
            self._pipeline.set_by_origin(True)
        self.keeper = keeper
        if self._archiver is not None:
            self._archiver.set_keeper(keeper)
        if self._pipeline is not None and keeper is not None:
            self._pipeline.unreserve()
        elif self._pipeline is not None:
            self._pipeline.set_by_origin(False)
        self._set_filing()

    def set_directories(self, prep: Path, watch: Path, err: Path) -> None:
        """Where files of rows that nobody stores go, and rows that were kept out."""
        self._directories = (prep, watch, err)
        self._set_filing()

    def _set_filing(self) -> None:
        """Rows without a database become files while directories are set and no operator runs."""
        if self._pipeline is None or self._directories is None:
            return
        if self._filer is None or self._filer.watch != self._directories[1]:
            if self._filer is not None:
                self._filer.end()
            self._filer = Filer(self._pipeline, self._directories[1], self._journal_id, self.failed)
            self._filer.start()
        self._pipeline.set_filing(self.keeper is None)

    def _err_dir(self) -> Path:
        if self.keeper is not None:
            return self.keeper.config.err_dir
        return self._directories[2] if self._directories else self._journal_dir().parent / "error"

    # ---- settings and counters

    def settings(self) -> Sequence[StreamSettings]:
        """Settings of every scope that has any; the node's first."""
        return [self._settings[scope] for scope in sorted(self._settings)]

    def apply(self, settings: StreamSettings) -> None:
        """Replace the settings of a scope; one without values removes it. In force for the next buffer."""
        scope = (settings.dbms, settings.table)
        known = {key: one for key, one in self._settings.items() if key != scope}
        if settings != StreamSettings(*scope):
            known[scope] = settings
        self._settings = known  # replaced whole: writers read it
        self._put(settings)

    def _put(self, settings: StreamSettings) -> None:
        if self._pipeline is None:
            return
        threshold = settings.threshold
        wanted = (threshold.time_s, threshold.volume_bytes, threshold.write_immediate) if threshold else None
        self._pipeline.set_threshold(settings.dbms, settings.table, wanted)
        self._pipeline.set_level(settings.dbms, settings.table, settings.durability)

    def streams(self) -> Sequence[StreamCounts]:
        """Counters by table, PUT in file mode among them."""
        now = time.time()
        found = {(one.dbms, one.table): one for one in self.put_counts()}
        for stats in self._pipeline.stats() if self._pipeline is not None else ():
            key = str(stats["dbms"]), str(stats["table"])
            number = {name: int(value) for name, value in stats.items() if name not in ("dbms", "table")}
            put = found.get(key, StreamCounts(*key))
            if not (number["calls"] or number["recovered"]):
                continue
            last_s = now - number["idle_ms"] / 1000 if number["calls"] else 0.0
            found[key] = replace(
                put,
                calls=number["calls"],
                rows=number["rows"],
                cached_rows=number["pending"],
                cached_bytes=number["cached_bytes"],
                age_s=number["age_ms"] / 1000,
                immediate_rows=number["immediate"],
                stored_rows=number["stored"],
                rejected_rows=number["rejected"],
                recovered_rows=number["recovered"],
                last_s=max(put.last_s, last_s),
            )
        return [found[key] for key in sorted(found)]

    def totals(self) -> StreamTotals:
        """Rows that wait now, and rows stored since the start."""
        streams = self.streams()
        return StreamTotals(sum(one.cached_rows for one in streams), sum(one.stored_rows for one in streams))

    def status(self) -> Status:
        errors = [writer.last_error for writer in self._writers.values()]
        errors += [part.last_error for part in (self._archiver, self._filer) if part is not None]
        counters: dict[str, int | float] = {}
        if self._pipeline is not None:
            counters = {
                "memory_bytes": self._pipeline.occupied_bytes(),
                "journal_bytes": self._pipeline.journal_bytes(),
            }
        return Status(
            "Ingest", self._pipeline is not None, last_error="; ".join(filter(None, errors)), counters=counters
        )


def _id_of(journal: Path) -> str:
    """What keeps equal positions of two journals apart, on other machines too. It lasts as long as the journal."""
    path = journal / "id"
    with contextlib.suppress(FileNotFoundError):
        return path.read_text()
    made = secrets.token_hex(16)
    write_whole(path, made.encode())
    return made
