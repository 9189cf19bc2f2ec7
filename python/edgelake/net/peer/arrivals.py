"""Files that come on links, several at a time, each in pieces (network protocol, section 14)."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Final

from edgelake._rust import PeerMessage
from edgelake.errors import EdgeLakeError, error
from edgelake.net.peer.dispatch import LARGE_COMMAND, Answer, Dispatch
from edgelake.net.peer.link import WINDOW, Link

MAX_FILES: Final = 64
"""Files of one link that come at a time."""


class Arrivals:
    """The files that are on their way in.

    Args:
        file_bytes: longest file.
        command_bytes: longest command that comes as a file.
    """

    def __init__(self, dispatch: Dispatch, file_bytes: int, command_bytes: int) -> None:
        self._dispatch, self._file_bytes, self._command_bytes = dispatch, file_bytes, command_bytes
        self._pieces: dict[tuple[Link, int, int], _Pieces] = {}

    def __len__(self) -> int:
        return len(self._pieces)

    def put(self, link: Link, message: PeerMessage) -> bool:
        """Take a piece; True: it is the first one of its file, which is to be received.

        Raises ValueError for a peer that sends more than it may.
        """
        key = (link, *message.job[:2])
        pieces = self._pieces.get(key)
        if is_first := pieces is None:
            if sum(of is link for of, *_ in self._pieces) >= MAX_FILES:
                raise ValueError(f"more than {MAX_FILES} files at a time")
            pieces = self._pieces[key] = _Pieces()
        pieces.put(message)
        return is_first

    def lost(self, link: Link) -> None:
        """A link has ended: nothing more of its files comes."""
        for key, pieces in self._pieces.items():
            if key[0] is link:
                pieces.put(None)

    async def receive(self, link: Link, first: PeerMessage, reply_to: str) -> Answer | None:
        """Store the pieces of a file until it is whole; what its sender is told. None: it is not there any more."""
        key = (link, *first.job[:2])
        pieces = self._pieces[key]
        try:
            return await self._stored(link, first, reply_to, pieces)
        except EdgeLakeError as failure:
            if not pieces.is_over:
                link.taken(first.job, refused=True)
                while await pieces.next() is not None:
                    pass
            return self._dispatch.refused(failure)
        finally:
            del self._pieces[key]

    async def _stored(self, link: Link, first: PeerMessage, reply_to: str, pieces: _Pieces) -> Answer | None:
        file = self._dispatch.open(first.command, first.generic_flag, reply_to, link.ip, link.key)
        limit_bytes = self._command_bytes if file.flag == LARGE_COMMAND else self._file_bytes
        try:
            while (piece := await pieces.next()) is not None:
                await asyncio.to_thread(file.append, piece.data)
                if file.size_bytes > limit_bytes:
                    raise error(64, f"a file of more than {limit_bytes:,} bytes")
                link.taken(piece.job)
            if not pieces.is_whole:
                return None
            return await self._dispatch.file(file, link.ip, reply_to, link.key) or Answer()
        except OSError as problem:
            raise error(63, f"{file.name}: {problem.strerror or problem}") from problem
        finally:
            file.path.unlink(missing_ok=True)


class _Pieces:
    """What has come of a file and is not stored yet."""

    def __init__(self) -> None:
        self._waiting: deque[PeerMessage] = deque()
        self._arrived = asyncio.Event()
        self.is_over = self.is_whole = False

    def put(self, message: PeerMessage | None) -> None:
        """A piece, or None: there will be no more. Raises ValueError when too many wait."""
        if message is None or message.is_complete:
            self.is_over = True
            self.is_whole = message is not None and not message.error
        elif len(self._waiting) >= WINDOW:
            raise ValueError(f"more than {WINDOW} pieces of a file that were not stored yet")
        else:
            self._waiting.append(message)
        self._arrived.set()

    async def next(self) -> PeerMessage | None:
        """The next piece; None after the last one."""
        while not self._waiting and not self.is_over:
            self._arrived.clear()
            await self._arrived.wait()
        return self._waiting.popleft() if self._waiting else None
