"""Files that belong to rows (spec: ingestion and storage, section 3)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Annotated

from edgelake.command import transfer
from edgelake.command.context import Context
from edgelake.command.grammar import Key
from edgelake.command.handlers.files import content_of
from edgelake.command.registry import command
from edgelake.errors import CommandError, error
from edgelake.ingest.blobs import BlobFolder, blob_name
from edgelake.ingest.names import running_hash
from edgelake.model import CommandClass, Reply

PART = "blobs"


@command(
    "file store",
    cls=CommandClass.FILES,
    topics=("blobs", "files", "rest"),
    examples=("file store where dbms = d and table = t and source = !tmp_dir/picture.png",),
)
async def file_store(
    ctx: Context,
    *,
    dbms: str = "",
    table: str = "",
    source: str = "",
    file_hash: Annotated[str, Key("hash")] = "",
    dest: str = "",
) -> Reply:
    """Keep a file for rows of a table: the one that comes along with the request (REST POST), or ``source``.

    It gets the name <dbms>.<table>.<hash>.<type>, whose type is that of ``dest`` or of the file's own name; dbms and
    table may stand in that name too. The reply has what a row refers to: <hash>.<type>.
    """
    pieces, name = await transfer.coming(ctx, source)
    own = name.split(".")
    if not (dbms and table) and len(own) >= 3:
        dbms, table = dbms or own[0], table or own[1]
    if not dbms or not table:
        raise CommandError("dbms and table are needed", hint="where dbms = d and table = t, or a name d.t.picture.png")
    dbms, table, suffix = dbms.lower(), table.lower(), Path(dest or name).suffix
    blob_name(dbms, table, file_hash or "0", suffix)
    summed = running_hash(dbms, table)

    async def hashed() -> AsyncIterator[bytes]:
        async for piece in pieces:
            summed.update(piece)
            yield piece

    folder = await asyncio.to_thread(_blobs(ctx).day)
    path = await transfer.write(
        hashed(), folder, lambda: blob_name(dbms, table, file_hash or summed.hexdigest(), suffix)
    )
    kept = path.name.removeprefix(f"{dbms}.{table}.")
    return Reply.of_data({"dbms": dbms, "table": table, "id": kept}, text=kept)


@command(
    "file retrieve",
    cls=CommandClass.FILES,
    topics=("blobs", "files", "rest"),
    examples=(
        "file retrieve where dbms = d and table = t and id = 0a1b.png and dest = !tmp_dir",
        "file retrieve where dbms = d and table = t and hash = 0a1b and dest = stdout",
        "file retrieve where dbms = d and table = t and date = 260131 and dest = !tmp_dir and limit = 10",
    ),
)
async def file_retrieve(
    ctx: Context,
    *,
    dbms: str,
    table: str,
    dest: str,
    name: Annotated[str, Key("id")] = "",
    file_hash: Annotated[str, Key("hash")] = "",
    date: str = "",
    limit: int = 0,
    stream: bool = False,
) -> Reply:
    """Copy files of a table to a directory, one to a file, or one into the reply (dest = stdout or rest).

    id: <hash>.<type>; date: YYMMDD, the day it was stored. stream = true: a video that a browser plays.
    """
    found = await _wanted(ctx, dbms, table, (name, file_hash, date))
    found = found[:limit] if limit > 0 else found
    if dest.lower() in {"stdout", "rest"}:
        if len(found) > 1:
            raise CommandError(f"{len(found)} files fit", hint="name one by its id, or a directory as dest")
        return content_of(found[0], "video/mp4" if stream else "")
    place = transfer.usable(ctx, dest)
    if len(found) > 1 and not place.is_dir():
        raise error(78, f"'{dest}' is no directory, and {len(found)} files fit")
    for path in found:
        target = transfer.target_of(place, path.name)
        await transfer.write(transfer.read(path), target.parent, target.name)
    return Reply.of_data([path.name for path in found], text="\r\n".join(path.name for path in found))


@command(
    "file remove",
    cls=CommandClass.FILES,
    topics=("blobs", "files"),
    examples=("file remove where dbms = d and table = t and id = 0a1b.png",),
)
async def file_remove(
    ctx: Context,
    *,
    dbms: str,
    table: str,
    name: Annotated[str, Key("id")] = "",
    file_hash: Annotated[str, Key("hash")] = "",
    date: str = "",
) -> Reply:
    """Remove files of a table: one by its id or hash, those of a day, or all."""
    found = await _wanted(ctx, dbms, table, (name, file_hash, date))
    for path in found:
        await asyncio.to_thread(path.unlink, missing_ok=True)
    return Reply.of_data({"removed": len(found)}, text=f"{len(found)} files removed")


async def _wanted(ctx: Context, dbms: str, table: str, which: tuple[str, str, str]) -> list[Path]:
    name, file_hash, date = which

    def work() -> list[Path]:
        return _blobs(ctx).find(dbms.lower(), table.lower(), name=name, file_hash=file_hash, date=date)

    found = await asyncio.to_thread(work)
    if not found:
        raise error(78, f"no file of {dbms}.{table} fits", hint="see: get files count")
    return found


def _blobs(ctx: Context) -> BlobFolder:
    found = ctx.parts.get(PART)
    if not isinstance(found, BlobFolder):
        raise CommandError("this node keeps no files")
    return found
