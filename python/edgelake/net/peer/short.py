"""Short messages without a transport: a connection, the bytes, the end; mostly the system takes all of it at once."""

from __future__ import annotations

import asyncio
import errno
import os
import socket
from functools import lru_cache
from typing import Final

from msgspec import Struct

MAX_BYTES: Final = 1 << 16
"""Longer messages go by a transport, which does not hold a copy of what is left."""

_KIND: Final = socket.SOCK_STREAM | socket.SOCK_NONBLOCK


class Sending(Struct):
    """A connection that could not be given everything at once; ``rest`` is still to be sent."""

    opened: socket.SocketType
    rest: bytes
    is_connected: bool


@lru_cache(4096)
def numeric(host: str) -> tuple[int, str]:
    """Family and usual spelling of an address that is written in numbers; ``(0, "")`` for a name."""
    for family in (socket.AF_INET, socket.AF_INET6):
        try:
            return family, socket.inet_ntop(family, socket.inet_pton(family, host))
        except OSError:
            continue
    return 0, ""


def send_now(host: str, port: int, content: bytes) -> Sending | None:
    """Connect, send and close as far as that takes no waiting; None: all is done.

    Args:
        host: in numbers.

    Raises OSError.
    """
    opened = socket.SocketType(numeric(host)[0], _KIND)
    try:
        code = opened.connect_ex((host, port))
        if code not in (0, errno.EINPROGRESS):
            raise OSError(code, os.strerror(code))
        try:
            sent = opened.send(content)  # on this machine the connection is there by now
        except BlockingIOError:
            return Sending(opened, content, is_connected=False)
        if sent < len(content):
            return Sending(opened, content[sent:], is_connected=True)
    except BaseException:
        opened.close()
        raise
    opened.close()
    return None


async def finish(sending: Sending, connect_s: float, silence_s: float) -> None:
    """Send the rest and close. Raises TimeoutError, OSError.

    Args:
        connect_s: longest time until there is a connection; ``is_connected`` says whether there was one.
        silence_s: longest time in which the peer takes nothing.
    """
    opened = sending.opened
    try:
        while sending.rest:
            async with asyncio.timeout(silence_s if sending.is_connected else connect_s):
                await _writable(opened)
            if code := opened.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
                raise OSError(code, os.strerror(code))
            sending.is_connected = True
            sending.rest = sending.rest[opened.send(sending.rest) :]
    finally:
        opened.close()


def _set(ready: asyncio.Future[None]) -> None:
    if not ready.done():
        ready.set_result(None)


async def _writable(opened: socket.SocketType) -> None:
    loop = asyncio.get_running_loop()
    ready: asyncio.Future[None] = loop.create_future()
    loop.add_writer(opened, _set, ready)
    try:
        await ready
    finally:
        loop.remove_writer(opened)
