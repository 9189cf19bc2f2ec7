"""Keys of the node and of users, and signed policies. Spec: security, sections 5 and 9."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Annotated

from edgelake.command.context import Context
from edgelake.command.grammar import Tail
from edgelake.command.handlers.identity import security_of
from edgelake.command.handlers.policy import policy_from
from edgelake.command.registry import command
from edgelake.command.security import key_path, read_pair
from edgelake.durable import make_folder, write_whole
from edgelake.errors import CommandError, ServiceError
from edgelake.identity import keys
from edgelake.identity.keys import Pair
from edgelake.metadata.policy import check_structure, dumps
from edgelake.model import CommandClass, Reply


@command(
    "id create keys for node",
    cls=CommandClass.ADMIN,
    topics=("security",),
    examples=("id create keys for node where password = !password",),
)
async def create_node_keys(ctx: Context, *, password: str) -> Reply:
    """The key pair of this node, once; the private key is encrypted with the password. Returns the public key."""
    path = key_path(ctx, "")
    if path.exists():
        raise CommandError(f"this node has keys already, in {path}", hint="get node id")
    pair = await asyncio.to_thread(keys.create, password)
    await asyncio.to_thread(_write, path, pair)
    return Reply.of_text(keys.bare(pair.public))


@command(
    "id create keys",
    cls=CommandClass.ADMIN,
    topics=("security",),
    examples=(
        "id create keys where password = !password",
        "id create keys where password = !password and keys_file = eva",
    ),
)
async def create_keys(ctx: Context, *, password: str, keys_file: str = "") -> Reply:
    """A key pair of a user: into a file of the node's id_dir, or shown. The private key is encrypted."""
    path = key_path(ctx, keys_file) if keys_file else None
    if path is not None and (path.exists() or keys_file in keys.OF_NODE):
        raise CommandError(f"there are keys in {path} already", hint="name another keys_file")
    pair = await asyncio.to_thread(keys.create, password)
    if path is None:
        return Reply.of_data({"private_key": pair.private, "public_key": pair.public}, text=pair.private + pair.public)
    await asyncio.to_thread(_write, path, pair)
    return Reply.of_text(keys.bare(pair.public))


@command("get node id", cls=CommandClass.DATA, topics=("security",), examples=("get node id", "v = get node id"))
async def get_node_id(ctx: Context) -> Reply:
    """The public key of this node, by which policies name it."""
    return Reply.of_text(keys.bare((await _pair(ctx, "")).public))


@command(
    "get public key",
    cls=CommandClass.DATA,
    topics=("security",),
    examples=("get public key", "v = get public key where keys_file = eva"),
)
async def get_public_key(ctx: Context, *, keys_file: str = "") -> Reply:
    """A public key in PEM form: of the node, or of a file that id create keys made."""
    return Reply.of_text((await _pair(ctx, keys_file)).public)


@command(
    "get public string",
    cls=CommandClass.DATA,
    topics=("security",),
    examples=("v = get public string where keys_file = eva",),
)
async def get_public_string(ctx: Context, *, keys_file: str = "") -> Reply:
    """A public key without header and line ends, as policies name it."""
    return Reply.of_text(keys.bare((await _pair(ctx, keys_file)).public))


@command(
    "get private key",
    cls=CommandClass.ADMIN,
    topics=("security",),
    examples=("v = get private key where keys_file = eva",),
)
async def get_private_key(ctx: Context, *, keys_file: str = "") -> Reply:
    """A private key in PEM form; it stays encrypted with its password."""
    return Reply.of_text((await _pair(ctx, keys_file)).private)


@command(
    "get private string",
    cls=CommandClass.ADMIN,
    topics=("security",),
    examples=("v = get private string where keys_file = eva",),
)
async def get_private_string(ctx: Context, *, keys_file: str = "") -> Reply:
    """A private key without header and line ends; it stays encrypted with its password."""
    return Reply.of_text(keys.bare((await _pair(ctx, keys_file)).private))


@command(
    "id sign",
    cls=CommandClass.ADMIN,
    topics=("security", "metadata"),
    examples=(
        "v = id sign !policy where password = !password",
        "v = id sign !policy where key = !private_key and password = !password",
        "v = id sign !policy",
    ),
)
async def id_sign(ctx: Context, policy: str, *, password: str = "", key: str = "") -> Reply:
    """A policy with the public key and the signature of its author: the node, or who has the private key.

    Without a password: the signatory (set signatory), or the node whose private key is open (set private password).
    Any later change but those of the ledger (id, date, ledger) breaks the signature.
    """
    found = check_structure(policy_from(policy, ctx))
    if password or key:
        private = key or (await _pair(ctx, "")).private
        signer = await asyncio.to_thread(keys.Opened, private, password)
    elif (opened := security_of(ctx).signatures.signer) is not None:
        signer = opened
    else:
        raise CommandError("no private key is open", hint="and password = ..., or: set private password = ...")
    return Reply.of_text(dumps(keys.signed(found, signer)))


@command(
    "id authenticate",
    cls=CommandClass.DATA,
    topics=("security", "metadata"),
    examples=("id authenticate !policy", "v = id authenticate !policy"),
)
async def id_authenticate(ctx: Context, *, policy: Annotated[str, Tail()]) -> Reply:
    """Whether a policy is as the owner of the public key in it has signed it: true or false."""
    found = check_structure(policy_from(policy, ctx))
    is_so = await asyncio.to_thread(keys.is_authentic, found)
    return Reply.of_data(is_so, text=str(is_so).lower())


def _write(path: Path, pair: Pair) -> None:
    """Raises ServiceError."""
    try:
        make_folder(path.parent)
        write_whole(path, (pair.private + pair.public).encode(), mode=0o600)
    except OSError as problem:
        raise ServiceError(f"keys: cannot write {path}: {problem.strerror}") from problem


async def _pair(ctx: Context, name: str) -> Pair:
    """Raises EdgeLakeError 12 without a file, CommandError for one that holds no keys."""
    path = key_path(ctx, name)
    return await asyncio.to_thread(read_pair, path)
