"""When waits end: one timer of the loop for all of them, since most end long before their time."""

from __future__ import annotations

import asyncio


class Deadlines:
    """Futures that are set when their time is over, if nothing else has."""

    def __init__(self) -> None:
        self._ends: dict[asyncio.Future[None], float] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._at = 0.0

    def __len__(self) -> int:
        return len(self._ends)

    def end(self, future: asyncio.Future[None], after_s: float) -> None:
        """Set it then; to be forgotten by whoever has waited."""
        if future.done():
            return
        loop = future.get_loop()
        self._ends[future] = at = loop.time() + after_s
        if self._timer is None or at < self._at:
            self._arm(loop, at)

    def forget(self, future: asyncio.Future[None]) -> None:
        """It has ended. The timer stays: another wait may need it, and if none does it finds nothing once."""
        self._ends.pop(future, None)

    def close(self) -> None:
        """Nobody waits any more."""
        self._ends.clear()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _arm(self, loop: asyncio.AbstractEventLoop, at: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer, self._at = loop.call_at(at, self._look, loop), at

    def _look(self, loop: asyncio.AbstractEventLoop) -> None:
        self._timer, now = None, loop.time()
        for future in [future for future, at in self._ends.items() if at <= now]:
            del self._ends[future]
            if not future.done():
                future.set_result(None)
        if self._ends:
            self._arm(loop, min(self._ends.values()))
