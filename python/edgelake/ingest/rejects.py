"""Rows of a file that fit no column: one file in the error folder, with the reasons beside it."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Sequence
from pathlib import Path
from typing import IO

from edgelake import _rust
from edgelake.durable import sync_directory
from edgelake.errors import EdgeLakeError
from edgelake.ingest import filing

LISTED_REASONS = 1000


class Rejects:
    """Collects rejected rows as they come up: the rows on disk, the first reasons in memory.

    Nothing is to be seen before ``keep``; what a dead node left is overwritten by the next try.
    """

    def __init__(self, folder: Path, file_name: str) -> None:
        self._folder = folder
        self._name = file_name.removesuffix(".gz")
        self._working = folder / f"{self._name}.rejected_tmp"
        self._file: IO[bytes] | None = None
        self.count = 0
        self.reasons: list[dict[str, object]] = []

    def add(self, payload: bytes, rejected: Sequence[tuple[int, str]], first_row: int) -> None:
        """Rows of a payload, by number from 0; ``first_row`` is the payload's place in the file. Raises OSError."""
        self._write(_rust.pick_rows(payload, sorted(number for number, _ in rejected)))
        self.count += len(rejected)
        room = LISTED_REASONS - len(self.reasons)
        self.reasons += [{"row": first_row + number + 1, "reason": why} for number, why in rejected[:room]]

    def add_lines(self, rejected: Sequence[tuple[bytes, str]]) -> None:
        """Rows that a mapping policy kept out, each as a line of JSON. Raises OSError."""
        self._write(b"".join(line + b"\n" for line, _ in rejected))
        self.count += len(rejected)
        room = LISTED_REASONS - len(self.reasons)
        self.reasons += [{"reason": why} for _, why in rejected[:room]]

    def _write(self, lines: bytes) -> None:
        if self._file is None:
            self._file = self._working.open("wb")
        self._file.write(lines)

    def keep(self, failure: EdgeLakeError) -> None:
        """Put the file and its reasons into the error folder, durable. Raises OSError."""
        if self._file is None:
            return
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()
        self._file = None
        target = filing.free_unique(self._folder, self._name, failure.number)
        self._working.rename(target)
        sync_directory(self._folder)
        filing.write_reason(target, failure, rows_rejected=self.count, rows=self.reasons)

    def discard(self) -> None:
        """Forget what was not kept."""
        if self._file is not None:
            self._file.close()
            self._file = None
            with contextlib.suppress(OSError):
                self._working.unlink()
