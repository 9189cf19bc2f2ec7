"""A node whose disk and database are slow: ``python -m edgelake.bench.slow SYNC_DELAY_US US_PER_ROW SCRIPT``.

For the bench of what memory holds when readings arrive faster than they are stored; the node itself has no such switch.
"""

from __future__ import annotations

import asyncio
import signal
import sys

import uvloop

from edgelake.ingest.service import Brake
from edgelake.node import Node


def program(brake: Brake) -> tuple[str, ...]:
    """The program, for ``processes.node``."""
    return "-m", "edgelake.bench.slow", str(brake.sync_delay_us), str(brake.us_per_row)


async def serve(brake: Brake, script: str) -> None:
    stopping = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopping.set)
    node = Node()
    node.ctx.ingest.brake = brake
    async with node:
        await node.execute(f"process {script}")
        await stopping.wait()


if __name__ == "__main__":
    uvloop.run(serve(Brake(int(sys.argv[1]), float(sys.argv[2])), sys.argv[3]))
