"""The machine the node runs on: memory, processors, disks, network cards.

Source: spec "Services and status", section 11. psutil is imported by the command that needs it: an idle node
that nobody asks doesn't carry it.
"""

from __future__ import annotations

import asyncio
import os
import platform
import shutil
import socket
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec

from edgelake.command.context import Context
from edgelake.command.grammar import After, Key
from edgelake.command.registry import command
from edgelake.errors import CommandError, error
from edgelake.model import CommandClass, Reply, Table

MIB = 1 << 20
CPU_SAMPLE_S = 0.2

NODE_INFO = (
    "cpu_percent",
    "cpu_times",
    "cpu_times_percent",
    "getloadavg",
    "swap_memory",
    "disk_io_counters",
    "net_io_counters",
)
FIRST_PORT = {"master": 32048, "operator": 32148, "publisher": 32248, "query": 32348}
PORT_OFFSET = {"tcp": 0, "rest": 1, "msg": 2}


@command("get memory info", cls=CommandClass.DATA, topics=("machine",), examples=("get memory info",))
async def get_memory_info(ctx: Context) -> Reply:
    """Memory of the machine: total, available, used and free, in MB."""
    import psutil

    memory = psutil.virtual_memory()
    values = {name: getattr(memory, name) // MIB for name in ("total", "available", "used", "free")}
    lines = (f"{name.capitalize() + ':':<11}{value:,}MB" for name, value in values.items())
    return Reply.of_data({f"{k}_mb": v for k, v in values.items()}, text="\r\n".join(lines))


@command("get cpu info", cls=CommandClass.DATA, topics=("machine",), examples=("get cpu info",))
async def get_cpu_info(ctx: Context) -> Reply:
    """Number of physical and logical processor cores."""
    import psutil

    physical, logical = psutil.cpu_count(logical=False), psutil.cpu_count()
    text = f"Physical Cores: {physical}\r\nLogical Cores:  {logical}"
    return Reply.of_data({"physical_cores": physical, "logical_cores": logical}, text=text)


@command(
    "get cpu usage",
    cls=CommandClass.DATA,
    topics=("machine",),
    examples=("get cpu usage", "get cpu usage where format = json"),
)
async def get_cpu_usage(ctx: Context) -> Reply:
    """Load of each processor core and the average, in percent, over a fifth of a second."""
    import psutil

    cores = await asyncio.to_thread(psutil.cpu_percent, CPU_SAMPLE_S, True)
    values = {f"Core {number}": load for number, load in enumerate(cores, 1)}
    values["Average"] = round(sum(cores) / len(cores), 2) if cores else 0.0
    return Reply.of_table(Table(list(values), [list(values.values())]), data=values)


@command("get cpu temperature", cls=CommandClass.DATA, topics=("machine",), examples=("get cpu temperature",))
async def get_cpu_temperature(ctx: Context) -> Reply:
    """Readings of the temperature sensors, by chip; empty when the machine shows none."""
    import psutil

    read: dict[str, Any] = getattr(psutil, "sensors_temperatures", dict)()
    return Reply.of_data({chip: [entry._asdict() for entry in entries] for chip, entries in read.items()})


@command(
    "get disk",
    cls=CommandClass.DATA,
    topics=("machine",),
    examples=("get disk usage /", "get disk percentage /", "get disk free . where format = json"),
)
async def get_disk(
    ctx: Context, what: Literal["usage", "free", "total", "used", "percentage"], path: str = "."
) -> Reply:
    """Space on the disk that holds PATH: bytes, or the free share in percent (``percentage``)."""
    try:
        usage = await asyncio.to_thread(shutil.disk_usage, path)
    except OSError as e:
        raise error(78, f"'{path}': {e.strerror}") from e
    data = {"node": ctx.caller.address or node_ip(ctx), **usage._asdict()}
    if what == "percentage":
        share = round(100 * usage.free / usage.total, 2) if usage.total else 0.0
        return Reply.of_data({"node": data["node"], "percentage": share}, text=f"{share:.2f}")
    if what != "usage":
        return Reply.of_data({"node": data["node"], what: data[what]}, text=str(data[what]))
    if ctx.caller.entry == "rest":
        # The reference prints this list with single quotes; valid JSON serves the same readers.
        shown = {k: f"{v:,}" if isinstance(v, int) else v for k, v in data.items()}
        text = "[" + msgspec.json.encode(shown).decode() + "]"
    else:
        text = f"usage(total={usage.total}, used={usage.used}, free={usage.free})"
    return Reply.of_data(data, text=text)


@command("get platform info", cls=CommandClass.DATA, topics=("machine",), examples=("get platform info",))
async def get_platform_info(ctx: Context) -> Reply:
    """Operating system, its version, the machine's name and processor."""
    data = platform_info()
    lines = (f"{name.capitalize() + ':':<11}{value}" for name, value in data.items())
    return Reply.of_data(data, text="\r\n".join(lines))


def platform_info() -> dict[str, str]:
    """The five facts of ``get platform info``."""
    seen = platform.uname()
    return {
        "system": seen.system,
        "version": seen.version,
        "node": seen.node,
        "machine": seen.machine,
        "processor": seen.processor or seen.machine,
    }


@command(
    "get node info",
    cls=CommandClass.DATA,
    topics=("machine",),
    where="into",
    examples=(
        "get node info cpu_percent",
        "get node info net_io_counters packets_recv",
        "get node info swap_memory into dbms = monitoring and table = swap",
    ),
)
async def get_node_info(
    ctx: Context,
    function: str,
    attribute: str = "",
    *,
    dbms: str = "",
    table: str = "",
) -> Reply:
    """One reading of the machine: all its fields or one; ``into`` also streams it to a table.

    Functions: cpu_percent, cpu_times, cpu_times_percent, getloadavg, swap_memory, disk_io_counters, net_io_counters.
    """
    if function not in NODE_INFO:
        raise error(3, f"'{function}' is no node info function", hint=f"one of: {', '.join(NODE_INFO)}")
    value = await asyncio.to_thread(_read, function)
    if attribute:
        if not isinstance(value, dict) or attribute not in value:
            known = ", ".join(value) if isinstance(value, dict) else "none"
            raise error(216, f"'{function}' has no field '{attribute}'", hint=f"fields: {known}")
        value = value[attribute]
    if bool(dbms) != bool(table):
        raise CommandError("'into' needs both dbms and table")
    if dbms:
        fields = value if isinstance(value, dict) else {attribute or "value": value}
        row = {"timestamp": utc_text(), "node": ctx.node.name, **fields}
        await ctx.ingest.submit(dbms, table, msgspec.json.encode(row))
    text = str(value) if not isinstance(value, dict) else msgspec.json.encode(value).decode()
    return Reply.of_data(value, text=text)


def _read(function: str) -> Any:
    import psutil

    if function.startswith("cpu_") and function.endswith("percent"):
        value = getattr(psutil, function)(interval=CPU_SAMPLE_S)
    else:
        value = getattr(psutil, function)()
    if function == "getloadavg":
        return dict(zip(("load_1", "load_5", "load_15"), value, strict=True))
    return value._asdict() if hasattr(value, "_asdict") else value


def utc_text() -> str:
    """Now, as readings carry it."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


@command(
    "get node resources",
    cls=CommandClass.DATA,
    topics=("machine",),
    examples=("get node resources", "get node resources where format = json"),
)
async def get_node_resources(ctx: Context) -> Reply:
    """The machine in one table: system, cores, memory and disk (bytes)."""
    import psutil

    memory, disk = psutil.virtual_memory(), await asyncio.to_thread(shutil.disk_usage, Path.cwd().anchor or "/")
    data: dict[str, Any] = {
        "ip": node_ip(ctx),
        **platform_info(),
        "physical_cores": psutil.cpu_count(logical=False),
        "logical_cores": psutil.cpu_count(),
        **{f"memory_{name}": getattr(memory, name) for name in ("total", "available", "used", "free")},
        **{f"disk_{name}": getattr(disk, name) for name in ("total", "used", "free")},
    }
    return Reply.of_table(Table(("Property", "Details"), list(data.items())), data=data)


@command(
    "get os process",
    cls=CommandClass.ADMIN,
    topics=("machine",),
    examples=("get os process", "get os process all", "get os process list", "get os process 1"),
)
async def get_os_process(ctx: Context, which: str = "") -> Reply:
    """Processes of the machine: this node's, one by its id, ``all``, or a short ``list``."""
    import psutil

    if which not in ("", "all", "list") and not which.isdigit():
        raise CommandError(f"'{which}' is no process id", hint="a number, 'all' or 'list'")
    try:
        if which in ("all", "list"):
            chosen = list(psutil.process_iter())
        else:
            chosen = [psutil.Process(int(which) if which else os.getpid())]
    except psutil.NoSuchProcess as e:
        raise error(3, f"no process {which}") from e
    short = which == "list"
    rows = [row for row in await asyncio.to_thread(_process_rows, chosen, short) if row]
    titles = ("Name", "ID", "Status") if short else ("ID", "Name", "Memory (MB)", "CPU (%)", "Status")
    return Reply.of_table(Table(titles, rows), data=as_objects(titles, rows))


def _process_rows(processes: Sequence[Any], short: bool) -> list[list[object]]:
    import psutil

    rows: list[list[object]] = []
    for process in processes:
        try:
            with process.oneshot():
                name, status = process.name(), process.status()
                if short:
                    rows.append([name, process.pid, status])
                    continue
                memory = round(process.memory_info().rss / MIB, 2)
                rows.append([process.pid, name, memory, process.cpu_percent(), status])
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue  # it ended while we looked, or is not ours to see
    return rows


def as_objects(titles: Sequence[str], rows: Sequence[Sequence[object]]) -> list[dict[str, object]]:
    """Rows of a table as JSON objects."""
    return [dict(zip(titles, row, strict=True)) for row in rows]


@command("get ip list", cls=CommandClass.DATA, topics=("machine", "network"), examples=("get ip list",))
async def get_ip_list(ctx: Context) -> Reply:
    """Addresses of the machine: family, interface, address."""
    import psutil

    titles = ("Family", "Interface", "Address")
    rows = [
        (address.family.name, interface, address.address)
        for interface, addresses in psutil.net_if_addrs().items()
        for address in addresses
        if address.family in (socket.AF_INET, socket.AF_INET6)
    ]
    return Reply.of_table(Table(titles, rows), data=as_objects(titles, rows))


@command("get nics list", cls=CommandClass.DATA, topics=("machine", "network"), examples=("get nics list",))
async def get_nics_list(ctx: Context) -> Reply:
    """Network cards: name, IPv4 address, speed (Mbit/s), whether up."""
    import psutil

    titles = ("Name", "IP", "Speed", "Is Up")
    addresses, stats = psutil.net_if_addrs(), psutil.net_if_stats()
    rows = [
        (name, next((a.address for a in found if a.family == socket.AF_INET), ""), stats[name].speed, stats[name].isup)
        for name, found in addresses.items()
        if name in stats
    ]
    return Reply.of_table(Table(titles, rows), data=as_objects(titles, rows))


@command(
    "get machine connections",
    cls=CommandClass.ADMIN,
    topics=("machine", "network"),
    examples=("get machine connections", "get machine connections where port = 32048"),
)
async def get_machine_connections(ctx: Context, *, port: int | None = None) -> Reply:
    """Sockets of the machine, or those of one port. Those of other users show no process."""
    import psutil

    titles = ("FD", "Family", "Type", "Local Address", "Remote Address", "Status", "PID")
    try:
        found = await asyncio.to_thread(psutil.net_connections, "inet")
    except psutil.AccessDenied:
        found = await asyncio.to_thread(psutil.Process().net_connections, "inet")
    rows = [
        (
            c.fd,
            c.family.name,
            c.type.name,
            _address(c.laddr),
            _address(c.raddr),
            c.status,
            getattr(c, "pid", os.getpid()),
        )
        for c in found
        if port is None or port in (getattr(c.laddr, "port", None), getattr(c.raddr, "port", None))
    ]
    return Reply.of_table(Table(titles, rows), data=as_objects(titles, rows))


def _address(pair: Any) -> str:
    return f"{pair.ip}:{pair.port}" if pair else ""


@command(
    "get unused",
    cls=CommandClass.DATA,
    topics=("network",),
    examples=("get unused tcp port for operator", "get unused rest port for query"),
)
async def get_unused(
    ctx: Context,
    kind: Literal["tcp", "rest", "msg"],
    port_word: Annotated[Literal["port"], Key("port")],
    role: Annotated[Literal["master", "operator", "publisher", "query"], After("for")],
) -> Reply:
    """First free port for a service of a node: ``get unused tcp|rest|msg port for master|operator|publisher|query``.

    Looks from 32048, 32148, 32248 or 32348 on (REST one above, messages two above), in steps of ten.
    """
    for port in range(FIRST_PORT[role] + PORT_OFFSET[kind], 65536, 10):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("", port))
            except OSError:
                continue
        return Reply.of_data({"port": port}, text=str(port))
    raise error(81, "no free port")


@command("get timezone info", cls=CommandClass.DATA, topics=("machine",), examples=("get timezone info",))
async def get_timezone_info(ctx: Context) -> Reply:
    """The node's time zone and the time there."""
    now = datetime.now().astimezone()
    shown = now.strftime("%Y-%m-%d %H:%M:%S")
    return Reply.of_data({"timezone": now.tzname(), "time": shown}, text=f"{now.tzname()} : {shown}")


@command("get installed packages", cls=CommandClass.DATA, topics=("machine",), examples=("get installed packages",))
async def get_installed_packages(ctx: Context) -> Reply:
    """Python packages that the node can use, with their versions."""
    from importlib.metadata import distributions

    found = {d.metadata["Name"]: d.version for d in await asyncio.to_thread(lambda: list(distributions()))}
    rows = sorted(found.items(), key=lambda pair: pair[0].lower())
    return Reply.of_table(Table(("Package", "Version"), rows), data=dict(rows))


def node_ip(ctx: Context) -> str:
    """The node's own address: the variable ``ip``, set at start."""
    return ctx.variables.get("ip", "127.0.0.1")
