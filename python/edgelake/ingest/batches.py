"""Flushed batches of streamed rows while an operator runs: their TSD row, their archive file, their count.

The rows are in the journal until they are safe in the database, so the archive is written behind them, not on their
way. Each step may be repeated after a crash: the hash of a batch is made of its journal position, and an archive file
that is there already is the same batch.
Source: spec "Ingestion", sections 5, 10 and 12.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal

from edgelake.ingest import filing
from edgelake.ingest.counters import OperatorCounters
from edgelake.ingest.names import INSERTED, FileName, batch_hash
from edgelake.ingest.settings import OperatorConfig
from edgelake.store.insert import Inserted
from edgelake.store.tsd import TSD_DBMS, FileEntry, TsdTable


@dataclass(frozen=True, slots=True)
class Batch:
    """A flush of one table.

    Attributes:
        position: the journal position that its rows reach; with the node's id it names the batch for ever.
        time_us: when it was flushed, Unix microseconds; also after a replay the time of the first attempt if known.
        rows: how many it holds.
        immediate: its rows were stored before their acknowledgement.
        content: the rows as JSON lines, read from the journal when they are needed.
    """

    dbms: str
    table: str
    position: int
    time_us: int
    rows: int = 0
    source: str = "0"
    instructions: str = "0"
    immediate: bool = False
    content: Callable[[], Iterable[bytes]] = tuple


@dataclass(frozen=True, slots=True)
class Stamp:
    """What the rows of a batch carry: TSD member and row id (``0`` without TSD), and the archive file's name."""

    tsd_name: str
    tsd_id: int
    name: FileName


class BatchKeeper:
    """Books and archives batches for the operator. ``node_id`` is what makes positions unique over nodes."""

    def __init__(self, config: OperatorConfig, stores: Any, counters: OperatorCounters, node_id: str) -> None:
        self._config = config
        self._stores = stores
        self._counters = counters
        self._node_id = node_id

    async def stamp(self, batch: Batch) -> Stamp:
        """Before the insert: enter the batch in tsd_info. The same batch gets the same row again."""
        config = self._config
        file_hash = batch_hash(batch.dbms, batch.table, self._node_id, batch.position)
        name = FileName(batch.dbms, batch.table, batch.source, file_hash, batch.instructions)
        if not config.update_tsd_info:
            return Stamp("0", 0, name)
        entry = FileEntry(batch.dbms, batch.table, file_hash, batch.source, batch.instructions, batch.time_us)
        tsd_id = await self._tsd().add(entry)
        member: int | Literal["@"] = INSERTED if batch.immediate else config.member
        return Stamp(str(config.member), tsd_id, name.with_tsd(member, tsd_id, filing.tsd_date(batch.time_us)))

    async def committed(self, batch: Batch, stamp: Stamp, done: Inserted) -> None:
        """After the commit: count the rows, complete the TSD row, write the archive file.

        Raises OSError when the archive cannot be written: call again, nothing is counted twice.
        """
        if self._config.archive_json and done.rows + len(done.rejected):
            await asyncio.to_thread(self._archive, batch, stamp)
        if stamp.tsd_id:
            rows = batch.rows - len(done.rejected) if done.replayed else done.rows
            await self._tsd().set_rows(stamp.name.hash, rows)
        if done.replayed:
            return
        self._counters.file(batch.dbms, batch.table, immediate=batch.immediate)
        self._counters.inserted(
            batch.dbms, batch.table, done.rows, done.seconds, partitions=done.partitions, immediate=batch.immediate
        )
        self._counters.rejected_rows += len(done.rejected)
        if done.rejected:
            self._counters.failed("JSON", batch.dbms, batch.table, 6, done.rejected[0][1])

    def _tsd(self) -> TsdTable:
        return TsdTable(self._stores.get(TSD_DBMS))

    def _archive(self, batch: Batch, stamp: Stamp) -> None:
        day = datetime.fromtimestamp((batch.time_us or time.time_ns() // 1000) / 1e6, UTC)
        folder = filing.day_folder(self._config.archive_dir, day)
        folder.mkdir(parents=True, exist_ok=True)
        compress = self._config.compress_json
        target = folder / f"{stamp.name.text()}{'.gz' if compress else ''}"
        if not target.exists():
            filing.write_file(target, iter(batch.content()), compress=compress)
