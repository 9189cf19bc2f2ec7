"""Helper process: operators that hold one row each, and an echo; nothing but the protocol (network bench)."""

from __future__ import annotations

import asyncio
import json
import struct
import sys
from typing import Any, Final

import uvloop

from edgelake._rust import PeerFrames, PeerMessage, PeerReader, PeerRowWriter, peer_frames
from edgelake.bench.processes import tell
from edgelake.net.peer.upgrade import GREETING_BYTES, greeted, greeting, mark_of

PROGRAM: Final = ("-m", "edgelake.bench.peers")
BLOCK_BYTES: Final = 2048
ROW: Final = b'{"Query":[{"0":"1","1":"2.5","2":"1"}]}\n'
"""Count, sum and count of a value: what an operator says to ``select count(*), avg(value)``."""

_LIMIT_BYTES: Final = 1 << 20


class Once(asyncio.Protocol):
    """Sends, and closes."""

    def __init__(self, content: bytes) -> None:
        self._content = content

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        transport.write(self._content)  # type: ignore[attr-defined]
        transport.close()


class Operator(asyncio.Protocol):
    """Answers every request with its row, in blocks or on a kept connection.

    Args:
        marked: show that we are of the asker's kind.
        silent: take what comes, and say nothing.
    """

    def __init__(self, own: tuple[str, int], marked: bool, silent: bool) -> None:
        self._own, self._silent = own, silent
        self._mark = mark_of(own) if marked else bytes(8)
        self._reader: PeerReader | PeerFrames = PeerReader(_LIMIT_BYTES)
        self._first = True
        self._transport: Any = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        if self._silent:
            return
        if self._first and greeted(data[:GREETING_BYTES]):
            self._reader = PeerFrames(_LIMIT_BYTES)
            self._transport.write(greeting())
            data = data[GREETING_BYTES:]
        self._first = False
        for message in self._reader.feed(data):
            if isinstance(self._reader, PeerReader):
                self._transport.close()
                self._answering = asyncio.ensure_future(self._in_blocks(message))
            elif message.command.startswith("sql"):
                self._transport.write(self._in_frames(message))

    async def _in_blocks(self, message: PeerMessage) -> None:
        writer = PeerRowWriter(self._own, message.job, mark=self._mark)
        content = writer.rows(ROW) + writer.finish()
        await asyncio.get_running_loop().create_connection(lambda: Once(content), *message.source)

    def _in_frames(self, message: PeerMessage) -> bytes:
        number, _ = message.numbers
        return peer_frames(
            "job reply", ROW, self._own, numbers=(0, number), job=message.job, info=1, kind="lines", is_last=True
        )


class Kept(asyncio.Protocol):
    """Sends back what comes."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport: Any = transport

    def data_received(self, data: bytes) -> None:
        self._transport.write(data)


class EachWay(asyncio.Protocol):
    """Sends a block back on a connection of its own, to the port that its first bytes name."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport: Any = transport
        self._block = b""

    def data_received(self, data: bytes) -> None:
        self._block += data
        if len(self._block) == BLOCK_BYTES:
            self._transport.close()
            self._answering = asyncio.ensure_future(self._back())

    async def _back(self) -> None:
        (port,) = struct.unpack_from(">H", self._block)
        await asyncio.get_running_loop().create_connection(lambda: Once(self._block), "127.0.0.1", port)


async def main(what: dict[str, Any]) -> None:
    """Listen, say where, and go on until the process is ended."""
    loop = asyncio.get_running_loop()
    ports = []
    for number in range(what.get("operators", 0)):
        own: list[tuple[str, int]] = []
        silent = number == what.get("silent", -1)
        server = await loop.create_server(
            lambda own=own, silent=silent: Operator(own[0], what["marked"], silent),  # type: ignore[misc]
            "127.0.0.1",
            0,
        )
        own.append(server.sockets[0].getsockname())
        ports.append(own[0][1])
    for made in (Kept, EachWay) if what.get("echo") else ():
        server = await loop.create_server(made, "127.0.0.1", 0)
        ports.append(server.sockets[0].getsockname()[1])
    tell(ports=ports)
    await asyncio.Event().wait()


if __name__ == "__main__":
    uvloop.run(main(json.loads(sys.argv[1])))
