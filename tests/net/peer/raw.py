"""A peer made by hand: it knows blocks, and nothing of our own transport (network protocol, sections 1 to 3)."""

from __future__ import annotations

import asyncio
import contextlib
import struct
from dataclasses import dataclass

BLOCK = 2048
HEADER = struct.Struct(">16sHQIIBBBHHHIHBHIHHHHIIB128sIH")
assert HEADER.size == 207


@dataclass(frozen=True, slots=True)
class Said:
    """A message that came, its blocks joined."""

    command: str
    data: bytes
    error: int
    job: tuple[int, int, int, int]
    source: str
    generic: int


def block(
    command: str,
    source: str,
    *,
    data: bytes = b"",
    number: int = 1,
    last: bool = True,
    job: tuple[int, int, int, int] = (0, 0, 1, 0),
    info: int = 6,
    error: int = 0,
    generic: int = 0,
    tail: bytes = b"\0",
    length: int | None = None,
) -> bytes:
    """One block. ``tail``: what stands behind the payload; ``length``: a payload length that lies."""
    ip, _, port = source.rpartition(":")
    text = command.encode()
    payload = len(text) + len(data) if length is None else length
    head = HEADER.pack(
        *(b"", 0, 0, 0, number, 2, last, info, error, len(text), 0, payload, 1, 0, *job, 1, 0, 0, 0),
        *(len(ip), ip.encode().ljust(128, b"\xff"), int(port), generic),
    )
    return (head + text + data).ljust(BLOCK, tail)


async def send(address: str, content: bytes) -> None:
    """Open, send, close."""
    host, _, port = address.rpartition(":")
    _, writer = await asyncio.open_connection(host, int(port))
    writer.write(content)
    await writer.drain()
    writer.close()
    await writer.wait_closed()


class RawPeer:
    """Listens, and keeps what comes."""

    def __init__(self) -> None:
        self.messages: asyncio.Queue[Said] = asyncio.Queue()
        self._server: asyncio.Server | None = None
        self.address = ""

    async def __aenter__(self) -> RawPeer:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        host, port = self._server.sockets[0].getsockname()
        self.address = f"{host}:{port}"
        return self

    async def __aexit__(self, *exception: object) -> None:
        assert self._server is not None
        self._server.close()
        await self._server.wait_closed()

    async def next(self) -> Said:
        async with asyncio.timeout(20):
            return await self.messages.get()

    async def request(self, address: str, command: str, **fields: object) -> Said:
        """Ask a node and wait for its reply."""
        await send(address, block(command, self.address, **fields))  # type: ignore[arg-type]
        return await self.next()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        data, last, number = b"", False, 0
        while not last:
            whole = await reader.readexactly(BLOCK)
            number += 1
            field = HEADER.unpack(whole[: HEADER.size])
            assert field[4] == number
            last, words, length = bool(field[6]), field[9], field[11]
            assert not whole[HEADER.size + length :].strip(b"\0"), "bytes of other messages leak"
            command = whole[HEADER.size : HEADER.size + words].decode()
            data += whole[HEADER.size + words : HEADER.size + length]
        source = f"{field[23][: field[22]].decode()}:{field[24]}"
        self.messages.put_nowait(Said(command, data, field[8], tuple(field[14:18]), source, field[25]))
        writer.close()


class RawLink:
    """A kept connection made by hand: it knows greetings and frames (network protocol, section 14)."""

    GREETING = b"EL-UPGRADE" + bytes((1, 7)) + bytes(4)

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer
        self.sent = 0

    @classmethod
    async def open(cls, address: str, greeting: bytes = GREETING) -> RawLink:
        host, _, port = address.rpartition(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(greeting)
        return cls(reader, writer)

    async def greeted(self) -> bytes:
        return await self.reader.readexactly(16)

    def write(
        self,
        command: str,
        data: bytes = b"",
        *,
        job: tuple[int, int, int, int] = (7, 9, 1, 0),
        error: int = 0,
        structure: int = 0,
        is_last: bool = True,
    ) -> None:
        self.sent += 1
        text = command.encode()
        head = HEADER.pack(
            *(
                struct.pack(">II", self.sent, 0),
                0,
                0,
                0,
                1,
                structure,
                is_last,
                6,
                error,
                len(text),
                0,
                len(text) + len(data),
                0,
                0,
            ),
            *(*job, 1, 0, 0, 0, 9, b"127.0.0.1".ljust(128, b"\0"), 9, 0),
        )
        self.writer.write(struct.pack(">I", len(head) + len(text) + len(data)) + head + text + data)

    async def read(self) -> Framed:
        """The next message that is more than a confirmation."""
        while True:
            async with asyncio.timeout(20):
                (length,) = struct.unpack(">I", await self.reader.readexactly(4))
                whole = await self.reader.readexactly(length)
            field = HEADER.unpack(whole[: HEADER.size])
            command = whole[HEADER.size : HEADER.size + field[9]].decode()
            confirmed = struct.unpack(">II", field[0][:8])[1]
            said = Framed(command, whole[HEADER.size + field[9] :], field[8], field[5], bool(field[6]), confirmed)
            if command != "event confirmed":
                return said

    async def ended(self) -> bool:
        """Whether the other side closes it."""
        async with asyncio.timeout(20):
            with contextlib.suppress(ConnectionError):
                await self.reader.read()
            return True

    def close(self) -> None:
        self.writer.close()


@dataclass(frozen=True, slots=True)
class Framed:
    """A frame that came."""

    command: str
    data: bytes
    error: int
    structure: int
    is_last: bool
    confirmed: int
