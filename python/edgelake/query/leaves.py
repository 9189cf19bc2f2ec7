"""Queries that other nodes have here: who asked, what each took, and how they are stopped.

Source: spec "Query", section 15 (``get operator execution``); network protocol, section 6.2.4.
"""

from __future__ import annotations

import re
import time
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator
from typing import Final

from msgspec import Struct, field

from edgelake.errors import QueryStoppedError, error
from edgelake.peering import Asker
from edgelake.query.jobs import Job

KEPT: Final = 50
"""Ended ones that are shown."""

_LIMIT: Final = re.compile(r"\blimit\s+(\d+)\s*;?\s*$", re.IGNORECASE)


class Leaf(Struct):
    """One query of another node.

    Attributes:
        job: as this node counts it; None until it is planned.
        sql_s: until the first row could be read; ``fetch_s``: reading rows; ``network_s``: while the peer took them.
        is_stopped: the node that asked wants no more.
    """

    asker: Asker
    job: Job | None = None
    sql_s: float = 0.0
    fetch_s: float = 0.0
    network_s: float = 0.0
    is_stopped: bool = False
    started: float = field(default_factory=time.monotonic)

    @property
    def limit(self) -> str:
        """The limit at the end of the statement; "" for none."""
        found = _LIMIT.search(self.job.command) if self.job is not None else None
        return found[1] if found else ""

    def follow(self, job: Job) -> None:
        """The query has its place. Raises EdgeLakeError 168 when it was stopped before."""
        self.job = job
        if self.is_stopped:
            raise ended()

    def begun(self) -> None:
        """Its rows can be read."""
        self.sql_s = time.monotonic() - self.started


class Leaves:
    """The queries of other nodes that run here, and the last that ended."""

    def __init__(self, stop: Callable[[Job], None]) -> None:
        """``stop``: ends a query of this node."""
        self._stop = stop
        self._running: list[Leaf] = []
        self._ended: deque[Leaf] = deque(maxlen=KEPT)

    def __iter__(self) -> Iterator[Leaf]:
        """In the order in which they came."""
        self._sweep()
        return iter([*self._ended, *self._running])

    def begin(self, asker: Asker) -> Leaf:
        self._sweep()
        leaf = Leaf(asker)
        self._running.append(leaf)
        return leaf

    def _sweep(self) -> None:
        """End those whose rows nobody began to read: the node that asked was gone."""
        for leaf in [one for one in self._running if one.job is not None and one.job.ended is not None]:
            self.end(leaf)

    def end(self, leaf: Leaf) -> None:
        """Idempotent."""
        if leaf in self._running:
            self._running.remove(leaf)
            if leaf.job is not None:
                self._ended.append(leaf)

    def stop(self, asker: Asker) -> int:
        """Whoever asked wants no more rows; how many queries that ends."""
        found = [leaf for leaf in self._running if leaf.asker == asker]
        for leaf in found:
            leaf.is_stopped = True
            if leaf.job is not None:
                self._stop(leaf.job)
        return len(found)

    async def measured(self, leaf: Leaf, pieces: AsyncGenerator[bytes]) -> AsyncIterator[bytes]:
        """The rows, and how long each step took. Ends the query, however it is left. Raises EdgeLakeError."""
        at = time.monotonic()
        try:
            async for piece in pieces:
                leaf.fetch_s, at = leaf.fetch_s + time.monotonic() - at, time.monotonic()
                yield piece
                leaf.network_s, at = leaf.network_s + time.monotonic() - at, time.monotonic()
        except QueryStoppedError:
            if leaf.is_stopped:
                raise ended() from None
            raise
        finally:
            await pieces.aclose()
            self.end(leaf)


def ended() -> Exception:
    return error(168)
