"""A message client of another broker: stays connected, and hands over what comes.

Spec: brokers and mapping, sections 4 and 12. A message of QoS 1 or 2 is acknowledged when it has been handed over,
which means that the journal has it; with a session that the broker keeps (``clean`` false) nothing is lost while the
node is down. QoS 2 is exactly once over lost connections; a kill of the node between journal and acknowledgement
brings the last messages a second time, as with QoS 1.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING

from msgspec.structs import replace

from edgelake.errors import EdgeLakeError
from edgelake.inputs.mqtt.config import RENEW_S, Broker, Subscription
from edgelake.inputs.mqtt.inbox import Inbox, Message
from edgelake.inputs.retry import pause_s, until_taken
from edgelake.model import Status

if TYPE_CHECKING:
    from edgelake.inputs.mqtt.link import Link, Trace

log = logging.getLogger(__name__)

STABLE_S = 10.0  # a connection that held so long was none of those that break at once
DRAIN_S = 5.0  # for what is in memory when the client stops

Deliver = Callable[[list[Message]], Awaitable[None]]
"""Takes messages; returns when they are durable. What cannot be mapped is counted there and no failure.

Raises when they were not taken: they are offered again.
"""


class RemoteClient:
    """A client of one broker. ``start`` returns at once: the connection is made, and made again, in the background.

    Args:
        name: of the service.
        trace: told each line of the protocol log; None = nobody.
        inbox: with other bounds than the usual ones.
    """

    def __init__(
        self,
        name: str,
        broker: Broker,
        subscriptions: Sequence[Subscription],
        deliver: Deliver,
        *,
        trace: Trace | None = None,
        inbox: Inbox | None = None,
    ) -> None:
        self.name = name
        self._broker = broker
        self._subscriptions = subscriptions
        self._deliver = deliver
        self._trace = trace
        self._link: Link | None = None
        self._connection = "Not connected: MQTT_ERR_NO_CONN: connecting"
        self._problem = ""
        self._tasks: list[asyncio.Task[None]] = []
        self._stopping = asyncio.Event()
        self._drained = asyncio.Event()
        self._connected = asyncio.Event()
        self._inbox = inbox if inbox is not None else Inbox()
        self._since_us = 0

    # ---- life

    async def start(self) -> None:
        """Raises CommandError, NotAvailableError for TLS files and keys that cannot be used."""
        if self._broker.tls is not None:
            self._broker.tls.context()
        if self._broker.token is not None:
            self._broker.token.check()
        self._since_us = time.time_ns() // 1000
        self._tasks = [asyncio.create_task(self._connect()), asyncio.create_task(self._hand_over())]

    async def stop(self) -> None:
        """Hand over and acknowledge what is here, leave. The broker keeps a session for the next start."""
        await self._stop(forget=False)

    async def end(self) -> None:
        """As ``stop``, and the broker need keep nothing for us."""
        await self._stop(forget=True)

    async def _stop(self, *, forget: bool) -> None:
        self._stopping.set()
        if not self._tasks:
            return
        connecting, handing = self._tasks
        self._tasks = []
        was_connected = self._link is not None
        if self._link is not None:
            self._link.pause()
        self._inbox.close()
        _, late = await asyncio.wait([handing], timeout=DRAIN_S)
        for task in late:  # what was not taken stays with the broker
            task.cancel()
        await asyncio.wait([handing])
        self._drained.set()
        await asyncio.wait([connecting])
        if forget and was_connected and not self._broker.clean:
            await self._forget()

    async def _forget(self) -> None:
        """A connection with a clean session ends the one that the broker keeps."""
        from edgelake.inputs.mqtt.link import FAILURES

        try:
            await self._open(replace(self._broker, clean=True))
        except (*FAILURES, EdgeLakeError) as problem:
            log.warning(
                "%s: %s:%d goes on keeping messages for the client id %s, since its session could not be ended there "
                "(%s); connect once with this client id and a clean session, or remove the session at the broker",
                self.name,
                self._broker.host,
                self._broker.port,
                self._broker.client_id,
                _reason(problem),
            )
        ended, self._link = self._link, None
        if ended is not None:
            await ended.close()

    @property
    def connection(self) -> str:
        """As ``get msg clients`` shows it."""
        return self._connection

    async def connected(self) -> None:
        """Returns when the broker has accepted us and our subscriptions, or the client stops."""
        await self._connected.wait()

    def status(self) -> Status:
        counters: dict[str, int | float] = {"waiting": len(self._inbox), "repeated": self._inbox.repeated}
        return Status(
            "MQTT",
            bool(self._tasks),
            f"{self._broker.host}:{self._broker.port}: {self._connection}",
            self._since_us,
            self._problem,
            counters,
        )

    # ---- the connection

    async def _connect(self) -> None:
        failures = 0
        while not self._stopping.is_set():
            began = time.monotonic()
            try:
                reason = await self._session()
            except Exception as problem:  # noqa: BLE001 - the next try may succeed; this one is shown
                reason = _reason(problem)
            self._connected.clear()
            if self._stopping.is_set():
                break
            if not reason:  # we left to come back with a new token
                continue
            failures = 0 if time.monotonic() - began > STABLE_S else failures
            self._failed(reason)
            await self._pause(failures)
            failures += 1
        self._connection = "Not connected: MQTT_ERR_NO_CONN: stopped"

    def _failed(self, reason: str) -> None:
        self._connection = f"Not connected: {reason}"
        if reason != self._problem:
            log.warning("%s: %s:%d: %s", self.name, self._broker.host, self._broker.port, reason)
        self._problem = reason

    async def _pause(self, failures: int) -> None:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._stopping.wait(), pause_s(failures))

    async def _open(self, broker: Broker) -> Link:
        from edgelake.inputs.mqtt.link import Link  # aiomqtt is loaded by nodes that have such a client

        password = await asyncio.to_thread(broker.secret, int(time.time()))
        self._link = Link(broker, password, self._inbox, self._trace)
        await self._link.open()
        return self._link

    async def _session(self) -> str:
        """One connection from beginning to end; returns why it ended, nothing when we left it."""
        try:
            link = await self._open(self._broker)
            refused = await link.subscribe_all(self._subscriptions)
            if refused:
                self._failed(f"MQTT_ERR_CONN_REFUSED: no subscription of {', '.join(refused)}")
                if len(refused) == len(self._subscriptions):
                    return self._problem
            else:
                self._problem = ""
            self._connection = "Connected" + (f", without {', '.join(refused)}" if refused else "")
            self._connected.set()
            return await self._while_connected(link)
        finally:
            ended, self._link = self._link, None
            if ended is not None:
                ended.pause()  # what came now could not be acknowledged
            self._inbox.disconnected()
            if ended is not None:
                await ended.close()

    async def _while_connected(self, link: Link) -> str:
        lost = asyncio.create_task(link.lost())
        drained = asyncio.create_task(self._drained.wait())
        ends = [lost, drained]
        try:
            await asyncio.wait(
                ends, timeout=RENEW_S if self._broker.token is not None else None, return_when=asyncio.FIRST_COMPLETED
            )
            return f"MQTT_ERR_CONN_LOST: {lost.result()}" if lost.done() else ""
        finally:
            for task in ends:
                task.cancel()

    # ---- the way to the journal

    async def _hand_over(self) -> None:
        while (batch := await self._inbox.take()) is not None:
            if self._link is not None and not self._stopping.is_set():
                self._link.resume()
            if batch.messages:
                await self._deliver_surely(batch.messages)
            answers = self._inbox.kept(batch)
            if answers and self._link is not None:
                self._link.receiver.answer(answers)

    async def _deliver_surely(self, messages: list[Message]) -> None:
        """Until it is taken: what waits here is not acknowledged, and a full inbox stops the reading."""

        def told(problem: Exception) -> None:
            self._problem = str(problem)
            log.warning("%s: %d messages wait: %s", self.name, len(messages), problem)

        await until_taken(lambda: self._deliver(messages), told)


def _reason(problem: Exception) -> str:
    """A failure as the reference words it, with what the broker or the system said."""
    import aiomqtt

    if isinstance(problem, aiomqtt.exceptions.MqttConnectError):
        return f"MQTT_ERR_CONN_REFUSED: {problem}"
    if isinstance(problem, aiomqtt.MqttError | OSError):
        return f"MQTT_ERR_NO_CONN: {problem}"
    return f"MQTT_ERR_UNKNOWN: {type(problem).__name__}: {problem}"
