"""Policies in a contract of an Ethereum network (spec: metadata, sections 8 and 12)."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Annotated, Any

from edgelake.command.context import Context
from edgelake.command.grammar import After, Tail, Untranslated
from edgelake.command.handlers.policy import policies_of, policy_from
from edgelake.command.registry import command
from edgelake.durable import write_whole
from edgelake.errors import CommandError, NotPermittedError, error
from edgelake.metadata.chain.connect import connect, library
from edgelake.metadata.chain.options import Options
from edgelake.metadata.ids import Policy, body_of, id_of, type_of
from edgelake.metadata.platforms import PLATFORMS, Platform, PlatformInfo, Platforms
from edgelake.metadata.policy import check_structure, dumps
from edgelake.model import CommandClass, Reply, Table

_WEI = 10**18
_TITLES = ("Name", "Active", "Balance", "Chain ID", "Public Key", "Contract", "URL")


def platforms_of(ctx: Context) -> Platforms:
    """The platforms of the node; none where commands run without one."""
    found: Platforms = ctx.parts.get(PLATFORMS) or Platforms()
    return found


@command(
    "blockchain connect to",
    cls=CommandClass.ADMIN,
    topics=("blockchain", "metadata"),
    examples=(
        "blockchain connect to ethereum where provider = http://127.0.0.1:8545",
        "blockchain connect to optimism where provider = !provider and contract = !contract and chain_id = 11155420",
    ),
)
async def blockchain_connect(
    ctx: Context,
    platform: str,
    *,
    provider: str = "",
    contract: str = "",
    private_key: str = "",
    public_key: str = "",
    gas_read: int | None = None,
    gas_write: int | None = None,
    chain_id: int | None = None,
    network: str = "",
    certificate_dir: str = "",
    config_file: str = "",
) -> Reply:
    """Connect to a node of a blockchain: ethereum, or a network of its kind as optimism. Needs `edgelake[ethereum]`.

    A second connection to a platform replaces the first. gas_read and gas_write limit the gas of calls and changes.
    """
    name = Platforms.kind(platform)
    if certificate_dir or config_file:
        raise CommandError("certificate_dir and config_file belong to hyperledger, which is not supported")
    if not provider:
        raise CommandError("Missing 'provider' in command variables", hint="provider = https://...")
    options = Options(provider.strip("'"), contract, public_key, private_key, gas_read, gas_write, chain_id, network)
    await platforms_of(ctx).connected(await connect(name, options))
    return Reply.done()


@command(
    "blockchain set account info",
    cls=CommandClass.ADMIN,
    topics=("blockchain", "metadata"),
    examples=(
        "blockchain set account info where platform = ethereum and private_key = !private_key and chain_id = 1",
        "blockchain set account info where platform = ethereum and contract = !contract",
    ),
)
async def blockchain_account(
    ctx: Context,
    *,
    platform: str,
    private_key: str = "",
    public_key: str = "",
    contract: str = "",
    gas_read: int | None = None,
    gas_write: int | None = None,
    chain_id: int | None = None,
) -> Reply:
    """The account that pays for changes, and the contract. Keys stay in memory and are never shown."""
    options = Options("", contract, public_key, private_key, gas_read, gas_write, chain_id)
    await platforms_of(ctx).get(platform).set_account(options)
    return Reply.done()


@command(
    "blockchain create account",
    cls=CommandClass.ADMIN,
    topics=("blockchain", "metadata"),
    examples=("blockchain create account ethereum",),
)
async def blockchain_create_account(ctx: Context, platform: str) -> Reply:
    """Make a new account: its address and its private key, which is shown once and kept nowhere."""
    Platforms.kind(platform)
    address, private_key = (await library()).new_account()
    data = {"public_key": address, "private_key": private_key}
    return Reply.of_data(data, text=f"Public key:  {address}\r\nPrivate key: {private_key}")


@command(
    "blockchain deploy contract",
    cls=CommandClass.ADMIN,
    topics=("blockchain", "metadata"),
    examples=("contract = blockchain deploy contract where platform = ethereum and public_key = !public_key",),
)
async def blockchain_deploy(ctx: Context, *, platform: str, public_key: str = "") -> Reply:
    """Put a new, empty contract on the chain; the reply is its address. It is used at once if none was set."""
    return Reply.of_text(await platforms_of(ctx).get(platform).deploy(public_key))


def _ready(ctx: Context, policy: str) -> Policy:
    return policies_of(ctx).checked(check_structure(policy_from(policy, ctx)))


@command(
    "blockchain commit to",
    cls=CommandClass.METADATA,
    topics=("blockchain", "metadata"),
    examples=("blockchain commit to ethereum !policy",),
)
async def blockchain_commit(ctx: Context, platform: str, *, policy: Annotated[str, Tail()]) -> Reply:
    """Check a policy, give it id and date, and add it to the contract. It is in a block when the command returns."""
    target = platforms_of(ctx).get(platform)
    ready = _ready(ctx, policy)
    await target.insert(ready)
    return Reply(value=id_of(ready), text="")


@command(
    "blockchain update to",
    cls=CommandClass.METADATA,
    topics=("blockchain", "metadata"),
    examples=("blockchain update to ethereum 64283dba96a4c818074d564c6be20d5c !policy",),
)
async def blockchain_update(ctx: Context, platform: str, id: str, *, policy: Annotated[str, Tail()]) -> Reply:
    """Put a policy in the place of the one with this id; only the account that added it may."""
    target = platforms_of(ctx).get(platform)
    new = check_structure(policy_from(policy, ctx))
    if (given := id_of(new)) and given != id:
        raise error(247, f"the policy has the id {given}, not {id}")
    await target.update(id, policies_of(ctx).checked({type_of(new): {**body_of(new), "id": id}}))
    return Reply.done()


@command(
    "blockchain checkout from",
    cls=CommandClass.METADATA,
    topics=("blockchain", "metadata"),
    examples=(
        "blockchain checkout from ethereum",
        "blockchain checkout from ethereum to stdout",
        "blockchain checkout from ethereum to !blockchain_new",
    ),
)
async def blockchain_checkout(
    ctx: Context, platform: str, to: Annotated[Untranslated, After("to")] | None = None
) -> Reply:
    """Read the contract: into the local copy, to a file, or to be shown."""
    pulled = await platforms_of(ctx).get(platform).pull()
    text = "".join(dumps(policy) + "\n" for policy in pulled.policies)
    if to is None:
        await policies_of(ctx).merge(text.encode("utf-8", "surrogatepass") or b"\n")
        return Reply.done()
    if to.lower() == "stdout":
        return Reply.of_data(list(pulled.policies), text=text.replace("\n", "\r\n").rstrip())
    path = Path(str(ctx.visible.translate(to)))
    if not ctx.directories.inside(path) and not ctx.may(CommandClass.EXEC):
        raise NotPermittedError(f"'{path}' lies outside the node's directories")
    try:
        await asyncio.to_thread(write_whole, path, text.encode("utf-8", "surrogatepass") or b"\n")
    except OSError as problem:
        raise error(63, f"{path}: {problem.strerror}") from problem
    return Reply.done()


@command(
    "blockchain state",
    cls=CommandClass.DATA,
    topics=("blockchain", "metadata"),
    examples=("blockchain state where platform = ethereum",),
)
async def blockchain_state(ctx: Context, *, platform: str) -> Reply:
    """How many changes the contract has seen: inserts, updates, deletions."""
    target: Platform = platforms_of(ctx).get(platform)
    counter = await target.counter()
    return Reply.of_data({"platform": target.name, "transactions": counter}, text=str(counter))


@command(
    "get platforms",
    cls=CommandClass.DATA,
    topics=("blockchain",),
    examples=("get platforms", "get platforms where format = json"),
)
async def get_platforms(ctx: Context) -> Reply:
    """Blockchain platforms to which the node is connected. Private keys and access keys are not shown."""
    found = await platforms_of(ctx).info()
    if not found:
        return Reply.of_data([], text="No connections to blockchain platforms")
    rows = [_row(info) for info in found]
    return Reply.of_table(Table(_TITLES, rows), data=[dict(zip(_TITLES, row, strict=True)) for row in rows])


def _row(info: PlatformInfo) -> tuple[Any, ...]:
    balance = ""
    if info.balance_wei is not None:
        balance = f"Ether: {info.balance_wei // _WEI} Wei: {info.balance_wei % _WEI}"
    return (info.name, info.active, balance, info.chain_id or "", info.public_key, info.contract, info.url)
