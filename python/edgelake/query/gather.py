"""The rows of a query at other nodes: who is asked, who instead, when to stop (spec: query, sections 4 and 14)."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from dataclasses import dataclass, field

from edgelake._rust import PeerMerge, PeerMessage
from edgelake.errors import QueryStoppedError, TimeoutExpiredError
from edgelake.peering import INCOMPLETE, NO_ANSWER, UNREACHABLE, PeerAnswer, failure_of
from edgelake.query.exchange import RowEvent, RowQuery
from edgelake.query.jobs import Job


@dataclass(slots=True)
class Share:
    """Rows that one of several nodes gives.

    Attributes:
        peers: in the order in which to ask them; the next one is asked when one fails before its first row.
        command: the request.
        anyhow: the request that a member answers that does not have all data yet; "" = none.
        declined: members that do not have all data yet: they are asked when no other one answers.
    """

    peers: Sequence[str]
    command: str
    anyhow: str = ""
    declined: list[str] = field(default_factory=list)
    asked: int = 0
    messages: int = 0
    failure: str = ""
    _seen: int = 0

    @property
    def peer(self) -> str:
        """The one that is asked now."""
        return self.peers[self.asked - 1]

    @property
    def has_rows(self) -> bool:
        return self.messages > 0

    @property
    def is_silent(self) -> bool:
        """Whether nothing has come since ``look``."""
        return self.messages == self._seen

    def next(self) -> bool:
        """Whether there is another one to ask: the next peer, then those that declined."""
        if self.has_rows:
            return False
        if self.asked < len(self.peers):
            return True
        if not (self.declined and self.anyhow):
            return False
        self.peers, self.declined, self.asked = tuple(self.declined), [], 0
        self.command, self.anyhow = self.anyhow, ""
        return True

    def look(self) -> bool:
        """Whether nothing has come since the last look."""
        silent, self._seen = self.is_silent, self.messages
        return silent


QUIET_S = 3.0
"""A node that sends nothing for so long is asked whether it is there."""

PROBE_S = 3.0
"""One that does not answer that either is gone."""


@dataclass(slots=True)
class Gathering:
    """Asks for all shares at once and merges what comes.

    Attributes:
        ask: a command to some nodes, and their answers.
        is_active: whether a node answered the last time. With ``subset`` those that did not are left out.
        subset: the answers of some are enough.
        limit_s: longest time spent waiting for others; None = no limit.
        mark: told whether a node could be reached.
        mark_incomplete: told of a node that does not have all data yet.
        printed: how nodes are to print rows that are passed on; "" = they are read here.
        job: told how far it is.
    """

    query: RowQuery
    shares: list[Share]
    merge: PeerMerge
    subset: bool
    limit_s: float | None
    mark: Callable[[str, bool], None]
    mark_incomplete: Callable[[str], None]
    ask: Callable[..., Awaitable[list[PeerAnswer]]]
    is_active: Callable[[str], bool]
    printed: str = ""
    job: Job | None = None
    messages: int = 0
    _awaited: dict[int, Share] = field(default_factory=dict)
    _waiting: asyncio.Timeout | None = None
    _quiet: asyncio.TimerHandle | None = None
    _probing: asyncio.Task[None] | None = None
    _is_stopped: bool = False

    @property
    def failed(self) -> int:
        return sum(1 for share in self.shares if share.failure)

    async def texts(self) -> AsyncGenerator[bytes]:
        """Merge until all have ended; the text of rows that are passed on. Raises EdgeLakeError."""
        try:
            for share in self._expected():
                self._ask(share)
            self._quiet = asyncio.get_running_loop().call_later(QUIET_S, self._probe)
            while self._awaited and not self.merge.is_full:
                events = await self._next()
                found = [event.rows for event in events if event.rows is not None and self._take(event)]
                if found and (text := await self._merged(found)):
                    yield text
                for event in events:
                    if event.is_end:
                        self._end(event)
        finally:
            if self._quiet is not None:
                self._quiet.cancel()
            if self._probing is not None:
                self._probing.cancel()
            self.query.close()

    def _expected(self) -> list[Share]:
        """The shares to ask for: when some are enough, not those of nodes that are known to be gone."""
        if not self.subset:
            return self.shares
        here = [share for share in self.shares if any(self.is_active(peer) for peer in share.peers)]
        for share in self.shares if here else ():
            if share not in here:
                share.failure = f"{share.peers[0]}: it did not answer the last time"
        return here or self.shares

    def _probe(self) -> None:
        """See whether the nodes that are silent are there; a query may well take long."""
        self._quiet = asyncio.get_running_loop().call_later(QUIET_S + PROBE_S, self._probe)
        silent = {receiver: share.peer for receiver, share in self._awaited.items() if share.look()}
        if silent and (self._probing is None or self._probing.done()):
            self._probing = asyncio.ensure_future(self._ask_whether_there(silent))

    async def _ask_whether_there(self, silent: dict[int, str]) -> None:
        answers = await self.ask(list(silent.values()), "get status", timeout_s=PROBE_S)
        for receiver, answer in zip(silent, answers, strict=True):
            share = self._awaited.get(receiver)
            if answer.error in (NO_ANSWER, UNREACHABLE) and share is not None and share.is_silent:
                self.query.give_up(receiver, "it does not answer")

    def stop(self) -> None:
        """Wait no longer; who reads gets QueryStoppedError."""
        self._is_stopped = True
        if self._waiting is not None and not self._waiting.expired():
            self._waiting.reschedule(asyncio.get_running_loop().time())

    async def _merged(self, messages: list[PeerMessage]) -> bytes:
        self.messages += len(messages)
        if self.job is not None:
            self.job.rows = self.merge.rows
        if len(messages) == 1:
            return self.merge.add(messages)
        return await asyncio.to_thread(self.merge.add, messages)

    async def _next(self) -> Sequence[RowEvent]:
        """What has come, at least one; nothing more when the time is over and some are enough."""
        before = time.monotonic()
        try:
            async with asyncio.timeout(0 if self._is_stopped else self.limit_s) as self._waiting:
                events = await self.query.next()
        except TimeoutError:
            if self._is_stopped:
                raise QueryStoppedError from None
            self._silent()
            return []
        finally:
            self._waiting = None
        if self.limit_s is not None:
            self.limit_s = max(self.limit_s - (time.monotonic() - before), 0.001)
        return events

    def _silent(self) -> None:
        """Those that did not answer in time have failed."""
        silent = list(self._awaited.values())
        names = ", ".join(share.peer for share in silent)
        if not self.subset:
            raise TimeoutExpiredError(
                f"no answer in time from {names}",
                hint="raise timeout or max_time, or take the answers of the others: subset = true",
            )
        for share in silent:
            share.failure = "no answer in time"
        self._awaited.clear()

    def _ask(self, share: Share) -> None:
        peer = share.peers[share.asked]
        share.asked += 1
        self._awaited[self.query.ask(peer, share.command, self.printed)] = share

    def _take(self, event: RowEvent) -> bool:
        """Whether the rows are those of a node that is waited for."""
        share = self._awaited.get(event.receiver)
        if share is not None:
            share.messages += 1
        return share is not None

    def _end(self, event: RowEvent) -> None:
        share = self._awaited.pop(event.receiver, None)
        if share is None:
            return
        self.mark(share.peer, event.error != UNREACHABLE)
        if event.error == INCOMPLETE:
            share.declined.append(share.peer)
            self.mark_incomplete(share.peer)
        if event.error and share.next():
            self._ask(share)
            return
        if not event.error:
            if self.job is not None:
                self.job.answered += 1
            return
        share.failure = f"{share.peer}: {event.text.removeprefix(f'{share.peer}: ') or f'error {event.error}'}"
        if share.has_rows or not self.subset:
            # Rows that are merged cannot be taken back: a part of a share would be counted as all of it.
            raise failure_of(event.error, share.failure)
