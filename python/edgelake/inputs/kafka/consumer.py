"""A consumer of Kafka topics: stays in its group, and hands over what comes.

Spec: brokers and mapping, section 13. Each message's rows are in the database once, through kills of the node and of
brokers: the journal keeps rows and offsets together, and the group's offsets are committed behind it.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import logging
import time
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

from edgelake._rust import ReadMessages
from edgelake.errors import EdgeLakeError, ServiceError
from edgelake.inputs.kafka.config import Cluster, Source, need_library
from edgelake.inputs.retry import pause_s, until_taken

if TYPE_CHECKING:
    from edgelake.inputs.kafka.link import Link

log = logging.getLogger(__name__)

STABLE_S = 10.0  # a connection that held so long was none of those that break at once
LOOK_S = 2.0
DRAIN_S = 5.0

Deliver = Callable[[ReadMessages], Awaitable[None]]
"""Takes a batch; returns when its rows are durable. What cannot be mapped is counted there and no failure."""


class KafkaConsumer:
    """A member of one group. ``start`` returns at once: it joins, and joins again, in the background.

    Args:
        position: how far the node has read a source, by its name.
        ended: called by ``end``, for whoever lists the consumers.
    """

    def __init__(
        self,
        number: int,
        cluster: Cluster,
        source: Source,
        deliver: Deliver,
        position: Callable[[str], int | None],
        ended: Callable[[KafkaConsumer], None] = lambda consumer: None,
    ) -> None:
        self.number = number
        self.cluster = cluster
        self.source = source
        self._deliver = deliver
        self._position = position
        self._ended = ended
        self._link: Link | None = None
        self._state = "Connecting"
        self._problem = ""
        self._waiting_for = ""
        self._stopping = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    # ---- life

    async def start(self) -> None:
        """Raises NotAvailableError, CommandError for TLS files that cannot be used."""
        need_library()
        await asyncio.to_thread(importlib.import_module, "edgelake.inputs.kafka.link")  # 0.2 s at the first time
        await asyncio.to_thread(self.cluster.security)
        self._task = asyncio.create_task(self._stay())

    async def stop(self) -> None:
        """Store and commit what was read, leave the group. Idempotent."""
        self._stopping.set()
        if self._link is not None:
            self._link.leave()
        task, self._task = self._task, None
        if task is None:
            return
        _, late = await asyncio.wait([task], timeout=DRAIN_S)
        for one in late:  # what was not taken stays with the broker
            one.cancel()
        await asyncio.wait([task])

    async def end(self) -> None:
        await self.stop()
        self._ended(self)

    # ---- what is shown

    @property
    def state(self) -> str:
        """Joining: the group has not said yet which partitions are ours; so it is for a moment when members change."""
        if self._state == "Connected" and self._link is not None and not self._link.is_assigned:
            return "Joining"
        return self._state

    @property
    def connection(self) -> str:
        """As ``get msg clients`` shows it."""
        return "Connected" if self.connected else f"Not connected: {self._problem or self._state}"

    @property
    def connected(self) -> bool:
        return self._state == "Connected"

    @property
    def problem(self) -> str:
        of_link = self._link.commit_problem if self._link is not None else ""
        return self._problem or self._waiting_for or of_link

    @property
    def lag(self) -> int:
        return self._link.lag if self._link is not None else 0

    # ---- the connection

    async def _stay(self) -> None:
        failures = 0
        while not self._stopping.is_set():
            began = time.monotonic()
            try:
                await self._session()
            except asyncio.CancelledError:
                task = asyncio.current_task()
                if task is None or task.cancelling():
                    raise
                self._failed(self._broken())  # the library has cancelled its own
            except Exception as problem:  # noqa: BLE001 - the next try may succeed; this one is shown
                if isinstance(problem, EdgeLakeError) and time.monotonic() - began > STABLE_S:
                    failures = 0
                self._failed(problem)
            if self._stopping.is_set():
                break
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stopping.wait(), pause_s(failures))
            failures += 1
        self._state = "Stopped"

    def _problem_of(self, task: asyncio.Task[None]) -> BaseException | None:
        """What ended a task; the library cancels what waits for a connection that breaks, which is none of our own."""
        if not task.done():
            return None
        if task.cancelled():
            return self._broken()
        return task.exception()

    def _broken(self) -> ServiceError:
        return ServiceError(f"{self.cluster.address}: the connection broke off", hint="see whether the broker runs")

    def _failed(self, problem: BaseException) -> None:
        reason = f"{type(problem).__name__}: {problem}"
        if isinstance(problem, EdgeLakeError):
            reason = f"{problem.detail}; {problem.hint}" if problem.hint else problem.detail
        self._state = "Reconnecting"
        if reason != self._problem:
            log.warning("kafka consumer %d: %s", self.number, reason)
        self._problem = reason

    async def _session(self) -> None:
        from edgelake.inputs.kafka.link import Link

        link = Link(self.cluster, self.source, self._position, self._store)
        self._link = link
        watching = None
        try:
            await link.open()
            self._state, self._problem = "Connected", ""
            watching = asyncio.create_task(self._watch(link))
            running = asyncio.create_task(link.run())
            if self._stopping.is_set():
                link.leave()
            await asyncio.wait([watching, running], return_when=asyncio.FIRST_COMPLETED)
            problem = next((one for task in (running, watching) if (one := self._problem_of(task)) is not None), None)
            if problem is not None:
                self._failed(problem)  # leaving a cluster that does not answer takes its time
            for task in (running, watching):
                task.cancel()  # one that is done stays as it is
            await asyncio.wait([running, watching], timeout=DRAIN_S)  # the library may wait for a broker that is gone
            if problem is not None:
                raise problem
        finally:
            self._link = None
            if watching is not None:
                watching.cancel()
            await link.close()

    async def _watch(self, link: Link) -> None:
        """Ends when the cluster does not answer any more, or a topic is gone: aiokafka would wait without a word."""
        while True:
            await asyncio.sleep(LOOK_S)
            missing = await link.missing_topics()
            self._problem = f"no topic {', '.join(missing)} there: create it" if missing else ""

    # ---- the way to the journal

    async def _store(self, read: ReadMessages, is_given_up: Callable[[], bool]) -> bool:
        """Until it is taken: what waits here is not committed, and nothing more is read."""

        offers = 0

        async def offer() -> bool:
            nonlocal offers
            offers += 1
            if offers > 1 and is_given_up():
                return False
            await self._deliver(read)
            return True

        def told(problem: Exception) -> None:
            self._waiting_for = str(problem)
            log.warning("kafka consumer %d: %d messages wait: %s", self.number, len(read), problem)

        is_stored = await until_taken(offer, told)
        self._waiting_for = ""
        return is_stored
