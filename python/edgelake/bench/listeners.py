"""Helper process: open consoles, as the node sees them: connections that read its events."""

from __future__ import annotations

import asyncio
import json
import sys

from edgelake.bench.processes import tell

PROGRAM = ("-m", "edgelake.bench.listeners")


async def listen(port: int, first: asyncio.Queue[None]) -> None:
    """One of them. It reads and forgets; a page draws, elsewhere."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"GET /v1/events HTTP/1.1\r\nHost: localhost\r\n\r\n")
    await reader.readuntil(b"event: state\n")
    first.put_nowait(None)
    while await reader.read(1 << 16):
        pass
    writer.close()


async def run(port: int, listeners: int) -> None:
    """Tell when all of them have had their first event; then as long as the node sends."""
    first: asyncio.Queue[None] = asyncio.Queue()
    tasks = [asyncio.create_task(listen(port, first)) for _ in range(listeners)]
    for _ in tasks:
        await first.get()
    tell(listening=listeners)
    await asyncio.gather(*tasks)


if __name__ == "__main__":
    asyncio.run(run(**json.loads(sys.argv[1])))
