"""Rows that nobody stores, as files of the watch directory: no operator runs and their database is not connected.

Source: spec "Ingestion", sections 3 to 5.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from pathlib import Path

from edgelake._rust import FileBatch, Pipeline
from edgelake.errors import EdgeLakeError
from edgelake.ingest import filing
from edgelake.ingest.names import FileName, batch_hash

log = logging.getLogger(__name__)

WAIT_S = 5.0
LONGEST_PAUSE_S = 5.0


class Filer:
    """Turns what is due into files until it is stopped. ``last_error`` is empty while all goes well.

    Args:
        node_id: keeps equal positions of two nodes apart.
        failed: told of a batch that cannot be written now.
    """

    def __init__(self, pipeline: Pipeline, watch: Path, node_id: str, failed: Callable[[Exception], None]) -> None:
        self._pipeline = pipeline
        self.watch = watch
        self._node_id = node_id
        self._failed = failed
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._run, name="filer", daemon=True)
        self.last_error = ""

    def start(self) -> None:
        self._thread.start()

    def end(self) -> None:
        """Take no more; the batch in work is finished."""
        self._ending.set()
        self._pipeline.hurry()

    def stop(self) -> None:
        """End and wait for the end. What is not written stays in the journal."""
        self._ending.set()
        while self._thread.is_alive():
            self._pipeline.hurry()
            self._thread.join(0.05)

    def _run(self) -> None:
        pause_s = 0.05
        while not self._ending.is_set():
            try:
                batch = self._pipeline.take_file(WAIT_S)
                if batch is None:
                    continue
                try:
                    self._write(batch)
                    self._pipeline.filed(batch)
                except BaseException:
                    self._pipeline.unfiled(batch)
                    raise
                self.last_error, pause_s = "", 0.05
            except (EdgeLakeError, OSError) as problem:
                if str(problem) != self.last_error:  # a change of state, not every attempt
                    log.error("%s: %s; rows without a database stay in the journal", self.watch, problem)
                self.last_error = str(problem)
                self._failed(problem)
                self._ending.wait(pause_s)
                pause_s = min(2 * pause_s, LONGEST_PAUSE_S)

    def _write(self, batch: FileBatch) -> None:
        """The file appears whole, durable, and under the same name when the batch comes again after a crash."""
        file_hash = batch_hash(batch.dbms, batch.table, self._node_id, batch.first, batch.arrival_us)
        name = FileName(batch.dbms, batch.table, batch.source, file_hash, batch.instructions).text()
        filing.write_file(self.watch / name, self._pipeline.content(batch), compress=False)
