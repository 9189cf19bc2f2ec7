"""Commands that wait for the replies of peers (network protocol, section 7)."""

from __future__ import annotations

import asyncio
import secrets
import struct
from collections.abc import Callable, Iterator, Sequence
from typing import Final

from msgspec import Struct, field

from edgelake._rust import PeerMessage
from edgelake.errors import error
from edgelake.net.peer.link import WINDOW, Link
from edgelake.peering import NO_ANSWER, UNREACHABLE, PeerAnswer

_PLACE: Final = struct.Struct(">HI")
_DRAWN: Final = 512
"""Places that are drawn from the system's random numbers at a time."""
MAX_JOBS = 10_000
QUEUED = 16
"""Messages with rows that wait to be merged."""
MAX_NOT_AN_ERROR = 1000
"""Codes above this are no errors."""

REPEATABLE = ("get ", "test ", "help ", "blockchain get ", "blockchain test ", "blockchain changes ")
"""Beginnings of commands that change nothing."""

Origin = str | Link
"""Where a message came from: an address, or a link."""


class Job(Struct):
    """One command to some peers.

    Attributes:
        location, number: how replies name it; a peer echoes both.
        sent_to: by receiver, the address or the link that it was sent to; a reply must come from there.
        answers: by receiver; None = not yet.
        missing: answers that have not come.
        again: receivers that were sent the command once more.
        done: all are there, or nobody waits any more.
    """

    location: int
    number: int
    command: str
    peers: tuple[str, ...]
    sent_to: list[Origin]
    answers: list[PeerAnswer | None]
    missing: int
    done: asyncio.Future[None]
    again: set[int] = field(default_factory=set)

    def put(self, receiver: int, answer: PeerAnswer) -> None:
        """The first answer of a receiver counts."""
        if self.answers[receiver] is not None:
            return
        self.answers[receiver] = answer
        self.missing -= 1
        if not self.missing and not self.done.done():
            self.done.set_result(None)

    def waits_for(self, link: Link) -> list[int]:
        """Receivers whose answers were to come on that link."""
        return [n for n, answer in enumerate(self.answers) if answer is None and self.sent_to[n] is link]

    def result(self) -> list[PeerAnswer]:
        """What there is; peers that are silent are said to be."""
        if not self.missing:
            return self.answers  # type: ignore[return-value]
        silent = "no answer in time"
        return [
            answer or PeerAnswer(peer, silent, error=NO_ANSWER)
            for peer, answer in zip(self.peers, self.answers, strict=True)
        ]


class RowJob(Struct):
    """A query: rows of several peers, as they come. A peer that is asked anew gets another receiver id.

    Attributes:
        held: by receiver, frames of a link that were not taken yet.
        streams: by receiver, streams of rows that are still to come; None = not known yet.
        silent: receivers that nothing has come from; a request to them may be sent once more.
        events: what arrived, few at a time: whoever sends more waits for ``room``.
    """

    location: int
    number: int
    peers: list[str] = field(default_factory=list)
    sent_to: list[Origin] = field(default_factory=list)
    streams: list[int | None] = field(default_factory=list)
    held: list[int] = field(default_factory=list)
    silent: set[int] = field(default_factory=set)
    send_again: Callable[[int], None] = lambda _receiver: None
    events: list[RowEvent] = field(default_factory=list)
    is_over: bool = False
    arrived: asyncio.Event = field(default_factory=asyncio.Event)
    room: asyncio.Event = field(default_factory=asyncio.Event)

    def add(self, peer: str, sent_to: Origin) -> int:
        """A receiver for a request to this peer."""
        self.peers.append(peer)
        self.sent_to.append(sent_to)
        self.streams.append(None)
        self.held.append(0)
        self.silent.add(len(self.peers) - 1)
        return len(self.peers) - 1

    @property
    def is_full(self) -> bool:
        """Whether what arrives has to wait."""
        return len(self.events) >= QUEUED

    async def put(self, event: RowEvent) -> bool:
        """Take what arrived, when there is room for it; False: the query is over."""
        while self.is_full and not self.is_over:
            self.room.clear()
            await self.room.wait()
        if not self.is_over:
            self.push(event)
        return not self.is_over

    def push(self, event: RowEvent) -> None:
        """Take what arrived, without a wait."""
        self.events.append(event)
        self.arrived.set()

    def push_from(self, link: Link, message: PeerMessage) -> None:
        """Take rows of a link. Raises ValueError for a peer that sends more than it may."""
        event = self.event_of(message)
        if event.rows is not None:
            self.held[event.receiver] += 1
            if self.held[event.receiver] > WINDOW:
                raise ValueError(f"more than {WINDOW} frames of rows that were not taken yet")
        self.push(event)

    async def take(self) -> list[RowEvent]:
        """What has arrived, at least one; peers may then send more."""
        await self.arrived.wait()
        taken, self.events = self.events, []
        self.arrived.clear()
        self.room.set()
        for event in taken:
            if event.rows is not None and (held := self.held[event.receiver]):
                self.held[event.receiver] = held - 1
                link = self.sent_to[event.receiver]
                if isinstance(link, Link) and not event.is_end:
                    link.taken(event.rows.job)
        return taken

    def end(self) -> None:
        """Nobody wants rows any more: who sends some is told, who waits for room need not."""
        self.is_over, self.events = True, []
        self.room.set()
        for receiver, link in enumerate(self.sent_to):
            if isinstance(link, Link) and self.streams[receiver] != 0:
                link.taken((self.location, self.number, len(self.peers), receiver), refused=True)

    def lost(self, link: Link) -> None:
        """A link has ended: what was to come on it does not."""
        for receiver, sent_to in enumerate(self.sent_to):
            if sent_to is not link or self.streams[receiver] == 0:
                continue
            if receiver in self.silent:
                self.silent.discard(receiver)
                self.send_again(receiver)
            else:
                self.streams[receiver] = 0
                text = f"{self.peers[receiver]}: {link.end}"
                self.push(RowEvent(receiver, is_end=True, error=UNREACHABLE, text=text))

    def event_of(self, message: PeerMessage) -> RowEvent:
        """What a message of one of the peers says."""
        receiver = message.job[3]
        self.silent.discard(receiver)
        failed = bool(message.error and message.error <= MAX_NOT_AN_ERROR)
        if message.is_complete:
            left = self.streams[receiver]
            self.streams[receiver] = 0 if failed else (message.partitions if left is None else left) - 1
        is_end = self.streams[receiver] == 0
        text = _text(message) if failed else ""
        code = message.error if failed else 0
        rows = message if message.has_rows and not failed else None
        return RowEvent(receiver, rows, is_end, code, text)


class RowEvent(Struct, frozen=True):
    """Rows of a receiver, its end, or its failure."""

    receiver: int
    rows: PeerMessage | None = None
    is_end: bool = False
    error: int = 0
    text: str = ""


class Jobs:
    """The jobs that run. Locations and numbers are random: nobody else can answer by counting on."""

    def __init__(self) -> None:
        self._jobs: dict[int, Job] = {}
        self._queries: dict[int, RowJob] = {}
        self._random: Iterator[tuple[int, int]] | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self.dropped = 0

    def __len__(self) -> int:
        return len(self._jobs) + len(self._queries)

    def _place(self) -> tuple[int, int]:
        """A location and a number that no other job has. Raises EdgeLakeError (108) when too many wait."""
        if len(self._jobs) + len(self._queries) >= MAX_JOBS:
            raise error(108, f"{MAX_JOBS} commands wait for peers already")
        while True:
            if not self._random:
                self._random = _PLACE.iter_unpack(secrets.token_bytes(_PLACE.size * _DRAWN))
            location, number = next(self._random, (0, 0))
            if not number:  # means no job; and what was drawn is used up
                self._random = None
            elif location not in self._jobs and location not in self._queries:
                return location, number

    def begin_rows(self) -> RowJob:
        """A query. Raises EdgeLakeError (108) when too many wait."""
        job = RowJob(*self._place())
        self._queries[job.location] = job
        return job

    def end_rows(self, job: RowJob) -> None:
        """Nobody wants rows any more; connections that bring some are closed."""
        self._queries.pop(job.location, None)
        job.end()

    def query_of(self, message: PeerMessage, origin: Origin) -> RowJob | None:
        """The query that a message belongs to; None for one that is over or was never asked there."""
        job = self._queries.get(message.job[0])
        if job is None or not self.asked(message, origin) or job.streams[message.job[3]] == 0:
            return None
        return job

    def asked(self, message: PeerMessage, origin: Origin) -> str:
        """The peer whose reply this is; "" for what is no reply."""
        location, number, _, receiver = message.job
        job = self._jobs.get(location) or self._queries.get(location)
        if job is None or job.number != number or receiver >= len(job.peers) or job.sent_to[receiver] != origin:
            return ""
        return job.peers[receiver]

    def begin(self, peers: Sequence[str], command: str) -> Job:
        """A job that waits for these. Raises EdgeLakeError (108) when too many wait."""
        location, number = self._place()
        if self._loop is None:  # asking for it again is a system call
            self._loop = asyncio.get_running_loop()
        count, done = len(peers), self._loop.create_future()
        job = Job(location, number, command, tuple(peers), [""] * count, [None] * count, count, done)
        self._jobs[location] = job
        return job

    def end(self, job: Job) -> None:
        """Nobody waits any more; what comes later is dropped."""
        self._jobs.pop(job.location, None)

    def end_all(self, why: str) -> None:
        """Who waits gets what there is, and is told why nothing more comes."""
        for job in list(self._jobs.values()):
            for receiver, peer in enumerate(job.peers):
                job.put(receiver, PeerAnswer(peer, why, error=NO_ANSWER))

    def lost(self, link: Link, send_again: Callable[[Job, int], None]) -> None:
        """A link has ended. Questions that it may not have carried any more are asked once more; who waits for other
        answers is told."""
        for query in list(self._queries.values()):
            query.lost(link)
        for job in list(self._jobs.values()):
            for receiver in job.waits_for(link):
                if receiver not in job.again and job.command.startswith(REPEATABLE):
                    job.again.add(receiver)
                    send_again(job, receiver)
                else:
                    peer = job.peers[receiver]
                    job.put(receiver, PeerAnswer(peer, f"{peer}: {link.end}", error=UNREACHABLE))

    def take(self, message: PeerMessage, origin: Origin) -> None:
        """Hand a reply to its job; one that nobody waits for or that another node sent is counted."""
        if not self.answered(message, origin):
            self.dropped += 1

    def answered(self, message: PeerMessage, origin: Origin) -> bool:
        """Hand a reply to its job, if it has one."""
        location, number, _, receiver = message.job
        job = self._jobs.get(location)
        if job is None or job.number != number or receiver >= len(job.peers) or job.sent_to[receiver] != origin:
            return False
        code = message.error if message.error <= MAX_NOT_AN_ERROR else 0
        job.put(receiver, PeerAnswer(job.peers[receiver], _text(message), message.generic_flag == 2, code))
        return True


def _text(message: PeerMessage) -> str:
    """Text of a reply: its data, or what stands behind ``print`` or ``echo`` in the command."""
    if message.data:
        return message.data.decode(errors="replace")
    verb, _, said = message.command.partition(" ")
    return said.replace("\t", " ").strip() if verb in ("print", "echo") else ""
