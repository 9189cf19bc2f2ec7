"""One message on its way: a connection of its own, all blocks, the end (network protocol, section 1)."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from collections.abc import AsyncIterator

from edgelake.errors import error

CONNECT_S = 6.0
SEND_S = 10.0
"""Longest silence of a peer while we send a message."""


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
    host, port = address_of(peer)
    try:
        async with asyncio.timeout(CONNECT_S):
            reader, writer = await asyncio.open_connection(connect_to or host, port)
    except TimeoutError:
        raise error(208, f"{peer}: no connection within {CONNECT_S:g} seconds") from None
    except OSError as problem:
        raise error(208, f"{peer}: {_reason(problem)}", hint="is that node's TCP server running?") from None
    try:
        link: socket.socket = writer.get_extra_info("socket")
        link.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if isinstance(pieces, bytes):
            await _write(writer, pieces, silence_s)
        else:
            async for piece in pieces:
                await _write(writer, piece, silence_s)
        if taken_s:
            await _until_closed(reader, taken_s)
        return str(writer.get_extra_info("peername")[0])
    except TimeoutError:
        raise error(208, f"{peer}: it takes nothing for {silence_s:g} seconds") from None
    except OSError as problem:
        raise error(208, f"{peer}: {_reason(problem)}") from None
    finally:
        writer.close()
        with contextlib.suppress(OSError, TimeoutError):
            async with asyncio.timeout(SEND_S):
                await writer.wait_closed()


async def _until_closed(reader: asyncio.StreamReader, longest_s: float) -> None:
    """A peer of another edition may close late: no failure."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(longest_s):
            await reader.read()


def _reason(problem: OSError) -> str:
    """What the system says; asyncio's own text names the address, which stands beside it."""
    number = problem.errno or 0  # that of a name that is not found is none of the system's
    return os.strerror(number) if number > 0 else str(problem.strerror or problem)


async def _write(writer: asyncio.StreamWriter, piece: bytes, silence_s: float) -> None:
    writer.write(piece)
    async with asyncio.timeout(silence_s):
        await writer.drain()
