"""A peer that speaks the reference's protocol over real sockets: one message a connection, blocks of 2048 bytes.

Source: network protocol, sections 1 to 3. It knows what policies need, and nothing of our own transport.
"""

from __future__ import annotations

import asyncio
import struct
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

from edgelake.errors import EdgeLakeError, error
from edgelake.peering import FileTarget, PeerAnswer
from tests.metadata.network import Member, Wire

BLOCK = 2048
HEADER = struct.Struct(">16sHQIIBBBHHHIHBHIHHHHIIB128sIH")
ROOM = BLOCK - HEADER.size
assert HEADER.size == 207


def block(number: int, last: bool, source: str, command: bytes, data: bytes, *, info: int, generic: int) -> bytes:
    ip, _, port = source.rpartition(":")
    length = len(command) + len(data)
    head = HEADER.pack(
        *(b"", 0, 0, 0, number, 0, last, info, 0, len(command), 0, length, 0, 0, 0, 0, 1, 0, 1, 0, 0, 0),
        *(len(ip), ip.encode(), int(port), generic),
    )
    return (head + command + data).ljust(BLOCK, b"\0")


async def send(peer: str, blocks: Sequence[bytes]) -> None:
    """One message on a connection of its own. Raises EdgeLakeError (208)."""
    host, _, port = peer.rpartition(":")
    try:
        _, writer = await asyncio.open_connection(host, int(port))
    except OSError as problem:
        raise error(208, peer) from problem
    writer.writelines(blocks)
    await writer.drain()
    writer.close()
    await writer.wait_closed()


class BlockMember(Member):
    """A node whose messages go over sockets; a file's last block ends it, the name says what it is for."""

    def __init__(self, wire: Wire, address: str, home: Path) -> None:
        super().__init__(wire, address, home)
        self.server: asyncio.Server | None = None
        self.taken: list[str] = []
        self.arrived = asyncio.Event()

    async def listen(self) -> None:
        host, _, port = self.address.rpartition(":")
        self.server = await asyncio.start_server(self._serve, host, int(port))

    async def close(self) -> None:
        await super().close()
        if self.server is not None:
            self.server.close()
            await self.server.wait_closed()

    def is_upgraded(self, peer: str) -> bool:
        return False

    async def tell(self, peer: str, command: str, data: bytes = b"") -> None:
        assert len(command) < ROOM
        await send(peer, [block(1, True, self.address, command.encode(), b"", info=6, generic=0)])

    async def ask(self, peers: Sequence[str], command: str, *, timeout_s: float = 20.0) -> list[PeerAnswer]:
        raise AssertionError("nodes of the reference's kind are not asked")

    async def send_file(
        self, peer: str, destination: str, content: bytes | AsyncIterator[bytes], target: FileTarget
    ) -> None:
        assert isinstance(content, bytes)
        command = f"file write {destination}".replace(" ", "\t").replace("\t", " ", 2).encode()
        room = ROOM - len(command)
        pieces = [content[at : at + room] for at in range(0, len(content) + 1, room)]
        await send(
            peer,
            [
                block(n, n == len(pieces), self.address, command, piece, info=0, generic=int(target))
                for n, piece in enumerate(pieces, 1)
            ],
        )

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await self._message(reader)
        except (asyncio.IncompleteReadError, EdgeLakeError):
            pass  # what the other side would be told in an echo
        finally:
            writer.close()
            self.arrived.set()

    async def _message(self, reader: asyncio.StreamReader) -> None:
        data, last = b"", False
        while not last:
            whole = await reader.readexactly(BLOCK)
            fields = HEADER.unpack(whole[: HEADER.size])
            last, words, length = bool(fields[6]), fields[9], fields[11]
            command = whole[HEADER.size : HEADER.size + words].decode()
            data += whole[HEADER.size + words : HEADER.size + length]
        source = f"{fields[23][: fields[22]].decode()}:{fields[24]}"
        self.taken.append(command)
        if not command.startswith("file write "):
            await self.take(source, command)
        elif self.sync is not None:
            path = self.home / "arrived"
            path.write_bytes(data)
            await self.sync.on_ledger(source, command.removeprefix("file write ").replace("\t", " "), path)
