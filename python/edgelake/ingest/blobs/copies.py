"""Blobs of rows that other members of the cluster took in: their contents follow the rows.

A member keeps a blob before its row goes to the others, so whoever has the row can have the blob. Which rows have been
looked at is kept in a file, and written when their blobs are here: after a crash they are looked at again.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from edgelake.durable import make_folder, write_whole
from edgelake.errors import BlobDamagedError, EdgeLakeError
from edgelake.ingest.blobs.names import BlobName
from edgelake.model import Status
from edgelake.service import Streak

log = logging.getLogger(__name__)

ROUND_S: Final = 10.0
ROWS: Final = 500
"""Rows that are looked at between two writes of the file."""

NAMED: Final = 1000
"""Blobs that no member has any more, or has damaged, are named in the log up to here."""


@dataclass(frozen=True, slots=True)
class BlobColumn:
    """A column whose values are ids of blobs."""

    dbms: str
    table: str
    column: str

    @property
    def key(self) -> str:
        return f"{self.dbms}.{self.table}.{self.column}"

    def blob(self, value: object) -> BlobName | None:
        """The blob that a row names; None for what is no id."""
        return BlobName.parse(f"{self.dbms}.{self.table}.{value}") if isinstance(value, str) else None


class BlobCopies:
    """Brings the blobs of others here, round by round.

    Args:
        columns: columns that name blobs, at the moment.
        members: numbers of the other members.
        rows: of a select; for one database.
        fetch: brings a blob here: True when it came, None when it was here, False when no member has it any more.
            Raises BlobDamagedError when it is damaged wherever it is, EdgeLakeError when some member that may have it
            does not answer.
        is_active: whether anything is to be asked for now.
        clear: removes what a killed node left of blobs that were on their way; in a thread.
        state: the file that tells what has been looked at.
    """

    name = "blob copies"

    def __init__(
        self,
        columns: Callable[[], Iterable[BlobColumn]],
        members: Callable[[], Sequence[int]],
        rows: Callable[[str, str], AsyncIterator[dict[str, Any]]],
        fetch: Callable[[BlobName], Awaitable[bool | None]],
        is_active: Callable[[], bool],
        clear: Callable[[], None],
        state: Path,
    ) -> None:
        self._columns, self._members, self._rows, self._fetch = columns, members, rows, fetch
        self._is_active, self._clear = is_active, clear
        self._state = state
        self._marks: dict[str, int] = {}
        self._runner: asyncio.Task[None] | None = None
        self._wake = asyncio.Event()
        self._streak = Streak()
        self._since_us = 0
        self.copied = self.lost = 0
        self.last_error = ""

    # ---- life

    async def start(self) -> None:
        """Go on where it ended. Raises OSError for a state that cannot be read; a damaged one counts as none."""
        await asyncio.to_thread(self._clear)
        self._marks = await asyncio.to_thread(self._read)
        self._since_us = time.time_ns() // 1000
        self._runner = asyncio.create_task(self._run(), name=self.name)

    async def stop(self) -> None:
        """Idempotent."""
        runner, self._runner, self._since_us = self._runner, None, 0
        if runner is not None:
            runner.cancel()
            await asyncio.gather(runner, return_exceptions=True)

    def status(self) -> Status:
        """It belongs to the consumer, and ends with it."""
        counters: dict[str, int | float] = {"blobs_copied": self.copied, "blobs_lost": self.lost}
        return Status("Consumer", self._runner is not None, "", self._since_us, self.last_error, counters)

    # ---- rounds

    async def _run(self) -> None:
        while True:
            try:
                for column in self._columns() if self._is_active() else ():
                    await self._follow(column)
                self.last_error = ""
                self._streak.worked()
            except EdgeLakeError as failure:
                self._fails(str(failure))
            except Exception as fault:
                log.exception("copies of blobs")
                self._fails(f"{type(fault).__name__}: {fault}")
            self._wake.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(ROUND_S):
                    await self._wake.wait()

    def force(self) -> None:
        """Begin a round now."""
        self._wake.set()

    def _fails(self, problem: str) -> None:
        self.last_error = problem
        if self._streak.failed():
            log.warning("copies of blobs: %s; the node tries again", problem)

    async def _follow(self, column: BlobColumn) -> None:
        """Get the blobs of rows that have come since the last time. Raises EdgeLakeError."""
        members = ", ".join(f"'{number}'" for number in self._members())
        if not members:
            return
        mark = await self._mark(column)
        while True:
            sql = (
                f'select row_id, "{column.column}" as blob from {column.dbms}.{column.table} where row_id > {mark}'
                f' and tsd_name in ({members}) and "{column.column}" is not null order by row_id limit {ROWS}'
            )
            found = [(int(row["row_id"]), row["blob"]) async for row in self._rows(sql, column.dbms)]
            for row_id, value in found:
                if (name := column.blob(value)) is not None:
                    await self._bring(name)
                mark = row_id
            if found:
                self._marks[column.key] = mark
                await asyncio.to_thread(self._write)
            if len(found) < ROWS:
                return

    async def _mark(self, column: BlobColumn) -> int:
        """The row up to which all is done; from the beginning for a table that was made anew."""
        mark = self._marks.get(column.key, 0)
        if mark:
            sql = f"select max(row_id) as last from {column.dbms}.{column.table}"
            async for row in self._rows(sql, column.dbms):
                if row["last"] is None or int(row["last"]) < mark:
                    return 0
        return mark

    async def _bring(self, name: BlobName) -> None:
        try:
            found = await self._fetch(name)
        except BlobDamagedError as damage:
            self._loses("the blob %s does not come: %s", name.file, damage)
            return
        self.copied += found is True
        if found is False:
            self._loses("no member of the cluster has the blob %s any more", name.file)

    def _loses(self, text: str, *values: object) -> None:
        """The rows behind it go on."""
        self.lost += 1
        if self.lost <= NAMED:
            log.warning(text, *values)

    # ---- state

    def _read(self) -> dict[str, int]:
        try:
            found = json.loads(self._state.read_bytes())
            return {str(key): int(mark) for key, mark in found.items()}
        except FileNotFoundError:
            return {}
        except (ValueError, AttributeError, TypeError) as damage:
            log.error("%s is damaged, all rows are looked at again: %s", self._state, damage)
            return {}

    def _write(self) -> None:
        make_folder(self._state.parent)
        write_whole(self._state, json.dumps(self._marks).encode())
