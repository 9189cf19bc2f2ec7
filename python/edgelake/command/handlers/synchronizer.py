"""Keeping the local copy of the ledger up to date (spec: metadata, sections 8 and 10)."""

from __future__ import annotations

import ast
import asyncio
from pathlib import Path
from typing import Annotated, Literal

from edgelake.command.context import Context
from edgelake.command.grammar import IpPort, Seconds
from edgelake.command.handlers.ledger import master_of
from edgelake.command.handlers.policy import policies_of, policy_from
from edgelake.command.registry import command
from edgelake.errors import AlreadyRunningError, CommandError, EdgeLakeError, NotPermittedError, error
from edgelake.metadata import ledger
from edgelake.metadata.ids import Policy, id_of, make_id, with_ledger
from edgelake.metadata.network import failure
from edgelake.metadata.platforms import PLATFORMS
from edgelake.metadata.policy import check_structure, is_policy, parse_json
from edgelake.metadata.sync import SyncConfig, Synchronizer
from edgelake.model import CommandClass, Reply, Table

_TITLES = (
    "Status",
    "Sync\nSource",
    "Connection",
    "Sync\nTime",
    "Metadata Version",
    "Time\nSince Update",
    "Calls",
    "Loads",
    "Policies",
    "Sync OK",
    "Sync Err",
)
_IDLE = ("Not Running", "Not declared", "Not declared", -1, "0", "Not updated", 0, 0, 0, 0, 0)
_WAIT_S = 15.0
_SEED_S = 30.0


def synchronizer_of(ctx: Context) -> Synchronizer | None:
    """The synchroniser that runs."""
    found = ctx.services.get(Synchronizer.name)
    return found if isinstance(found, Synchronizer) else None


@command(
    "run blockchain sync",
    cls=CommandClass.ADMIN,
    topics=("background processes", "metadata"),
    examples=(
        "run blockchain sync where source = master and time = 3 seconds and dest = file and dest = dbms "
        "and connection = 10.0.0.1:32048",
        "run blockchain sync where source = blockchain and time = 1 minute and dest = file and platform = ethereum",
        "run blockchain sync where source = dbms and time = 30 seconds and dest = file",
        "run blockchain sync",
    ),
)
async def run_blockchain_sync(
    ctx: Context,
    *,
    source: Literal["master", "blockchain", "dbms"] | None = None,
    time: Seconds = 30.0,
    dest: list[str] | None = None,
    connection: Annotated[str, IpPort] = "",
    platform: str = "",
    file: str = "",
) -> Reply:
    """Update the local copy of the metadata again and again, from a master node, a blockchain or the own table.

    dest: file (always) and dbms (also the table blockchain.ledger). connection: ip:port of the master; absent = of the
    master's policy. file: the local copy, absent = !blockchain_file. Without options: one update now.
    """
    running = synchronizer_of(ctx)
    if source is None:
        if running is None:
            raise CommandError("no synchronizer runs", hint="run blockchain sync where source = master and time = ...")
        running.force()
        return Reply.done()
    if running is not None:
        raise AlreadyRunningError("blockchain sync", hint="exit synchronizer, first")
    targets = {name.lower() for name in dest or ["file"]}
    if not targets <= {"file", "dbms"}:
        raise CommandError(f"dest: {', '.join(sorted(targets))}", hint="file and dbms")
    if source == "dbms" and connection:
        raise CommandError("source = dbms is the own table: no connection", hint="source = master takes a connection")
    if source == "blockchain" and not platform:
        raise CommandError("source = blockchain needs a platform", hint="platform = ethereum")
    if time < 1:
        raise CommandError(f"time = {time:g} seconds", hint="one second or more")
    policies = policies_of(ctx)
    if file:
        path = Path(file)
        if not ctx.directories.inside(path) and not ctx.may(CommandClass.EXEC):
            raise NotPermittedError(f"'{file}' lies outside the node's directories")
        await policies.load(path)
    if policies.network is None:
        raise error(21, "this node sends no messages", hint="run tcp server where ...")
    config = SyncConfig(source, time, connection, platform, "dbms" in targets)
    service = Synchronizer(config, policies, policies.network, master_of(ctx), ctx.parts[PLATFORMS])
    await ctx.services.start(service)
    return Reply.done()


@command(
    "get synchronizer",
    cls=CommandClass.DATA,
    topics=("metadata", "monitor"),
    examples=("get synchronizer", "get synchronizer where format = json"),
)
async def get_synchronizer(ctx: Context) -> Reply:
    """Whether the shared metadata is synchronised with a master node or a blockchain, and how that goes."""
    running = synchronizer_of(ctx)
    row = running.columns() if running is not None else _IDLE
    data = {" ".join(title.split()): value for title, value in zip(_TITLES, row, strict=True)}
    return Reply.of_table(Table(_TITLES, [row]), data=data)


@command(
    "blockchain switch network",
    cls=CommandClass.ADMIN,
    topics=("metadata",),
    examples=("blockchain switch network where master = 10.0.0.1:32048",),
)
async def blockchain_switch(ctx: Context, *, master: Annotated[str, IpPort]) -> Reply:
    """Use the ledger of another master, from now on."""
    running = synchronizer_of(ctx)
    if running is None:
        raise CommandError("no synchronizer runs", hint="run blockchain sync where source = master and ...")
    running.switch(master)
    return Reply.done()


@command(
    "blockchain seed from",
    cls=CommandClass.ADMIN,
    topics=("metadata",),
    examples=("blockchain seed from 10.0.0.1:32048",),
)
async def blockchain_seed(ctx: Context, address: IpPort) -> Reply:
    """Take the policies that another node has as the local copy: what a node needs before its first synchronisation."""
    policies = policies_of(ctx)
    if policies.network is None:
        raise error(21, "this node sends no messages", hint="run tcp server where ...")
    answer = (await policies.network.peers.ask([address], "blockchain get *", timeout_s=_SEED_S))[0]
    if answer.error:
        raise failure(answer.error, answer.text or f"{address} did not answer in {_SEED_S:g} s")
    found = await asyncio.to_thread(_policies_in, answer.text)
    if not found:
        raise error(59, f"{address} has no policies")
    await policies.merge(ledger.lines(with_ledger(p, "global") for p in found))
    return Reply.done()


def _policies_in(text: str) -> list[Policy]:
    """The policies of a peer's answer: JSON, or the Python text of a list, which nodes of the reference send."""
    try:
        value = parse_json(text)
    except EdgeLakeError:
        try:
            value = ast.literal_eval(text.strip())
        except (ValueError, SyntaxError, MemoryError, RecursionError) as problem:
            raise error(69, f"the answer holds no policies: {problem}") from None
    return [p for p in (value if isinstance(value, list) else [value]) if is_policy(p) and id_of(p)]


@command(
    "blockchain wait",
    cls=CommandClass.DATA,
    topics=("metadata",),
    examples=("is_updated = blockchain wait where id = !policy_id", "blockchain wait where policy = !policy"),
)
async def blockchain_wait(ctx: Context, *, id: str = "", policy: str = "", command: str = "") -> Reply:
    """Wait until a policy is in the local copy: by id, by the policy itself, or until a query returns something.

    An update is made at once; waiting ends after the time of the synchronizer and 15 seconds.
    """
    policies = policies_of(ctx)
    wanted = id
    if policy:
        parsed = check_structure(policy_from(policy, ctx))
        wanted = id_of(parsed) or make_id(parsed)
    if not wanted and not command:
        raise CommandError("blockchain wait needs id, policy or command")

    def holds() -> bool:
        return bool(policies.select(command).text.strip("[]")) if command else policies.get(wanted) is not None

    running = synchronizer_of(ctx)
    if running is not None and not holds():
        running.force()
    longest = _WAIT_S + (running.config.seconds if running is not None else 0.0)
    arrived = await policies.until(holds, timeout_s=longest)
    return Reply(value="true" if arrived else "false", text="" if arrived else "false")


async def ledger_arrived(ctx: Context, peer: str, name: str, path: Path) -> None:
    """A copy of the ledger came from a peer. Raises EdgeLakeError (212) when nothing was asked for."""
    running = synchronizer_of(ctx)
    if running is None:
        raise NotPermittedError(f"no copy of the ledger was asked of {peer}")
    await running.on_ledger(peer, name, path)
