"""Questions about files and directories of the machine.

Source: spec "Services and status", section 11.
"""

from __future__ import annotations

import asyncio
import itertools
import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

from edgelake.command.context import Context
from edgelake.command.grammar import Key
from edgelake.command.registry import command
from edgelake.errors import CommandError, error
from edgelake.ingest.blobs.blobs import Blobs
from edgelake.ingest.blobs.names import Wanted
from edgelake.model import CommandClass, Reply, Table


def existing(ctx: Context, text: str) -> Path:
    """A path that exists; for callers without the class admin it lies beneath the node's directories.

    Raises: EdgeLakeError 78.
    """
    path = Path(text).expanduser()
    if not ctx.may(CommandClass.ADMIN) and not ctx.directories.inside(path):
        raise error(78, f"'{text}' is not inside the node's directories")
    if not path.exists():
        raise error(78, f"'{text}' does not exist")
    return path


@command("get access", cls=CommandClass.FILES, topics=("files",), examples=("get access /tmp",))
async def get_access(ctx: Context, path: str) -> Reply:
    """What the node may do with a file or directory: read, write, execute."""
    found = existing(ctx, path)
    data = {
        name: os.access(found, mode) for name, mode in (("read", os.R_OK), ("write", os.W_OK), ("execute", os.X_OK))
    }
    return Reply.of_data(data, text=", ".join(f"{name.capitalize()}: {value}" for name, value in data.items()))


@command("get size", cls=CommandClass.FILES, topics=("files",), examples=("get size /tmp",))
async def get_size(ctx: Context, path: str) -> Reply:
    """Bytes of a file, or of all files below a directory."""
    size = await asyncio.to_thread(_size, existing(ctx, path))
    return Reply.of_data({"path": path, "bytes": size}, text=f"{size:,}")


def _size(path: Path) -> int:
    if path.is_file():
        return path.stat().st_size
    total = 0
    for directory, _, names in os.walk(path):
        for name in names:
            entry = Path(directory, name)
            if entry.is_file() and not entry.is_symlink():
                total += entry.stat().st_size
    return total


@command(
    "get files",
    cls=CommandClass.FILES,
    topics=("files", "blobs"),
    examples=(
        "get files /tmp",
        "get files where dbms = d",
        "get files where dbms = d and table = t and date = 260131 and limit = 10",
    ),
)
async def get_files(
    ctx: Context,
    path: str = "",
    *,
    dbms: str = "",
    table: str = "",
    name: Annotated[str, Key("id")] = "",
    file_hash: Annotated[str, Key("hash")] = "",
    date: str = "",
    limit: int = 1000,
) -> Reply:
    """Names of the files in a directory; or the blobs of a database, up to ``limit``.

    Blobs of a table, by id or hash, or of a day (date = YYMMDD).
    """
    if bool(path) == bool(dbms):
        raise CommandError("a directory or a database is needed", hint="get files <path>, or get files where dbms = d")
    if dbms:
        blobs: Blobs = ctx.parts["blobs"]
        wanted = Wanted(dbms.lower(), table.lower(), name, file_hash, date)
        found = await blobs.run(lambda: list(itertools.islice(blobs.listed(wanted), max(limit, 0))))
        rows = [(b.name.dbms, b.name.table, b.name.id, b.day, b.stored_bytes, b.place) for b in found]
        titles = ("DBMS", "Table", "ID", "Date", "Bytes", "Place")
        data = [dict(zip((title.lower() for title in titles), row, strict=True)) for row in rows]
        return Reply.of_table(Table(titles, rows), data=data)
    names = sorted(entry.name for entry in existing(ctx, path).iterdir() if entry.is_file())
    return Reply.of_data(names, text="\r\n".join(names))


@command("get directories", cls=CommandClass.FILES, topics=("files",), examples=("get directories /tmp",))
async def get_directories(ctx: Context, path: str) -> Reply:
    """Names of the directories in a directory."""
    names = sorted(entry.name for entry in existing(ctx, path).iterdir() if entry.is_dir())
    return Reply.of_data(names, text="\r\n".join(names))


@command(
    "get file timestamp", cls=CommandClass.FILES, topics=("files",), examples=("get file timestamp /tmp/readings.json",)
)
async def get_file_timestamp(ctx: Context, path: str) -> Reply:
    """When a file was last changed, UTC."""
    changed = datetime.fromtimestamp(existing(ctx, path).stat().st_mtime, UTC)
    return Reply.of_text(changed.strftime("%Y-%m-%d %H:%M:%S"))


@command(
    "get files count",
    cls=CommandClass.DATA,
    topics=("files", "blobs"),
    examples=("get files count", "get files count where dbms = d and table = t"),
)
async def get_files_count(ctx: Context, *, dbms: str = "", table: str = "") -> Reply:
    """Number of blob files kept for each table."""
    blobs: Blobs | None = ctx.parts.get("blobs")
    counted = await blobs.run(lambda: blobs.count(dbms, table)) if blobs is not None else []
    titles = ("DBMS Name", "Table Name", "Files Count")
    data = [dict(zip(("dbms", "table", "count"), row, strict=True)) for row in counted]
    return Reply.of_table(Table(titles, counted), data=data)
