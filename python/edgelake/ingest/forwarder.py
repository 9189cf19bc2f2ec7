"""Derived rows on their way into databases other than that of their readings.

The rows' transaction notes them; from here they are taken behind the commit, once it is on disk. The database that gets
them keeps the number that it has reached in the same transaction, so that each goes in once.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from functools import partial
from typing import Final

from edgelake.errors import EdgeLakeError
from edgelake.store import aggregates
from edgelake.store.store import Store
from edgelake.store.stores import Stores

TOGETHER: Final = 5_000
PAUSE_S: Final = 0.2
"""Between rounds: intervals that change meanwhile go once."""
LONGEST_PAUSE_S: Final = 30.0


class Forwarder:
    """Hands derived rows over while the node runs. For the loop.

    Attributes:
        errors: by the database that would get them: what keeps them back.
        on_report: told when something keeps them back, and when they go again.
    """

    def __init__(self, stores: Stores, on_report: Callable[[str], None]) -> None:
        self._stores = stores
        self._on_report = on_report
        self._posted = asyncio.Event()
        self._noting: set[str] = set()  # databases that may have notes
        self._round = asyncio.Lock()
        self._task: asyncio.Task[None] | None = None
        self.errors: dict[str, str] = {}

    def attach(self, store: Store) -> None:
        """Look after what a database notes, and what it has noted; rows that wait for it may go now."""
        loop = asyncio.get_running_loop()

        def posted() -> None:
            with contextlib.suppress(RuntimeError):  # the loop has ended
                loop.call_soon_threadsafe(self._look_at, store.dbms)

        store.on_posted = posted
        self._look_at(store.dbms)
        if self._task is None:
            self._task = loop.create_task(self._run())

    def _look_at(self, dbms: str) -> None:
        self._noting.add(dbms)
        self._posted.set()

    async def stop(self) -> None:
        """Hand over what can go now, end. Idempotent."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
            self._task = None
            await self.hand_over()

    async def hand_over(self) -> None:
        """All that is noted, as far as its databases take it."""
        async with self._round:
            failed: dict[str, str] = {}
            for store in list(self._stores):
                if store.dbms in self._noting:
                    self._noting.discard(store.dbms)
                    own = await self._hand_over(store)
                    if own:
                        self._noting.add(store.dbms)
                    failed |= own
            self._note(failed)

    async def _hand_over(self, store: Store) -> dict[str, str]:
        """What keeps the notes of a database back, by the database that would get them."""
        failed: dict[str, str] = {}
        try:
            for target in await store.run(aggregates.waiting):
                try:
                    await self._forward(store, target)
                except EdgeLakeError as problem:
                    failed[target] = str(problem)
        except EdgeLakeError as problem:
            failed[store.dbms] = str(problem)
        return failed

    async def _run(self) -> None:
        pause_s = PAUSE_S
        while True:
            if self.errors:
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._posted.wait(), pause_s)
                pause_s = min(pause_s * 2, LONGEST_PAUSE_S)
            else:
                pause_s = PAUSE_S
                await self._posted.wait()
            self._posted.clear()
            await self.hand_over()
            await asyncio.sleep(PAUSE_S)

    async def _forward(self, store: Store, target_dbms: str) -> None:
        target = self._stores.get(target_dbms)
        while notes := await store.run(lambda db: aggregates.posted(db, target_dbms, TOGETHER)):
            await asyncio.to_thread(store.checkpoint)  # a crash must not take back what the other one has
            await target.receive(notes)
            await store.change(partial(aggregates.handed_over, target_dbms=target_dbms, up_to=notes[-1].number))

    def _note(self, failed: dict[str, str]) -> None:
        for target, text in failed.items():
            if self.errors.get(target) != text:
                self._on_report(f"aggregates for database {target}: {text}")
        for target in self.errors.keys() - failed.keys():
            self._on_report(f"aggregates for database {target}: they are stored again")
        self.errors = failed
