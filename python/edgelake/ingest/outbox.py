"""Files on their way to the other members of the cluster: links in ``distr_dir``, the distributor's to send.

Source: spec "Security and high availability", section 11.
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Final

from edgelake.ingest import filing
from edgelake.ingest.names import FileName

log = logging.getLogger(__name__)

MAX_WAITING: Final = 10_000
"""Files in the folder; further ones are for the consumers of the members, which fetch them from the archive."""
_COUNT_AGAIN: Final = 100


class Outbox:
    """Puts files into the folder. For threads.

    Args:
        has_members: whether there is any other member now.
    """

    def __init__(self, folder: Path, has_members: Callable[[], bool]) -> None:
        self.folder = folder
        self._has_members = has_members
        self._lock = threading.Lock()
        self._given = 0
        self._is_full = False

    def give(self, source: Path, name: FileName) -> None:
        """Hand on a file, which stays where it is too; nothing when it was handed on before. Raises OSError."""
        if source.parent != self.folder and self.takes():
            self._link(source, name)

    def takes(self) -> bool:
        """Whether there are members to send files to, and room for one more."""
        if not self._has_members():
            return False
        with self._lock:
            return self._has_room()

    def _link(self, source: Path, name: FileName) -> None:
        target = self.folder / f"{name.text()}{'.gz' if source.name.endswith('.gz') else ''}"
        if target.exists():
            return
        held = target.with_name(f"{target.name}_tmp")
        held.unlink(missing_ok=True)
        try:
            os.link(source, held)
        except FileNotFoundError:
            raise
        except OSError:  # another file system, or one without links
            with source.open("rb") as content:
                filing.write_file(target, content, compress=False)
            return
        held.rename(target)  # by a rename, which its watcher takes at once

    def _has_room(self) -> bool:
        if self._given % _COUNT_AGAIN == 0:
            with os.scandir(self.folder) as entries:
                was_full, self._is_full = self._is_full, sum(1 for _ in entries) >= MAX_WAITING
            if self._is_full and not was_full:
                log.warning("%s holds %d files: members fetch further ones themselves", self.folder, MAX_WAITING)
        self._given += 1
        return not self._is_full
