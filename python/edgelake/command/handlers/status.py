"""What runs, where it listens, and what the node is called.

Source: spec "Services and status", sections 5, 7 and 11.
"""

from __future__ import annotations

import importlib.util
import os
import socket
from collections.abc import Iterator, Mapping
from typing import Annotated, cast

from edgelake.command.context import Context
from edgelake.command.grammar import Tail, Untranslated
from edgelake.command.handlers.machine import node_ip
from edgelake.command.handlers.profiler import profiler_of
from edgelake.command.registry import command
from edgelake.command.variables import SECRETS
from edgelake.errors import CommandError, error
from edgelake.model import CommandClass, Listener, Reply, Status, Table
from edgelake.net.peer import PeerServer
from edgelake.service import Service

# Rows of `get processes` in their order: row and JSON key, key of `test process`, details while idle.
PROCESSES: tuple[tuple[str, str, str], ...] = (
    ("TCP", "tcp", "No active connection"),
    ("REST", "rest", "No active connection, Timeout: 0, SSL: False"),
    ("MCP", "mcp", ""),
    ("Operator", "operator", ""),
    ("Blockchain Sync", "blockchain sync", ""),
    ("Scheduler", "scheduler", ""),
    ("Blobs Archiver", "blobs archiver", ""),
    ("MQTT", "msg client", ""),
    ("MSG Client Pool", "msg client pool", ""),
    ("MSG Broker", "message broker", "No active connection"),
    ("SMTP", "smtp", ""),
    ("Streamer", "streamer", ""),
    ("UNS Streamer", "uns streamer", ""),
    ("Query Pool", "query pool", ""),
    ("Kafka Consumer", "kafka consumer", ""),
    ("gRPC", "grpc", "" if importlib.util.find_spec("grpc") else "gRPC library not installed"),
    ("PLC Client", "plc", ""),
    ("Pull Processes", "pull processes", ""),
    ("Video Processes", "video processes", ""),
    ("Publisher", "publisher", ""),
    ("Distributor", "distributor", ""),
    ("Consumer", "consumer", ""),
)
ROW_OF = {key: row for row, key, _ in PROCESSES}

# Words of `exit` and the row of the service they end.
EXITS = {
    "tcp": "TCP",
    "rest": "REST",
    "broker": "MSG Broker",
    "synchronizer": "Blockchain Sync",
    "operator": "Operator",
    "streamer": "Streamer",
    "archiver": "Blobs Archiver",
    "consumer": "Consumer",
    "publisher": "Publisher",
    "distributor": "Distributor",
    "smtp": "SMTP",
    "smtp client": "SMTP",
    "workers": "Query Pool",
    "uns streamer": "UNS Streamer",
    "mcp": "MCP",
}

LISTENERS = (("TCP", "TCP"), ("REST", "REST"), ("Messaging", "MSG Broker"))
NOT_DECLARED = "Not declared"
SCHEDULERS = {0: " (system)", 1: " (user)"}


def statuses(ctx: Context) -> dict[str, Status]:
    """Status of each row that has a service; the first service of a row speaks for it."""
    found: dict[str, Status] = {}
    for service in ctx.services:
        status = service.status()
        if not found.get(status.row, _ABSENT).running:
            found[status.row] = status
    if list(ctx.parts.get("message clients") or ()) and "MQTT" not in found:
        found["MQTT"] = Status("MQTT", True)  # clients without a connection of their own
    schedulers = " ".join(f"[{n}{SCHEDULERS.get(n, '')}]" for n in ctx.scheduler.running())
    if schedulers:
        found["Scheduler"] = Status("Scheduler", True, f"Schedulers IDs in use: {schedulers}")
    return found


_ABSENT = Status("", running=False)


def process_rows(ctx: Context) -> Iterator[tuple[str, str, str]]:
    """(row, Running or Not declared, details) in the order of ``get processes``."""
    found = statuses(ctx)
    known = {row for row, _, _ in PROCESSES}
    for row, _, idle in (*PROCESSES, *((row, "", "") for row in found if row not in known)):
        status = found.get(row)
        if status is not None and status.running:
            yield row, "Running", status.details
        else:
            yield row, NOT_DECLARED, idle


REPLY_ADDRESS = "reply address"
"""Setting: where replies go instead of to an address of the TCP server."""


@command(
    "get processes",
    cls=CommandClass.DATA,
    topics=("background processes", "monitor"),
    examples=("get processes", "get processes where format = json"),
)
async def get_processes(ctx: Context) -> Reply:
    """List the background processes and their status."""
    rows = list(process_rows(ctx))
    data = {row: {"Status": status, **({"Details": details} if details else {})} for row, status, details in rows}
    return Reply.of_table(Table(("Process", "Status", "Details"), rows, indent=4), data=data)


@command(
    "get connections",
    cls=CommandClass.DATA,
    topics=("network", "monitor"),
    examples=("get connections", "get connections where format = json"),
)
def get_connections(ctx: Context) -> Reply:
    """Addresses on which the node is reached: TCP, REST and messaging."""
    data: dict[str, object] = {}
    rows: list[list[str]] = []
    for title, row in LISTENERS:
        address = listening(ctx, row)
        parts = [address.external, address.internal, address.bound] if address else [NOT_DECLARED] * 3
        rows.append([title, *parts])
        data[title] = dict(zip(("external", "local", "bind"), parts, strict=True))
    if declared := ctx.node.settings.get(REPLY_ADDRESS):
        rows.append(["Reply Address", declared, "", ""])
        data["reply"] = declared
    titles = ("Type", "External Address", "Internal Address", "Bind Address")
    return Reply.of_table(Table(titles, rows), data=data)


def listening(ctx: Context, row: str) -> Listener | None:
    """The running listener of a row."""
    service = service_of(ctx, row)
    return cast(Listener, service) if hasattr(service, "bound") else None


def service_of(ctx: Context, row: str) -> Service | None:
    """The running service that stands behind a row of ``get processes``."""
    return next((s for s in ctx.services if (status := s.status()).row == row and status.running), None)


def full_name(ctx: Context) -> str:
    """``name@ip:port``; without a TCP server the local address, without a name that of the reference."""
    # Not by the rows of all services: each reply of `get status` comes here.
    address = cast(Listener | None, ctx.services.get(PeerServer.name))
    return f"{ctx.node.name or 'AnyLog'}@{address.external if address else node_ip(ctx)}"


@command(
    "get status",
    cls=CommandClass.DATA,
    topics=("monitor",),
    examples=(
        "get status",
        "get status where format = json",
        "get status where format = json and include = !disk_space",
    ),
)
def get_status(ctx: Context, *, include: list[Untranslated] | None = None) -> Reply:
    """Whether the node runs, and its name. ``include`` adds values of the dictionary to the JSON form."""
    name = full_name(ctx)
    data: dict[str, object] = {"assigned_name": name, "status": "running", "profiling": bool(profiler_of(ctx).active)}
    for key in include or ():
        data[key.lstrip("!")] = ctx.visible.get(key.lstrip("!"))
    data["Status"] = f"{name} running"  # not in the reference; the AnyLog-API client reads it
    profiling = " -- in profiling mode" if data["profiling"] else ""
    return Reply.of_data(data, text=f"{name} running{profiling}")


@command("get node name", cls=CommandClass.DATA, topics=("monitor",), examples=("get node name",))
def get_node_name(ctx: Context) -> Reply:
    """The name that ``set node name`` gave."""
    return Reply.of_data({"node_name": ctx.node.name}, text=ctx.node.name)


@command("set node name", cls=CommandClass.ADMIN, topics=("configuration",), examples=("set node name edge-1",))
async def set_node_name(ctx: Context, name: str) -> Reply:
    """Name the node; the prompt and the status commands show it."""
    ctx.node.name = name
    return Reply.done()


@command("get hostname", cls=CommandClass.DATA, topics=("monitor",), examples=("get hostname",))
def get_hostname(ctx: Context) -> Reply:
    """Name of the machine."""
    return Reply.of_data({"hostname": socket.gethostname()}, text=socket.gethostname())


@command(
    "get version",
    cls=CommandClass.DATA,
    topics=("monitor",),
    examples=("get version", "get version where format = json"),
)
def get_version(ctx: Context) -> Reply:
    """The version that runs. The first word is EdgeLake: scripts read it."""
    text = f"EdgeLake Version: {ctx.node.version}"
    return Reply.of_data({"version": text, "node_name": full_name(ctx)}, text=text)


@command(
    "get dictionary",
    cls=CommandClass.DATA,
    topics=("dictionary",),
    examples=("get dictionary", "get dictionary _dir", "get dictionary where format = json"),
)
async def get_dictionary(ctx: Context, part: str = "") -> Reply:
    """Keys and values of the dictionary, those of passwords and keys masked; PART shows the keys that contain it."""
    shown = {name: "****" if value and SECRETS.search(name) else value for name, value in ctx.visible.items()}
    return _mapping_reply(shown, part)


@command(
    "get env var",
    cls=CommandClass.ADMIN,
    topics=("dictionary",),
    examples=("get env var", "get env var NODE", "get env var where format = json"),
)
async def get_env_var(ctx: Context, part: str = "") -> Reply:
    """Variables of the process's environment; PART shows the names that contain it."""
    return _mapping_reply(ctx.variables.environ, part)


def _mapping_reply(values: Mapping[str, object], part: str) -> Reply:
    data = {key: values[key] for key in sorted(values) if part in key}
    return Reply.of_table(Table(("Key", "Value"), list(data.items())), data=data)


@command("get error", cls=CommandClass.DATA, topics=("monitor",), examples=("get error 26",))
async def get_error(ctx: Context, number: int) -> Reply:
    """Text of an error number."""
    try:
        text = "Success" if number == 0 else error(number).text
    except KeyError:
        raise CommandError(f"no error has the number {number}") from None
    return Reply.of_data({"err_code": number, "err_text": text}, text=f'Error text: "{text}"')


@command("get compression", cls=CommandClass.DATA, topics=("network",), examples=("get compression",))
async def get_compression(ctx: Context) -> Reply:
    """Whether messages between nodes are compressed."""
    on = bool(ctx.variables.get("compression") == "on")
    return Reply.of_data({"compression": on}, text=f"Compression: {'on' if on else 'off'}")


@command(
    "get watch directories",
    cls=CommandClass.DATA,
    topics=("monitor",),
    examples=("get watch directories", "get watch directories where format = json"),
)
async def get_watch_directories(ctx: Context) -> Reply:
    """Directories whose files the running services take."""
    found = sorted(
        {os.path.join(str(path), "") for service in ctx.services for path in getattr(service, "watched", ())}
    )
    return Reply.of_data(found, text=f"[{', '.join(found)}]" if found else "No watch directories")


@command(
    "exit",
    *(f"exit {name}" for name in EXITS),
    cls=CommandClass.ADMIN,
    topics=("background processes",),
    examples=("exit rest", "exit operator", "exit streamer"),
)
async def exit_service(ctx: Context, name: Annotated[str, Tail(raw=False)] = "") -> Reply:
    """End a service. Ending one that does not run is success, and does not touch its next start."""
    wanted = f"{ctx.phrase.removeprefix('exit')} {name}".strip().lower()
    row = EXITS.get(wanted)
    if row is None:
        raise CommandError(
            f"Process name 'exit {wanted}' in 'exit' command is not valid", hint=f"one of: {', '.join(sorted(EXITS))}"
        )
    for service in [s for s in ctx.services if s.status().row == row]:
        await ctx.services.stop(service.name)
    return Reply.done()
