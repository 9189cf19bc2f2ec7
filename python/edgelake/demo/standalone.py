"""A standalone node with example data, from start to first query in one go."""

from __future__ import annotations

import asyncio

from edgelake.command.console import write
from edgelake.demo.readings import BODY_ROWS, DBMS, Device, Progress, bodies, drop
from edgelake.demo.stage import Stage
from edgelake.node import Node

FILES = 4
PORTS = (32048, 32049, 32050)  # TCP, REST, broker

_SET_UP = """\
set node name demo
create work directories
connect dbms demo where type = sqlite
connect dbms almgm where type = sqlite
create table tsd_info where dbms = almgm
run tcp server where external_ip = 127.0.0.1 and external_port = {tcp} and bind = true
run rest server where external_ip = 127.0.0.1 and external_port = {rest} and bind = true
run message broker where external_ip = 127.0.0.1 and external_port = {broker} and bind = true
p = create policy cluster where name = demo-cluster and company = EdgeLake
blockchain insert where policy = !p and local = true
c = blockchain get cluster bring.first [cluster][id]
p = create policy operator where name = op1 and company = EdgeLake and cluster = !c and ip = !ip and port = {tcp}
blockchain insert where policy = !p and local = true
id = blockchain get operator bring.first [operator][id]
run streamer
run operator where policy = !id and create_table = true and update_tsd_info = true and archive_json = true
"""

_SHOWN = (
    "get processes",
    "get operator inserts",
    "get streaming",
    f'sql {DBMS} format = table "select device, count(*), min(temperature), max(temperature), avg(temperature) '
    f'from readings group by device order by device"',
    f'sql {DBMS} format = table "select increments(minute, 15, timestamp), min(timestamp) as start, count(*) as rows, '
    f'avg(temperature) as temperature, max(power) as power from readings"',
)


async def standalone(stage: Stage) -> None:
    """Set up, feed, show, stay."""
    node = await stage.node()
    tcp, rest, broker = stage.ports(*PORTS)
    await stage.run(node, *_SET_UP.format(tcp=tcp, rest=rest, broker=broker).splitlines())
    await _feed(stage, node, rest)
    await stage.run(node, *_SHOWN)
    write(f"\nFrom start to here: {stage.elapsed_s:.1f} seconds. The node listens on http://127.0.0.1:{rest}:")
    write(f"  curl -H 'User-Agent: AnyLog/1.23' -H 'command: get status' http://127.0.0.1:{rest}")
    await stage.stay(node, "Try: help, get tables where dbms = demo, or another sql. Leave with: exit node")


async def _feed(stage: Stage, node: Node, port: int) -> None:
    """Send readings by REST, and every few bodies one file to the watch directory; returns when all are stored."""
    ready = list(bodies(stage.rows))
    by_file = {len(ready) * (n + 1) // FILES - 1 for n in range(FILES)} if len(ready) >= FILES else set()
    watch, prep = node.ctx.directories.path("watch_dir"), node.ctx.directories.path("prep_dir")
    progress = Progress(len(ready))
    with Device(port) as device:
        for number, body in enumerate(ready):
            if number in by_file:
                await asyncio.to_thread(drop, body, number, prep, watch)
            else:
                await asyncio.to_thread(device.put, body)
            progress.show(number + 1)
    await stage.stored(node, len(ready) * BODY_ROWS)
    write(f"\n{len(ready) * BODY_ROWS:,} readings are stored, {len(by_file)} files among them.")
