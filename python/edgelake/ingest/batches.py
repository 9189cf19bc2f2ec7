"""Flushed batches of streamed rows while an operator runs: their TSD row, the name of their archive file, their count.

The archive file is written behind the commit (``ingest.archiver``). Each step may be repeated after a crash: the hash
of a batch is made of the journal position of its first record, so that the same rows get the same TSD row and the same
file again.
Source: spec "Ingestion", sections 5, 10 and 12.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from msgspec import Struct

from edgelake.errors import EdgeLakeError, PayloadError
from edgelake.ingest import filing
from edgelake.ingest.counters import OperatorCounters
from edgelake.ingest.members import archived_file, name_of_entry
from edgelake.ingest.names import INSERTED, FileName, batch_hash
from edgelake.ingest.numbers import OwnNumbers
from edgelake.ingest.outbox import Outbox
from edgelake.ingest.settings import OperatorConfig
from edgelake.store.batches import StoredBatch
from edgelake.store.insert import Inserted
from edgelake.store.tsd import TSD_DBMS, FileEntry, TsdTable


class Batch(Struct, frozen=True):
    """A flush of one table, of one origin.

    Attributes:
        position: journal position of its first record; with the node's id it names the batch for ever.
        time_us: arrival of its first record, Unix microseconds: the same when the batch is flushed again.
        immediate: its rows are stored before their acknowledgement.
    """

    dbms: str
    table: str
    position: int
    time_us: int
    source: str = "0"
    instructions: str = "0"
    immediate: bool = False


class Stamp(Struct, frozen=True):
    """What the rows of a batch carry: TSD member and row id (``0`` without TSD); hash and archive file of the batch.

    ``time_us``: their insert_timestamp, where other members have to give them the same; 0 = the time of the insert.
    """

    tsd_name: str
    tsd_id: int
    file_hash: str
    path: Path | None
    time_us: int = 0


class BatchKeeper:
    """Books batches for the operator. ``node_id`` is what makes positions unique over nodes.

    ``stamp``, ``set_rows`` and ``hand_on`` are called from writers' threads, ``count`` on the loop.

    Args:
        outbox: where files of batches go on to the other members; None = they do not.
        numbers: holds back numbers that another file may have.
    """

    def __init__(
        self,
        config: OperatorConfig,
        stores: Any,
        counters: OperatorCounters,
        node_id: str,
        outbox: Outbox | None = None,
        numbers: OwnNumbers | None = None,
    ) -> None:
        self._numbers = numbers
        self.config = config
        self._stores = stores
        self._counters = counters
        self._node_id = node_id
        self._outbox = outbox

    def stamp(self, batches: Sequence[Batch]) -> list[Stamp]:
        """Before the insert: enter the batches in tsd_info. The same batch gets the same row again."""
        hashes = [batch_hash(b.dbms, b.table, self._node_id, b.position, b.time_us) for b in batches]
        if not self.config.update_tsd_info:
            return [self._stamp(b, h, 0) for b, h in zip(batches, hashes, strict=True)]
        if self._numbers is not None:
            self._numbers.wait()
        entries = [
            FileEntry(b.dbms, b.table, h, b.source, b.instructions, b.time_us)
            for b, h in zip(batches, hashes, strict=True)
        ]
        ids = self._tsd().add_many_blocking(entries)
        return [self._stamp(*of_batch) for of_batch in zip(batches, hashes, ids, strict=True)]

    def _stamp(self, batch: Batch, file_hash: str, tsd_id: int) -> Stamp:
        config = self.config
        path, date = None, filing.tsd_date(batch.time_us)
        # Without an archive the file is for the other members alone; with none of them the table has its rows.
        if config.archive_json or (self._outbox is not None and tsd_id and self._outbox.takes()):
            name = FileName(batch.dbms, batch.table, batch.source, file_hash, batch.instructions)
            if tsd_id:
                member = INSERTED if batch.immediate and config.archive_json else config.member
                name = name.with_tsd(member, tsd_id, date)
            folder = filing.day_folder(config.archive_dir, datetime.fromtimestamp(batch.time_us / 1e6, UTC))
            if not config.archive_json:
                folder = config.distr_dir
            path = folder / f"{name.text()}{'.gz' if config.compress_json else ''}"
        time_us = filing.date_us(date) if self._outbox is not None and tsd_id else 0
        return Stamp(str(config.member) if tsd_id else "0", tsd_id, file_hash, path, time_us or 0)

    def hand_on(self, batch: StoredBatch) -> None:
        """Its file, which is there, goes to the other members. Raises OSError, EdgeLakeError."""
        if self._outbox is None or not batch.tsd_hash or not batch.rows:
            return
        entry = self._tsd().of_hash_blocking(batch.tsd_hash)
        if entry is None:
            return
        name = name_of_entry(self.config.member, entry)
        found = archived_file(self.config.archive_dir, name)
        if found is not None:
            self._outbox.give(found, name)

    def set_rows(self, rows: Sequence[tuple[str, int]]) -> None:
        """Complete TSD rows: (hash, number of rows)."""
        self._tsd().set_rows_blocking(rows)

    def count(self, batch: Batch, done: Inserted) -> None:
        """After the commit."""
        counters, failure = self._counters, done.refusal
        counters.file(batch.dbms, batch.table, immediate=batch.immediate)
        counters.inserted(
            batch.dbms, batch.table, done.rows, done.seconds, partitions=done.partitions, immediate=batch.immediate
        )
        counters.rejected_rows += len(done.rejected)
        if done.rejected:
            kind = "SQL" if failure is not None and failure.code.startswith("dbms.") else "JSON"
            number, text = (failure.number, failure.text) if failure else (PayloadError.number, done.rejected[0][1])
            counters.failed(kind, batch.dbms, batch.table, number, text)

    def refusal(self, dbms: str, table: str) -> EdgeLakeError | None:
        """Why the rows of a table may not come in; None = they may."""
        return self.config.refusal(dbms, table)

    def _tsd(self) -> TsdTable:
        return TsdTable(self._stores.get(TSD_DBMS))
