"""How inputs try again: connections after a pause, messages until they are taken."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from typing import TypeVar

from edgelake.errors import OverloadedError

LONGEST_PAUSE_S = 60.0
FULL_PAUSE_S = 0.05

T = TypeVar("T")


def pause_s(failures: int) -> float:
    """Before the next try: 1 to 60 s, twice as long after each failure, and no two clients at once."""
    seconds = LONGEST_PAUSE_S if failures > 10 else min(2.0**failures, LONGEST_PAUSE_S)
    return max(1.0, seconds * random.uniform(0.5, 1.0))


async def until_taken(offer: Callable[[], Awaitable[T]], told: Callable[[Exception], None]) -> T:
    """Offer until it is taken; returns what came of it. A full node is asked soon again, others ever more seldom.

    Args:
        told: of each failure that is not the node's being full.
    """
    pause = FULL_PAUSE_S
    while True:
        try:
            return await offer()
        except OverloadedError:
            longest = 1.0
        except Exception as problem:  # noqa: BLE001 - not acknowledged, so not lost: it is offered again
            told(problem)
            longest = LONGEST_PAUSE_S
        await asyncio.sleep(pause)
        pause = min(pause * 2, longest)
