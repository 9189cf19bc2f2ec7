"""Keys and policies of trust of one node: who signs its messages, and what others may do (security spec, 5 to 7)."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, Final

from msgspec import Struct

from edgelake.command.context import Context
from edgelake.errors import CommandError, EdgeLakeError, ServiceError, error
from edgelake.identity import keys, vault
from edgelake.identity.gate import Gate
from edgelake.identity.keys import Pair
from edgelake.identity.messages import Signatures
from edgelake.identity.trust import MEMBER, KeyRights, Trust
from edgelake.identity.vault import Vault
from edgelake.model import Rights

PART: Final = "security"
PRIVATE_PASSWORD: Final = "private password"
"""Name under which the vault keeps the password of the node's private key."""


class Security(Struct):
    """The parts; one per node."""

    signatures: Signatures
    trust: Trust
    vault: Vault


def make_security(ctx: Context, gate: Gate) -> Security:
    """What belongs to the gate of a node; it then follows the policies while messages are to be signed."""
    identities = gate.identities

    def policies(kind: str) -> Sequence[dict[str, Any]]:
        return () if ctx.policies is None else tuple(ctx.policies.of_type(kind))

    def version() -> object:
        return None if ctx.policies is None else ctx.policies.image

    trust = Trust(policies, version, lambda: identities.content.root, identities.pin_root)
    signatures = Signatures(lambda: identities.content.nodes_enforced)
    made = Security(signatures, trust, Vault(lambda: ctx.directories.path("id_dir") / vault.FILE))

    @lru_cache(1024)
    def found(name: str, state: object) -> Rights:
        for policy in policies(MEMBER) if name else ():
            body = policy[MEMBER]
            if body.get("type") == "user" and body.get("name") == name:
                return KeyRights(trust, str(body.get(keys.PUBLIC_KEY, "")), f"the user {name}")
        return KeyRights(trust, _own_key(ctx), "this node")

    gate.rights_of = lambda name: found(name, version()) if identities.content.nodes_enforced else None
    return made


def check_author(ctx: Context, policies: Sequence[dict[str, Any]]) -> None:
    """While messages are signed, policies of trust that nobody may make are not kept. Raises NotPermittedError."""
    security: Security | None = ctx.parts.get(PART)
    if security is not None and security.signatures.is_on():
        for policy in policies:
            security.trust.check_author(policy)


def member_name(security: Security, ctx: Context, key: str) -> str:
    """How a key is shown: the name of its member, or its last characters."""
    for policy in () if ctx.policies is None else ctx.policies.find(MEMBER, public_key=key):
        body = policy[MEMBER]
        return str(body.get("name") or body.get("type"))
    return f"...{key[-12:]}"


def _own_key(ctx: Context) -> str:
    """The public key of the node; "" without keys."""
    try:
        return keys.bare(read_pair(key_path(ctx, "")).public)
    except EdgeLakeError:
        return ""


def key_path(ctx: Context, name: str) -> Path:
    """The file of the node's keys, or of a user's. Raises EdgeLakeError 78 for a name that leads elsewhere."""
    folder = ctx.directories.path("id_dir")
    if name in keys.OF_NODE:
        return folder / f"{keys.NODE}.pem"
    if not keys.FILE_NAME.fullmatch(name) or ".." in name:
        raise error(78, f"keys_file = {name[:100]}: a name of a file in {folder}")
    return folder / (name if name.endswith(".pem") else f"{name}.pem")


def read_pair(path: Path) -> Pair:
    """Raises EdgeLakeError 12 without a file, CommandError for one that holds no keys."""
    try:
        return keys.read_pair(path.read_text(errors="replace"))
    except ValueError:
        raise CommandError(f"{path} holds no pair of keys") from None
    except OSError as problem:
        made = "for node where password = ..." if path.stem == keys.NODE else f"where keys_file = {path.stem} and ..."
        raise error(12, f"{path}: {problem.strerror}", hint=f"id create keys {made}") from None


def open_own(ctx: Context, security: Security, password: str) -> None:
    """Open the private key of the node. Raises CredentialsError for a wrong password, EdgeLakeError 12."""
    pair = read_pair(key_path(ctx, ""))
    security.signatures.own = keys.Opened(pair.private, password)


def open_kept(ctx: Context, security: Security) -> bool:
    """Open the private key with the password that the vault keeps; whether it keeps one."""
    password = security.vault.get(PRIVATE_PASSWORD)
    if not password:
        return False
    try:
        open_own(ctx, security, password)
    except EdgeLakeError as problem:
        raise ServiceError(f"the private key does not open with the password that is kept: {problem}") from problem
    return True
