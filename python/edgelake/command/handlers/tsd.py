"""Files that the node took in: ``time file`` and ``get tsd`` (spec: ingestion, section 11)."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

from edgelake.command.cluster import CLUSTER
from edgelake.command.context import Context
from edgelake.command.grammar import After, Key, Timestamp
from edgelake.command.registry import command
from edgelake.errors import CommandError, error
from edgelake.ingest.delivery import member_of
from edgelake.model import CommandClass, Reply, Table
from edgelake.store import tsd
from edgelake.store.store import Store

_LIMIT = 100
_DETAILS = (
    "File ID",
    "DBMS",
    "Table",
    "Source",
    "Hash",
    "Instructions",
    "File Time",
    "Rows",
    "Status 1",
    "Status 2",
)


def _store(ctx: Context) -> Store:
    found: Store = ctx.stores.get(tsd.TSD_DBMS)
    return found


def _tables(ctx: Context, name: str) -> list[tsd.TsdTable]:
    store = _store(ctx)
    names = tsd.tsd_tables(store) if name == "*" else [name]
    return [tsd.TsdTable(store, one) for one in names]


@command("get tsd list", "time file tables", cls=CommandClass.DATA, topics=("tsd",), examples=("get tsd list",))
async def get_tsd_list(ctx: Context) -> Reply:
    """TSD tables: tsd_info for own files, tsd_N for those of member N."""
    names = tsd.tsd_tables(_store(ctx))
    return Reply.of_data(names, text="\r\n".join(names))


@command(
    "get tsd summary",
    cls=CommandClass.DATA,
    topics=("tsd",),
    examples=("get tsd summary", "get tsd summary where table = * and start_date = -3d"),
)
async def get_tsd_summary(
    ctx: Context,
    *,
    table: str = tsd.OWN,
    file_hash: Annotated[str, Key("hash")] = "",
    start_date: Timestamp | None = None,
    end_date: Timestamp | None = None,
    limit: int = _LIMIT,
) -> Reply:
    """Files and rows per data table."""
    wanted = tsd.Selection(file_hash=file_hash, start_us=start_date, end_us=end_date, limit=limit)
    tables: list[Table] = []
    data: dict[str, Any] = {}
    for one in _tables(ctx, table):
        found = await one.summary(wanted)
        rows = [(d, t, _text(s), a, _text(e), b, *rest) for d, t, s, a, e, b, *rest in found]
        tables.append(Table(tsd.SUMMARY_TITLES, rows, header=f"TSD Summary: {one.name}"))
        data[one.name] = [dict(zip(tsd.SUMMARY_TITLES, row, strict=True)) for row in rows]
    return Reply.of_table(*tables, data=data)


@command(
    "get tsd details",
    "get tsd errors",
    cls=CommandClass.DATA,
    topics=("tsd",),
    examples=("get tsd details where limit = 10", "get tsd errors where table = *"),
)
async def get_tsd_files(
    ctx: Context,
    *,
    table: str = tsd.OWN,
    file_hash: Annotated[str, Key("hash")] = "",
    start_date: Timestamp | None = None,
    end_date: Timestamp | None = None,
    limit: int = _LIMIT,
) -> Reply:
    """Files, the newest first; errors: those with a status or without rows."""
    wanted = tsd.Selection(file_hash=file_hash, start_us=start_date, end_us=end_date, limit=limit)
    return await _files(ctx, table, wanted, errors=ctx.phrase.endswith("errors"))


@command("get tsd sync status", cls=CommandClass.DATA, topics=("tsd", "cluster"), examples=("get tsd sync status",))
async def get_tsd_sync(ctx: Context, *, table: str = "*") -> Reply:
    """Per TSD table the file id up to which no file is missing."""
    data = {one.name: await one.safe_id() for one in _tables(ctx, table)}
    return Reply.of_table(Table(("Table", "Safe ID"), [(n, str(i)) for n, i in data.items()]), data=data)


@command(
    "time file new",
    cls=CommandClass.FILES,
    topics=("tsd",),
    examples=("time file new dbms.ping.0.3b2cf0a67c3e4c5e9a535b6f0a3d6c11.0.json",),
)
async def time_file_new(ctx: Context, file: str, status1: str = "", status2: str = "") -> Reply:
    """Enter a file in tsd_info; what it holds is read from its name."""
    return await _enter(ctx, file, status1, status2)


@command(
    "time file add",
    cls=CommandClass.FILES,
    topics=("tsd",),
    examples=("time file add dbms.ping.0.3b2cf0a67c3e4c5e9a535b6f0a3d6c11.0.json",),
)
async def time_file_add(ctx: Context, file: str, status1: str = "", status2: str = "") -> Reply:
    """As ``time file new``, for a file that exists in the node's directories."""
    path = Path(file)
    if not ctx.directories.inside(path) or not path.is_file():
        raise CommandError(f"there is no file '{file}' in the node's directories")
    return await _enter(ctx, file, status1, status2)


@command(
    "time file update",
    cls=CommandClass.FILES,
    topics=("tsd",),
    examples=("time file update 3b2cf0a67c3e4c5e9a535b6f0a3d6c11 01",),
)
async def time_file_update(
    ctx: Context, file_hash: str, status1: str | None = None, status2: str | None = None
) -> Reply:
    """Set the status fields of a file by its hash."""
    for one in _tables(ctx, "*"):
        if await one.set_status(file_hash, status1, status2):
            return Reply.done()
    raise CommandError(f"no file has the hash '{file_hash}'", hint="see: get tsd details")


@command("time file drop", cls=CommandClass.ADMIN, topics=("tsd",), examples=("time file drop tsd_info",))
async def time_file_drop(ctx: Context, table: str) -> Reply:
    """Drop a TSD table, or ``all`` of them."""
    name = table.lower()
    if name != "all" and not tsd.is_tsd_name(name):
        raise CommandError(f"'{table}' is no TSD table", hint="see: get tsd list")
    for one in _tables(ctx, "*" if name == "all" else name):
        await one.drop()
    return Reply.done()


@command("time file delete", cls=CommandClass.ADMIN, topics=("tsd",), examples=("time file delete 7 from tsd_info",))
async def time_file_delete(ctx: Context, file_id: int, table: Annotated[str, After("from")]) -> Reply:
    """Remove a file's row from a TSD table; the consumer fetches a member's file again then."""
    if not await tsd.TsdTable(_store(ctx), table.lower()).delete(file_id):
        raise CommandError(f"{table} has no file {file_id}", hint="see: get tsd details")
    if table.lower() != tsd.OWN and CLUSTER in ctx.parts:
        ctx.parts[CLUSTER].files.tell(member_of(table.lower()), file_id, "forgotten")
    return Reply.done()


async def _files(ctx: Context, table: str, wanted: tsd.Selection, *, errors: bool) -> Reply:
    tables: list[Table] = []
    data: dict[str, Any] = {}
    for one in _tables(ctx, table):
        found = await one.details(wanted, errors=errors)
        for row in found:
            row["file_time"] = _text(row["file_time"])
        rows = [(str(row["file_id"]), *list(row.values())[1:]) for row in found]
        tables.append(Table(_DETAILS, rows, header=f"TSD Table: {one.name}"))
        data[one.name] = found
    return Reply.of_table(*tables, data=data)


async def _enter(ctx: Context, file: str, status1: str, status2: str) -> Reply:
    entry = _entry_of(Path(file).name, status1, status2)
    number = await tsd.TsdTable(_store(ctx)).add(entry)
    return Reply.of_data({"file_id": number}, text=str(number))


def _entry_of(name: str, status1: str, status2: str) -> tsd.FileEntry:
    """What a file name of the convention says: dbms.table.source.hash.instructions[. ...].type."""
    parts = name.removesuffix(".gz").split(".")[:-1]
    if len(parts) < 4:
        raise error(119, f"'{name}'", hint="dbms.table.source.hash.instructions.json")
    return tsd.FileEntry(
        parts[0],
        parts[1],
        parts[3],
        source=parts[2],
        instructions=parts[4] if len(parts) > 4 else "0",
        status1=status1,
        status2=status2,
    )


def _text(time_us: int) -> str:
    return datetime.fromtimestamp(time_us / 1_000_000, UTC).strftime("%Y-%m-%d %H:%M:%S")
