"""``edgelake demo``: a standalone node with example data, from start to first query in one go.

The readings come as a device would send them: by HTTP to the REST server, and as files in the watch directory.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import http.client
import json
import math
import os
import random
import shutil
import signal
import socket
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

from edgelake.command.console import execute, write
from edgelake.loop import run
from edgelake.model import PROMPT
from edgelake.node import Node

DBMS = "demo"
DEVICES = 8
BODY_ROWS = 1000
FILES = 4
STORE_SECONDS = 60.0
FIRST_PORTS = (32048, 32049, 32050)  # TCP, REST, broker
PORT_STEP = 10

_SET_UP = """\
set node name demo
create work directories
connect dbms demo where type = sqlite
connect dbms almgm where type = sqlite
create table tsd_info where dbms = almgm
p = create policy cluster where name = demo-cluster and company = EdgeLake
blockchain insert where policy = !p and local = true
c = blockchain get cluster bring.first [cluster][id]
p = create policy operator where name = op1 and company = EdgeLake and cluster = !c and ip = !ip and port = {tcp}
blockchain insert where policy = !p and local = true
id = blockchain get operator bring.first [operator][id]
run rest server where external_ip = 127.0.0.1 and external_port = {rest} and bind = true
run message broker where external_ip = 127.0.0.1 and external_port = {broker} and bind = true
run streamer
run operator where policy = !id and create_table = true and update_tsd_info = true and archive_json = true
"""

_STATUS = ("get processes", "get operator inserts", "get streaming")
_QUERIES = (
    f'sql {DBMS} format = table "select device, count(*), min(temperature), max(temperature), avg(temperature) '
    f'from readings group by device order by device"',
    f'sql {DBMS} format = table "select increments(minute, 15, timestamp), min(timestamp) as start, count(*) as rows, '
    f'avg(temperature) as temperature, max(power) as power from readings"',
)


def main(args: Sequence[str]) -> int:
    """Run the demo. Returns the exit code."""
    options = _parser().parse_args(args)
    return run(_demo(options.rows, options.seconds, options.home))


def _parser() -> argparse.ArgumentParser:
    seconds = os.environ.get("DEMO_SECONDS")
    made = argparse.ArgumentParser(
        prog="edgelake demo",
        description="A node on this machine alone (loopback, SQLite) that takes sample readings by REST and files, "
        "shows its status and two queries, and stays with a prompt. Nothing is left behind.",
    )
    made.add_argument("--rows", type=_positive, default=60_000, help="readings to send (default 60000)")
    made.add_argument(
        "--seconds",
        type=float,
        default=float(seconds) if seconds else None,
        help="stop by itself after so many seconds, without a prompt; also DEMO_SECONDS in the environment",
    )
    made.add_argument(
        "--home", type=Path, help="keep the node's files in this folder (default: a folder that is removed)"
    )
    return made


def _positive(text: str) -> int:
    number = int(text)
    if number < BODY_ROWS:
        raise argparse.ArgumentTypeError(f"at least {BODY_ROWS}")
    return number


async def _demo(rows: int, seconds: float | None, home: Path | None) -> int:
    """Set up, feed, show, stay. The folder goes at the end unless the user named it."""
    folder = home or Path(tempfile.mkdtemp(prefix="edgelake-demo-"))
    folder.mkdir(parents=True, exist_ok=True)
    node = Node(folder, caller=PROMPT)
    node.ctx.parts["console"] = write
    stopping = node.ctx.node.stopping
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.set)
    work = asyncio.create_task(_show(node, rows, seconds))
    stopped = asyncio.create_task(stopping.wait())
    try:
        await asyncio.wait({work, stopped}, return_when=asyncio.FIRST_COMPLETED)
        if not work.done():
            work.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            return await work
        return 0
    finally:
        stopped.cancel()
        await node.stop()
        if home is None:
            shutil.rmtree(folder, ignore_errors=True)


async def _show(node: Node, rows: int, seconds: float | None) -> int:
    started = time.monotonic()
    await node.start()
    tcp, rest, broker = free_ports()
    for line in _SET_UP.format(tcp=tcp, rest=rest, broker=broker).splitlines():
        if not await _echoed(node, line):
            return 1
    await _feed(node, rest, rows)
    for line in (*_STATUS, *_QUERIES):
        if not await _echoed(node, line):
            return 1
    write(
        f"\nFrom start to here: {time.monotonic() - started:.1f} seconds. The node listens on http://127.0.0.1:{rest}:"
    )
    write(f"  curl -H 'User-Agent: AnyLog/1.23' -H 'command: get status' http://127.0.0.1:{rest}")
    if seconds is not None:
        await asyncio.sleep(seconds)
    elif sys.stdin is not None and sys.stdin.isatty():
        from edgelake.command.prompt import Prompt

        write("Try: help, get tables where dbms = demo, or another sql. Leave with: exit node")
        await Prompt(node.ctx).run()
    write("The demo ends.")
    return 0


async def _echoed(node: Node, line: str) -> bool:
    """Run a line as if it was typed; False, with the error, when it failed."""
    write(f"EL > {line}")
    return await execute(line, node.ctx, write, lambda text: write(text, sys.stderr))


# ---- readings


async def _feed(node: Node, port: int, rows: int) -> None:
    """Send readings by REST, and every few bodies one file to the watch directory; returns when all are stored."""
    bodies = list(_bodies(rows))
    by_file = {len(bodies) * (n + 1) // FILES - 1 for n in range(FILES)} if len(bodies) >= FILES else set()
    watch = node.ctx.directories.path("watch_dir")
    prep = node.ctx.directories.path("prep_dir")
    link = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    began = time.monotonic()
    try:
        for number, body in enumerate(bodies):
            if number in by_file:
                await asyncio.to_thread(_drop, body, number, prep, watch)
            else:
                await asyncio.to_thread(_put, link, body)
            _progress(number + 1, len(bodies), began)
    finally:
        link.close()
    await node.execute("flush buffers")
    async with asyncio.timeout(STORE_SECONDS):
        while await _count(node) < len(bodies) * BODY_ROWS:  # noqa: ASYNC110 - a file in the watch directory has no event
            await asyncio.sleep(0.02)
    write(f"\n{len(bodies) * BODY_ROWS:,} readings are stored, {len(by_file)} files among them.")


async def _count(node: Node) -> int:
    if node.ctx.stores.table(DBMS, "readings") is None:
        return 0
    return sum((await node.ctx.stores.get(DBMS).row_counts(["readings"])).values())


def _put(link: http.client.HTTPConnection, body: bytes) -> None:
    headers = {"dbms": DBMS, "table": "readings", "mode": "streaming", "User-Agent": "AnyLog/1.23"}
    link.request("PUT", "/", body=body, headers=headers)
    reply = link.getresponse()
    text = reply.read().decode(errors="replace")
    if reply.status != 200:
        raise RuntimeError(f"the node answered {reply.status}: {text}")


def _drop(body: bytes, number: int, prep: Path, watch: Path) -> None:
    """Whole files appear in the watch directory by a rename."""
    working = prep / f"{DBMS}.readings.gateway{number}.json"
    working.write_bytes(body)
    working.rename(watch / working.name)


def _bodies(rows: int) -> Iterator[bytes]:
    """Readings of a few machines over the last three hours, newline-separated, oldest first."""
    noise = random.Random(7)
    count = max(rows // BODY_ROWS, 1) * BODY_ROWS
    last = datetime.now(UTC).replace(microsecond=0)
    step = timedelta(hours=3) / count
    lines: list[str] = []
    for n in range(count):
        at = last - step * (count - n)
        device = n % DEVICES
        swing = math.sin(n / count * 6 + device)
        reading = {
            "timestamp": at.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "device": f"machine-{device + 1:02}",
            "temperature": round(21.5 + 4 * swing + noise.gauss(0, 0.3), 2),
            "power": round(150.5 + 40 * swing + noise.gauss(0, 5), 1),
        }
        lines.append(json.dumps(reading))
        if len(lines) == BODY_ROWS:
            yield "\n".join(lines).encode()
            lines.clear()


def _progress(done: int, total: int, began: float) -> None:
    """One line that is rewritten on a terminal; a few lines elsewhere."""
    if sys.stdout.isatty():
        width = 30
        bar = "#" * (width * done // total)
        rate = done * BODY_ROWS / max(time.monotonic() - began, 1e-3)
        sys.stdout.write(f"\r  [{bar:<{width}}] {done * BODY_ROWS:>9,} readings, {rate:,.0f}/s")
        sys.stdout.flush()
    elif done % max(total // 4, 1) == 0:
        write(f"  {done * BODY_ROWS:,} of {total * BODY_ROWS:,} readings sent")


# ---- ports


def free_ports() -> tuple[int, int, int]:
    """Ports for TCP, REST and broker: the usual ones, or the next three that are free.

    Raises RuntimeError when there are none.
    """
    for offset in range(0, 1000, PORT_STEP):
        ports = tuple(port + offset for port in FIRST_PORTS)
        if all(_free(port) for port in ports):
            return ports[0], ports[1], ports[2]
    raise RuntimeError("no free ports between 32048 and 33050")


def _free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True
