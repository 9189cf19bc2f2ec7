"""One message on its way: a connection of its own, all blocks, the end (network protocol, section 1)."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
from collections.abc import AsyncIterator
from functools import lru_cache
from typing import cast

from edgelake.errors import EdgeLakeError, error
from edgelake.net.peer import short

CONNECT_S = 6.0
SEND_S = 10.0
"""Longest silence of a peer while we send a message."""


@lru_cache(4096)
def address_of(peer: str) -> tuple[str, int]:
    """Host and port of ``ip:port``. Raises EdgeLakeError (20)."""
    host, colon, port = peer.rpartition(":")
    if not (colon and host and port.isdigit() and 0 < int(port) <= 65535):
        raise error(20, f"'{peer}' is no address", hint="give ip:port")
    return host.strip("[]"), int(port)


async def send(
    peer: str,
    pieces: AsyncIterator[bytes] | bytes,
    connect_to: str = "",
    *,
    taken_s: float = 0,
    silence_s: float = SEND_S,
) -> str:
    """Send the blocks of one message; returns the address that was connected to.

    The reference tries three times over half a minute; we try once and say so: who asks can try another node at once.

    Args:
        connect_to: connect to this host instead of the peer's (a node reaches itself by its inner address).
        silence_s: longest time in which the peer takes nothing.
        taken_s: wait at most so long until the peer closes, which is when it has dealt with the message.

    Raises EdgeLakeError (20, 208).
    """
    if isinstance(pieces, bytes) and not taken_s and (begun := begin(peer, pieces, connect_to)) is not None:
        sent_to, rest = begun
        if rest is not None:
            await finish(peer, rest, silence_s)
        return sent_to
    host, port = address_of(peer)
    try:
        async with asyncio.timeout(CONNECT_S):
            opened = await asyncio.get_running_loop().create_connection(_Sending, connect_to or host, port)
    except TimeoutError:
        raise _no_connection(peer) from None
    except OSError as problem:
        raise _unreachable(peer, problem) from None
    transport, sending = opened
    try:
        sent_to = str(transport.get_extra_info("peername")[0])
        if isinstance(pieces, bytes):
            await sending.write(pieces, silence_s)
        else:
            async for piece in pieces:
                await sending.write(piece, silence_s)
        await sending.close(silence_s, taken_s, wait=not isinstance(pieces, bytes))
        return sent_to
    except TimeoutError:
        raise error(208, f"{peer}: it takes nothing for {silence_s:g} seconds") from None
    except OSError as problem:
        raise error(208, f"{peer}: {_reason(problem)}") from None
    finally:
        if not transport.is_closing():
            transport.abort()


def begin(peer: str, content: bytes, connect_to: str = "") -> tuple[str, short.Sending | None] | None:
    """Send a short message as far as that takes no waiting; the address that was connected to, and what is to be
    finished. None: it is one for ``send``.

    Raises EdgeLakeError (20, 208).
    """
    host, port = address_of(peer)
    _, host = short.numeric(connect_to or host)
    if not host or len(content) > short.MAX_BYTES:
        return None
    try:
        return host, short.send_now(host, port, content)
    except OSError as problem:
        raise _unreachable(peer, problem) from None


async def finish(peer: str, rest: short.Sending, silence_s: float = SEND_S) -> None:
    """Send what ``begin`` left. Raises EdgeLakeError (208)."""
    try:
        await short.finish(rest, CONNECT_S, silence_s)
    except TimeoutError:
        if not rest.is_connected:
            raise _no_connection(peer) from None
        raise error(208, f"{peer}: it takes nothing for {silence_s:g} seconds") from None
    except OSError as problem:
        if not rest.is_connected:
            raise _unreachable(peer, problem) from None
        raise error(208, f"{peer}: {_reason(problem)}") from None


def _no_connection(peer: str) -> EdgeLakeError:
    return error(208, f"{peer}: no connection within {CONNECT_S:g} seconds")


def _unreachable(peer: str, problem: OSError) -> EdgeLakeError:
    return error(208, f"{peer}: {_reason(problem)}", hint="is that node's TCP server running?")


class _Sending(asyncio.Protocol):
    """The sending end of a connection, on which nothing comes back."""

    def __init__(self) -> None:
        self._transport: asyncio.Transport | None = None
        self._full: asyncio.Future[None] | None = None
        self._lost: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def pause_writing(self) -> None:
        self._full = self._lost.get_loop().create_future()

    def resume_writing(self) -> None:
        if self._full is not None and not self._full.done():
            self._full.set_result(None)
        self._full = None

    def connection_lost(self, problem: Exception | None) -> None:
        self.resume_writing()
        if self._lost.done():
            return
        if problem is None:
            self._lost.set_result(None)
        else:
            self._lost.set_exception(problem)
            self._lost.exception()  # who sent a short message does not ask

    async def write(self, piece: bytes, silence_s: float) -> None:
        """Send, and wait while the peer takes nothing. Raises TimeoutError, OSError."""
        assert self._transport is not None
        if self._lost.done():
            self._lost.result()
            raise ConnectionResetError(errno.ECONNRESET, os.strerror(errno.ECONNRESET))
        self._transport.write(piece)
        if self._full is not None:
            async with asyncio.timeout(silence_s):
                await asyncio.shield(self._full)
            if self._lost.done():
                self._lost.result()

    async def close(self, silence_s: float, taken_s: float, *, wait: bool) -> None:
        """End the message. Raises TimeoutError, OSError.

        Args:
            taken_s: wait at most so long until the peer closes first; one of another edition may do so late.
            wait: until all has been sent; a short message is with the system already.
        """
        assert self._transport is not None
        if taken_s:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(taken_s):
                    await asyncio.shield(self._lost)
        is_sent = not self._transport.get_write_buffer_size()
        self._transport.close()
        if wait or not is_sent:
            async with asyncio.timeout(silence_s):
                await asyncio.shield(self._lost)


def _reason(problem: OSError) -> str:
    """What the system says; asyncio's own text names the address, which stands beside it."""
    number = problem.errno or 0  # that of a name that is not found is none of the system's
    return os.strerror(number) if number > 0 else str(problem.strerror or problem)
