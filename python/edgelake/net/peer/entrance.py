"""The first bytes of a connection of a peer: they tell a greeting from a block (network protocol, section 14)."""

from __future__ import annotations

import asyncio
import ssl
from functools import partial
from typing import Final, Protocol, cast

from edgelake.net.peer.files import BLOCK_BYTES
from edgelake.net.peer.link import Link
from edgelake.net.peer.secure import Secure
from edgelake.net.peer.upgrade import GREETING, GREETING_BYTES, Capability, greeted, greeting

READ_BYTES: Final = 1 << 16
_LAST: Final = 35
"""Where a block says that none follows."""


def is_whole(first: bytes) -> bool:
    """Whether the first bytes of a connection are a message of one block."""
    return len(first) == BLOCK_BYTES and bool(first[_LAST]) and not first.startswith(GREETING)


class Closing(Protocol):
    """A connection that can be ended."""

    def close(self) -> None: ...


class Reader(Protocol):
    """Who reads messages in blocks."""

    def whole(self, block: bytes, ip: str, connection: Closing) -> bool:
        """Serve a message of one block, and close its connection. False: it is to be read as a stream. Raises
        ValueError."""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, ip: str) -> None:
        """Serve a connection of blocks: one message."""


class Host(Protocol):
    """Who serves what comes in."""

    def left(self, ip: str) -> None:
        """A connection that was counted has ended."""

    def refuse(self, ip: str, why: str) -> None:
        """Put down what was wrong with a connection."""

    @property
    def secure(self) -> Secure:
        """How TLS is begun."""

    @property
    def demands_signatures(self) -> bool:
        """Whether who opens a link has to sign."""

    def linked(self, ip: str, capabilities: Capability) -> Link:
        """A link for a peer of our kind."""

    @property
    def blocks(self) -> Reader:
        """Who reads messages in blocks."""

    def keep(self, task: asyncio.Task[None]) -> None:
        """Hold on to a task until it ends."""


class Entrance(asyncio.Protocol):
    """One connection that was accepted and counted.

    Args:
        first: bytes that have come already.
        first_s: the peer may take this long for its first bytes.
    """

    def __init__(self, host: Host, ip: str, first: bytes, first_s: float) -> None:
        self._host, self._ip, self._first_s = host, ip, first_s
        self._come, self._first = first, b""
        self._transport: asyncio.Transport | None = None
        self._late: asyncio.TimerHandle | None = None
        self._next: asyncio.Protocol | None = None
        self._is_served = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._late = asyncio.get_running_loop().call_later(self._first_s, self._silent)
        if self._come:
            self.data_received(self._come)
            self._come = b""

    @property
    def is_made(self) -> bool:
        """Whether there is a transport, which tells of its end."""
        return self._transport is not None

    def data_received(self, data: bytes) -> None:
        if self._next is not None:
            self._next.data_received(data)
            return
        if self._is_served:
            return  # one message a connection
        self._first += data
        if len(self._first) < GREETING_BYTES or self._transport is None:
            return
        try:
            self._decide(self._transport, self._first)
        except ValueError as problem:
            self._host.refuse(self._ip, str(problem))
            self._transport.abort()

    def eof_received(self) -> bool | None:
        if self._next is not None:
            return self._next.eof_received()
        if self._first:
            self._host.refuse(self._ip, "the connection ended within a message")
        return None

    def pause_writing(self) -> None:
        if self._next is not None:
            self._next.pause_writing()

    def resume_writing(self) -> None:
        if self._next is not None:
            self._next.resume_writing()

    def connection_lost(self, problem: Exception | None) -> None:
        if self._transport is None:
            return
        if self._late is not None:
            self._late.cancel()
        self._host.left(self._ip)
        if self._next is not None:
            self._next.connection_lost(problem)

    def _silent(self) -> None:
        self._host.refuse(self._ip, f"no whole block within {self._first_s:g} seconds")
        if self._transport is not None:
            self._transport.abort()

    def _decide(self, transport: asyncio.Transport, first: bytes) -> None:
        if self._late is not None:
            self._late.cancel()
        capabilities = greeted(first[:GREETING_BYTES])
        secure = self._host.secure
        if secure.only and not capabilities & Capability.TLS:
            raise ValueError("this node takes TLS alone")
        if not capabilities:
            if is_whole(first) and self._host.blocks.whole(first, self._ip, transport):
                self._is_served = True
                return
            reader = asyncio.StreamReader(limit=READ_BYTES)
            self._next = asyncio.StreamReaderProtocol(reader, self._blocks)
        else:
            if not secure.takes:
                capabilities &= ~Capability.TLS
            capabilities &= ~Capability.CERTIFICATE
            if secure.demands:
                capabilities |= Capability.CERTIFICATE
            capabilities &= ~Capability.SIGNED
            if self._host.demands_signatures:
                capabilities |= Capability.SIGNED
            self._next = link = self._host.linked(self._ip, capabilities)
            transport.write(greeting(capabilities))
            first = first[GREETING_BYTES:]
            if capabilities & Capability.TLS:
                if first:
                    raise ValueError("it sends more before TLS has begun")
                self._host.keep(asyncio.ensure_future(self._begin_tls(transport, link)))
                return
            # From here on the link has the transport to itself, and tells of its end.
            link.left = partial(self._host.left, self._ip)
            transport.set_protocol(link)
        self._first = b""
        self._next.connection_made(transport)
        if first:
            self._next.data_received(first)

    async def _begin_tls(self, transport: asyncio.Transport, link: Link) -> None:
        try:
            secured, link.shown = await self._host.secure.accept(transport, self)
        except (OSError, ssl.SSLError) as problem:
            self._host.refuse(self._ip, f"TLS: {problem}")
            transport.abort()
        else:
            if link.capabilities & Capability.CERTIFICATE:
                # TLS 1.3 has ended for the peer before its certificate is looked at.
                secured.write(greeting(link.capabilities))
            link.connection_made(secured)

    def _blocks(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._host.keep(asyncio.ensure_future(self._host.blocks.serve(reader, writer, self._ip)))
