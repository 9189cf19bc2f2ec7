"""Users, tokens and permissions. Spec: security, sections 3 and 9; REST API, section 13. Tokens are ours."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Annotated, Any, Final, Literal

from edgelake.command.context import Context
from edgelake.command.grammar import Key, Seconds
from edgelake.command.registry import command
from edgelake.command.security import PART as SECURITY
from edgelake.command.security import Security, make_security
from edgelake.errors import CommandError
from edgelake.identity.gate import Gate
from edgelake.identity.identities import ANONYMOUS, FILE, Identities, Role
from edgelake.model import CommandClass, Reply, Table

GATE: Final = "gate"
Where = Literal["rest", "peer", "mqtt"]
_OPEN_FIRST: Final = (
    "From now on clients of other machines need a name: REST and MQTT clients and other nodes without one are refused. "
    "'set permissions where user = anonymous and entry = peer and classes = (data, metadata)' lets nodes in as before."
)


def gate_of(ctx: Context) -> Gate:
    """Who may come in at this node."""
    found: Gate | None = ctx.parts.get(GATE)
    if found is None:
        found = Gate(Identities(lambda: ctx.directories.path("id_dir") / FILE))
        found.on_refused = lambda ip, name, why: ctx.audit.add("login", ip, name, "", "refused", why)
        ctx.parts[GATE] = found
        ctx.parts[SECURITY] = make_security(ctx, found)
    return found


def security_of(ctx: Context) -> Security:
    """The keys of this node, and what the policies say of those of others."""
    gate_of(ctx)
    found: Security = ctx.parts[SECURITY]
    return found


async def changed(ctx: Context, change: Callable[[Identities], str | None]) -> str | None:
    """Make a change in a thread: passwords are hashed slowly, and the file is synced. Raises EdgeLakeError."""
    gate = gate_of(ctx)
    async with gate.changing:
        return await asyncio.to_thread(change, gate.identities)


@command(
    "set user authentication",
    cls=CommandClass.ADMIN,
    topics=("security", "rest"),
    examples=("set user authentication on", "set user authentication off"),
)
async def set_user_authentication(ctx: Context, mode: Literal["on", "off"]) -> Reply:
    """Whether every REST call and MQTT client needs a user or token, those of this machine included.

    It needs a user or token of the type admin, and is kept through restarts. While it is off, clients of this machine
    need no name, and those of other machines need one from the first user or token on.
    """
    await changed(ctx, lambda identities: identities.enforce(mode == "on"))
    return Reply.done()


@command(
    "get authentication",
    cls=CommandClass.DATA,
    topics=("security", "monitor"),
    examples=("get authentication", "get authentication where format = json"),
)
async def get_authentication(ctx: Context) -> Reply:
    """Whether callers are asked who they are."""
    content = gate_of(ctx).identities.content
    node, user = ("on" if is_on else "off" for is_on in (content.nodes_enforced, content.enforced))
    data = {"node": node, "user": user, "users": len(content.users), "tokens": len(content.tokens)}
    rows = [("Node Authentication", node), ("User Authentication", user)]
    if content.nodes_enforced:
        security = security_of(ctx)
        data |= {"root": security.trust.root, "private_key": "open" if security.signatures.signer else "closed"}
        rows += [("Root Member", security.trust.root or "none yet"), ("Private Key", str(data["private_key"]))]
    return Reply.of_table(Table(("Authentication", "State"), rows), data=data)


@command(
    "id add user",
    cls=CommandClass.ADMIN,
    topics=("security",),
    examples=(
        "id add user where name = eva and password = !password",
        "id add user where name = ops and password = !password and type = admin and expiration = 90 days",
    ),
)
async def add_user(
    ctx: Context,
    *,
    name: str,
    password: str,
    kind: Annotated[Role, Key("type")] = "user",
    expiration: Seconds | None = None,
) -> Reply:
    """A user of this node, for REST (Basic authentication) and MQTT.

    A user has the command classes data, metadata and files, an admin also admin (set permissions changes that).
    expiration: after that time the user is refused.
    """
    is_first = not gate_of(ctx).asks
    await changed(ctx, lambda identities: identities.add_user(name, password, kind, expiration))
    return _with_news(is_first, "")


def _with_news(is_first: bool, text: str) -> Reply:
    """The first identity closes the node for clients of other machines: the owner is told."""
    told = "\n".join(filter(None, (text, _OPEN_FIRST if is_first else "")))
    return Reply.of_text(told) if told else Reply.done()


@command(
    "id update user password",
    cls=CommandClass.DATA,
    topics=("security",),
    examples=("id update user password where name = eva and old = !old and new = !new",),
)
async def change_password(ctx: Context, *, name: str, old: str, new: str) -> Reply:
    """Change a user's password. Whoever knows the old one may."""
    await gate_of(ctx).check(ctx.caller.address.rpartition(":")[0], name, old)
    await changed(ctx, lambda identities: identities.change_password(name, new))
    return Reply.done()


@command("id remove user", cls=CommandClass.ADMIN, topics=("security",), examples=("id remove user where name = eva",))
async def remove_user(ctx: Context, *, name: str) -> Reply:
    """Remove a user; its next call is refused."""
    await changed(ctx, lambda identities: identities.remove_user(name))
    return Reply.done()


@command(
    "id create token",
    cls=CommandClass.ADMIN,
    topics=("security",),
    examples=(
        "id create token where name = grafana",
        "t = id create token where name = deploy and type = admin and expiration = 30 days",
    ),
)
async def create_token(
    ctx: Context, *, name: str, kind: Annotated[Role, Key("type")] = "user", expiration: Seconds | None = None
) -> Reply:
    """A token for a program: it is shown once, and sent as 'Authorization: Bearer <token>'."""
    is_first = not gate_of(ctx).asks
    token = await changed(ctx, lambda identities: identities.add_token(name, kind, expiration))
    reply = _with_news(is_first, token or "")
    reply.value = token
    return reply


@command(
    "id remove token", cls=CommandClass.ADMIN, topics=("security",), examples=("id remove token where name = grafana",)
)
async def remove_token(ctx: Context, *, name: str) -> Reply:
    """Remove a token; the next call with it is refused."""
    await changed(ctx, lambda identities: identities.remove_token(name))
    return Reply.done()


@command(
    "get users",
    "get tokens",
    cls=CommandClass.ADMIN,
    topics=("security", "monitor"),
    examples=("get users", "get tokens where format = json"),
)
async def get_users(ctx: Context) -> Reply:
    """Names, types and expiration; never a password or token."""
    identities = gate_of(ctx).identities
    found: dict[str, Any] = {}
    found |= identities.content.users if ctx.phrase == "get users" else identities.content.tokens
    rows = []
    for name, one in sorted(found.items()):
        classes = ", ".join(c for c in CommandClass if c in identities.classes_of(name, one.role))
        expired = 0 < one.expires_us <= identities.clock_us()
        rows.append((name, one.role, classes, _time(one.expires_us), "expired" if expired else "valid"))
    titles = ("Name", "Type", "Classes", "Expiration", "Status")
    data = [dict(zip(("name", "type", "classes", "expiration", "status"), row, strict=True)) for row in rows]
    return Reply.of_table(Table(titles, rows), data=data)


def _time(at_us: int) -> str:
    return datetime.fromtimestamp(at_us / 1e6, UTC).strftime("%Y-%m-%d %H:%M:%S") if at_us else ""


@command(
    "set permissions",
    cls=CommandClass.ADMIN,
    topics=("security",),
    examples=(
        "set permissions where user = eva and classes = (data)",
        "set permissions where user = anonymous and entry = peer and classes = (data, metadata)",
        "set permissions where user = eva",
    ),
)
async def set_permissions(ctx: Context, *, user: str, classes: str = "", entry: Where | None = None) -> Reply:
    """Which command classes a user or token has: data, metadata, files, admin, exec. Without classes: as its type says.

    user = anonymous: clients of other machines without a name (of this one, too, under set user authentication on);
    they can have data and metadata; entry: only REST, MQTT clients or other nodes.
    """
    if entry is not None and user != ANONYMOUS:
        raise CommandError("entry belongs to user = anonymous")
    name = f"{user}@{entry}" if entry else user
    wanted = _classes(classes) if classes else None
    await changed(ctx, lambda identities: identities.permit(name, wanted))
    return Reply.done()


def _classes(text: str) -> frozenset[CommandClass]:
    """``(data, metadata)``; ``none`` = nothing. Raises CommandError."""
    names = [name.strip().lower() for name in text.strip("() ").split(",") if name.strip()]
    if names == ["none"]:
        return frozenset()
    unknown = [name for name in names if name not in {*CommandClass}]
    if unknown or not names:
        raise CommandError(f"classes: '{', '.join(unknown)}'", hint=f"of {', '.join(CommandClass)}, or none")
    return frozenset(CommandClass(name) for name in names)


@command(
    "get permissions",
    cls=CommandClass.DATA,
    topics=("security", "monitor"),
    examples=("get permissions", "get permissions where user = eva"),
)
async def get_permissions(ctx: Context, *, user: str = "") -> Reply:
    """What users, tokens and clients without a name may do. Others than admins see what is theirs."""
    gate = gate_of(ctx)
    content = gate.identities.content
    roles: dict[str, Role] = {name: user.role for name, user in content.users.items()}
    roles |= {name: token.role for name, token in content.tokens.items()}
    found = {name: gate.identities.classes_of(name, role) for name, role in roles.items()}
    found |= {f"{ANONYMOUS} ({entry})": gate.anonymous(entry, False) for entry in ("rest", "peer", "mqtt")}
    if not ctx.may(CommandClass.ADMIN):
        found = {ctx.caller.user or ANONYMOUS: ctx.caller.classes}
    rows = [
        (name, roles.get(name, ""), ", ".join(c for c in CommandClass if c in classes) or "none")
        for name, classes in found.items()
        if not user or name == user or name.startswith(f"{user} ")
    ]
    data = [dict(zip(("name", "type", "classes"), row, strict=True)) for row in rows]
    return Reply.of_table(Table(("Name", "Type", "Classes"), rows), data=data)
