"""The sockets that peers connect to. What has come with a connection is read at once: mostly that is all."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Callable
from typing import Final

log = logging.getLogger(__name__)

_DEFER: Final[int | None] = getattr(socket, "TCP_DEFER_ACCEPT", None)
"""Where the system has it: a connection is shown with its first bytes, a silent one after a second or more."""

_PAUSE_S: Final = 0.5
"""How long nobody is let in when the system has no descriptors left."""

Accepted = Callable[[socket.SocketType, str], None]
"""The type of the system's sockets: that of the module around them looks three enumerations up for each."""


class Listener:
    """Accepts connections on every address that a host stands for.

    Args:
        accepted: gets each connection and the address that it came from. Does not raise.
    """

    def __init__(self, accepted: Accepted) -> None:
        self._accepted = accepted
        self._sockets: list[socket.socket] = []
        self._paused: dict[socket.socket, asyncio.TimerHandle] = {}

    async def open(self, host: str, port: int, backlog: int) -> None:
        """Bind and listen. Raises OSError."""
        loop = asyncio.get_running_loop()
        found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        try:
            for family, kind, protocol, _, address in dict.fromkeys(found):
                self._sockets.append(listening := socket.socket(family, kind | socket.SOCK_NONBLOCK, protocol))
                listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                if family == socket.AF_INET6:
                    listening.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
                if _DEFER is not None:
                    listening.setsockopt(socket.IPPROTO_TCP, _DEFER, 1)
                listening.bind(address)
                listening.listen(backlog)
        except BaseException:
            self.close()
            raise
        for listening in self._sockets:
            loop.add_reader(listening, self._readable, listening)

    def close(self) -> None:
        """Let nobody in any more. Idempotent."""
        loop = asyncio.get_running_loop()
        for timer in self._paused.values():
            timer.cancel()
        self._paused.clear()
        for listening in self._sockets:
            loop.remove_reader(listening)
            listening.close()
        self._sockets.clear()

    def _readable(self, listening: socket.socket) -> None:
        # One at a time: whoever waits for what came goes on before the next one, and mostly there is none.
        try:
            descriptor, address = listening._accept()  # type: ignore[attr-defined]
        except (BlockingIOError, InterruptedError, ConnectionAbortedError):
            return
        except OSError as problem:
            log.error("connections are not accepted for a moment: %s", problem.strerror or problem)
            self._pause(listening)
            return
        self._accepted(socket.SocketType(fileno=descriptor), str(address[0]).removeprefix("::ffff:"))

    def _pause(self, listening: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        loop.remove_reader(listening)
        self._paused[listening] = loop.call_later(_PAUSE_S, self._resume, listening)

    def _resume(self, listening: socket.socket) -> None:
        del self._paused[listening]
        asyncio.get_running_loop().add_reader(listening, self._readable, listening)


def first_bytes(connection: socket.SocketType, most: int) -> bytes | None:
    """What has come already; nothing: not yet. None: the peer has ended it, or broken it off."""
    try:
        return connection.recv(most, socket.MSG_DONTWAIT) or None
    except BlockingIOError:
        return b""
    except OSError:
        return None


class Connection:
    """A connection that needs no transport: everything has come. ``left`` is told of its address when it ends."""

    __slots__ = ("_ip", "_left", "_opened")

    def __init__(self, opened: socket.SocketType, ip: str, left: Callable[[str], None]) -> None:
        self._opened, self._ip, self._left = opened, ip, left

    def close(self) -> None:
        """End it. To be called once."""
        try:
            self._opened.close()
        finally:
            self._left(self._ip)
