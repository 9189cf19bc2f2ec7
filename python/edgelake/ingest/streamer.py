"""``run streamer``: the directories of streamed data, shown with the thresholds in force.

Buffers are flushed by age with or without it (design, section 3.7).
Source: spec "Ingestion", section 4.
"""

from __future__ import annotations

import time
from pathlib import Path

from edgelake.ingest.settings import check_directory
from edgelake.ingest.streaming import Streaming, Threshold, in_force
from edgelake.model import Status


def threshold_text(threshold: Threshold) -> str:
    """``0.1 seconds and 1,048,576 bytes``."""
    return f"{threshold.time_s:g} seconds and {threshold.volume_bytes:,} bytes"


class Streamer:
    """The streamer as a service."""

    name = "streamer"

    def __init__(self, streaming: Streaming, prep: Path, watch: Path, err: Path) -> None:
        self._streaming = streaming
        self._directories = {"prep_dir": prep, "watch_dir": watch, "err_dir": err}
        self._since = 0.0

    async def start(self) -> None:
        """Raises EdgeLakeError 35 for a missing directory, 63 for one that cannot be written."""
        for name, path in self._directories.items():
            check_directory(name, path)
        self._streaming.set_directories(*self._directories.values())
        self._since = time.time()

    async def stop(self) -> None:
        """Flush what waits. Later rows are flushed by age as before."""
        if self._since:
            self._since = 0.0
            await self._streaming.flush()

    def status(self) -> Status:
        threshold = in_force(self._streaming.settings()).threshold or Threshold()
        details = f"Default streaming thresholds are {threshold_text(threshold)}"
        return Status("Streamer", bool(self._since), details, int(self._since * 1e6))
