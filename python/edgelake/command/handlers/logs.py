"""Commands that show and reset the logs and the echo queue.

Source: spec "Command language", section 12.
"""

from __future__ import annotations

from typing import Annotated, Literal

from edgelake.command.context import Context
from edgelake.command.grammar import After, Seconds
from edgelake.command.registry import command
from edgelake.errors import CommandError
from edgelake.model import CommandClass, Reply, Table


@command(
    "get event log",
    "get error log",
    "get query log",
    "get file log",
    "get streaming log",
    cls=CommandClass.DATA,
    topics=("logs", "status"),
    examples=("get event log where format = json and keys = sql error",),
)
async def get_log(ctx: Context, *, keys: str = "") -> Reply:
    """Show the last entries of a log; ``keys`` keeps those with any of the words in type or text."""
    table, data = ctx.logs.table(ctx.phrase.split()[1], keys.split())
    return Reply.of_table(table, data=data)


@command(
    "get audit log",
    cls=CommandClass.ADMIN,
    topics=("logs", "security"),
    examples=("get audit log", "get audit log where limit = 20 and user = eva and format = json"),
)
async def get_audit_log(ctx: Context, *, limit: int = 100, user: str = "", address: str = "") -> Reply:
    """Commands that administer the node, who gave them, and what became of them; logins that failed, too.

    The file data/audit.jsonl has more than is shown. address: beginning of the caller's address.
    """
    if limit < 1:
        raise CommandError("limit: at least 1")
    found = [
        entry
        for entry in ctx.audit.entries
        if (not user or entry.user == user) and (not address or entry.address.startswith(address))
    ][-limit:]
    rows = [(e.time, e.entry, e.address, e.user, e.command, e.outcome, e.reason) for e in found]
    titles = ("Time", "Entry", "Address", "User", "Command", "Outcome", "Reason")
    data = [dict(zip((title.lower() for title in titles), row, strict=True)) for row in rows]
    return Reply.of_table(Table(titles, rows), data=data)


@command(
    "reset event log",
    "reset error log",
    "reset query log",
    "reset file log",
    "reset streaming log",
    cls=CommandClass.ADMIN,
    topics=("logs",),
    examples=("reset error log",),
)
async def reset_log(ctx: Context) -> Reply:
    """Forget the entries of a log."""
    ctx.logs.ring(ctx.phrase.split()[1]).reset()
    return Reply.done()


@command(
    "set query log",
    cls=CommandClass.ADMIN,
    topics=("logs", "query"),
    examples=("set query log on", "set query log profile 5 seconds"),
)
async def set_query_log(
    ctx: Context,
    mode: Literal["on", "off"] | None = None,
    seconds: Annotated[Seconds, After("profile")] = -1.0,
) -> Reply:
    """Log every query, none, or those that take longer than ``profile n seconds``."""
    if mode is None and seconds < 0:
        raise CommandError("set query log: on, off or profile n seconds")
    ctx.logs.query_seconds = seconds if mode is None else 0.0 if mode == "on" else None
    return Reply.done()


@command("set rest log", cls=CommandClass.ADMIN, topics=("logs", "rest"), examples=("set rest log on",))
async def set_rest_log(ctx: Context, mode: Literal["on", "off"]) -> Reply:
    """Put every REST call into the streaming log; failed calls are there in any case."""
    ctx.logs.rest_all = mode == "on"
    return Reply.done()


@command("set echo queue", cls=CommandClass.ADMIN, topics=("logs",), examples=("set echo queue on",))
async def set_echo_queue(ctx: Context, mode: Literal["on", "off"]) -> Reply:
    """Keep messages of ``echo``, of peers and of failed commands in a queue instead of showing them."""
    ctx.echo.on = mode == "on"
    if not ctx.echo.on:
        ctx.echo.reset()
    return Reply.done()


@command("get echo queue", cls=CommandClass.DATA, topics=("logs", "status"), examples=("get echo queue",))
async def get_echo_queue(ctx: Context) -> Reply:
    """Show the messages of the echo queue."""
    if not ctx.echo.on:
        return Reply.of_text("Message Queue not declared")
    table = ctx.echo.read()
    data = [dict(zip(table.titles, row, strict=True)) for row in table.rows]
    return Reply.of_table(table, data=data)


@command(
    "reset echo queue",
    cls=CommandClass.ADMIN,
    topics=("logs",),
    examples=("reset echo queue", "reset echo queue where size = 50"),
)
async def reset_echo_queue(ctx: Context, *, size: int | None = None) -> Reply:
    """Forget the messages of the echo queue; ``size`` (1 to 100) changes how many it keeps."""
    if size is not None and not 1 <= size <= 100:
        raise CommandError(f"size = {size}: the queue keeps 1 to 100 messages")
    ctx.echo.reset(size)
    return Reply.done()
