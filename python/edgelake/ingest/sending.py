"""Nodes that data files are sent to: what each has taken, and how long one that fails is passed over.

The publisher and the distributor send in this way.
Source: spec "Ingestion and storage", section 2; "Network protocol", section 6.4.
"""

from __future__ import annotations

import asyncio
import time
import zlib
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from edgelake.errors import EdgeLakeError, error
from edgelake.ingest import filing
from edgelake.peering import NO_ANSWER, UNREACHABLE, Peers
from edgelake.service import Streak

FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.5, 30.0
ASK_S: Final = 10.0
PACKING: Final = 1
"""zlib's level: where members are near each other, packing takes longer than the way."""
DUPLICATE: Final = 86
"""What a node says of a file that it has."""
BAD_FILE: Final = frozenset({9, 64, 100, 119})
"""What a node says against a file that no other one would take either."""


@dataclass(slots=True)
class Recipient:
    """A node that got files, or should have.

    Attributes:
        files, bytes: that it has taken; bytes as they were sent.
        busy: files on their way to it.
        ready_at: monotonic seconds before which it is not tried again.
    """

    peer: str
    files: int = 0
    bytes: int = 0
    errors: int = 0
    last_file: str = ""
    last_error: str = ""
    busy: int = 0
    ready_at: float = 0.0
    streak: Streak = field(default_factory=Streak)

    @property
    def is_ready(self) -> bool:
        """Whether it is not passed over now."""
        return time.monotonic() >= self.ready_at

    def took(self, name: str, size_bytes: int) -> int:
        """It has a file; returns the failures before it when they were told of, else 0."""
        self.files, self.bytes = self.files + 1, self.bytes + size_bytes
        self.last_file, self.ready_at = name, 0.0
        return self.streak.worked()

    def note(self, text: str) -> None:
        """Something went wrong that is no reason to pass it over."""
        self.errors, self.last_error = self.errors + 1, text

    def failed(self, failure: EdgeLakeError) -> tuple[float, bool]:
        """Pass it over for a while; seconds until it is tried again, and whether to tell of it."""
        self.note(str(failure))
        tells = self.streak.failed()
        pause = pause_s(self.streak.failures)
        self.ready_at = time.monotonic() + pause
        return pause, tells


def pause_s(failures: int) -> float:
    """Seconds to wait after so many failures in a row."""
    return min(FIRST_PAUSE_S * float(1 << min(failures - 1, 10)), LONGEST_PAUSE_S)


async def says_what_became(peers: Peers, peer: str) -> bool:
    """Whether a node says what became of a file, as those of our kind do. Raises EdgeLakeError when it is silent."""
    (answer,) = await peers.ask([peer], "get status", timeout_s=ASK_S)
    if answer.error in (NO_ANSWER, UNREACHABLE):
        raise error(answer.error, answer.text)
    return peers.is_upgraded(peer)


class Packed:
    """The content of a file as it travels: compressed. ``bytes``: how much that was."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.bytes = 0

    async def pieces(self) -> AsyncIterator[bytes]:
        """Raises OSError, EOFError, zlib.error."""
        made = self._made()
        while piece := await asyncio.to_thread(next, made, b""):
            self.bytes += len(piece)
            yield piece

    def _made(self) -> Iterator[bytes]:
        if self._path.name.endswith(".gz"):
            with self._path.open("rb") as packed:
                while piece := packed.read(filing.COPY_BYTES):
                    yield piece
            return
        packer = zlib.compressobj(PACKING, zlib.DEFLATED, 16 + zlib.MAX_WBITS)
        for piece in filing.pieces_of(self._path):
            if made := packer.compress(piece):
                yield made
        yield packer.flush()
