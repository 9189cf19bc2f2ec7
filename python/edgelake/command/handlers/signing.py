"""Signed messages between nodes, the keys that sign, and encrypted texts. Spec: security, sections 3, 5, 6, 8 and 9."""

from __future__ import annotations

import asyncio
import re
from typing import Annotated, Any, Final, Literal

from edgelake.command.context import Context
from edgelake.command.grammar import After
from edgelake.command.handlers.identity import changed, gate_of, security_of
from edgelake.command.registry import command
from edgelake.command.security import PRIVATE_PASSWORD, key_path, open_kept, open_own, read_pair
from edgelake.errors import CommandError
from edgelake.identity import keys, sealing
from edgelake.identity.keys import Opened
from edgelake.identity.trust import MEMBER, PERMISSIONS, Link
from edgelake.model import CommandClass, Reply, Table
from edgelake.net.peer import PeerServer

OnOff = Literal["on", "off"]
_NAME: Final = re.compile(r"[\w.@\- ]{1,128}")


@command(
    "set local password",
    cls=CommandClass.ADMIN,
    topics=("security",),
    examples=("set local password = !password",),
)
async def set_local_password(ctx: Context, password: Annotated[str, After("=")]) -> Reply:
    """Open what is kept encrypted with the local password; the first time: choose it. To be given after every start.

    When the password of the private key is kept (set private password = ... in file), that key is opened, too.
    """
    security = security_of(ctx)
    async with gate_of(ctx).changing:
        is_new = await asyncio.to_thread(security.vault.unlock, password)
        is_kept = await asyncio.to_thread(open_kept, ctx, security)
    _links_anew(ctx)
    if is_new:
        return Reply.of_text("From now on this is the local password of the node")
    return Reply.of_text("The private key of the node is open") if is_kept else Reply.done()


@command(
    "set private password",
    cls=CommandClass.ADMIN,
    topics=("security",),
    examples=("set private password = !password", "set private password = !password in file"),
)
async def set_private_password(
    ctx: Context, password: Annotated[str, After("=")], place: Annotated[Literal["file"] | None, After("in")] = None
) -> Reply:
    """Open the private key of this node, which signs its messages. in file: keep the password, encrypted with the
    local password (set local password), which then opens the key after a start."""
    security = security_of(ctx)
    async with gate_of(ctx).changing:
        await asyncio.to_thread(open_own, ctx, security, password)
        if place:
            await asyncio.to_thread(security.vault.keep, PRIVATE_PASSWORD, password)
    _links_anew(ctx)
    return Reply.done()


@command(
    "set node authentication",
    cls=CommandClass.ADMIN,
    topics=("security", "network"),
    examples=("set node authentication on", "set node authentication off"),
)
async def set_node_authentication(ctx: Context, mode: OnOff) -> Reply:
    """Whether messages between nodes are to be signed, and what they ask is to be permitted by policies.

    It needs the private key of this node to be open (set private password), and is kept through restarts. Nodes that
    do not sign have what set permissions where user = anonymous and entry = peer grants, by default nothing.
    """
    security = security_of(ctx)
    if mode == "on":
        _check_key(ctx)
    await changed(ctx, lambda identities: identities.enforce_nodes(mode == "on"))
    _links_anew(ctx)
    if mode == "on" and not security.trust.root:
        return Reply.of_text(
            "No member policy of the type root is known here yet: until then nothing is permitted to others"
        )
    return Reply.done()


@command(
    "set authentication",
    cls=CommandClass.ADMIN,
    topics=("security", "network"),
    examples=("set authentication on", "set authentication off"),
)
async def set_authentication(ctx: Context, mode: OnOff) -> Reply:
    """Both: set node authentication and set user authentication."""
    if mode == "on":
        _check_key(ctx)
    await changed(ctx, lambda identities: identities.enforce(mode == "on"))
    return await set_node_authentication(ctx, mode)


def _check_key(ctx: Context) -> None:
    """Raises EdgeLakeError 12 without keys, CommandError while the key is closed: nothing could be signed."""
    read_pair(key_path(ctx, ""))
    if security_of(ctx).signatures.signer is None:
        raise CommandError("the private key of this node is not open", hint="set private password = ...")


def _links_anew(ctx: Context) -> None:
    """Connections that are kept began under what was in force then: they are ended, and opened again when needed."""
    server = ctx.services.get(PeerServer.name)
    if isinstance(server, PeerServer):
        server.end_links("what is asked of nodes has changed")


@command(
    "set signatory",
    cls=CommandClass.ADMIN,
    topics=("security",),
    examples=("set signatory where key = !private_key and password = !password and name = eva",),
)
async def set_signatory(ctx: Context, *, key: str, password: str, name: str) -> Reply:
    """Sign messages and policies as another member, whose private key this is; until reset signatory."""
    if not _NAME.fullmatch(name):
        raise CommandError(f"name = {name[:128]}", hint="up to 128 letters, digits, blanks and . @ -")
    opened = await asyncio.to_thread(Opened, key, password)
    security_of(ctx).signatures.signatory = (name, opened)
    _links_anew(ctx)
    return Reply.done()


@command("reset signatory", cls=CommandClass.ADMIN, topics=("security",), examples=("reset signatory",))
async def reset_signatory(ctx: Context) -> Reply:
    """The node signs with its own key again."""
    security_of(ctx).signatures.signatory = None
    _links_anew(ctx)
    return Reply.done()


@command("get signatory name", cls=CommandClass.DATA, topics=("security", "monitor"), examples=("get signatory name",))
async def get_signatory_name(ctx: Context) -> Reply:
    """Who signs messages and policies: the name that set signatory gave, or the node."""
    signatures = security_of(ctx).signatures
    if signatures.signatory is not None:
        return Reply.of_text(signatures.signatory[0])
    return Reply.of_text("node" if signatures.own is not None else "")


@command(
    "set encryption",
    cls=CommandClass.ADMIN,
    topics=("security", "network"),
    examples=("set encryption on", "set encryption off"),
)
async def set_encryption(ctx: Context, mode: OnOff) -> Reply:
    """Whether this node talks to others by TLS alone, and takes nothing else; kept through restarts.

    It needs run tcp server where ssl = true. Nodes that cannot do that, those of the reference among them, are not
    spoken to.
    """
    server = ctx.services.get(PeerServer.name)
    if mode == "on" and not (isinstance(server, PeerServer) and server.secure.takes):
        raise CommandError("encryption needs a TCP server with TLS", hint="run tcp server where ... and ssl = true")
    await changed(ctx, lambda identities: identities.encrypt(mode == "on"))
    if isinstance(server, PeerServer):
        server.secure.demand_tls(mode == "on")
        server.end_links("what is asked of nodes has changed")
    return Reply.done()


@command("get encryption", cls=CommandClass.DATA, topics=("security", "monitor"), examples=("get encryption",))
async def get_encryption(ctx: Context) -> Reply:
    """Whether messages between nodes are encrypted: always (on), or where both ends have TLS (off)."""
    server = ctx.services.get(PeerServer.name)
    is_on = gate_of(ctx).identities.content.encrypted or (isinstance(server, PeerServer) and server.secure.only)
    state = "on" if is_on else "off"
    return Reply.of_data({"encryption": state}, text=state)


@command(
    "id encrypt",
    cls=CommandClass.DATA,
    topics=("security",),
    examples=("v = id encrypt !text !public_key",),
)
async def id_encrypt(ctx: Context, text: str, public_key: str) -> Reply:
    """A text that only the owner of a public key can read."""
    return Reply.of_text(await asyncio.to_thread(sealing.seal, text, public_key))


@command(
    "id decrypt",
    cls=CommandClass.ADMIN,
    topics=("security",),
    examples=(
        "v = id decrypt !text where password = !password",
        "v = id decrypt !text where key = !key and password = p",
    ),
)
async def id_decrypt(ctx: Context, text: str, *, key: str = "", password: str = "") -> Reply:
    """A text that was encrypted for this node, or for the owner of a private key.

    Without a password: for the node whose private key is open (set private password).
    """
    if key or password:
        private = key or (await asyncio.to_thread(read_pair, key_path(ctx, ""))).private
        opened = await asyncio.to_thread(Opened, private, password)
    elif (own := security_of(ctx).signatures.own) is not None:
        opened = own
    else:
        raise CommandError("no private key is open", hint="where password = ..., or: set private password = ...")
    return Reply.of_text(await asyncio.to_thread(sealing.unseal, text, opened))


@command(
    "id validate",
    cls=CommandClass.DATA,
    topics=("security", "metadata"),
    examples=(
        "id validate where key = !key and command = sql",
        "id validate where key = !key and command = 'run client' and dbms = plant and table = motor",
    ),
)
async def id_validate(ctx: Context, *, key: str, command: str, dbms: str = "", table: str = "") -> Reply:
    """Whether the policies permit a command, on a database and table, to a key: true or false. As JSON with the root
    and the permissions that were looked at."""
    trust = security_of(ctx).trust
    is_so = trust.allows(key, command, dbms, table)
    asked = (" ".join(command.lower().split()), dbms.lower(), table.lower())
    looked = [
        {"permissions": _name_of(ctx, link), "fit": link.permissions.allow(asked), "signed_by": link.author}
        for link in trust.links
        if key in link.members
    ]
    data = {"permitted": is_so, "is_root": bool(key) and key == trust.root, "root": trust.root, "assigned": looked}
    return Reply(text=str(is_so).lower(), data=data, has_data=True, value=str(is_so).lower())


@command(
    "get member permissions",
    cls=CommandClass.DATA,
    topics=("security", "monitor"),
    examples=(
        "get member permissions",
        "get member permissions where name = eva",
        "get member permissions where key = !key",
    ),
)
async def get_member_permissions(ctx: Context, *, name: str = "", key: str = "") -> Reply:
    """What the policies permit to members: each with the permissions that signed assignments give it. In force: all
    who signed for it may hand it on."""
    trust = security_of(ctx).trust
    members = {str(p[MEMBER].get(keys.PUBLIC_KEY, "")): p[MEMBER] for p in ctx.policies.of_type(MEMBER)}
    found = dict.fromkeys((*members, *(member for link in trust.links for member in link.members)))
    data: list[dict[str, Any]] = []
    for public in found:
        body = members.get(public, {})
        who = {"name": str(body.get("name", "")), "type": str(body.get("type", "")), "key": public}
        if (key and public != key) or (name and who["name"] != name):
            continue
        if public == trust.root:
            data.append({**who, "permissions": "root", "enable": ["*"], "in_force": True})
        linked = [link for link in trust.links if public in link.members]
        data += [{**who, **_permission(ctx, link, public)} for link in linked]
        if not linked and public != trust.root:
            data.append({**who, "permissions": "", "enable": [], "in_force": False})
    columns = ("name", "type", "key", "permissions", "enable", "disable", "databases", "tables", "in_force")
    rows = [tuple(_shown(one.get(column)) for column in columns) for one in data]
    titles = ("Name", "Type", "Key", "Permissions", "Enable", "Disable", "Databases", "Tables", "In Force")
    return Reply.of_table(Table(titles, rows), data=data)


def _permission(ctx: Context, link: Link, public: str) -> dict[str, Any]:
    permissions, trust = link.permissions, security_of(ctx).trust
    in_force = any(trust.allows(public, text if text != "*" else "get") for text in permissions.enable)
    return {
        "permissions": _name_of(ctx, link),
        "enable": list(permissions.enable),
        "disable": list(permissions.disable),
        "databases": list(permissions.databases) if permissions.databases is not None else ["*"],
        "tables": list(permissions.tables or ()),
        "in_force": in_force,
    }


def _name_of(ctx: Context, link: Link) -> str:
    policy = ctx.policies.get(str(link.policy["assignment"].get(PERMISSIONS, "")))
    return str(policy[PERMISSIONS].get("name", "")) if policy is not None else ""


def _shown(value: object) -> str:
    if isinstance(value, list):
        return ", ".join(map(str, value))
    if isinstance(value, bool):
        return "yes" if value else "no"
    text = str(value or "")
    return text if len(text) <= 40 else f"...{text[-20:]}"
