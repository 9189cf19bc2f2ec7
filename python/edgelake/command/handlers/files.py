"""Files to the node and from it (spec: REST API, section 12)."""

from __future__ import annotations

import asyncio
import mimetypes
from pathlib import Path

from edgelake.command import transfer
from edgelake.command.context import Context
from edgelake.command.peerfiles import blob_of, named_files
from edgelake.command.registry import command
from edgelake.durable import sync_directory
from edgelake.errors import CommandError, error
from edgelake.ingest.blobs.blobs import Blobs
from edgelake.ingest.blobs.names import Wanted
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


@command(
    "file copy",
    "file get",
    cls=CommandClass.FILES,
    topics=("files",),
    examples=(
        "file copy !archive_dir/report.csv !tmp_dir/copy.csv",
        "file copy !archive_dir/report* !tmp_dir",
        "file get (dbms = d and table = t and id = 0a1b.png) !tmp_dir",
    ),
)
async def file_copy(ctx: Context, source: str, dest: str) -> Reply:
    """Copy a file of this node, the files whose names begin so (``name*``), or a blob.

    A destination that is a directory takes the file under its own name; several need one. Each appears when all of it
    is on disk. With ``run client (ip:port)`` before it: to another node (copy), or from one (get).
    """
    place = transfer.usable(ctx, dest)
    if source.startswith("("):
        name = blob_of(source)
        found = [(await _blob(ctx, source), name.file)]
    else:
        paths = await asyncio.to_thread(named_files, source, lambda text: transfer.usable(ctx, text))
        found = [(path, path.name) for path in paths]
    if source.endswith("*") and not place.is_dir():
        raise error(78, f"'{place}' is no directory", hint="the files of a directory go into one")
    for path, name_there in found:
        target = transfer.usable(ctx, str(transfer.target_of(place, name_there)))
        if target == path:
            raise CommandError(f"'{path}' is source and destination")
        await transfer.write(transfer.read(path), target.parent, target.name)
    return Reply.of_data([name_there for _, name_there in found], text="")


async def _blob(ctx: Context, source: str) -> Path:
    """A blob's content on this node, wherever it is kept. Raises EdgeLakeError 12."""
    name, blobs = blob_of(source), ctx.parts.get("blobs")
    if not isinstance(blobs, Blobs):
        raise CommandError("this node keeps no files")
    found = await blobs.run(lambda: blobs.find(Wanted(name.dbms, name.table, name.id)))
    if not found:
        raise error(12, f"no blob {name.file}", hint="see: get files count")
    return await blobs.run(lambda: blobs.fetch(found[0]))


@command(
    "file delete",
    cls=CommandClass.FILES,
    topics=("files",),
    examples=("file delete !tmp_dir/copy.csv",),
)
async def file_delete(ctx: Context, path: str) -> Reply:
    """Delete one file. Databases, the journal, keys and the ledger are no files of this command."""
    named = transfer.usable(ctx, path)
    if not named.is_file():
        raise error(12, f"'{path[:200]}' is no file", hint="see: get files <directory>")
    await asyncio.to_thread(_removed, named)
    return Reply.done()


def _removed(path: Path) -> None:
    try:
        path.unlink()
        sync_directory(path.parent)
    except OSError as cause:
        raise error(63, f"'{path}': {cause.strerror or cause}") from cause
