"""What rooms see of other nodes. ``net/peer`` sends and receives, ``node.py`` hands it on.

A peer is named by the address that its messages are sent to, ``ip:port``. Source: network protocol, sections 4 to 7.
"""

from __future__ import annotations

import enum
from collections.abc import AsyncIterator, Sequence
from typing import Protocol

from msgspec import Struct

from edgelake.errors import EdgeLakeError, error

NO_ANSWER = 26
"""Code of a peer that did not answer in time."""

UNREACHABLE = 208
"""Code of a peer that could not be connected to."""

INCOMPLETE = 900
"""Code of a member of a cluster that lacks data: another one is to be asked. Ours, beyond the reference's."""


class FileTarget(enum.IntEnum):
    """What becomes of a file that is sent (generic flag of its blocks)."""

    PATH = 0
    WATCH_DIRECTORY = 1
    LEDGER = 2
    DELIVERY = 4
    """Watch directory, once: a file of a name that was taken before is refused (86). For peers of our kind alone, which
    say what became of it; 3 is a large command."""


class PeerAnswer(Struct, frozen=True):
    """What one peer answered to a command.

    Attributes:
        error: 0, ``NO_ANSWER``, ``UNREACHABLE``, or the code that the peer sent (network protocol, section 8);
            then ``text`` says why.
    """

    peer: str
    text: str = ""
    is_json: bool = False
    error: int = 0


class Asker(Struct, frozen=True):
    """Another node that asks for rows.

    Attributes:
        address: where its rows go.
        location, number: how it names the query.
    """

    address: str
    location: int
    number: int


def failure_of(number: int, text: str, *, hint: str = "") -> EdgeLakeError:
    """What another node says is wrong, as an error of ours; numbers of other editions become 3."""
    try:
        return error(number, text, hint=hint)
    except KeyError:
        return error(3, f"{text} (error {number})", hint=hint)


class Peers(Protocol):
    """Messages to other nodes."""

    def source_for(self, peer: str) -> str:
        """Our own address as that peer should see it. Raises EdgeLakeError (21) without a TCP server."""

    def is_own(self, address: str) -> bool:
        """Whether ``ip:port`` is this node itself."""

    def is_upgraded(self, peer: str) -> bool:
        """Whether the peer is known to be of our kind, so that it takes what only our nodes understand."""

    async def tell(self, peer: str, command: str, data: bytes = b"") -> None:
        """Send a command that nobody waits for, and some hundred bytes of data. Raises EdgeLakeError (21, 208)."""

    async def ask(self, peers: Sequence[str], command: str, *, timeout_s: float = 20.0) -> list[PeerAnswer]:
        """Send a command to each peer, wait for all answers; in the order of ``peers``. Raises EdgeLakeError (21)."""

    async def send_file(
        self, peer: str, destination: str, content: bytes | AsyncIterator[bytes], target: FileTarget
    ) -> None:
        """Send a file. Raises EdgeLakeError (21, 208)."""


def file_words(words: Sequence[str]) -> list[str]:
    """The words behind ``file get``, of which a stored blob is one: ``(dbms = d and table = t and id = x)``."""
    if not words or not words[0].startswith("("):
        return list(words)
    ends = next((n for n, word in enumerate(words) if word.endswith(")")), len(words) - 1) + 1
    return [" ".join(words[:ends]), *words[ends:]]
