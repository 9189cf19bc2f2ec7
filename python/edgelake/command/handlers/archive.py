"""Data files: their names, and what the archive keeps.

Source: spec "Ingestion", sections 5, 11 and 12.
"""

from __future__ import annotations

import asyncio
import re
from typing import Any

from edgelake.command.context import Context
from edgelake.command.handlers.paths import existing
from edgelake.command.registry import command
from edgelake.errors import CommandError, EdgeLakeError
from edgelake.ingest import filing
from edgelake.ingest.names import FIELDS, FileName, check_part, pieces_hash
from edgelake.model import CommandClass, Reply, Table

_DATE = re.compile(r"\d{4}-\d\d-\d\d|\d\d-\d\d-\d\d")


@command(
    "get archived files",
    cls=CommandClass.DATA,
    topics=("files", "ingest"),
    examples=("get archived files 2024-01-07", "get archived files 2024-01-07 where format = json"),
)
async def get_archived_files(ctx: Context, date: str) -> Reply:
    """Files that were archived on a day (UTC): YYYY-MM-DD."""
    try:
        if not _DATE.fullmatch(date):
            raise ValueError(date)
        names = await asyncio.to_thread(filing.archived, ctx.directories.path("archive_dir"), date)
    except ValueError:
        raise CommandError(f"'{date}' is no date", hint="YYYY-MM-DD") from None
    return Reply.of_data(names, text="\r\n".join(names))


@command(
    "delete archive",
    cls=CommandClass.ADMIN,
    topics=("files", "ingest"),
    examples=("delete archive where days = 60",),
)
async def delete_archive(ctx: Context, *, days: int) -> Reply:
    """Remove the day folders of the archive that are older than a number of days (UTC)."""
    removed = await asyncio.to_thread(filing.delete_archive, ctx.directories.path("archive_dir"), days)
    return Reply(data={"days_removed": removed}, has_data=True, text="")


@command(
    "get json file struct",
    cls=CommandClass.DATA,
    topics=("files", "ingest"),
    examples=("get json file struct", "get json file struct where format = json"),
)
async def get_json_file_struct(ctx: Context) -> Reply:
    """How the name of a data file is made."""
    shown = ".".join(f"[{name}]" for name, _ in FIELDS) + ".json"
    rows = [(at, name, meaning) for at, (name, meaning) in enumerate(FIELDS)]
    data = {"structure": shown, "fields": dict(FIELDS)}
    return Reply.of_table(Table(("Offset", "Field", "Meaning"), rows, header=shown), data=data)


@command("file hash", cls=CommandClass.FILES, topics=("files",), examples=("file hash !prep_dir/d.t.json",))
async def file_hash(ctx: Context, path: str) -> Reply:
    """md5 of a data file, over the database and table of its name and its content."""
    found = existing(ctx, path)
    name = FileName.parse(found.name)
    return Reply.of_text(await asyncio.to_thread(pieces_hash, name.dbms, name.table, filing.pieces_of(found)))


@command(
    "time file rename",
    cls=CommandClass.FILES,
    topics=("files", "ingest"),
    where="to",
    examples=(
        "time file rename !prep_dir/d.t.json",
        "time file rename !prep_dir/readings.json to dbms = d and table = t and source = s1",
    ),
)
async def time_file_rename(
    ctx: Context,
    path: str,
    *,
    dbms: str = "",
    table: str = "",
    source: str = "",
    hash: str = "",
    instructions: str = "",
) -> Reply:
    """Rename a file to the naming convention; what ``to`` leaves out comes from its name, the hash from its content."""
    found = existing(ctx, path)
    known = _name_of(found.name, dbms, table)
    parts = {
        "dbms": dbms or known.dbms,
        "table": table or known.table,
        "source": source or known.source,
        "hash": hash or (known.hash if known.hash != "0" else ""),
        "instructions": instructions or known.instructions,
    }
    if not parts["hash"]:
        pieces = filing.pieces_of(found)
        parts["hash"] = await asyncio.to_thread(pieces_hash, parts["dbms"], parts["table"], pieces)
    for what, text in parts.items():
        check_part(text, what)
    fields = (parts["dbms"], parts["table"], parts["source"], parts["hash"], parts["instructions"])
    renamed = FileName(*fields, known.member, known.tsd_id, known.tsd_date)
    target = found.with_name(renamed.text() + (".gz" if found.name.endswith(".gz") else ""))
    if target.exists() and target != found:
        raise CommandError(f"'{target.name}' exists already")
    found.rename(target)
    data: dict[str, Any] = {"old": found.name, "new": target.name, **parts}
    return Reply.of_table(Table(("Old Name", "New Name"), [(found.name, target.name)]), data=data)


def _name_of(name: str, dbms: str, table: str) -> FileName:
    """Parts of a file's name; a name outside the convention will do when the command says database and table."""
    try:
        return FileName.parse(name)
    except EdgeLakeError:
        if dbms and table:
            return FileName(dbms, table)
        raise
