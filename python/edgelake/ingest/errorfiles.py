"""Rows that were kept out of their table, as files of the error folder with the reasons beside them.

A file takes rows until it has 1 MiB or is a minute old, so that a source that sends nonsense for days makes neither
endless files nor one file for each row. What was added is on the disk when ``add`` returns; rows may stand there twice
after a crash, never not at all. Source: spec "Ingestion", sections 8, 12 and 14.
"""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path

from msgspec import Struct, field

from edgelake.durable import sync_directory
from edgelake.errors import EdgeLakeError
from edgelake.ingest import filing
from edgelake.ingest.names import FileName

FILE_BYTES = 1 << 20
FILE_AGE_S = 60.0
TABLES_KNOWN = 4096
REASONS = 100  # of one file; the number of rows goes on


class _File(Struct):
    """A file that takes rows."""

    path: Path
    since: float
    rows: int = 0
    bytes: int = 0
    reasons: list[dict[str, object]] = field(default_factory=list)


class ErrorFiles:
    """Takes rows that were kept out. May be used in any thread.

    Args:
        folder: the error folder at the moment; made when it is missing.
    """

    def __init__(self, folder: Callable[[], Path]) -> None:
        self._folder = folder
        self._files: dict[tuple[FileName, int], _File] = {}
        self._lock = threading.Lock()
        self._reasons: dict[tuple[str, str], str] = {}

    def add(self, name: FileName, failure: EdgeLakeError, lines: bytes, reasons: Sequence[str]) -> None:
        """Add rows (JSON lines) of a table and origin, with the reason of each. Raises OSError."""
        with self._lock:
            if len(self._reasons) >= TABLES_KNOWN:
                self._reasons.clear()
            self._reasons[name.dbms, name.table] = f"{failure.text}: {reasons[-1] if reasons else failure.detail}"
            key = (name, failure.number)
            file = self._files.get(key)
            if file is None or self._is_full(file, len(lines)):
                self._forget_old()
                file = self._files[key] = self._new(name, failure.number)
            _append(file.path, lines)
            for at, why in enumerate(reasons[: REASONS - len(file.reasons)], file.rows + 1):
                file.reasons.append({"row": at, "reason": why})
            file.rows += len(reasons)
            file.bytes += len(lines)
            _write_reason(file, failure)

    def last_reason(self, dbms: str, table: str) -> str:
        """Why the last row of a table was kept out; empty when none was."""
        return self._reasons.get((dbms, table), "")

    def _is_full(self, file: _File, more: int) -> bool:
        return (
            file.bytes + more > FILE_BYTES
            or time.monotonic() - file.since > FILE_AGE_S
            or not file.path.exists()
            or file.path.parent != self._folder()
        )

    def _forget_old(self) -> None:
        now = time.monotonic()
        self._files = {key: file for key, file in self._files.items() if now - file.since <= FILE_AGE_S}

    def _new(self, name: FileName, number: int) -> _File:
        folder = self._folder()
        folder.mkdir(parents=True, exist_ok=True)
        return _File(filing.free_unique(folder, name.text(), number), time.monotonic())


def _append(path: Path, lines: bytes) -> None:
    is_new = not path.exists()
    size = 0 if is_new else path.stat().st_size
    with path.open("ab") as file:
        try:
            file.write(lines)
            file.flush()
            os.fsync(file.fileno())
        except OSError:
            os.ftruncate(file.fileno(), size)  # half a row would spoil the file
            raise
    if is_new:
        sync_directory(path.parent)


def _write_reason(file: _File, failure: EdgeLakeError) -> None:
    reason: dict[str, object] = {
        **failure.as_dict(),
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
        "count": file.rows,
        "rows": file.reasons,
    }
    text = json.dumps(reason, indent=1, default=str) + "\n"
    filing.write_file(file.path.with_name(f"{file.path.name}.reason"), iter([text.encode()]), compress=False)
