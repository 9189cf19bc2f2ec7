"""A file on its way out, some blocks at a time (network protocol, section 3.5)."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Final

from edgelake._rust import peer_blocks
from edgelake.errors import error
from edgelake.net.peer.upgrade import mark_of

BLOCK_BYTES: Final = 2048
HEADER_BYTES: Final = 207
_SMALLEST: Final = 13
"""Room that a block leaves for data, at least."""
AT_ONCE: Final = 64
"""Blocks that are made and sent together."""


async def file_blocks(
    command: str, content: bytes | AsyncIterator[bytes], source: tuple[str, int], flag: int, authentication: bytes = b""
) -> AsyncIterator[bytes]:
    """The blocks of a file, numbered through; the first one with room left is the last. Raises EdgeLakeError (9).

    Args:
        authentication: what the first block says about the sender.
    """
    room = BLOCK_BYTES - HEADER_BYTES - len(command.encode())
    if room - len(authentication) < _SMALLEST:
        raise error(9, f"the name of the file leaves no room for it: '{command[:100]}...'")
    held, number = bytearray(), 1

    def blocks(data: bytes) -> bytes:
        return peer_blocks(
            command,
            data,
            source,
            generic_flag=flag,
            is_file=True,
            first_block=number,
            mark=mark_of(source),
            authentication=authentication if number == 1 else b"",
        )

    async for piece in once(content) if isinstance(content, bytes) else content:
        held += piece
        while len(held) >= (fits := AT_ONCE * room - (len(authentication) if number == 1 else 0)):
            full = blocks(bytes(held[:fits]))
            del held[:fits]
            yield full[: AT_ONCE * BLOCK_BYTES]  # without the empty one that would end the file
            number += AT_ONCE
    yield blocks(bytes(held))


async def once(content: bytes) -> AsyncIterator[bytes]:
    """Content that is there as a whole, in pieces."""
    yield content
