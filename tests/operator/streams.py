"""The streaming face without a journal: settings and counters are real, rows are only counted."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

from edgelake import _rust
from edgelake.ingest.batches import BatchKeeper
from edgelake.ingest.streaming import StreamCounts, StreamSettings, StreamTotals
from edgelake.model import Stored


class Streams:
    """Keeps what it is told."""

    def __init__(self) -> None:
        self._settings: dict[tuple[str, str], StreamSettings] = {}
        self.found: list[StreamCounts] = []
        self.flushes = 0
        self.directories: tuple[Path, ...] = ()
        self.keeper: BatchKeeper | None = None

    def settings(self) -> Sequence[StreamSettings]:
        return [self._settings[key] for key in sorted(self._settings)]

    def apply(self, settings: StreamSettings) -> None:
        key = (settings.dbms, settings.table)
        if settings == StreamSettings(*key):
            self._settings.pop(key, None)
        else:
            self._settings[key] = settings

    def streams(self) -> Sequence[StreamCounts]:
        return self.found

    def totals(self) -> StreamTotals:
        return StreamTotals(236, 701)

    async def flush(self) -> None:
        self.flushes += 1

    def set_directories(self, prep: Path, watch: Path, err: Path) -> None:
        self.directories = (prep, watch, err)

    def set_storing(self, keeper: BatchKeeper | None) -> None:
        self.keeper = keeper

    async def submit(
        self, dbms: str, table: str, payload: bytes, *, source: str = "0", instructions: str = "0"
    ) -> Stored:
        rows = len(_rust.Rows.parse(payload))
        self.found.append(StreamCounts(dbms, table, calls=1, rows=rows, cached_rows=rows, last_s=time.time()))
        return Stored(rows)
