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
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

from edgelake.command.console import execute, write
from edgelake.demo.readings import DBMS, TABLE
from edgelake.errors import EdgeLakeError
from edgelake.model import PROMPT
from edgelake.node import Node
from edgelake.processes import NodeProcess, ProcessError

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
        self.processes: list[NodeProcess] = []
        self._claims: list[socket.socket] = []
        self._began = time.monotonic()

    async def node(self, name: str = "") -> Node:
        """Start a node; ``name``: its folder below the demo's."""
        home = self.folder / name if name else self.folder
        home.mkdir(parents=True, exist_ok=True)
        node = Node(home, caller=PROMPT)
        node.ctx.console = write
        # `exit node` at any of them ends the demo.
        node.ctx.node.stopping = self.stopping
        self.nodes.append(node)
        await node.start()
        return node

    def ports(self, *wanted: int) -> tuple[int, ...]:
        """The usual ports of a demo, or the next ones that are all free, moved by the same step.

        Raises RuntimeError when there are none.
        """
        for offset in range(0, LAST_OFFSET, PORT_STEP):
            ports = tuple(port + offset for port in wanted)
            if claims := _claimed(ports):
                self._claims += claims
                return ports
        raise RuntimeError(f"no free ports from {min(wanted)} to {max(wanted) + LAST_OFFSET}")

    async def process(self, name: str, port: int, *lines: str) -> NodeProcess:
        """Start a node in a process of its own; it runs the commands, then its REST server. Raises ProcessError."""
        write("\n".join(f"{name} > {line}" for line in lines))
        made = NodeProcess(self.folder / name, lines, port=port, apart=True)
        self.processes.append(made)
        await asyncio.to_thread(made.wait_ready)
        return made

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
        """Stop the nodes, the last one first, then the processes."""
        for node in reversed(self.nodes):
            await node.stop()
        await asyncio.gather(*(asyncio.to_thread(process.stop) for process in self.processes))
        for claim in self._claims:
            claim.close()


async def play(show: Callable[[Stage], Awaitable[None]], *, rows: int, seconds: float | None, home: Path | None) -> int:
    """Run a demo to its end, SIGINT, SIGTERM or SIGHUP. The folder goes at the end unless the user named it."""
    if home is not None and any(found.is_dir() for at in ("EdgeLake", "*/EdgeLake") for found in home.glob(at)):
        # Its policies name the ports of then.
        write(f"{home} has the files of an earlier demo: name another folder, or remove it", sys.stderr)
        return 1
    folder = home or Path(tempfile.mkdtemp(prefix="edgelake-demo-"))
    stage = Stage(folder, rows, seconds)
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
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
    except (EdgeLakeError, ProcessError, OSError) as failure:
        write(f"The demo cannot go on: {failure}", sys.stderr)
        return 1
    finally:
        stopped.cancel()
        try:
            await stage.stop()
        finally:
            if home is None:
                shutil.rmtree(folder, ignore_errors=True)


async def _count(node: Node) -> int:
    if node.ctx.stores.table(DBMS, TABLE) is None:
        return 0
    return sum((await node.ctx.stores.get(DBMS).row_counts([TABLE])).values())


# ---- ports


def _claimed(ports: Sequence[int]) -> list[socket.socket] | None:
    """None when one of the ports is taken; else what keeps them from other demos as long as it is open.

    TCP ports are the servers' own. The UDP ports beside them, which nobody uses, say that a demo is about to listen.
    """
    with contextlib.ExitStack() as opened:
        claims = []
        for port in ports:
            claims.append(opened.enter_context(socket.socket(type=socket.SOCK_DGRAM)))
            try:
                claims[-1].bind(("127.0.0.1", port))
                with socket.socket() as probe:
                    probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                    probe.bind(("127.0.0.1", port))
            except OSError:
                return None
        opened.pop_all()
        return claims
