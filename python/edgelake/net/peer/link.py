"""A connection that two nodes of this kind keep open: messages go both ways (network protocol, section 14)."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, Final, Protocol, cast

from edgelake._rust import PeerFrames, PeerMessage, peer_frames
from edgelake.errors import error
from edgelake.net.peer.upgrade import Capability

TAKEN: Final = "event taken"
"""A frame of rows has been merged, or one of a file stored: more may come. With an error: nobody wants more."""

_CONFIRMED: Final = "event confirmed"
_CHALLENGE: Final = "event challenge"
"""A number that who opened the connection signs ..."""
_IDENTIFY: Final = "event identify"
"""... in this."""
_EVENTS: Final = frozenset({TAKEN, _CONFIRMED, _CHALLENGE, _IDENTIFY})

CONFIRM_S: Final = 10.0
"""A peer that has not confirmed a message by then is not there any more."""

CONFIRM_WITHIN_S: Final = 0.01
"""A message that is not answered sooner is confirmed by itself."""

WINDOW: Final = 4
"""Frames of rows that are on their way to one query, or of one file."""

ROWS_S: Final = 60.0
"""Longest time that who asked takes no more: its own reader may be slow."""

MAX_REQUESTS: Final = 64
"""Requests of one link that are worked on at a time; more are not read yet."""

MAX_FRAME_BYTES: Final = 1 << 20
_BROKEN_OFF: Final = 15

# Probes find out that an idle peer is gone. While something is on its way there are none: without a limit of its own
# the system would send that again for a quarter of an hour.
_LIVENESS: Final = (
    (socket.TCP_KEEPIDLE, 30),
    (socket.TCP_KEEPINTVL, 10),
    (socket.TCP_KEEPCNT, 3),
    (socket.TCP_USER_TIMEOUT, int(ROWS_S * 1000)),
)

REQUEST: Final = 6
"""Kind of a message that asks for an answer."""

JobKey = tuple[int, int, int, int]
"""Location and id of a job, number of receivers, id of this one."""


class Owner(Protocol):
    """Who deals with what comes on a link."""

    def arrived(self, link: Link, message: PeerMessage) -> None:
        """A message came, or a frame of rows. Raises ValueError: the link is of no more use."""

    def identified(self, link: Link, message: PeerMessage) -> None:
        """Who opened the link says who it is."""

    def lost(self, link: Link) -> None:
        """The link has ended."""


class Link(asyncio.Protocol):
    """One kept connection.

    Args:
        peer: ``ip:port`` when we opened it, else the address that it came from.
        source: our address in what we send.
        limit_bytes: of a text that comes.

    Attributes:
        left: called when it has ended.
        shown: the certificate (DER) with which the peer opened it, where this node demands one.
        challenge: the number that its opener has to sign; b"" = nothing is asked of it.
        challenged: gets the number that we have to sign.
        key: of who opened it, once it has signed.
        origin, reply_to: the source of a request that may have replies whatever the policies say, and where they go.
    """

    def __init__(
        self, owner: Owner, peer: str, source: tuple[str, int], limit_bytes: int, capabilities: Capability
    ) -> None:
        self.peer, self.source, self.capabilities = peer, source, capabilities
        self.ip = ""
        self.end = ""
        self.shown = self.challenge = b""
        self.challenged: asyncio.Future[bytes] | None = None
        self.key = ""
        self.origin, self.reply_to = ("", 0), ""
        self.left: Callable[[], None] = lambda: None
        self._owner = owner
        self._frames = PeerFrames(limit_bytes)
        self._transport: asyncio.Transport | None = None
        self._loop = asyncio.get_running_loop()
        self._sent = self._confirmed = 0
        self._taken = self._told = 0
        self._telling: asyncio.TimerHandle | None = None
        self._watching: asyncio.TimerHandle | None = None
        self._waiting: dict[int, asyncio.Future[None]] = {}
        self._windows: dict[tuple[int, ...], asyncio.Semaphore] = {}
        self._refused: set[tuple[int, ...]] = set()
        self._requests = 0
        self._turns = asyncio.Semaphore(MAX_REQUESTS)
        self._room = asyncio.Event()
        self._room.set()

    # ---- the transport's

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self.ip = str((transport.get_extra_info("peername") or ("",))[0]).removeprefix("::ffff:")
        opened: socket.socket = transport.get_extra_info("socket")
        opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for option, value in _LIVENESS:
            opened.setsockopt(socket.IPPROTO_TCP, option, value)
        if self.challenge:
            self.reply(_CHALLENGE, self.challenge.hex().encode(), info=REQUEST)

    def data_received(self, data: bytes) -> None:
        try:
            for message in self._frames.feed(data):
                number, confirmed = message.numbers
                if confirmed > self._confirmed:
                    self._confirmed = confirmed
                    if self._waiting:
                        self._confirm(confirmed)
                if message.command in _EVENTS:
                    self._event(message)
                    continue
                if number:
                    self._taken = number
                    if self._telling is None:
                        self._telling = self._loop.call_later(CONFIRM_WITHIN_S, self._tell)
                self._owner.arrived(self, message)
        except ValueError as problem:
            self.close(str(problem))

    def connection_lost(self, problem: Exception | None) -> None:
        self.end = self.end or (str(problem) if problem else "the peer closed the connection")
        self._transport = None
        for timer in (self._telling, self._watching):
            if timer is not None:
                timer.cancel()
        for waiting in self._waiting.values():
            if not waiting.done():
                waiting.set_exception(error(208, f"{self.peer}: {self.end}"))
        self._waiting.clear()
        if self.challenged is not None and not self.challenged.done():
            self.challenged.set_exception(error(208, f"{self.peer}: {self.end}"))
            self.challenged.exception()
        for window in self._windows.values():
            window.release()
        self._room.set()
        self.left()
        self._owner.lost(self)

    def pause_writing(self) -> None:
        self._room.clear()

    def resume_writing(self) -> None:
        self._room.set()

    # ---- to send

    @property
    def is_open(self) -> bool:
        return self._transport is not None and not self._transport.is_closing()

    def close(self, why: str = "") -> None:
        """End it; what waits for the peer is told. Idempotent."""
        self.end = self.end or why
        if self._transport is not None:
            self._transport.abort() if why else self._transport.close()

    def request(self, command: str, job: JobKey, data: bytes = b"") -> int:
        """Send what is to be answered or confirmed; returns its number. Raises EdgeLakeError (9, 208)."""
        self._sent += 1
        self.reply(command, data, job, number=self._sent, info=REQUEST)
        if self._watching is None:
            self._watching = self._loop.call_later(CONFIRM_S, self._check, self._sent)
        return self._sent

    def reply(self, command: str, data: bytes, job: JobKey = (0, 0, 0, 0), *, number: int = 0, **fields: Any) -> None:
        """Send an answer. Raises EdgeLakeError (9, 208).

        Args:
            number: of a message that is to be confirmed.
        """
        if self._transport is None or self._transport.is_closing():
            raise error(208, f"{self.peer}: {self.end or 'the connection has ended'}")
        try:
            frames = peer_frames(command, data, self.source, numbers=(number, self._taken), job=job, **fields)
        except ValueError as problem:
            raise error(9, str(problem)) from None
        self._told = self._taken
        self._transport.write(frames)

    def identify(self, authentication: bytes) -> None:
        """Say who opened this link. Raises EdgeLakeError (208)."""
        self.reply(_IDENTIFY, b"", info=REQUEST, authentication=authentication)

    @property
    def has_room(self) -> bool:
        """Whether a request that comes now may be answered now: the peer reads what it is sent."""
        return self._requests < MAX_REQUESTS and self._room.is_set()

    @asynccontextmanager
    async def request_served(self) -> AsyncIterator[None]:
        """Count a request that came while it is worked on: who asks a lot and reads no answers is not read either."""
        self._requests += 1
        if self._requests == MAX_REQUESTS and self._transport is not None:
            self._transport.pause_reading()
        try:
            async with self._turns:  # one read may bring more than the limit
                yield
        finally:
            self._requests -= 1
            if self._requests == MAX_REQUESTS - 1 and self._transport is not None:
                self._transport.resume_reading()

    async def room(self) -> None:
        """Wait until the peer has read what was sent. Raises EdgeLakeError (208)."""
        try:
            while not self._room.is_set():  # another answer may have taken the room that this one was told of
                async with asyncio.timeout(ROWS_S):
                    await self._room.wait()
        except TimeoutError:
            self.close(f"it reads nothing for {ROWS_S:g} seconds")
            raise error(208, f"{self.peer}: {self.end}") from None

    async def confirmed(self, number: int) -> None:
        """Wait until the peer has taken that message. Raises EdgeLakeError (208)."""
        if number <= self._confirmed:
            return
        waiting = self._waiting[number] = self._loop.create_future()
        await waiting

    def taken(self, job: JobKey, *, refused: bool = False) -> None:
        """Say that a frame of rows or of a file is dealt with, or that nobody wants any more. Never raises."""
        if self.is_open:
            self.reply(TAKEN, b"", job, info=REQUEST, error=int(refused))

    async def send_rows(self, lines: AsyncIterator[bytes], job: JobKey, kind: str) -> None:
        """Send rows, a line each, a few frames ahead of who merges them; ``kind``: lines or printed.

        Raises EdgeLakeError: of the rows, 9 for a row that is too long, 208 when the peer takes no more.
        """
        await self._send_pieces("job reply", _frames_of_rows(lines), job, kind=kind, info=1)

    async def send_file(self, command: str, content: AsyncIterator[bytes], job: JobKey, flag: int) -> None:
        """Send a file, a few frames ahead of who stores it; its answer comes as that of a job.

        Raises EdgeLakeError: of the content, 208 when the peer takes no more.
        """
        try:
            await self._send_pieces(command, content, job, kind="file", generic_flag=flag)
        except BaseException:
            if self.is_open:  # what has come of it is nothing
                self.reply(command, b"", job, kind="file", generic_flag=flag, error=_BROKEN_OFF)
            raise

    async def _send_pieces(self, command: str, pieces: AsyncIterator[bytes], job: JobKey, **fields: Any) -> None:
        key = _stream(job)
        window = self._windows[key] = asyncio.Semaphore(WINDOW)
        try:
            async for piece in pieces:
                for at in range(0, len(piece), MAX_FRAME_BYTES):
                    await self._turn(window)
                    if key in self._refused:
                        break
                    self.reply(command, piece[at : at + MAX_FRAME_BYTES], job, **fields, is_last=False)
                if key in self._refused:
                    break
            self.reply(command, b"", job, **fields)
        finally:
            del self._windows[key]
            self._refused.discard(key)

    async def _turn(self, window: asyncio.Semaphore) -> None:
        try:
            async with asyncio.timeout(ROWS_S):
                await window.acquire()
                await self._room.wait()
        except TimeoutError:
            raise error(208, f"{self.peer}: it takes nothing for {ROWS_S:g} seconds") from None

    # ---- what came

    def _event(self, message: PeerMessage) -> None:
        """What the other end says of the link itself. Raises ValueError, which ends it."""
        if message.command == TAKEN:
            key = _stream(message.job)
            if (window := self._windows.get(key)) is not None:
                if message.error:
                    self._refused.add(key)
                window.release()
        elif message.command == _IDENTIFY and self.challenge:
            self._owner.identified(self, message)
        elif message.command == _CHALLENGE and self.challenged is not None and not self.challenged.done():
            self.challenged.set_result(bytes.fromhex(message.data.decode(errors="replace")))

    def _confirm(self, number: int) -> None:
        for waited in [waited for waited in self._waiting if waited <= number]:
            waiting = self._waiting.pop(waited)
            if not waiting.done():
                waiting.set_result(None)

    def _tell(self) -> None:
        """Confirm what no answer has confirmed on its way."""
        self._telling = None
        if self._told != self._taken and self.is_open:
            self.reply(_CONFIRMED, b"", info=REQUEST)

    def _check(self, number: int) -> None:
        """A peer whose host is gone says nothing at all."""
        self._watching = None
        if self._confirmed < number:
            self.close(f"it did not confirm a message within {CONFIRM_S:g} seconds")
        elif self._confirmed < self._sent:
            self._watching = self._loop.call_later(CONFIRM_S, self._check, self._sent)


def _stream(job: JobKey) -> tuple[int, ...]:
    """What names rows that a peer asked for; the number of receivers grows as others are asked instead."""
    return job[0], job[1], job[3]


async def _frames_of_rows(lines: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """Rows in pieces that fit a frame. Raises EdgeLakeError (9) for a row that does not."""
    async for piece in lines:
        rest = piece
        while len(rest) > MAX_FRAME_BYTES:
            end = rest.rfind(b"\n", 0, MAX_FRAME_BYTES) + 1
            if not end:
                raise error(9, f"a row of more than {MAX_FRAME_BYTES} bytes", hint="select fewer columns")
            yield rest[:end]
            rest = rest[end:]
        yield rest
