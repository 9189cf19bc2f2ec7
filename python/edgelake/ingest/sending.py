"""Nodes that data files are sent to: what each has taken, and how long one that fails is passed over.

The publisher and the distributor send in this way.
Source: spec "Ingestion and storage", section 2; "Network protocol", section 6.4.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
import zlib
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from pathlib import Path
from typing import Final

from msgspec import Struct, field

from edgelake.errors import EdgeLakeError, error
from edgelake.ingest import filing
from edgelake.peering import NO_ANSWER, UNREACHABLE, Peers
from edgelake.service import Streak

log = logging.getLogger(__name__)

TICK_S: Final = 1.0
"""How often waiting files look for a node again, when nothing else happens."""
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.5, 30.0
ASK_S: Final = 10.0
PACKING: Final = 1
"""zlib's level: where members are near each other, packing takes longer than the way."""
DUPLICATE: Final = 86
"""What a node says of a file that it has."""
BAD_FILE: Final = frozenset({9, 64, 100, 119})
"""What a node says against a file that no other one would take either."""


class Recipient(Struct):
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


class Sender(ABC):
    """Gives files to nodes in rounds: whenever something has changed, and each ``TICK_S`` while files wait.

    Args:
        mark: told whether a node answered.
    """

    name: str
    """Of the service."""

    def __init__(self, mark: Callable[[str, bool], None]) -> None:
        self.last_error = ""
        self._mark = mark
        self._changed = asyncio.Event()
        self._rounds: asyncio.Task[None] | None = None
        self._sending: set[asyncio.Task[None]] = set()
        self._since = 0.0

    @property
    @abstractmethod
    def waiting(self) -> int:
        """Files that have not arrived."""

    @abstractmethod
    def _begin(self) -> None:
        """Give every node that is ready its next files."""

    def _start_rounds(self) -> None:
        self._since = time.time()
        self._rounds = asyncio.create_task(self._run(), name=self.name)

    async def _stop_rounds(self, within_s: float = 0) -> None:
        """Begin nothing more. What is on its way has so long to arrive."""
        self._since = 0.0
        if self._rounds is not None:
            self._rounds.cancel()
            await asyncio.gather(self._rounds, return_exceptions=True)
        if self._sending and within_s:
            await asyncio.wait(self._sending, timeout=within_s)
        for task in self._sending:
            task.cancel()
        await asyncio.gather(*self._sending, return_exceptions=True)

    async def _run(self) -> None:
        while True:
            try:
                self._begin()
            except Exception as fault:  # the files stay where they are
                self.last_error = f"{type(fault).__name__}: {fault}"
                log.exception("%s", self.name)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(TICK_S if self.waiting else None):
                    await self._changed.wait()
            self._changed.clear()

    def _keep(self, work: Coroutine[None, None, None]) -> None:
        """Do it beside the rounds, until the stop."""
        task = asyncio.get_running_loop().create_task(work)
        self._sending.add(task)
        task.add_done_callback(self._sending.discard)

    def _tell(self, problem: str) -> None:
        if problem != self.last_error:  # a change of state, not every attempt
            log.error("%s: %s", self.name, problem)
        self.last_error = problem

    def _failed(self, recipient: Recipient, failure: EdgeLakeError) -> None:
        """Pass a node over for a while."""
        pause, tells = recipient.failed(failure)
        asyncio.get_running_loop().call_later(pause, self._changed.set)
        if failure.number in (NO_ANSWER, UNREACHABLE):
            self._mark(recipient.peer, False)
        if tells:
            times = recipient.streak.times
            log.warning("%s: %s does not take a file: %s%s", self.name, recipient.peer, failure, times)
        self.last_error = str(failure)

    def _worked(self, recipient: Recipient, name: str, size_bytes: int) -> None:
        """A node has a file."""
        self._mark(recipient.peer, True)
        if recipient.took(name, size_bytes):
            log.info("%s: %s takes files again", self.name, recipient.peer)
        self.last_error = ""


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
