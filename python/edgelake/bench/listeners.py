"""Helper process: open consoles, as the node sees them: connections that read its events."""

from __future__ import annotations

import asyncio
import json
import sys

from edgelake.bench.processes import tell

PROGRAM = ("-m", "edgelake.bench.listeners")


async def listen(port: int, opened: asyncio.Queue[None]) -> None:
    """One of them. It reads and forgets; a page draws, elsewhere."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"GET /v1/events HTTP/1.1\r\nHost: localhost\r\n\r\n")
    for _ in range(2):  # with the second one it is open, no longer being opened
        await reader.readuntil(b"event: state\n")
    opened.put_nowait(None)
    while await reader.read(1 << 16):
        pass
    writer.close()


async def run(port: int, listeners: int) -> None:
    """Tell when all of them are open; then as long as the node sends."""
    opened: asyncio.Queue[None] = asyncio.Queue()
    tasks = [asyncio.create_task(listen(port, opened)) for _ in range(listeners)]
    for _ in tasks:
        await opened.get()
    tell(listening=listeners)
    await asyncio.gather(*tasks)


if __name__ == "__main__":
    asyncio.run(run(**json.loads(sys.argv[1])))
