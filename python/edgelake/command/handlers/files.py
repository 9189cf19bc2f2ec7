"""Files to the node and from it (spec: REST API, section 12)."""

from __future__ import annotations

import mimetypes
from collections.abc import AsyncIterator
from pathlib import Path

from edgelake.command import transfer
from edgelake.command.context import Context
from edgelake.command.registry import command
from edgelake.errors import CommandError
from edgelake.model import CommandClass, Reply


@command(
    "file to",
    cls=CommandClass.FILES,
    topics=("files", "rest"),
    examples=(
        "file to !tmp_dir/report.csv where source = !archive_dir/report.csv",
        "file to where dest = !tmp_dir and source = !archive_dir/report.csv",
        "file to !tmp_dir/report.csv",
    ),
)
async def file_to(ctx: Context, path: str = "", *, dest: str = "", source: str = "") -> Reply:
    """Write a file: the one that comes along with the request (REST POST), or ``source``.

    A destination that is a directory takes the file under its own name. It appears when all of it is on disk.
    """
    if bool(path) == bool(dest):
        raise CommandError("one destination is needed", hint="file to <path>, or file to where dest = <path>")
    await stored(ctx, transfer.usable(ctx, path or dest), source)
    return Reply.done()


async def stored(ctx: Context, place: Path, source: str) -> Path:
    """Write what came along, or a file of the node, to a place; returns where it is. Raises EdgeLakeError."""
    if source:
        origin = transfer.readable(transfer.usable(ctx, source))
        target = transfer.target_of(place, origin.name)
        await transfer.write(transfer.read(origin), target)
        return target
    if ctx.incoming is None:
        raise CommandError("no file came along", hint="name it: where source = <path>, or send it with a REST POST")
    pieces = ctx.incoming.pieces()
    first = await anext(pieces, b"")  # with it the name is known
    target = transfer.usable(ctx, str(transfer.target_of(place, ctx.incoming.name)))
    await transfer.write(_after(first, pieces), target)
    return target


async def _after(first: bytes, rest: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    if first:
        yield first
    async for piece in rest:
        yield piece


@command(
    "file from",
    cls=CommandClass.FILES,
    topics=("files", "rest"),
    examples=("file from !archive_dir/report.csv",),
)
async def file_from(ctx: Context, path: str) -> Reply:
    """The content of a file: a download by REST, text at the prompt."""
    return content_of(transfer.usable(ctx, path))


def content_of(path: Path, media_type: str = "") -> Reply:
    """A file as reply. Raises EdgeLakeError 78."""
    transfer.readable(path)
    kind = media_type or mimetypes.guess_type(path.name, strict=False)[0] or "text/plain"
    return Reply(stream=transfer.read(path), media_type=kind, file=path)
