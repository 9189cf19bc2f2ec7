"""Streaming conditions as commands (spec: brokers and mapping, section 11)."""

from __future__ import annotations

from typing import Annotated

from edgelake._rust import sanitize_name
from edgelake.command.context import Context
from edgelake.command.grammar import Tail
from edgelake.command.registry import command
from edgelake.errors import CommandError, NotAvailableError
from edgelake.ingest.conditions import StreamConditions
from edgelake.model import CommandClass, Reply, Table

TITLES = ("DBMS", "Table", "ID", "Condition")


def conditions_of(ctx: Context) -> StreamConditions:
    """The node's conditions. Raises NotAvailableError on a node that takes no data."""
    found: StreamConditions | None = getattr(ctx.ingest, "conditions", None)
    if found is None:
        raise NotAvailableError("this node takes no data")
    return found


@command(
    "set streaming condition",
    cls=CommandClass.ADMIN,
    topics=("streaming", "configuration"),
    examples=(
        "set streaming condition where dbms = d and table = t if [temp] > 90 then print !device is hot",
        "set streaming condition where dbms = d and table = t if not [value] then return ignore entry",
        "set streaming condition where dbms = d and table = t and limit = 3 if [state] == 'open' then print !timestamp",
    ),
)
async def set_streaming_condition(
    ctx: Context, *, dbms: str, table: str, limit: int | None = None, rule: Annotated[str, Tail("if")]
) -> Reply:
    """Look at every row of a table before it is stored, whatever way it comes.

    The conditions of a table are tested in the order of their declaration. ``return ignore entry`` drops the row; any
    other command is run beside the stream, with the row's columns as ``!column``. limit: how often it may run.
    """
    condition, found, then = rule.partition(" then ")
    if not found or not condition.strip() or not then.strip():
        raise CommandError("a streaming condition is: if <condition> then <command>")
    if limit is not None and limit < 1:
        raise CommandError(f"limit = {limit}: how often the command may run, 1 or more")
    line = then.strip()
    if line.startswith("return ") and " ".join(line.split()) != "return ignore entry":
        raise CommandError(f"'{line}': the only value is: return ignore entry")
    conditions_of(ctx).add(sanitize_name(dbms), sanitize_name(table), condition.strip(), " ".join(line.split()), limit)
    return Reply.done()


@command(
    "get streaming conditions",
    "get streaming condition",
    cls=CommandClass.DATA,
    topics=("streaming", "status"),
    examples=("get streaming conditions", "get streaming conditions where dbms = d and table = t"),
)
async def get_streaming_conditions(ctx: Context, *, dbms: str = "", table: str = "") -> Reply:
    """Conditions that rows are tested by."""
    wanted = sanitize_name(dbms), sanitize_name(table)
    rows = [
        (one.dbms, one.table, one.id, one.text)
        for one in conditions_of(ctx)
        if wanted[0] in ("", one.dbms) and wanted[1] in ("", one.table)
    ]
    if not rows:
        return Reply.of_data([], text="No streaming conditions")
    return Reply.of_table(Table(TITLES, rows), data=[dict(zip(TITLES, row, strict=True)) for row in rows])


@command(
    "reset streaming conditions",
    "reset streaming condition",
    cls=CommandClass.ADMIN,
    topics=("streaming", "configuration"),
    examples=(
        "reset streaming conditions",
        "reset streaming conditions where dbms = d and table = t",
        "reset streaming conditions where dbms = d and table = t and id = 1 and id = 2",
    ),
)
async def reset_streaming_conditions(
    ctx: Context, *, dbms: str = "", table: str = "", id: list[int] | None = None
) -> Reply:
    """Remove all conditions, those of a database or table, or some of a table by their ids."""
    if table and not dbms:
        raise CommandError("a table needs its dbms")
    if id and not table:
        raise CommandError("ids need dbms and table")
    removed = conditions_of(ctx).remove(sanitize_name(dbms), sanitize_name(table), frozenset(id or ()))
    if id and removed < len(set(id)):
        raise CommandError(f"{removed} of {len(set(id))} conditions were there", hint="get streaming conditions")
    return Reply.done()
