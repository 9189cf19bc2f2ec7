"""Tests of the network: a command goes to every node of the metadata, a row says what each answered.

Source: spec "Services and status", section 13; "Network protocol", section 6.6.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Iterable
from typing import Annotated, Final

from msgspec import Struct

from edgelake.command.context import Context
from edgelake.command.grammar import After, Key
from edgelake.command.handlers.peer import PEERS, peers_of
from edgelake.command.handlers.placement import routes_of
from edgelake.command.registry import command
from edgelake.errors import CommandError, EdgeLakeError, error
from edgelake.metadata.address import NODE_TYPES, Addresses
from edgelake.metadata.ids import body_of, type_of
from edgelake.model import CommandClass, Reply, Table
from edgelake.net.peer.dispatch import PING
from edgelake.peering import NO_ANSWER, UNREACHABLE, PeerAnswer, Peers

ANSWER_S: Final = 5.0
"""The reference waits four seconds in any case; ours ends with the last answer."""

ASKED_AT_ONCE: Final = 64
_NO_SERVER: Final = 21


class Peer(Struct, frozen=True):
    """A node of the metadata."""

    address: str
    kind: str
    name: str


class Asked(Struct, frozen=True):
    """What a node answered, and after how long."""

    answer: PeerAnswer
    seconds: float


@command(
    "test network",
    cls=CommandClass.DATA,
    topics=("test", "network"),
    examples=(
        "test network",
        "test network with operator",
        "test network with 10.0.0.78:7848 where details = true",
        "test network where format = json",
    ),
)
async def check_network(ctx: Context, only: Annotated[str, After("with")] = "", *, details: bool = False) -> Reply:
    """Ask every node of the metadata for its status: ``+`` for one that answers, else what is wrong.

    with: master, operator, query, publisher, or the address of a node. details: how long each took.
    """
    return await _network_reply(ctx, only, "get status", "Status", lambda text: "  +", details=details)


@command(
    "test network metadata version",
    "test network metadata",
    cls=CommandClass.DATA,
    topics=("test", "network", "metadata"),
    examples=("test network metadata version", "test network metadata version with operator"),
)
async def check_network_metadata(
    ctx: Context, only: Annotated[str, After("with")] = "", *, details: bool = False
) -> Reply:
    """The version of the metadata on every node of the metadata; nodes with the same one know the same policies."""
    return await _network_reply(ctx, only, "get metadata version", "Metadata Version", str, details=details)


@command(
    "test network table",
    cls=CommandClass.DATA,
    topics=("test", "network"),
    examples=("test network table t1 where dbms = d", "test network table where name = t1 and dbms = d"),
)
async def check_network_table(
    ctx: Context, table: str = "", *, named: Annotated[str, Key("name")] = "", dbms: str
) -> Reply:
    """Compare a table on the operators with its policy: on all of them, or (``name =``) on those that hold it."""
    if bool(table) == bool(named):
        raise CommandError("name one table", hint="test network table where name = t1 and dbms = d")
    line = f"test table {table or named} where dbms = {dbms}"
    if table:
        return await _network_reply(ctx, "operator", line, "Table Test", str)
    holding = routes_of(ctx).operators("", dbms, named)
    if not holding:
        raise error(211, f"no operator of the metadata holds {dbms}.{named}", hint="get data nodes")
    asked = await ask_each(ctx, [one.address for one in holding], line)
    rows = [(one.name, one.address, said(asked[one.address].answer)) for one in holding]
    titles = ("Operator", "IP:Port", "Status")
    data = [dict(zip(("operator", "address", "status"), row, strict=True)) for row in rows]
    return Reply.of_table(Table(titles, rows, f"Network status for DBMS: '{dbms}' Table '{named}'"), data=data)


@command("set servers ping", cls=CommandClass.ADMIN, topics=("network",), examples=("set servers ping",))
async def ping_servers(ctx: Context) -> Reply:
    """Ask nodes that did not answer whether they are there; the system's scheduler does so each minute."""
    peers: Peers | None = ctx.parts.get(PEERS)
    silent = [address for address, state in routes_of(ctx).states().items() if not state.is_active]
    if peers is None or not silent:
        return Reply.done()
    gate = asyncio.Semaphore(ASKED_AT_ONCE)

    async def ping(address: str) -> None:
        async with gate:
            with contextlib.suppress(EdgeLakeError):  # it stays marked
                await peers.tell(address, f"event {PING}")

    await asyncio.gather(*map(ping, silent))
    return Reply.done()


async def _network_reply(
    ctx: Context, only: str, line: str, title: str, shown: Callable[[str], str], *, details: bool = False
) -> Reply:
    """A row for each node: what it answered, as ``shown`` shows it, or what is wrong."""
    peers = nodes_of(ctx, only)
    asked = await ask_each(ctx, [peer.address for peer in peers], line)
    titles, keys = ["Address", "Node Type", "Node Name", title], ["address", "type", "name", _key(title)]
    rows: list[list[object]] = [[p.address, p.kind, p.name, said(asked[p.address].answer, shown)] for p in peers]
    data = [dict(zip(keys, (str(cell).strip() for cell in row), strict=True)) for row in rows]
    if details:
        titles.append("Seconds")
        for peer, row, entry in zip(peers, rows, data, strict=True):
            row.append(f"{asked[peer.address].seconds:.3f}")
            entry["seconds"] = str(row[-1])
    return Reply.of_table(Table(titles, rows), data=data)


def _key(title: str) -> str:
    return title.lower().replace(" ", "_")


def nodes_of(ctx: Context, only: str = "") -> list[Peer]:
    """Nodes of the metadata in its order: all, those of a type, or the one with that address.

    Raises EdgeLakeError: 211 there are none, 2 for a word that is neither.
    """
    wanted = only.lower()
    if wanted and wanted not in NODE_TYPES and ":" not in wanted:
        raise CommandError(f"'{only}' is no type of node", hint=f"one of: {', '.join(NODE_TYPES)}, or ip:port")
    own = Addresses(ctx.variables.get("external_ip"), ctx.variables.get("ip"))
    found = []
    for policy in ctx.policies.of_type(*NODE_TYPES):
        body = body_of(policy)
        peer = Peer(own.of(body), type_of(policy), str(body.get("name", "")))
        if peer.address and wanted in ("", peer.kind, peer.address.lower()):
            found.append(peer)
    if not found:
        raise error(211, f"no policy of {only or 'a node'} has an address", hint="blockchain get (master, operator)")
    return found


async def ask_each(ctx: Context, addresses: Iterable[str], line: str) -> dict[str, Asked]:
    """What each address answers to a command; states of the nodes are put down. Raises EdgeLakeError (21)."""
    peers, routes, gate = peers_of(ctx), routes_of(ctx), asyncio.Semaphore(ASKED_AT_ONCE)

    async def ask(address: str) -> Asked:
        async with gate:
            began = time.monotonic()
            try:
                (answer,) = await peers.ask([address], line, timeout_s=ANSWER_S)
            except EdgeLakeError as failure:
                if failure.number == _NO_SERVER:
                    raise
                answer = PeerAnswer(address, str(failure), error=failure.number)
        routes.mark(address, active=answer.error not in (NO_ANSWER, UNREACHABLE))
        return Asked(answer, time.monotonic() - began)

    each = list(dict.fromkeys(addresses))
    return dict(zip(each, await asyncio.gather(*map(ask, each)), strict=True))


def said(answer: PeerAnswer, shown: Callable[[str], str] = str) -> str:
    """An answer in a cell of a table: the text, or the failure without the address that stands beside it."""
    text = answer.text.strip()
    if answer.error:
        return text.removeprefix(f"{answer.peer}: ") or f"error {answer.error}"
    return shown(text)
