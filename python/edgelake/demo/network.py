"""A network with example data: a master, two operators and a query node, each a process of its own.

The query node is the process that the user sees: the prompt is its own.
"""

from __future__ import annotations

import asyncio
import contextlib

from edgelake.command.console import write
from edgelake.demo.readings import BODY_ROWS, DBMS, DEVICES, TABLE, Device, Progress, bodies, body_of_now
from edgelake.demo.stage import Failed, Stage
from edgelake.metadata.ids import body_of
from edgelake.node import Node
from edgelake.processes import NodeProcess, get

PORTS = (32048, 32049, 32148, 32149, 32158, 32159, 32348)
"""Of master, operators and query node; TCP, then REST. The query node has no REST server."""

SITES = ("north", "south")
SYNC_SECONDS = 30.0
FLOW_SECONDS = 1.0

_COMMON = """\
set node name {name}
create work directories
run tcp server where external_ip = 127.0.0.1 and external_port = {port} and bind = true
"""

_MASTER = """\
connect dbms blockchain where type = sqlite
create table ledger where dbms = blockchain
run blockchain sync where source = dbms and time = 10 seconds and dest = file
p = create policy master where name = {name} and company = EdgeLake and ip = 127.0.0.1 and port = {port}
blockchain insert where policy = !p and local = true and master = 127.0.0.1:{port}
"""

_FOLLOW = """\
run blockchain sync where source = master and time = 2 seconds and dest = file and connection = 127.0.0.1:{master}
"""

_OPERATOR = """\
connect dbms demo where type = sqlite
connect dbms almgm where type = sqlite
create table tsd_info where dbms = almgm
p = create policy cluster where name = {name}-cluster and company = EdgeLake
blockchain insert where policy = !p and local = true and master = 127.0.0.1:{master}
c = blockchain get cluster where name = {name}-cluster bring.first [cluster][id]
at = 127.0.0.1
p = create policy operator where name = {name} and company = EdgeLake and cluster = !c and ip = !at and port = {port}
blockchain insert where policy = !p and local = true and master = 127.0.0.1:{master}
id = blockchain get operator where name = {name} bring.first [operator][id]
run streamer
run operator where policy = !id and create_table = true and update_tsd_info = true and master_node = 127.0.0.1:{master}
"""

_QUERY = """\
p = create policy query where name = {name} and company = EdgeLake and ip = 127.0.0.1 and port = {port}
blockchain insert where policy = !p and local = true and master = 127.0.0.1:{master}
"""

_SHOWN = (
    "test network",
    "get data nodes",
    "run client (operator where company = EdgeLake) get operator inserts",
    f'run client () sql {DBMS} format = table "select device, count(*), min(temperature), max(temperature), '
    f'avg(temperature) from {TABLE} group by device order by device"',
)


async def network(stage: Stage) -> None:
    """Set up, feed, show, stay."""
    master, master_rest, *operators, own = stage.ports(*PORTS)
    await stage.process("master", master_rest, *_lines(_COMMON + _MASTER, name="master", port=master))
    sites = await asyncio.gather(
        *(
            stage.process(name, rest, *_lines(_COMMON + _FOLLOW + _OPERATOR, name=name, port=port, master=master))
            for name, port, rest in zip(SITES, operators[::2], operators[1::2], strict=True)
        )
    )
    node = await stage.node("query")
    await stage.run(node, *_lines(_COMMON + _FOLLOW + _QUERY, name="query", port=own, master=master), prompt="query >")
    await _feed(stage, sites)
    await _known(stage, node)
    await stage.run(node, *_SHOWN, prompt="query >")
    write(f"\nFrom start to here: {stage.elapsed_s:.1f} seconds, four nodes in four processes:")
    for process in stage.processes:
        write(f"  {process.name:<8} http://{process.address}, process {process.process.pid}")
    write(f"  {'query':<8} 127.0.0.1:{own}, this process")
    flow = asyncio.create_task(_flow(sites))
    try:
        await stage.stay(node, "New readings come each second: ask again, or help. Leave with: exit node")
    finally:
        flow.cancel()


def _lines(text: str, **values: object) -> list[str]:
    return text.format(**values).splitlines()


async def _feed(stage: Stage, sites: list[NodeProcess]) -> None:
    """Send half of the readings to each operator, each those of its own machines; returns when all are stored."""
    ready = [list(bodies(stage.rows // len(sites), _first_device(at))) for at in range(len(sites))]
    total = sum(map(len, ready))
    progress = Progress(total)
    done = 0
    with contextlib.ExitStack() as opened:
        devices = [opened.enter_context(Device(site.port)) for site in sites]
        for turn in zip(*ready, strict=True):
            for device, body in zip(devices, turn, strict=True):
                await asyncio.to_thread(device.put, body)
                done += 1
                progress.show(done)
    for site in sites:
        await asyncio.to_thread(get, site.port, {"command": "flush buffers"}, method="POST")
    write(f"\n{total * BODY_ROWS:,} readings are stored, half of them at each operator.")


async def _known(stage: Stage, node: Node) -> None:
    """Wait until the policies say that both operators have the table. Raises Failed."""
    policies = node.ctx.policies
    write("Waiting until the query node knows from the master who holds the table ...")

    def both() -> bool:
        clusters = [body_of(policy) for policy in policies.select("cluster").data]
        return sum("table" in cluster for cluster in clusters) == len(SITES)

    if not await policies.until(both, timeout_s=SYNC_SECONDS):
        write("The table policies did not come from the master in time:")
        await stage.run(node, "get synchronizer")
        raise Failed


async def _flow(sites: list[NodeProcess]) -> None:
    """A reading of each machine every second, as long as its operator takes it."""
    moment = 0
    while True:
        await asyncio.sleep(FLOW_SECONDS)
        moment += 1
        await asyncio.to_thread(_send, sites, moment)


def _send(sites: list[NodeProcess], moment: int) -> None:
    for at, site in enumerate(sites):
        # The user may stop an operator, to see what the others do; its machines go on trying.
        with contextlib.suppress(OSError, RuntimeError), Device(site.port) as device:
            device.put(body_of_now(_first_device(at), moment))


def _first_device(site: int) -> int:
    return 1 + site * DEVICES
