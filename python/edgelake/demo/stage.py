"""What every demo needs: a folder, nodes that are stopped at the end, free ports, commands shown as if typed."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import signal
import socket
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

from edgelake.command.console import execute, write
from edgelake.demo.readings import DBMS, TABLE
from edgelake.model import PROMPT
from edgelake.node import Node

STORE_SECONDS = 60.0
PORT_STEP = 10
LAST_OFFSET = 1000


class Failed(Exception):
    """A command of the demo failed; its error is shown already."""


class Stage:
    """The nodes of a demo and what they share."""

    def __init__(self, folder: Path, rows: int, seconds: float | None) -> None:
        self.folder = folder
        self.rows = rows
        self.seconds = seconds
        self.stopping = asyncio.Event()
        self.nodes: list[Node] = []
        self._began = time.monotonic()

    async def node(self, name: str = "") -> Node:
        """Start a node; ``name``: its folder below the demo's."""
        home = self.folder / name if name else self.folder
        home.mkdir(parents=True, exist_ok=True)
        node = Node(home, caller=PROMPT)
        node.ctx.parts["console"] = write
        # `exit node` at any of them ends the demo.
        node.ctx.node.stopping = self.stopping
        self.nodes.append(node)
        await node.start()
        return node

    async def run(self, node: Node, *lines: str, prompt: str = "EL >") -> None:
        """Run commands as if they were typed. Raises Failed."""
        for line in lines:
            write(f"{prompt} {line}")
            if not await execute(line, node.ctx, write, lambda text: write(text, sys.stderr)):
                raise Failed

    async def stored(self, node: Node, rows: int) -> None:
        """Wait until a node's table has so many rows. Raises TimeoutError."""
        await node.execute("flush buffers")
        async with asyncio.timeout(STORE_SECONDS):
            while await _count(node) < rows:  # noqa: ASYNC110 - a file in the watch directory has no event
                await asyncio.sleep(0.02)

    async def stay(self, node: Node, hint: str) -> None:
        """A prompt at a node, or the seconds that were asked for."""
        if self.seconds is not None:
            await asyncio.sleep(self.seconds)
        elif sys.stdin is not None and sys.stdin.isatty():
            from edgelake.command.prompt import Prompt

            write(hint)
            await Prompt(node.ctx).run()
        write("The demo ends.")

    @property
    def elapsed_s(self) -> float:
        return time.monotonic() - self._began

    async def stop(self) -> None:
        """Stop the nodes, the last one first."""
        for node in reversed(self.nodes):
            await node.stop()


async def play(show: Callable[[Stage], Awaitable[None]], *, rows: int, seconds: float | None, home: Path | None) -> int:
    """Run a demo to its end, SIGINT or SIGTERM. The folder goes at the end unless the user named it."""
    folder = home or Path(tempfile.mkdtemp(prefix="edgelake-demo-"))
    stage = Stage(folder, rows, seconds)
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stage.stopping.set)
    work = asyncio.ensure_future(show(stage))
    stopped = asyncio.create_task(stage.stopping.wait())
    try:
        await asyncio.wait({work, stopped}, return_when=asyncio.FIRST_COMPLETED)
        if not work.done():
            work.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await work
        return 0
    except Failed:
        return 1
    finally:
        stopped.cancel()
        await stage.stop()
        if home is None:
            shutil.rmtree(folder, ignore_errors=True)


async def _count(node: Node) -> int:
    if node.ctx.stores.table(DBMS, TABLE) is None:
        return 0
    return sum((await node.ctx.stores.get(DBMS).row_counts([TABLE])).values())


# ---- ports


def free_ports(*wanted: int) -> tuple[int, ...]:
    """The usual ports of a demo, or the next ones that are all free, moved by the same step.

    Raises RuntimeError when there are none.
    """
    for offset in range(0, LAST_OFFSET, PORT_STEP):
        ports = tuple(port + offset for port in wanted)
        if all(_free(port) for port in ports):
            return ports
    raise RuntimeError(f"no free ports from {min(wanted)} to {max(wanted) + LAST_OFFSET}")


def _free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True
