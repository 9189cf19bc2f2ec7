"""The rows of a query at other nodes: who is asked, who instead, when to stop (spec: query, sections 4 and 14)."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from typing import Protocol

from msgspec import Struct, field

from edgelake._rust import PeerMessage
from edgelake.errors import QueryStoppedError, TimeoutExpiredError, text_of
from edgelake.peering import INCOMPLETE, NO_ANSWER, UNREACHABLE, PeerAnswer, failure_of
from edgelake.query.exchange import RowEvent, RowQuery
from edgelake.query.jobs import Job

HELD_BYTES = 8 << 20
"""Rows of a share that are held back until it has ended, so that another node can be asked for all of them."""

HELD_TO_PRINT_BYTES = 256 << 10
"""The same of rows that are printed as they come: who reads does not wait for all."""

ALL_HELD_BYTES = 32 << 20
"""What all shares of a query hold at most."""


class Share(Struct):
    """Rows that one of several nodes gives.

    Attributes:
        peers: in the order in which to ask them; the next one is asked when one fails whose rows are held.
        command: the request.
        anyhow: the request that a member answers that does not have all data yet; "" = none.
        declined: members that do not have all data yet: they are asked when no other one answers.
        held: rows that may still be dropped.
        is_merged: rows of it are in the answer, and cannot be taken back.
    """

    peers: Sequence[str]
    command: str
    anyhow: str = ""
    declined: list[str] = field(default_factory=list)
    asked: int = 0
    messages: int = 0
    held: list[PeerMessage] = field(default_factory=list)
    held_bytes: int = 0
    is_merged: bool = False
    failure: str = ""
    _seen: int = 0

    @property
    def peer(self) -> str:
        """The one that is asked now."""
        return self.peers[self.asked - 1]

    @property
    def is_silent(self) -> bool:
        """Whether nothing has come since ``look``."""
        return self.messages == self._seen

    def next(self) -> bool:
        """Whether there is another one to ask: the next peer, then those that declined."""
        if self.is_merged:
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

    def release(self) -> list[PeerMessage]:
        """What was held, to be merged, or to be forgotten."""
        held, self.held, self.held_bytes = self.held, [], 0
        return held


class Merge(Protocol):
    """What becomes of the rows."""

    @property
    def rows(self) -> int: ...
    @property
    def is_full(self) -> bool:
        """Whether more rows change nothing."""

    def add(self, messages: list[PeerMessage]) -> bytes:
        """Take rows; the text that they become."""

    def end(self, elapsed_s: int, target_nodes: int, participating_nodes: int) -> bytes:
        """The text behind them."""


QUIET_S = 3.0
"""A node that sends nothing for so long is asked whether it is there."""

PROBE_S = 3.0
"""One that does not answer that either is gone."""


class Gathering(Struct):
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
        is_slow: ``merge`` may take its time: rows go to it in a thread.
    """

    query: RowQuery
    shares: list[Share]
    merge: Merge
    subset: bool
    limit_s: float | None
    mark: Callable[[str, bool], None]
    mark_incomplete: Callable[[str], None]
    ask: Callable[..., Awaitable[list[PeerAnswer]]]
    is_active: Callable[[str], bool]
    printed: str = ""
    job: Job | None = None
    is_slow: bool = False
    messages: int = 0
    _awaited: dict[int, Share] = field(default_factory=dict)
    _held_bytes: int = 0
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
                found: list[PeerMessage] = []
                for event in await self._next():
                    found += self._take(event)
                if found and (text := await self._merged(found)):
                    yield text
                if self._is_stopped:  # while rows were merged
                    raise QueryStoppedError
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
        if len(messages) == 1 and not self.is_slow:
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

    def _take(self, event: RowEvent) -> list[PeerMessage]:
        """Hold the rows of a node that is waited for; what is to be merged now."""
        share = self._awaited.get(event.receiver)
        if share is None:
            return []
        if event.rows is not None:
            share.messages += 1
            size_bytes = event.rows.size_bytes
            share.held.append(event.rows)
            share.held_bytes += size_bytes
            self._held_bytes += size_bytes
        if event.is_end:
            return self._end(event, share)
        limit_bytes = HELD_TO_PRINT_BYTES if self.printed else HELD_BYTES
        if share.is_merged or share.held_bytes > limit_bytes or self._held_bytes > ALL_HELD_BYTES:
            return self._release(share)
        return []

    def _release(self, share: Share) -> list[PeerMessage]:
        self._held_bytes -= share.held_bytes
        share.is_merged |= bool(share.held)
        return share.release()

    def _end(self, event: RowEvent, share: Share) -> list[PeerMessage]:
        del self._awaited[event.receiver]
        self.mark(share.peer, event.error != UNREACHABLE)
        if event.error == INCOMPLETE:
            share.declined.append(share.peer)
            self.mark_incomplete(share.peer)
        if not event.error:
            if self.job is not None:
                self.job.answered += 1
            return self._release(share)
        self._held_bytes -= share.held_bytes
        share.release()
        if share.next():
            self._ask(share)
            return []
        share.failure = f"{share.peer}: {event.text.removeprefix(f'{share.peer}: ') or text_of(event.error)}"
        if share.is_merged or not self.subset:
            # Rows that are merged cannot be taken back: a part of a share would be counted as all of it.
            raise failure_of(event.error, share.failure)
        return []
