"""Commands that other nodes may send beyond those that only read, and those that need such a grant."""

from __future__ import annotations

from edgelake.command.context import Context
from edgelake.command.handlers.peer import PEER_COMMANDS, peers_of
from edgelake.command.handlers.policy import policies_of
from edgelake.command.registry import command
from edgelake.errors import CommandError, error
from edgelake.metadata.ids import id_of
from edgelake.metadata.routing import ROUTING
from edgelake.model import CommandClass, Reply, Table


@command(
    "set peer commands",
    cls=CommandClass.ADMIN,
    topics=("network", "configuration"),
    examples=("set peer commands where allow = (drop table, set consumer mode)",),
)
async def set_peer_commands(ctx: Context, *, allow: list[str]) -> Reply:
    """Which commands nodes of the policies may send here beyond those that only read, by their beginnings."""
    granted = tuple(" ".join(text.lower().split()) for text in allow)
    unknown = [text for text in granted if not ctx.registry.next_words(text.split()) and not _is_command(ctx, text)]
    if unknown:
        raise CommandError(f"no command begins with '{unknown[0]}'", hint="see: help index")
    ctx.node.settings[PEER_COMMANDS] = granted
    return Reply.done()


@command(
    "get peer commands",
    cls=CommandClass.DATA,
    topics=("network", "configuration"),
    examples=("get peer commands",),
)
async def get_peer_commands(ctx: Context) -> Reply:
    """What other nodes may send here beyond commands that only read."""
    granted = granted_of(ctx)
    return Reply.of_table(Table(("Command",), [[text] for text in granted]), data=list(granted))


@command(
    "reset peer commands",
    cls=CommandClass.ADMIN,
    topics=("network", "configuration"),
    examples=("reset peer commands",),
)
async def reset_peer_commands(ctx: Context) -> Reply:
    """Take from other nodes nothing but commands that only read."""
    ctx.node.settings.pop(PEER_COMMANDS, None)
    return Reply.done()


def granted_of(ctx: Context) -> tuple[str, ...]:
    """Beginnings of commands that nodes of the policies may send."""
    granted: tuple[str, ...] = ctx.node.settings.get(PEER_COMMANDS, ())
    return granted


def _is_command(ctx: Context, text: str) -> bool:
    return any(entry.phrase == text for entry in ctx.registry)


@command(
    "drop network table",
    cls=CommandClass.ADMIN,
    topics=("network", "dbms", "table"),
    examples=("drop network table where name = ping_sensor and dbms = lsl_demo and master = !master_node",),
)
async def drop_network_table(ctx: Context, *, name: str, dbms: str, master: str = "") -> Reply:
    """Drop a table at every operator that holds it, then its policy here and at the master.

    Operators take that only from nodes of the policies and after ``set peer commands where allow = (drop table)``. When
    one does not drop its table, the policy stays.
    """
    for what, text in (("name", name), ("dbms", dbms)):
        if "*" in text:
            raise CommandError(f"{what} = {text}", hint="name one table")
    found = policies_of(ctx).find("table", dbms=dbms.lower(), name=name.lower())
    operators = [operator.address for operator in ctx.parts[ROUTING].operators(dbms=dbms.lower(), table=name.lower())]
    if not operators:
        raise error(73, f"{dbms}.{name}", hint="see: get data nodes")
    answers = await peers_of(ctx).ask(operators, f"drop table {name} where dbms = {dbms}")
    rows = [[answer.peer, answer.text if answer.error else "Dropped"] for answer in answers]
    is_dropped = not any(answer.error for answer in answers)
    if is_dropped:
        for policy in found:
            masters = (master,) if master else ()
            await policies_of(ctx).delete(id_of(policy), local=True, masters=masters, chains=())
    rows.append(["Ledger Policy", "Dropped" if is_dropped else "Not Dropped"])
    return Reply.of_table(Table(("IP:Port", "Status"), rows), data=dict(rows))
