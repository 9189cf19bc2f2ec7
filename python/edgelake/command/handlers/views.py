"""Views: other names for the columns of local tables (spec: query, section 15)."""

from __future__ import annotations

import re
from typing import Annotated, Final, Literal

from edgelake.command.context import Context
from edgelake.command.grammar import Tail
from edgelake.command.registry import command
from edgelake.errors import CommandError, error
from edgelake.model import CommandClass, Reply, Table
from edgelake.query.views import View, parse_view

_DECLARATION: Final = re.compile(r"(?P<dbms>\w+)\s*\.\s*(?P<table>\w+)\s*\((?P<columns>.*)\)\s*", re.DOTALL)


@command(
    "create view",
    cls=CommandClass.ADMIN,
    topics=("query", "table"),
    examples=("create view lsl_demo.ping (timestamp timestamp, value using reading float, room not used)",),
)
async def create_view(ctx: Context, *, declaration: Annotated[str, Tail()]) -> Reply:
    """Give columns of a local table other names in queries: ``col TYPE``, ``col using src TYPE``, ``col not used``.

    Views are kept over restarts.
    """
    found = _DECLARATION.fullmatch(declaration.strip())
    if found is None:
        raise CommandError(f"'{declaration[:60]}'", hint="write: create view dbms.table (col TYPE, col using src TYPE)")
    dbms, table = found["dbms"].lower(), found["table"].lower()
    info = ctx.stores.get(dbms).table(table)
    ctx.queries.views.put(parse_view(dbms, table, found["columns"], info))
    return Reply.done()


@command("drop view", cls=CommandClass.ADMIN, topics=("query", "table"), examples=("drop view lsl_demo.ping",))
async def drop_view(ctx: Context, name: str) -> Reply:
    """Give the columns of a table their own names again."""
    dbms, dot, table = name.lower().partition(".")
    if not dot:
        raise CommandError(f"'{name[:60]}'", hint="write: drop view dbms.table")
    ctx.queries.views.remove(dbms, table)
    return Reply.done()


@command(
    "get views",
    "get views for dbms",
    cls=CommandClass.DATA,
    topics=("query", "table"),
    examples=("get views", "get views for dbms lsl_demo"),
)
async def get_views(ctx: Context, dbms: str = "") -> Reply:
    """Views of a database, or of all."""
    views: list[View] = [v for v in ctx.queries.views.values() if dbms.lower() in {"", v.dbms}]
    rows = [(v.dbms, v.table, v.statement) for v in views]
    data = [{"dbms": v.dbms, "table": v.table, "statement": v.statement} for v in views]
    return Reply.of_table(Table(("DBMS", "View", "Statement"), rows), data=data)


@command(
    "info view",
    cls=CommandClass.DATA,
    topics=("query", "table"),
    examples=("info view lsl_demo ping columns", "info view lsl_demo ping exists"),
)
async def info_view(ctx: Context, dbms: str, table: str, what: Literal["columns", "exists"]) -> Reply:
    """Columns of a view, or whether there is one."""
    view: View | None = ctx.queries.views.get((dbms.lower(), table.lower()))
    if what == "exists":
        return Reply.of_text("true" if view is not None else "false")
    if view is None:
        raise error(132, f"there is no view {dbms}.{table}", hint="see: get views")
    rows = [(c.name, c.kind, c.stored or "") for c in view.columns]
    data = {c.name: c.kind for c in view.columns}
    return Reply.of_table(Table(("Column", "Type", "Stored As"), rows), data=data)
