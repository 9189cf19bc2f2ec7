"""Files to the node and from it (spec: REST API, section 12)."""

from __future__ import annotations

import mimetypes
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
    place = transfer.usable(ctx, path or dest)
    pieces, name = await transfer.coming(ctx, source)
    target = transfer.usable(ctx, str(transfer.target_of(place, name)))
    await transfer.write(pieces, target.parent, target.name)
    return Reply.done()


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
