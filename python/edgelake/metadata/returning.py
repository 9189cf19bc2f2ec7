"""Operators that did not answer are asked until they do (spec: security and high availability, section 12)."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from typing import Final

from edgelake.errors import EdgeLakeError
from edgelake.metadata.routing import NodeState, Routes
from edgelake.peering import NO_ANSWER, UNREACHABLE, PeerAnswer

log = logging.getLogger(__name__)

FIRST_S = 1.0
"""After its first failure a node is asked again so soon, then ever later."""

LONGEST_S: Final = 30.0
ANSWER_S: Final = 3.0
AT_A_TIME: Final = 64

QUESTION: Final = "get status"


class Returning:
    """Asks operators that did not answer whether they are there again, so that queries need not find that out.

    Without it a node whose fellow members answer would be asked last for ever.

    Args:
        ask: a command to some nodes, and their answers.
    """

    def __init__(self, routes: Routes, ask: Callable[..., Awaitable[list[PeerAnswer]]]) -> None:
        self._routes, self._ask = routes, ask
        self._silent = asyncio.Event()

    async def run(self) -> None:
        """Ask until it is cancelled."""
        self._routes.on_silent = self._silent.set
        self._silent.set()
        while True:
            await self._silent.wait()
            self._silent.clear()
            while silent := self._routes.silent():
                now = time.monotonic()
                due = [address for address, state in silent.items() if now >= _due(state)][:AT_A_TIME]
                if due:
                    await self._question(due)
                else:
                    await asyncio.sleep(FIRST_S)

    async def _question(self, addresses: list[str]) -> None:
        try:
            answers = await self._ask(addresses, QUESTION, timeout_s=ANSWER_S)
        except EdgeLakeError as problem:  # too much is being asked already
            log.warning("nodes that did not answer cannot be asked whether they are there again: %s", problem)
            await asyncio.sleep(LONGEST_S)
            return
        for address, answer in zip(addresses, answers, strict=True):
            self._routes.mark(address, active=answer.error not in (NO_ANSWER, UNREACHABLE))


def _due(state: NodeState) -> float:
    """When a node is to be asked, on the monotonic clock."""
    return state.since + min(FIRST_S * (1 << min(state.failures - 1, 10)), LONGEST_S)
