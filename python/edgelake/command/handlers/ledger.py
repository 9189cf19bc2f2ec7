"""The ledger of a master: what its owner and its peers do with it (spec: metadata, sections 8, 9 and 11)."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path
from typing import Annotated, Any, Literal

from edgelake.command.context import Context
from edgelake.command.grammar import After, Tail, Untranslated
from edgelake.command.handlers.policy import policies_of, policy_from, translated
from edgelake.command.registry import command
from edgelake.command.security import check_author
from edgelake.durable import write_whole
from edgelake.errors import CommandError, NotPermittedError, error
from edgelake.metadata import ledger
from edgelake.metadata.ids import Policy, id_of
from edgelake.metadata.image import Image
from edgelake.metadata.master import MASTER, Master
from edgelake.metadata.platforms import PLATFORMS, Platforms
from edgelake.metadata.policy import check_structure, wire
from edgelake.metadata.select import Select
from edgelake.model import CommandClass, Reply

_IGNORE = re.compile(r"ignore\s+(?=[{!])")
_IDS = re.compile(r"^id\s*=\s*(.*)$", re.DOTALL)
_FROM = re.compile(r"^from\s+(\S+)\s+where\s+(.*)$", re.DOTALL)


def master_of(ctx: Context) -> Master:
    """The node's part that keeps the ledger. Raises EdgeLakeError (58) on a node without metadata."""
    found = ctx.parts.get(MASTER)
    if not isinstance(found, Master):
        raise error(58, "this node runs without metadata")
    return found


def host_of(ctx: Context) -> str:
    """The ip of who sends the command: of the peer, else our own."""
    address = ctx.caller.address
    return address.rpartition(":")[0] or address or ctx.variables.get("external_ip") or "127.0.0.1"


@command(
    "blockchain push",
    cls=CommandClass.METADATA,
    topics=("metadata",),
    examples=("blockchain push !policy", "blockchain push ignore !policy"),
)
async def blockchain_push(ctx: Context, *, policy: Annotated[str, Tail()]) -> Reply:
    """Add a policy to the table ``blockchain.ledger`` of this node, which makes it a master.

    ``ignore``: a policy that is there already is no error.
    """
    found = _IGNORE.match(policy.lstrip())
    text = policy.lstrip()[found.end() :] if found else policy
    parsed = check_structure(policy_from(text, ctx))
    check_author(ctx, [parsed])
    await master_of(ctx).push(parsed, host=host_of(ctx), ignore=found is not None)
    return Reply.done()


@command(
    "blockchain submit",
    cls=CommandClass.METADATA,
    topics=("metadata",),
    examples=("blockchain submit !policy",),
)
async def blockchain_submit(ctx: Context, *, policy: Annotated[str, Tail()]) -> Reply:
    """Add a policy to the ledger of this master and say so: what our nodes send to a master of our kind."""
    master = master_of(ctx)
    if not master.exists:
        raise error(58, "this node has no table blockchain.ledger", hint="send policies to the master of the network")
    parsed = check_structure(policy_from(policy, ctx))
    check_author(ctx, [parsed])
    return Reply.of_data({"id": await master.push(parsed, host=host_of(ctx), ignore=True)})


@command(
    "blockchain withdraw",
    cls=CommandClass.METADATA,
    topics=("metadata",),
    examples=("blockchain withdraw 64283dba96a4c818074d564c6be20d5c",),
)
async def blockchain_withdraw(ctx: Context, id: str) -> Reply:
    """Remove a policy from the ledger of this master and say so: what our nodes send to a master of our kind."""
    await master_of(ctx).drop([id])
    return Reply.of_data({"id": id})


@command(
    "blockchain changes",
    cls=CommandClass.DATA,
    topics=("metadata",),
    examples=("blockchain changes a7bd027dd67145f75c24a7d91e7a640b",),
)
async def blockchain_changes(ctx: Context, version: str) -> Reply:
    """What changed in the ledger of this master since a version of it: what our nodes ask a master of our kind.

    The answer has the version now, and either the policies added and the ids removed, or ``full``: ask for all of it.
    """
    master = master_of(ctx)
    if not master.exists:
        raise error(69, "this node has no table blockchain.ledger", hint="ask the master of the network")
    return Reply.of_data(await master.changes(version))


@command(
    "blockchain drop policy",
    cls=CommandClass.METADATA,
    topics=("metadata",),
    examples=(
        "blockchain drop policy where id = 64283dba96a4c818074d564c6be20d5c",
        "blockchain drop policy where id = blockchain get operator where company = x bring [*][id] separator = ,",
        "blockchain drop policy !policies where name = x",
        "blockchain drop policy from ethereum where id = 64283dba96a4c818074d564c6be20d5c",
    ),
)
async def blockchain_drop(ctx: Context, *, what: Annotated[str, Tail()]) -> Reply:
    """Remove policies from the ledger of this master, or from a blockchain platform.

    By ids, by what a ``blockchain get`` returns, or by the policy itself; of several in a variable those that the
    condition selects.
    """
    text = what.strip()
    if found := _FROM.match(text):
        platforms: Platforms = ctx.parts[PLATFORMS]
        platform = platforms.get(found[1])
        for one in _ids(found[2], ctx):
            await platform.delete(one)
        return Reply.done()
    first, _, rest = text.partition(" ")
    ids = _ids(rest, ctx) if first.lower() == "where" else _ids_of_policies(text, ctx)
    await master_of(ctx).drop(ids)
    return Reply.done()


def _ids(condition: str, ctx: Context) -> list[str]:
    """``id = a, b`` or ``id = blockchain get ... separator = ,``."""
    found = _IDS.match(condition.strip())
    if found is None:
        raise CommandError(f"'{condition}' names no id", hint="where id = <id>, <id>")
    text = translated(found[1], ctx).strip().strip('"')
    if text.lower().startswith("blockchain get"):
        text = policies_of(ctx).select(text).text
    ids = [one.strip() for one in text.split(",") if one.strip()]
    if not ids:
        raise error(113, f"no policy satisfies '{condition}'")
    return ids


def _ids_of_policies(text: str, ctx: Context) -> list[str]:
    """Of a policy, or of those in a list that a condition selects."""
    given, where, condition = text, "", ""
    if not text.startswith(("{", "[")):
        given, where, condition = text.partition(" where ")
    value = policy_from(given, ctx)
    listed: list[Policy] = [check_structure(p) for p in (value if isinstance(value, list) else [value])]
    if len(listed) > 1 and not where:
        raise CommandError(f"{len(listed)} policies: which of them?", hint="blockchain drop policy !list where k = v")
    if where:
        listed = Select.parse(f"* where {translated(condition, ctx)}").policies(Image.of(listed))
    ids = [id_of(policy) for policy in listed]
    if not ids or not all(ids):
        raise error(170 if ids else 113, f"'{text[:80]}' selects no policy with an id")
    return ids


@command(
    "blockchain drop by host",
    cls=CommandClass.ADMIN,
    topics=("metadata",),
    examples=("blockchain drop by host 10.0.0.25",),
)
async def blockchain_drop_host(ctx: Context, ip: str) -> Reply:
    """Remove all policies from the ledger of this master that a node has sent."""
    count = await master_of(ctx).drop_host(ip)
    return Reply.of_data({"dropped": count}, text=f"{count} policies of {ip} dropped")


@command(
    "blockchain replace policy",
    cls=CommandClass.METADATA,
    topics=("metadata",),
    examples=("blockchain replace policy 64283dba96a4c818074d564c6be20d5c with !policy",),
)
async def blockchain_replace(ctx: Context, id: str, policy: Annotated[Untranslated, After("with")]) -> Reply:
    """Put another policy of the same type in the place of one; the id stays.

    In the ledger of a master; elsewhere in the local file.
    """
    new = check_structure(policy_from(policy, ctx))
    check_author(ctx, [new])
    master = ctx.parts.get(MASTER)
    if isinstance(master, Master) and master.exists:
        await master.replace(id, new, host=host_of(ctx))
    else:
        await policies_of(ctx).replace(id, new)
    return Reply.done()


@command("blockchain create table", cls=CommandClass.ADMIN, topics=("metadata",), examples=("blockchain create table",))
async def blockchain_create_table(ctx: Context) -> Reply:
    """Create the table ``blockchain.ledger``: the node is a master then."""
    await master_of(ctx).create_table()
    return Reply.done()


@command("blockchain drop table", cls=CommandClass.ADMIN, topics=("metadata",), examples=("blockchain drop table",))
async def blockchain_drop_table(ctx: Context) -> Reply:
    """Remove the table ``blockchain.ledger`` with all policies in it."""
    await master_of(ctx).drop_table()
    return Reply.done()


@command(
    "blockchain update dbms",
    cls=CommandClass.ADMIN,
    topics=("metadata",),
    examples=("blockchain update dbms", "blockchain update dbms !blockchain_file ignore message"),
)
async def blockchain_update_dbms(ctx: Context, *, what: Annotated[str, Tail(raw=False)] = "") -> Reply:
    """Add the policies of a file (by default of the local file) to the ledger of this master.

    ``ignore message``: without saying how many were new.
    """
    words = what.split()
    quiet = words[-2:] == ["ignore", "message"]
    path = " ".join(words[:-2] if quiet else words)
    contents = ledger.parse(await _read(ctx, path)) if path else ledger.parse(await _read(ctx, _file_of(ctx)))
    master = master_of(ctx)
    await master.create_table()
    count = await master.feed(contents.policies)
    known = len(contents.entries) - count
    data = {"policies": len(contents.entries), "new": count}
    return Reply.of_data(data, text="" if quiet else f"New policies: {count}, known policies: {known}")


def _file_of(ctx: Context) -> str:
    return str(ctx.directories.path("blockchain_file"))


async def _read(ctx: Context, path: str) -> bytes:
    source = _inside(ctx, Path(path))
    try:
        return await asyncio.to_thread(source.read_bytes)
    except OSError as problem:
        raise error(78, f"{source}: {problem.strerror}") from problem


def _inside(ctx: Context, path: Path) -> Path:
    if not ctx.directories.inside(path) and not ctx.may(CommandClass.EXEC):
        raise NotPermittedError(f"'{path}' lies outside the node's directories")
    return path


@command(
    "blockchain pull to",
    cls=CommandClass.ADMIN,
    topics=("metadata",),
    examples=("blockchain pull to json", "blockchain pull to sql !sql_file", "blockchain pull to stdout"),
)
async def blockchain_pull(ctx: Context, form: Literal["json", "sql", "stdout"], path: str = "") -> Reply:
    """Write the ledger of this master to a file, by default beside the local file (``.new``, ``.sql``), or show it."""
    policies = await master_of(ctx).policies()
    if form == "stdout":
        return Reply.of_data(list(policies), text="\r\n".join(map(wire, policies)))
    if form == "sql":
        text = "".join(_insert(p) for p in policies)
        target, data = _target(ctx, path, ".sql"), text.encode()
    else:
        target, data = _target(ctx, path, ".new"), (await master_of(ctx).content())[0]
    try:
        await asyncio.to_thread(write_whole, target, data)
    except OSError as problem:
        raise error(63, f"{target}: {problem.strerror}") from problem
    return Reply.done()


def _target(ctx: Context, path: str, suffix: str) -> Path:
    return _inside(ctx, Path(path)) if path else Path(_file_of(ctx)).with_suffix(suffix)


def _insert(policy: Policy) -> str:
    values = ", ".join("'" + text.replace("'", "''") + "'" for text in (_kind(policy), id_of(policy), wire(policy)))
    return f"INSERT INTO ledger (policy_type, policy_id, policy) VALUES ({values});\n"


def _kind(policy: dict[str, Any]) -> str:
    return next(iter(policy))
