"""The rows of one JSON file into its table, each exactly once whenever the node dies.

A short file is one transaction. A longer one goes in blocks, each a transaction of its own that also says how far the
file is: others' rows get in between, memory stays bounded, and after a crash the next run goes on behind the last
block. Source: spec "Ingestion", sections 7 and 14.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Sequence

from msgspec import Struct
from msgspec.structs import replace

from edgelake._rust import Rows
from edgelake.errors import EdgeLakeError, StorageFullError
from edgelake.ingest.counters import OperatorCounters
from edgelake.ingest.rejects import Rejects
from edgelake.ingest.source import Blocks, Content, RetryLater, SourceFile
from edgelake.ingest.streaming import MapRows
from edgelake.store.catalogue import SchemaColumns, user_schema
from edgelake.store.engine import refuses_rows
from edgelake.store.insert import Inserted, Insertion
from edgelake.store.store import Store

log = logging.getLogger(__name__)

MISSING_TABLE = 171  # and none may be made: nothing of the file goes anywhere


class RowStamp(Struct, frozen=True):
    """What the rows of a file carry and may do to their table. ``time_us``: of the batch; 0 = now."""

    tsd_name: str = "0"
    tsd_id: int = 0
    time_us: int = 0
    create: bool = True
    widen: bool = True


class Load:
    """One file into its table. What does not fit goes to ``rejects``.

    Args:
        map_rows: applies the mapping policy that the file's name tells; None = its rows are taken as they are.
    """

    def __init__(
        self,
        store: Store,
        source: SourceFile,
        content: Content,
        stamp: RowStamp,
        rejects: Rejects,
        counters: OperatorCounters,
        map_rows: MapRows | None = None,
    ) -> None:
        self._map_rows = map_rows
        self._store = store
        self._source = source
        self._content = content
        self._stamp = stamp
        self._rejects = rejects
        self._counters = counters
        self._now_us = stamp.time_us or time.time_ns() // 1000

    async def run(self) -> None:
        """Insert what the database has not yet. Raises EdgeLakeError from it, RetryLater, OSError from the folders."""
        if self._content.short is not None:
            payload, rows = self._content.short
            await self._insert(payload, rows, 0)
            return
        done_rows, stored = await self._progress()
        if done_rows:
            log.info("%s: %d of its %d rows were there", self._source.path.name, done_rows, self._content.rows)
        if stored < done_rows:
            await self._reject_again(done_rows)
        blocks = Blocks(self._source, done_rows)
        while (block := await asyncio.to_thread(blocks.next)) is not None:
            self._source.check_unchanged()
            await self._insert(*block, done_rows)
            done_rows += len(block[1])

    async def _insert(self, payload: bytes, rows: Rows, first_row: int) -> None:
        after = first_row + len(rows)
        payload, rows, declared = await self._mapped(payload, rows)
        if not len(rows) and self._content.short is not None:
            return  # the policy kept all out, the file is refused
        stamp, name = self._stamp, self._source.name
        wanted = Insertion(
            name.table,
            rows,
            self._now_us,
            tsd_name=stamp.tsd_name,
            tsd_id=stamp.tsd_id,
            marker=self._source.marker(self._content.hash, after if after < self._content.rows else None),
            create=stamp.create,
            columns=self._content.columns,
            declared=declared,
            widen=stamp.widen,
        )
        done = await self._stored(wanted)
        if done.replayed:
            log.info("%s: its rows were committed before, it is only archived", self._source.path.name)
            await self._reject(payload, self._misfits(rows), first_row)
            return
        self._counters.inserted(name.dbms, name.table, done.rows, done.seconds, partitions=done.partitions)
        self._counters.rejected_rows += len(done.rejected)
        await self._reject(payload, done.rejected, first_row)

    async def _mapped(self, payload: bytes, rows: Rows) -> tuple[bytes, Rows, SchemaColumns]:
        """A block after the file's mapping policy, and the types that it declares; what it keeps out is rejected."""
        if self._map_rows is None:
            return payload, rows, []
        name = self._source.name
        mapped = await self._map_rows(name.dbms, name.table, payload, name.instructions)
        if mapped.rejected:
            await asyncio.to_thread(self._rejects.add_lines, mapped.rejected)
            self._counters.rejected_rows += len(mapped.rejected)
        if mapped.rows is None:
            return payload, rows, [*mapped.declared]
        return await asyncio.to_thread(mapped.rows.to_json_lines), mapped.rows, [*mapped.declared]

    async def _stored(self, wanted: Insertion) -> Inserted:
        """Insert; rows that the database refuses for good are kept out, as those that fit no column are."""
        try:
            return await self._store.insert(wanted, synchronous="FULL")
        except EdgeLakeError as problem:
            if isinstance(problem, StorageFullError) or problem.number == MISSING_TABLE:
                raise
            if not refuses_rows(problem):
                raise RetryLater(f"{self._source.path.name}: {problem}") from problem
        try:
            return await self._store.insert(wanted, synchronous="FULL", sparing=True)
        except EdgeLakeError as problem:
            if not refuses_rows(problem):
                raise
            # The rows at fault cannot be told from the others (a trigger that ends the transaction).
            return await self._store.insert(replace(wanted, refusal=problem), synchronous="FULL")

    async def _progress(self) -> tuple[int, int]:
        """Rows of the file that an earlier run dealt with, and how many of them it stored."""
        marker = self._source.marker(self._content.hash)
        sql = "SELECT coalesce(rows, ?), coalesce(stored, 0) FROM _edgelake_files WHERE name = ? AND hash = ?"
        values = (self._content.rows, marker.name, marker.hash)
        found: tuple[int, int] | None = await self._store.read(lambda db: db.execute(sql, values).fetchone())
        return found or (0, 0)

    async def _reject_again(self, done_rows: int) -> None:
        """Find the rejected rows of blocks that an earlier run committed."""
        blocks, first_row = Blocks(self._source), 0
        while first_row < done_rows and (block := await asyncio.to_thread(blocks.next)) is not None:
            payload, rows, _ = await self._mapped(*block)
            rejected = await asyncio.to_thread(self._misfits, rows)
            await self._reject(payload, [one for one in rejected if first_row + one[0] < done_rows], first_row)
            first_row += len(block[1])

    def _misfits(self, rows: Rows) -> Sequence[tuple[int, str]]:
        _, rejected = rows.fit(user_schema(self._store.table(self._source.name.table)), self._now_us)
        return rejected

    async def _reject(self, payload: bytes, rejected: Sequence[tuple[int, str]], first_row: int) -> None:
        if rejected:
            await asyncio.to_thread(self._rejects.add, payload, rejected, first_row)
