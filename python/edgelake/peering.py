"""What rooms see of other nodes: asking them, answering their queries. ``net/peer`` does it, ``node.py`` hands it on.

A peer is named by the address that its messages are sent to, ``ip:port``. Source: network protocol, sections 4 to 7.
"""

from __future__ import annotations

import enum
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Protocol, Self

NO_ANSWER = 26
"""Code of a peer that did not answer in time."""

UNREACHABLE = 208
"""Code of a peer that could not be connected to."""

NO_DATA = 1006
"""Code of a peer that holds nothing of the table: no error."""


class FileTarget(enum.IntEnum):
    """What becomes of a file that is sent (generic flag of its blocks)."""

    PATH = 0
    WATCH_DIRECTORY = 1
    LEDGER = 2


@dataclass(frozen=True, slots=True)
class PeerAnswer:
    """What one peer answered to a command.

    Attributes:
        error: 0, ``NO_ANSWER``, ``UNREACHABLE``, or the code that the peer sent (network protocol, section 8);
            then ``text`` says why.
    """

    peer: str
    text: str = ""
    is_json: bool = False
    error: int = 0


@dataclass(frozen=True, slots=True)
class Segments:
    """Rows of a peer, as JSON texts: ``{"Query":[{"0":"..", ..}]}`` each.

    Attributes:
        receiver: index of the peer among those asked.
        data: the texts one after another, each behind its length in bytes (4 bytes, big-endian). Not checked.
    """

    receiver: int
    partition: int
    data: bytes
    count: int


@dataclass(frozen=True, slots=True)
class Batch:
    """Rows of a peer of our kind, in the form of ``send_batch``; only over an upgraded connection."""

    receiver: int
    data: bytes


@dataclass(frozen=True, slots=True)
class Ended:
    """A peer has sent all: its streams have ended, or it failed. Nothing more comes of it."""

    receiver: int
    error: int = 0
    text: str = ""


class RowExchange(Protocol):
    """A query that peers answer with rows. Leaving the block ends it: what comes later is dropped, peers are told.

    Iterating gives what arrives, in order of arrival, until every peer asked has ended; at most a few MiB wait here,
    then the peers' connections are no longer read.
    """

    async def __aenter__(self) -> Self: ...
    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    def __aiter__(self) -> AsyncIterator[Segments | Batch | Ended]: ...

    async def also(self, peer: str, command: str) -> int:
        """Ask one more peer within the same query (another member of a cluster); returns its receiver index."""


class Peers(Protocol):
    """Messages to other nodes."""

    def source_for(self, peer: str) -> str:
        """Our own address as that peer should see it. Raises EdgeLakeError (21) without a TCP server."""

    def is_upgraded(self, peer: str) -> bool:
        """Whether the peer is known to be of our kind, so that it takes what only our nodes understand."""

    async def tell(self, peer: str, command: str) -> None:
        """Send a command that nobody waits for. Raises EdgeLakeError (21, 208)."""

    async def ask(self, peers: Sequence[str], command: str, *, timeout_s: float = 20.0) -> list[PeerAnswer]:
        """Send a command to each peer, wait for all answers; in the order of ``peers``. Raises EdgeLakeError (21)."""

    def rows(self, peers: Sequence[str], commands: Sequence[str], *, timeout_s: float) -> RowExchange:
        """Begin a query: ``commands[i]`` goes to ``peers[i]``. A peer that is silent for ``timeout_s`` ends with 26."""

    async def send_file(
        self, peer: str, destination: str, content: bytes | AsyncIterator[bytes], target: FileTarget
    ) -> None:
        """Send a file. Raises EdgeLakeError (21, 208)."""


class QueryRequest(Protocol):
    """A select that a peer sent; what is sent here goes back to it. Sending waits while the peer reads slowly."""

    @property
    def command(self) -> str:
        """``sql <dbms> [options] select ...``, with blanks where TABs travelled."""

    @property
    def peer(self) -> str:
        """Where replies go, ``ip:port``."""

    @property
    def is_upgraded(self) -> bool:
        """Whether ``send_batch`` may be used."""

    def on_stop(self, stop: Callable[[], None]) -> None:
        """Call ``stop`` when the peer ends its query or is gone. At once if that has happened."""

    async def send_rows(self, rows: bytes, count: int, *, partition: int = 0, partitions: int = 1) -> None:
        """Rows as JSON texts, laid out as in ``Segments.data``. Raises EdgeLakeError (208) when the peer is gone."""

    async def send_batch(self, data: bytes) -> None:
        """Up to 1 MiB of rows in a form that only our nodes read. Raises as ``send_rows``."""

    async def end(self, *, partition: int = 0, partitions: int = 1) -> None:
        """All rows of this stream are sent."""

    async def fail(self, code: int, text: str) -> None:
        """The query failed, here and now; ``NO_DATA`` when the table is not here."""


ServeQuery = Callable[[QueryRequest], Awaitable[None]]
"""Answers a select of a peer. Raises EdgeLakeError, which is sent as its failure."""
