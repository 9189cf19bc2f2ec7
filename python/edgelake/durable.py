"""Files that survive a crash: whole, or as they were."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable
from pathlib import Path

GULP_BYTES = 1 << 20
"""What is handed to a thread at once."""


async def gulps(pieces: AsyncIterator[bytes]) -> AsyncIterator[list[bytes]]:
    """Pieces in lists of about GULP_BYTES, so that a thread is asked seldom."""
    held: list[bytes] = []
    held_bytes = 0
    async for piece in pieces:
        held.append(piece)
        held_bytes += len(piece)
        if held_bytes >= GULP_BYTES:
            yield held
            held, held_bytes = [], 0
    if held:
        yield held


async def feed(pieces: AsyncIterator[bytes], take: Callable[[list[bytes]], object]) -> None:
    """Give all pieces to ``take``, in a thread, one call at a time; the next ones are waited for meanwhile.

    On return, also with a failure, no call is under way. Raises what the pieces and ``take`` raise.
    """
    taking: asyncio.Future[object] | None = None
    try:
        async for gulp in gulps(pieces):
            if taking is not None:
                await asyncio.shield(taking)
            taking = asyncio.ensure_future(asyncio.to_thread(take, gulp))
        if taking is not None:
            await asyncio.shield(taking)
    finally:
        if taking is not None:
            await asyncio.wait([taking])
            if not taking.cancelled():
                taking.exception()  # who has failed before does not ask


def write_whole(path: Path, data: bytes, *, mode: int = 0o666) -> None:
    """Put ``data`` in place of a file's content; on return it is on disk. Raises OSError, the file being as it was."""
    working = path.with_name(f"{path.name}.new")
    try:
        working.unlink(missing_ok=True)  # one that was left has a mode of its own
        with open(working, "wb", opener=lambda name, flags: os.open(name, flags, mode)) as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        working.replace(path)
    except BaseException:
        working.unlink(missing_ok=True)
        raise
    sync_directory(path.parent)


def sync_directory(folder: Path) -> None:
    """Make a new name in the folder durable."""
    fd = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def make_folder(folder: Path) -> None:
    """Make a folder and what is missing above it; on return their names are on disk. Raises OSError."""
    missing = [folder, *folder.parents]
    missing = missing[: next(n for n, path in enumerate(missing) if path.exists())]
    for path in reversed(missing):
        path.mkdir(exist_ok=True)
        sync_directory(path.parent)
