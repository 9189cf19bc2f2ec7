"""Clients of other MQTT brokers, and ``mqtt publish`` (spec: brokers and mapping, sections 4 and 12)."""

from __future__ import annotations

import asyncio
import socket
import zlib
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

import msgspec
from msgspec import Struct

from edgelake.command.context import Context
from edgelake.command.handlers.broker import set_broker_debug
from edgelake.command.registry import command
from edgelake.errors import CommandError, NotAvailableError, TimeoutExpiredError, error
from edgelake.inputs.mqtt import Broker, RemoteClient, Subscription
from edgelake.inputs.mqtt.config import Token
from edgelake.inputs.msg_client import MessageClient, MessageClients
from edgelake.model import CommandClass, Reply
from edgelake.tls import Tls

if TYPE_CHECKING:
    from edgelake.inputs.mqtt.link import Trace

ACKNOWLEDGED_S = 6.0
DEBUG = "mqtt_debug"
_NO_USER = "unused"


# ---- clients of other brokers


class Login(Struct, frozen=True):
    """Who we are to a broker."""

    user: str
    password: str
    client_id: str
    project_id: str = ""
    private_key: str = ""


class Wire(Struct, frozen=True):
    """How a broker is reached; ``clean`` None: it keeps a session when a topic needs one."""

    host: str
    port: int
    version: int
    tls: bool
    files: Tls
    keepalive_s: int
    clean: bool | None


async def start_remote(
    ctx: Context,
    clients: MessageClients,
    specs: Sequence[dict[str, Any]],
    wire: Wire,
    login: Login,
    *,
    log: bool,
    **options: Any,
) -> MessageClient:
    """Declare a client of another broker and connect it in the background.

    Raises EdgeLakeError (124, 188), CommandError, NotAvailableError: nothing is left of it then.
    """
    client = clients.declare_remote(f"{wire.host}:{wire.port}", specs, user=login.user, **options)
    try:
        broker = _broker(ctx, client.id, wire, login, keeps=any(spec["qos"] for spec in specs))
        name = f"msg client {client.id}"

        def trace(level: int, text: str) -> None:
            if log or ctx.node.settings.get(DEBUG):
                ctx.logs.event(f"MQTT Status: [{level}] Message: [{text}]", kind="MQTT", thread=name)

        subscriptions = [Subscription(topic.name, topic.spec["qos"]) for topic in client.topics]
        remote = RemoteClient(
            name, broker, subscriptions, lambda messages: clients.deliver(client, messages), trace=trace
        )
        await ctx.services.start(remote)
    except BaseException:
        clients.stop(client.id)
        raise
    client.remote = remote
    return client


def _broker(ctx: Context, number: int, wire: Wire, login: Login, *, keeps: bool) -> Broker:
    if bool(login.project_id) != bool(login.private_key):
        raise CommandError("project_id and private_key are needed together")
    if wire.version not in (4, 5):
        raise error(124, f"version = {wire.version}: 4 (MQTT 3.1.1) or 5")
    if not 0 < wire.port < 65536:
        raise error(21, f"port = {wire.port}")
    if not 0 <= wire.keepalive_s < 65536:
        raise CommandError(f"keepalive = {wire.keepalive_s}: 0 to 65535 seconds")
    anonymous = login.user == _NO_USER and not login.password and not login.project_id
    return Broker(
        wire.host,
        login.client_id or f"{own_name(ctx)}.{number}",
        wire.port,
        user="" if anonymous else login.user,
        password=login.password,
        token=Token(login.project_id, login.private_key) if login.project_id else None,
        tls=wire.files if wire.tls or wire.files != Tls() else None,
        version=wire.version,
        keepalive_s=wire.keepalive_s,
        clean=wire.clean if wire.clean is not None else not keeps,
    )


def own_name(ctx: Context) -> str:
    """The same at each start, or the broker's session would not be found again."""
    here = f"{socket.gethostname()} {ctx.directories.home}"
    return ctx.node.name or f"edgelake-{zlib.crc32(here.encode()):08x}"


async def end_remotes(ctx: Context, ended: Sequence[MessageClient]) -> None:
    """Leave the brokers of clients that were ended; they need keep nothing for us."""
    remotes = [client.remote for client in ended if client.remote is not None]
    await asyncio.gather(*(remote.end() for remote in remotes))
    for remote in remotes:
        if isinstance(remote, RemoteClient):
            await ctx.services.stop(remote.name)


# ---- mqtt publish


@command(
    "mqtt publish",
    cls=CommandClass.ADMIN,
    topics=("broker",),
    examples=(
        "mqtt publish where broker = 10.0.0.5 and port = 1883 and topic = a/b and qos = 1 and message = !reading",
        """mqtt publish where broker = local and topic = a/b and message = '{"value": 1}'""",
    ),
)
async def mqtt_publish(
    ctx: Context,
    *,
    broker: str,
    topic: str,
    message: str,
    port: int = 1883,
    user: str = _NO_USER,
    password: str = "",
    client_id: str = "",
    qos: int = 0,
    log: bool = False,
    version: int = 4,
    tls: bool = False,
    ca: str = "",
    cert: str = "",
    key: str = "",
) -> Reply:
    """Publish a message, which is JSON; the elements of a list one by one.

    broker = local: to the message clients of this node, without the network. With qos 1 and 2 the command waits up to
    6 seconds for the acknowledgement.
    """
    payloads = _payloads(message)
    if qos not in (0, 1, 2):
        raise error(124, f"qos = {qos}: 0, 1 or 2")
    if not topic or "+" in topic or "#" in topic:
        raise CommandError(f"topic = '{topic}': a name without wildcards is needed")
    if broker.lower() == "local":
        await _publish_here(ctx, topic, payloads)
        return Reply.done()
    wire = Wire(broker, port, version, tls, Tls(ca, cert, key), 60, True)
    target = _broker(ctx, 0, wire, Login(user, password, client_id or f"{own_name(ctx)}.publish"), keeps=False)

    def trace(level: int, text: str) -> None:
        if log or ctx.node.settings.get(DEBUG):
            ctx.logs.event(f"MQTT Status: [{level}] Message: [{text}]", kind="MQTT", thread="mqtt publish")

    await _publish_there(target, topic, payloads, qos, trace)
    return Reply.done()


def _payloads(message: str) -> list[bytes]:
    if len(message) > 1 and message[0] == message[-1] == "'":
        message = message[1:-1]
    try:
        found = msgspec.json.decode(message)
    except msgspec.DecodeError as problem:
        raise CommandError(f"message is not JSON: {problem}", hint='write message = {"key": value}') from None
    if isinstance(found, list):
        return [msgspec.json.encode(element) for element in found]
    return [message.encode()]


async def _publish_here(ctx: Context, topic: str, payloads: Sequence[bytes]) -> None:
    clients: MessageClients | None = ctx.parts.get("message clients")
    if clients is None:
        raise NotAvailableError("message clients: this node runs without ingestion")
    await clients.publish_local([(topic, payload) for payload in payloads])


async def _publish_there(target: Broker, topic: str, payloads: Sequence[bytes], qos: int, trace: Trace) -> None:
    from edgelake.inputs.mqtt.publish import publish  # aiomqtt is loaded by nodes that publish

    try:
        async with asyncio.timeout(ACKNOWLEDGED_S if qos else None):
            await publish(target, topic, payloads, qos, trace)
    except TimeoutError:
        raise TimeoutExpiredError(
            f"{target.host}:{target.port} did not acknowledge within {ACKNOWLEDGED_S:g} seconds"
        ) from None


@command(
    "set mqtt debug",
    cls=CommandClass.ADMIN,
    topics=("broker", "debug"),
    examples=("set mqtt debug on", "set mqtt debug off"),
)
async def set_mqtt_debug(ctx: Context, state: Literal["on", "off"]) -> Reply:
    """The protocol log of MQTT clients, and who comes to and leaves the node's broker, go to the event log."""
    ctx.node.settings[DEBUG] = state == "on"
    set_broker_debug(ctx, state == "on")
    return Reply.done()
