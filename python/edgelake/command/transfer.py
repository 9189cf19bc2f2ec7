"""Files in and out of the node: where callers may read and write; a file appears whole or not at all.

Source: spec "REST API", section 12; design, section 4 (paths are resolved beneath the node's directories).
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import secrets
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable
from pathlib import Path
from typing import BinaryIO, Final

from edgelake.command.context import Context
from edgelake.durable import feed, sync_directory
from edgelake.errors import CommandError, EdgeLakeError, NotPermittedError, StorageFullError, error
from edgelake.model import CommandClass
from edgelake.store.sqlite import SqliteStore

PIECE_BYTES: Final = 1 << 20
"""What is read at once."""

PARTIAL: Final = ".part"
"""End of the name of a file that is being written."""

_PRIVATE: Final = ("pem_dir", "id_dir", "blockchain_dir")
_STATE: Final = ("dbms_dir",)
_LEFT_S: Final = 24 * 3600
"""A partial file that nobody has written to for so long was left by a node that was killed."""


def usable(ctx: Context, text: str) -> Path:
    """The path that a caller names, links resolved.

    Nobody reads or writes a database or the journal as a file: closing it would drop the locks of the process.
    Callers without the class exec stay beneath the node's directories, and out of its keys and its ledger.
    Raises EdgeLakeError 78, NotPermittedError.
    """
    path = _resolved(text)
    if not ctx.may(CommandClass.EXEC) and not ctx.directories.inside(path):
        raise error(78, f"'{text[:200]}' is not inside the node's directories")
    _keep_off_databases(ctx, path, text)
    if not ctx.may(CommandClass.EXEC) and _beneath(ctx, path, _PRIVATE):
        raise NotPermittedError(f"'{text[:200]}' belongs to the node's keys or ledger", hint="use the node's prompt")
    return path


def below(ctx: Context, text: str, folders: Iterable[Path]) -> Path:
    """The path that another node names, links resolved: below one of the folders, whatever the caller may do here.

    Keys, the ledger and databases stay out of it, also when a folder holds them. Raises NotPermittedError, 78.
    """
    path = _resolved(text)
    if not any(path != folder and path.is_relative_to(folder.resolve()) for folder in folders):
        raise NotPermittedError(f"'{text[:200]}' is not below a directory for files of other nodes")
    _keep_off_databases(ctx, path, text)
    if _beneath(ctx, path, _PRIVATE):
        raise NotPermittedError(f"'{text[:200]}' belongs to the node's keys or ledger")
    return path


def _resolved(text: str) -> Path:
    try:
        return Path(text).expanduser().resolve()
    except (OSError, RuntimeError, ValueError) as cause:
        raise error(78, f"'{text[:200]}': {cause}") from cause


def _keep_off_databases(ctx: Context, path: Path, text: str) -> None:
    own = ctx.directories.root.resolve() / "data"
    if _beneath(ctx, path, _STATE) or path.is_relative_to(own / "journal"):
        raise NotPermittedError(f"'{text[:200]}' belongs to the node's databases and its journal")
    if path.is_relative_to(own / "mail"):  # what is written there would be sent in the node's name
        raise NotPermittedError(f"'{text[:200]}' belongs to the mails that wait")
    locations = [store.path for store in ctx.stores or () if isinstance(store, SqliteStore) and store.path]
    if any(path.parent == place.parent.resolve() and path.name.startswith(place.name) for place in locations):
        raise NotPermittedError(f"'{text[:200]}' is a database of the node")


def _beneath(ctx: Context, path: Path, names: Iterable[str]) -> bool:
    for name in names:
        with contextlib.suppress(EdgeLakeError):  # a directory that is not set holds nothing
            if path.is_relative_to(ctx.directories.path(name).expanduser().resolve()):
                return True
    return False


def target_of(path: Path, name: str) -> Path:
    """The file to write: the path, or ``name`` in it when it is a directory. Raises EdgeLakeError 78."""
    if not path.is_dir():
        return path
    base = Path(name.replace("\\", "/")).name
    if not base or base.startswith(".") or any(ord(c) < 32 for c in base):
        raise error(78, f"'{path}' is a directory", hint="name the file in the destination")
    return path / base


def readable(path: Path) -> Path:
    """A regular file that is there. Raises EdgeLakeError 78."""
    if not path.is_file():
        raise error(78, f"'{path}' is no file", hint="see: get files <directory>")
    return path


async def read(path: Path) -> AsyncGenerator[bytes]:
    """The content of a file, piece by piece. Raises EdgeLakeError 78."""
    try:
        file = await asyncio.to_thread(path.open, "rb")
        with file:
            while piece := await asyncio.to_thread(file.read, PIECE_BYTES):
                yield piece
    except OSError as cause:
        raise error(78, f"'{path}': {cause.strerror or cause}") from cause


async def coming(ctx: Context, source: str) -> tuple[AsyncIterator[bytes], str]:
    """Content and name ("" = none) of ``source``, or of the file that came along. Raises CommandError without one."""
    if source:
        origin = readable(usable(ctx, source))
        return read(origin), origin.name
    if ctx.incoming is None:
        raise CommandError("no file came along", hint="name it: source = <path>, or send it with a REST POST")
    pieces = ctx.incoming.pieces()
    first = await anext(pieces, b"")  # with it the name is known
    return _after(first, pieces), ctx.incoming.name


async def _after(first: bytes, rest: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    if first:
        yield first
    async for piece in rest:
        yield piece


async def whole(content: bytes) -> AsyncIterator[bytes]:
    """A content that is there already, for ``write``."""
    yield content


async def write(
    pieces: AsyncIterator[bytes],
    folder: Path,
    name: str | Callable[[], str],
    complete: Callable[[Path], None] = lambda working: None,
    see: Callable[[bytes], None] = lambda piece: None,
) -> Path:
    """Write pieces to a file, which is there under its name when all of it is on disk; returns where it is.

    What was there under the name is replaced then. A failure leaves nothing.

    Args:
        name: a callable is asked when the pieces have ended.
        complete: called with the file, in a thread, before it is synced and gets its name.
        see: called with each piece, in a thread, one at a time.

    Raises EdgeLakeError 63, StorageFullError, and what the pieces raise.
    """
    working = folder / f".{secrets.token_hex(12)}{PARTIAL}"
    try:
        await asyncio.to_thread(_clear, folder)
        file = await asyncio.to_thread(working.open, "xb")
        try:
            with file:
                await feed(pieces, lambda gulp: _take(gulp, file, see))
                path = folder / (name if isinstance(name, str) else name())
                file.flush()
                await asyncio.to_thread(complete, working)
                await asyncio.to_thread(_publish, file, working, path)
        except BaseException:
            working.unlink(missing_ok=True)
            raise
    except OSError as cause:
        if cause.errno in {errno.ENOSPC, errno.EDQUOT}:
            raise StorageFullError(
                f"'{folder}': no room for the file", hint="make room, or choose another place"
            ) from cause
        raise error(63, f"'{folder}': {cause.strerror or cause}", hint="choose another destination") from cause
    return path


def _take(gulp: list[bytes], file: BinaryIO, see: Callable[[bytes], None]) -> None:
    file.writelines(gulp)
    for piece in gulp:
        see(piece)


def _clear(folder: Path) -> None:
    before = time.time() - _LEFT_S
    for left in folder.glob(f".*{PARTIAL}"):
        with contextlib.suppress(FileNotFoundError):
            if left.stat().st_mtime < before:
                left.unlink()


def _publish(file: BinaryIO, working: Path, path: Path) -> None:
    file.flush()
    os.fsync(file.fileno())
    working.replace(path)
    sync_directory(path.parent)
