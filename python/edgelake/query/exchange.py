"""What queries see of other nodes: requests go out, rows come in. ``net/peer`` does it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from edgelake._rust import PeerMessage
from edgelake.peering import Peers


class RowEvent(Protocol):
    """Rows of a receiver, its end, or its failure."""

    @property
    def receiver(self) -> int: ...
    @property
    def rows(self) -> PeerMessage | None: ...
    @property
    def is_end(self) -> bool: ...
    @property
    def error(self) -> int: ...
    @property
    def text(self) -> str: ...


class RowQuery(Protocol):
    """A query at other nodes; to be closed."""

    def ask(self, peer: str, command: str, printed: str = "") -> int:
        """Send a request; what the peer answers comes under the number that this returns, or why it was not sent.

        ``printed``: how rows are to be printed, where the peer can do that.
        """

    def give_up(self, receiver: int, why: str) -> None:
        """Wait no longer for an answer: it ends as that of a node which is not reached."""

    async def next(self) -> Sequence[RowEvent]:
        """What has come, at least one."""

    def close(self) -> None:
        """Want nothing more."""


class QueryPeers(Peers, Protocol):
    """Messages to other nodes, and queries."""

    def query(self) -> RowQuery:
        """Begin a query at other nodes. Raises EdgeLakeError (21, 108)."""
