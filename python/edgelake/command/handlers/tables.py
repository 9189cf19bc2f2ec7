"""Tables: create, drop, list, describe, count, back up (spec: ingestion, part 2, section 4)."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from edgelake.command.context import Context
from edgelake.command.grammar import Key
from edgelake.command.registry import command
from edgelake.errors import CommandError, NotPermittedError, TableMissingError, error
from edgelake.model import CommandClass, Reply, Table
from edgelake.store import backup, catalogue, ledger, statement, tsd
from edgelake.store.base import AUTOMATIC_COLUMNS, ColumnInfo, TableInfo
from edgelake.store.ledger import LEDGER, LEDGER_DBMS
from edgelake.store.schema import Transaction
from edgelake.store.store import Store

_PRINTED = {
    "timestamp": "timestamp without time zone",
    "time": "time without time zone",
    "varchar": "character varying",
}

Dbms = Annotated[str, Key("dbms")]


def printed_kind(column: ColumnInfo) -> str:
    """A column's type as ``get columns`` prints it."""
    return "integer" if column.name == "row_id" else _PRINTED.get(column.kind, column.kind)


def find_columns(ctx: Context, dbms: str, table: str) -> tuple[ColumnInfo, ...]:
    """Columns of a table: of the local one, else of its policy. Raises EdgeLakeError 132."""
    info: TableInfo | None = ctx.stores.table(dbms, table) if ctx.stores is not None else None
    if info is not None:
        return info.columns
    for policy in _policies(ctx, dbms, table):
        create = policy["table"].get("create")
        if create:
            return (*catalogue.AUTOMATIC, *statement.user_columns(create))
    raise error(132, f"{dbms}.{table}", hint=f"see: get tables where dbms = {dbms}")


def _policies(ctx: Context, dbms: str, table: str | None = None) -> list[dict[str, Any]]:
    if ctx.policies is None:
        return []
    wanted = {"dbms": dbms} if table is None else {"dbms": dbms, "name": table}
    return list(ctx.policies.find("table", **wanted))


def _is_published(ctx: Context, dbms: str, table: str) -> bool:
    return bool(_policies(ctx, dbms, table))


def _is_local(ctx: Context, dbms: str, table: str) -> bool:
    return ctx.stores.table(dbms, table) is not None


@command(
    "create table",
    cls=CommandClass.ADMIN,
    topics=("dbms", "table"),
    examples=("create table tsd_info where dbms = almgm", "create table ledger where dbms = blockchain"),
)
async def create_table(ctx: Context, name: str, *, dbms: str) -> Reply:
    """Create a system table (ledger, tsd_info, tsd_N), or a table as its policy declares it."""
    await ctx.stores.later(dbms.lower(), lambda store: _create(ctx, store, name.lower()))
    return Reply.done()


async def _create(ctx: Context, store: Store, table: str) -> None:
    if table in store.tables:
        return
    if table == LEDGER and store.dbms == LEDGER_DBMS:
        await store.change(ledger.create)
    elif tsd.is_tsd_name(table):
        await tsd.TsdTable(store, table).create()
    else:
        columns = find_columns(ctx, store.dbms, table)[len(AUTOMATIC_COLUMNS) :]
        await store.change(lambda tx: tx.create_table(table, columns))


@command(
    "drop table", cls=CommandClass.ADMIN, topics=("dbms", "table"), examples=("drop table ping where dbms = lsl_demo",)
)
async def drop_table(ctx: Context, name: str, *, dbms: str) -> Reply:
    """Drop a local table with its partitions."""
    store = ctx.stores.get(dbms.lower())
    info = store.table(name.lower())

    def work(tx: Transaction) -> None:
        tx.drop_table(info)

    await store.change(work)
    return Reply.done()


@command(
    "get tables",
    cls=CommandClass.DATA,
    topics=("dbms", "table"),
    examples=("get tables where dbms = lsl_demo", "get tables where dbms = *"),
)
async def get_tables(ctx: Context, *, dbms: str) -> Reply:
    """Tables of a database, and whether each is in the local database and in the metadata."""
    wanted = dbms.lower()
    local: dict[str, set[str]] = {}
    for store in ctx.stores:
        if wanted in {"*", store.dbms}:
            names = {n for info in store.tables.values() for n in (info.name, *info.physical_names)}
            local[store.dbms] = names
    published: dict[str, set[str]] = {}
    for policy in ctx.policies.of_type("table") if ctx.policies is not None else ():
        body = policy["table"]
        if wanted in {"*", body.get("dbms")}:
            published.setdefault(str(body.get("dbms")), set()).add(str(body.get("name")))
    data: dict[str, dict[str, dict[str, bool]]] = {}
    rows = []
    for database in sorted({*local, *published}):
        here, there = local.get(database, set()), published.get(database, set())
        listed = data.setdefault(database, {})
        for table in sorted(here | there):
            shown = "" if listed else database
            listed[table] = {"local": table in here, "blockchain": table in there}
            rows.append((shown, table, " V" if table in here else " -", " V" if table in there else " -"))
    return Reply.of_table(Table(("Database", "Table name", "Local DBMS", "Blockchain"), rows), data=data)


def _status_example(what: str) -> tuple[str]:
    return (f"get table {what} where name = ping and dbms = lsl_demo",)


@command("get table local status", cls=CommandClass.DATA, topics=("table",), examples=_status_example("local status"))
async def get_table_local(ctx: Context, *, name: str, dbms: str) -> Reply:
    """Whether the table is in the local database."""
    return Reply.of_data({"local": _is_local(ctx, dbms.lower(), name.lower())})


@command(
    "get table blockchain status",
    cls=CommandClass.DATA,
    topics=("table",),
    examples=_status_example("blockchain status"),
)
async def get_table_blockchain(ctx: Context, *, name: str, dbms: str) -> Reply:
    """Whether the table is declared in the metadata."""
    # A text here and a boolean in "local": scripts compare with what the reference sends.
    return Reply.of_data({"blockchain": str(_is_published(ctx, dbms.lower(), name.lower()))})


@command("get table exist status", cls=CommandClass.DATA, topics=("table",), examples=_status_example("exist status"))
async def get_table_exist(ctx: Context, *, name: str, dbms: str) -> Reply:
    """Whether the table is in the local database and in the metadata."""
    d, t = dbms.lower(), name.lower()
    return Reply.of_data({"local": _is_local(ctx, d, t), "blockchain": str(_is_published(ctx, d, t))})


@command(
    "get table complete status", cls=CommandClass.DATA, topics=("table",), examples=_status_example("complete status")
)
async def get_table_complete(ctx: Context, *, name: str, dbms: str) -> Reply:
    """Presence, number of partitions and of rows."""
    d, t = dbms.lower(), name.lower()
    info = ctx.stores.table(d, t)
    counts = await ctx.stores.get(d).row_counts([t]) if info is not None else {}
    return Reply.of_data(
        {
            "local": info is not None,
            "blockchain": str(_is_published(ctx, d, t)),
            "partitions": len(info.partitions) if info is not None else 0,
            "rows": sum(counts.values()),
        }
    )


@command("get table rows count", cls=CommandClass.DATA, topics=("table",), examples=_status_example("rows count"))
async def get_table_rows(ctx: Context, *, name: str, dbms: str) -> Reply:
    """Rows of a table, over its partitions."""
    counts = await ctx.stores.get(dbms.lower()).row_counts([name.lower()])
    return Reply.of_data({"rows": sum(counts.values())})


@command(
    "get table partitions names", cls=CommandClass.DATA, topics=("table",), examples=_status_example("partitions names")
)
async def get_table_partitions(ctx: Context, *, name: str, dbms: str) -> Reply:
    """Names of a table's partitions, the oldest first."""
    info = ctx.stores.get(dbms.lower()).table(name.lower())
    return Reply.of_data({"partitions": [p.name for p in info.partitions]})


@command(
    "get columns",
    cls=CommandClass.DATA,
    topics=("table",),
    examples=(
        "get columns where dbms = lsl_demo and table = ping",
        "get columns where dbms = lsl_demo and table = ping and sys_col = false and format = list",
    ),
)
async def get_columns(
    ctx: Context,
    *,
    dbms: str,
    table: str,
    sys_col: bool = True,
    kind: Annotated[str, Key("type")] = "",
    form: Annotated[Literal["table", "json", "list"], Key("format")] = "table",
) -> Reply:
    """Columns of a table with their types; of its policy where the table is not local."""
    d, t = dbms.lower(), table.lower()
    found = [
        (c.name, printed_kind(c))
        for c in find_columns(ctx, d, t)
        if (sys_col or c.name not in AUTOMATIC_COLUMNS) and (not kind or kind.lower() in {c.kind, printed_kind(c)})
    ]
    if form == "list":
        return Reply.of_data([name for name, _ in found])
    shown = Table(("Column Name", "Column Type"), found, header=f"Schema for DBMS: '{d}' and Table: '{t}'")
    reply = Reply.of_table(shown, data=dict(found))
    reply.json_wanted = form == "json"
    return reply


@command(
    "get rows count",
    cls=CommandClass.DATA,
    topics=("table",),
    examples=("get rows count", "get rows count where dbms = lsl_demo and group = table"),
)
async def get_rows_count(
    ctx: Context, *, dbms: str = "*", table: str = "", group: Literal["table", "partition"] = "partition"
) -> Reply:
    """Stored rows of each physical table; ``group = table`` adds the partitions up."""
    wanted = dbms.lower()
    stores = list(ctx.stores) if wanted == "*" else [ctx.stores.get(wanted)]
    rows: list[tuple[str, str, str]] = []
    data: dict[str, int] = {}
    for store in stores:
        named = [table.lower()] if table else list(store.tables)
        if table and table.lower() not in store.tables:
            if wanted == "*":
                continue
            raise TableMissingError(f"{store.dbms}.{table.lower()}")
        counts = await store.row_counts(named, whole=group == "table", with_empty_own=not table)
        for at, (name, count) in enumerate(sorted(counts.items())):
            rows.append((store.dbms if at == 0 else "", name, str(count)))
            data[f"{store.dbms}.{name}"] = count
    return Reply.of_table(Table(("DBMS Name", "Table Name", "Rows Count"), rows), data=data)


@command(
    "info table",
    cls=CommandClass.DATA,
    topics=("table",),
    examples=(
        "info table lsl_demo ping exists",
        "info table lsl_demo ping columns",
        "info table lsl_demo ping partitions last",
    ),
)
async def info_table(
    ctx: Context,
    dbms: str,
    table: str,
    what: Literal["exists", "columns", "partitions"],
    part: Literal["first", "last", "count", "dates"] | None = None,
) -> Reply:
    """Whether a local table exists, its columns, its partitions."""
    d, t = dbms.lower(), table.lower()
    if what == "exists":
        found = _is_local(ctx, d, t)
        return Reply.of_data(found, text=str(found).lower())
    if what == "columns":
        columns = [{"column_name": c.name, "data_type": printed_kind(c)} for c in find_columns(ctx, d, t)]
        return Reply.of_data({f"Structure.{d}.{t}": columns})
    info: TableInfo = ctx.stores.get(d).table(t)
    names = [p.name for p in info.partitions]
    if part == "count":
        return Reply.of_data(len(names), text=str(len(names)))
    if part == "dates":
        return Reply.of_data(backup.partition_dates(info))
    picked = {"first": names[:1], "last": names[-1:]}.get(part or "", names)
    return Reply.of_data(picked, text="\r\n".join(picked))


@command(
    "backup table",
    "backup partition",
    cls=CommandClass.FILES,
    topics=("table", "partition"),
    examples=("backup table where dbms = lsl_demo and table = ping and dest = /tmp",),
)
async def backup_table(
    ctx: Context, *, dbms: str, table: str, dest: str, partition: str = "", show: bool = False
) -> Reply:
    """Write the rows of a table, or of one partition, as JSON lines to a file in a directory of the node."""
    info: TableInfo = ctx.stores.get(dbms.lower()).table(table.lower())
    directory = Path(dest)
    if not ctx.directories.inside(directory):
        raise NotPermittedError(f"'{dest}' is not inside the node's directories", hint="see: get dictionary _dir")
    if not directory.is_dir():
        raise error(35, dest, hint="create it first")
    names = list(info.physical_names)
    if partition:
        if partition not in names:
            raise CommandError(f"{info.dbms}.{info.name} has no partition '{partition}'")
        names = [partition]
    made = await backup.write(ctx.stores.get(info.dbms), info, names, directory)
    text = "\r\n".join(f"{path}: {rows} rows" for path, rows in made) if show else ""
    return Reply.of_data({str(path): rows for path, rows in made}, text=text)
