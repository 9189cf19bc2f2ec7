"""The node's message broker: start, users, status. Spec: brokers and mapping, section 1; services and status, 9."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable
from datetime import datetime
from pathlib import Path

from edgelake.command.context import Context
from edgelake.command.handlers.identity import gate_of
from edgelake.command.handlers.rest import server_certificate
from edgelake.command.registry import command
from edgelake.errors import CommandError
from edgelake.model import CommandClass, Reply, Table
from edgelake.net.mqtt import BrokerConfig, MqttBroker, Rows
from edgelake.net.mqtt.config import ANONYMOUS
from edgelake.net.mqtt.users import put

ROWS = "broker rows"
"""The part that says where messages become rows: an async function that returns ``Rows``."""
DEBUG = "mqtt_debug"

_BROKER_TITLES = (
    *("Protocol", "IP", "Event", "Success", "Last message time"),
    *("Error", "Last error time", "Error Code", "Details"),
)

# Reason codes of MQTT 5 that a client's packet can fail with (section 2.4 there).
REASONS = {
    0x80: "Unspecified error",
    0x81: "Malformed packet",
    0x82: "Protocol error",
    0x83: "Not processed",
    0x84: "Unsupported protocol version",
    0x85: "Client identifier not valid",
    0x86: "Bad user name or password",
    0x87: "Not authorized",
    0x88: "Server unavailable",
    0x89: "Server busy",
    0x8C: "Bad authentication method",
    0x8D: "Keep alive timeout",
    0x8E: "Session taken over",
    0x8F: "Topic filter invalid",
    0x90: "Topic name invalid",
    0x91: "Packet identifier in use",
    0x92: "Packet identifier not found",
    0x93: "Receive maximum exceeded",
    0x94: "Topic alias invalid",
    0x95: "Packet too large",
    0x97: "Quota exceeded",
    0x98: "Administrative action",
    0x99: "Payload format invalid",
    0x9F: "Connection rate exceeded",
}


@command(
    "run message broker",
    cls=CommandClass.ADMIN,
    topics=("broker", "background processes"),
    examples=(
        "run message broker where external_ip = !external_ip and external_port = 7850 and threads = 6",
        "run message broker where external_ip = 10.0.0.1 and external_port = 7850 and internal_ip = !ip "
        "and internal_port = 7850 and bind = true",
        "run message broker where internal_port = 7850 and users = !users_file and acl = !acl_file",
        "run message broker where internal_port = 1883 and ssl_port = 8883 and websocket_port = 8083",
        "run message broker !ip 7850",
    ),
)
async def run_message_broker(
    ctx: Context,
    *words: str,
    external_ip: str = "",
    external_port: int = 0,
    internal_ip: str = "",
    internal_port: int = 0,
    bind: bool = False,
    threads: int = 6,
    anonymous: bool | None = None,
    users: str = "",
    acl: str = "",
    ssl: bool = False,
    ssl_port: int = 0,
    ca_org: str = "",
    server_org: str = "",
    cert: str = "",
    key: str = "",
    client_cert: str = "",
    websocket_port: int = 0,
    keep_alive_max: int = 60,
    message_max: int = 16 << 20,
    connections: int = 100_000,
    queue_messages: int = 100_000,
    session_max: int | None = None,
) -> Reply:
    """Start the MQTT broker of the node (MQTT 3.1, 3.1.1 and 5). Older form: ip port [local_ip local_port] [threads].

    bind = true: listen on the internal address only. threads: workers that map messages to rows. users: file of names
    and password hashes (mqtt password writes it); acl: file of rights by topic. anonymous: clients without a name;
    when it is not given, those of this machine, and others until there is a user. ssl = true: the port speaks TLS;
    ssl_port: a further one that does; the certificate as with run rest server. client_cert: file of the authority of
    which clients must show a certificate. websocket_port: a further port for WebSocket. keep_alive_max: longest keep
    alive of a client in seconds. message_max: bytes of the largest message. queue_messages: that wait for a client.
    session_max: seconds that a session lives without a connection.
    """
    given: dict[str, str | int] = {"external_ip": external_ip, "external_port": external_port}
    given |= {"internal_ip": internal_ip, "internal_port": internal_port}
    if words:
        if any(given.values()):
            raise CommandError("run message broker: either ip and port as words, or where ...")
        given, threads = _positional(words, threads)
    hosts = (str(given["internal_ip"] or given["external_ip"]), str(given["external_ip"]))
    has_tls = ssl or ssl_port > 0
    if client_cert and not has_tls:
        raise CommandError("client_cert needs ssl = true or ssl_port")
    plain = BrokerConfig(**given, bind=bind, threads=threads)  # type: ignore[arg-type]
    await _end_failed(ctx)
    files = server_certificate(ctx, hosts, (ca_org, server_org, cert, key)) if has_tls else None
    config = BrokerConfig(
        *plain.external,
        internal_ip=str(given["internal_ip"]),
        internal_port=plain.internal[1],
        bind=bind,
        threads=threads,
        anonymous=_anonymous() if anonymous is None else anonymous,
        users=Path(users) if users else None,
        acl=Path(acl) if acl else None,
        certificate=files.certificate if files else None,
        key=files.key if files else None,
        ssl=ssl,
        ssl_port=ssl_port,
        client_cert=Path(client_cert) if client_cert else None,
        websocket_port=websocket_port,
        keep_alive_max_s=keep_alive_max,
        message_max_bytes=message_max,
        connections=connections,
        queue_messages=queue_messages,
        session_max_s=session_max,
    )
    find_rows: Callable[[], Awaitable[Rows]] | None = ctx.parts.get(ROWS)
    broker = MqttBroker(
        config,
        directory=ctx.directories.root / "data" / "mqtt",
        rows=await find_rows() if find_rows is not None else None,
        version=f"edgelake {ctx.node.version}",
        tell=lambda line: ctx.logs.event(line, kind="MQTT", thread="broker"),
        gate=gate_of(ctx),
    )
    await ctx.services.start(broker)
    broker.set_debug(bool(ctx.node.settings.get(DEBUG)))
    return Reply.done()


def _positional(words: tuple[str, ...], threads: int) -> tuple[dict[str, str | int], int]:
    """``ip port [local_ip local_port] [threads]``. Raises CommandError."""
    numbers = [word for at, word in enumerate(words) if (at in (1, 3) and at < len(words)) or at == 4]
    if len(words) in (3, 5):
        numbers.append(words[-1])
    if not 2 <= len(words) <= 5 or not all(word.isascii() and word.isdigit() for word in numbers):
        raise CommandError("run message broker: ip port [local_ip local_port] [threads]")
    given: dict[str, str | int] = {"external_ip": words[0], "external_port": int(words[1])}
    has_local = len(words) >= 4
    given |= {"internal_ip": words[2] if has_local else "", "internal_port": int(words[3]) if has_local else 0}
    return given, int(words[-1]) if len(words) in (3, 5) else threads


def _anonymous() -> bool | None:
    """The option as the environment has it."""
    text = os.environ.get(ANONYMOUS, "").strip().lower()
    if text not in ("", "true", "false"):
        raise CommandError(f"{ANONYMOUS} = {text} in the environment: true or false")
    return {"true": True, "false": False}.get(text)


async def _end_failed(ctx: Context) -> None:
    """A broker whose thread has ended makes room for the next."""
    found = ctx.services.get(MqttBroker.name)
    if found is not None and not found.status().running:
        await ctx.services.stop(MqttBroker.name)


def broker_of(ctx: Context) -> MqttBroker | None:
    """The running broker."""
    found = ctx.services.get(MqttBroker.name)
    return found if isinstance(found, MqttBroker) else None


def set_broker_debug(ctx: Context, on: bool) -> None:
    """As ``set mqtt debug`` says."""
    broker = broker_of(ctx)
    if broker is not None:
        broker.set_debug(on)


@command(
    "get local broker",
    cls=CommandClass.DATA,
    topics=("broker", "monitor"),
    examples=("get local broker", "get local broker where format = json"),
)
async def get_local_broker(ctx: Context) -> Reply:
    """Packets that came to the message broker, by address and kind, since its start."""
    titles = _BROKER_TITLES
    broker = broker_of(ctx)
    rows = [
        (
            "MQTT",
            one.ip,
            one.packet,
            one.success,
            _time(one.last),
            one.errors,
            _time(one.last_error),
            REASONS.get(one.reason, f"0x{one.reason:02X}") if one.errors else "",
            one.details,
        )
        for one in (broker.events() if broker else ())
    ]
    data = [dict(zip(titles, row, strict=True)) for row in rows]
    return Reply.of_table(Table(titles, rows, header="Message Broker Stat"), data=data)


def _time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds).strftime("%Y-%m-%d %H:%M:%S") if seconds else ""


@command(
    "get mqtt clients",
    cls=CommandClass.DATA,
    topics=("broker", "monitor"),
    examples=("get mqtt clients", "get mqtt clients where format = json"),
)
async def get_mqtt_clients(ctx: Context) -> Reply:
    """Clients of the message broker, those that are away but have a session included."""
    titles = ("Client ID", "User", "Version", "Address", "Subscriptions", "Queued", "In Flight", "Session Expiry (sec)")
    broker = broker_of(ctx)
    rows = [
        (
            *(one.client_id, one.user, one.version, one.address or "not connected"),
            *(one.subscriptions, one.queued, one.in_flight, one.expiry_s),
        )
        for one in (broker.clients() if broker else ())
    ]
    data = [dict(zip(titles, row, strict=True)) for row in rows]
    return Reply.of_table(Table(titles, rows), data=data)


@command(
    "get mqtt statistics",
    cls=CommandClass.DATA,
    topics=("broker", "monitor"),
    examples=("get mqtt statistics", "get mqtt statistics where format = json"),
)
async def get_mqtt_statistics(ctx: Context) -> Reply:
    """Counters of the message broker since its start, and what it holds now."""
    broker = broker_of(ctx)
    data = broker.stats() if broker else {}
    rows = [(name.replace("_", " "), f"{value:,}") for name, value in data.items()]
    return Reply.of_table(Table(("Counter", "Value"), rows), data=data)


@command(
    "exit mqtt connection",
    cls=CommandClass.ADMIN,
    topics=("broker",),
    examples=("exit mqtt connection sensor-7",),
)
async def exit_mqtt_connection(ctx: Context, client_id: str) -> Reply:
    """Close the connection of a client of the message broker; it may come again."""
    broker = broker_of(ctx)
    if broker is None:
        raise CommandError("the message broker does not run", hint="run message broker where ...")
    broker.disconnect(client_id)
    return Reply.done()


@command(
    "mqtt password",
    cls=CommandClass.ADMIN,
    topics=("broker", "security"),
    examples=("mqtt password where user = sensor-7 and password = !password and file = !users_file",),
)
async def mqtt_password(ctx: Context, *, user: str, password: str, file: str) -> Reply:
    """Write the line of a user into the file of users of run message broker; a running broker sees it at once."""
    await asyncio.to_thread(put, Path(file), user, password)
    return Reply.done()
