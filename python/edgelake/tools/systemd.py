"""What a service manager is told: ready, alive, stopping (sd_notify(3)); nothing where there is none."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from collections.abc import AsyncIterator
from typing import Final

LONGEST_S: Final = 1.0


def notify(state: str, *, wait_s: float = LONGEST_S) -> None:
    """Send a state to the manager that started this process, when it asked for that.

    A manager that is busy takes no more than a few messages: it does not hold up the node.
    """
    name = os.environ.get("NOTIFY_SOCKET", "")
    if not name.startswith(("/", "@")):
        return
    address = f"\0{name[1:]}" if name.startswith("@") else name
    with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as link:
        link.settimeout(wait_s)
        link.connect(address)
        link.send(state.encode())


@contextlib.asynccontextmanager
async def watched() -> AsyncIterator[None]:
    """Tell the manager's watchdog that the loop runs, twice in its time; the manager restarts one that hangs."""
    text = os.environ.get("WATCHDOG_USEC", "")
    period_s = int(text) / 2e6 if text.isdigit() and int(text) else 0.0
    beating = asyncio.create_task(_beat(period_s)) if period_s else None
    try:
        yield
    finally:
        notify("STOPPING=1")
        if beating is not None:
            beating.cancel()


async def _beat(period_s: float) -> None:
    while True:
        notify("WATCHDOG=1", wait_s=0)
        await asyncio.sleep(period_s)
