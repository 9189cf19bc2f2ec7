"""Which operator a file is being sent to, kept over crashes.

A file whose sending broke off may have been taken: it is sent to the same operator again, which knows it, and to no
other. Source: spec "Ingestion and storage", section 6.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
from pathlib import Path

import msgspec
from msgspec import Struct

from edgelake.durable import write_whole
from edgelake.ingest.source import Identity, identity_of

log = logging.getLogger(__name__)


class Claim(Struct, frozen=True):
    """A file that may have been taken.

    Attributes:
        file: its name in the watch directory.
        identity: of its content; another file of that name has another.
        peer: where it was sent to.
        sent_as: the name there.
        is_known_there: that operator knows files that it has; it is sent there in no other way.
    """

    file: str
    identity: Identity
    peer: str
    sent_as: str
    is_known_there: bool


class Claims:
    """Claims in a folder, a file each. Methods are for threads: they write to the disk. Raise OSError."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def load(self, watch: Path) -> dict[str, Claim]:
        """Claims by the name of the file in the watch directory; those of files that are gone are removed."""
        self._folder.mkdir(parents=True, exist_ok=True)
        found = {}
        for path in self._folder.glob("*.claim"):
            try:
                claim = msgspec.json.decode(path.read_bytes(), type=Claim)
            except (msgspec.DecodeError, UnicodeDecodeError) as fault:
                log.error("%s cannot be read and is left out: %s", path, fault)
                continue
            if identity_of(watch / claim.file) == claim.identity:
                found[claim.file] = claim
            else:
                path.unlink()
        return found

    def put(self, claim: Claim) -> None:
        """Durable on return; replaces the file's claim."""
        write_whole(self._path(claim.file), msgspec.json.encode(claim))

    def drop(self, file: str) -> None:
        with contextlib.suppress(FileNotFoundError):
            self._path(file).unlink()

    def _path(self, file: str) -> Path:
        return self._folder / f"{hashlib.md5(file.encode(), usedforsecurity=False).hexdigest()}.claim"
