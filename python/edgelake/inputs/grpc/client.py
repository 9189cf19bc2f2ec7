"""A client of one gRPC server: stays connected, and hands over what comes.

Spec: brokers and mapping, section 14. gRPC has no acknowledgement: what was received and not yet in the journal is lost
with a kill of the node. A node that is full makes the server wait.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import json
import logging
import threading
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from msgspec import Struct
from msgspec.structs import replace

from edgelake._rust import ProtoDecoder
from edgelake.errors import (
    CommandError,
    EdgeLakeError,
    JournalError,
    OverloadedError,
    ServiceError,
    StoppingError,
    StorageFullError,
    TimeoutExpiredError,
    error,
)
from edgelake.inputs.grpc.config import Call, Pace, ProtoFile, Server, need_libraries
from edgelake.inputs.grpc.inbox import Inbox
from edgelake.inputs.grpc.sink import Sink
from edgelake.inputs.retry import pause_s, until_taken
from edgelake.model import Stored
from edgelake.service import Streak

if TYPE_CHECKING:
    from edgelake.inputs.grpc.link import Session, Stub
    from edgelake.inputs.grpc.proto import Method

log = logging.getLogger(__name__)

STABLE_S = 10.0  # a connection that held so long was none of those that break at once
GATHER_S = 0.02  # when messages come faster than one by one: each hand-over costs the reading thread its turn
DRAIN_S = 5.0  # for what is in memory when the client stops
MOST_REPLIES = 1000  # of one call of a script
SHOWN_MESSAGES = 20
SHOWN_CHARACTERS = 1000

T = TypeVar("T")


class Counts(Struct):
    """Of one client.

    Attributes:
        messages: received.
        rows, errors: rows that became of them; messages and rows that were not taken.
        timeouts: calls without a reply in time, and connections.
    """

    messages: int = 0
    rows: int = 0
    errors: int = 0
    timeouts: int = 0
    last_error: str = ""


class GrpcClient:
    """A function of a server whose replies become rows. Made on the loop.

    Args:
        proto: the definition; a file that isn't there, or None: the server is asked for it.
        sink: where they go; None = messages are counted only.
        show: told each message of a client that is debugged.
        invoke: the function is called by ``ask`` only.
    """

    def __init__(
        self,
        name: str,
        server: Server,
        call: Call,
        pace: Pace,
        *,
        proto: ProtoFile | None = None,
        sink: Sink | None = None,
        show: Callable[[str], None] | None = None,
        invoke: bool = False,
    ) -> None:
        self.name = name
        self.server = server
        self.call = call
        self.proto = proto
        self.counts = Counts()
        self._pace = pace
        self.sink = sink
        self._show = show
        self._state = "Not connected"
        self._ended = False
        self._method: Method | None = None
        self._decoder: ProtoDecoder | None = None
        self._session: Session | None = None
        self._invoke = invoke
        self._stub: Stub | None = None
        self._inbox = Inbox()
        self._first: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._tasks: list[asyncio.Task[None]] = []
        self._stopping = asyncio.Event()
        self._received = 0
        self._lost = Streak()
        self._misfits = Streak()

    # ---- life

    async def start(self) -> None:
        """Compile the definition, connect. With ``reconnect`` the connection is made in the background.

        Raises CommandError, NotAvailableError, EdgeLakeError (12, 15, 78), ServiceError: nothing runs then.
        """
        await self._prepare()
        if self._stopping.is_set():
            raise StoppingError(f"gRPC client '{self.name}' was stopped while it started")
        if self.sink is not None:
            self.sink.open()
        if self._invoke:
            self._state = "Registered"
            return
        self._tasks = [asyncio.create_task(self._connect()), asyncio.create_task(self._hand_over())]
        if self._pace.reconnect:
            return
        try:
            problem = await self._first
        except asyncio.CancelledError:
            await self.stop()
            raise
        if problem:
            await self.stop()
            hint = "reconnect = true goes on trying"
            raise error(15, f"gRPC client '{self.name}': {self.server.address}: {problem}", hint=hint)

    async def _prepare(self) -> None:
        """All that needs no server."""
        need_libraries()
        await asyncio.to_thread(importlib.import_module, "edgelake.inputs.grpc.link")  # 0.2 s at the first time
        from edgelake.inputs.grpc.proto import compile_proto, method_of

        if self.server.tls is not None:
            await asyncio.to_thread(self.server.certificates)
        if self.proto is not None and (self.proto.path.is_file() or not self.proto.path.parent.is_dir()):
            self._defined(method_of(await asyncio.to_thread(compile_proto, self.proto), self.call))

    def _defined(self, method: Method) -> None:
        """The definition is here. From a session's thread before its first message, or on the loop."""
        values = {
            "conn": self.server.address,
            "proto": self.proto_name,
            "request": method.request_type.rpartition(".")[2],
        }
        added = [(f"<{key}>", values[key]) for key in self.call.added]
        try:
            self._decoder = ProtoDecoder(method.descriptors, method.response_type, added, defaults=self.call.defaults)
        except ValueError as problem:
            raise CommandError(f"{method.response_type}: the definition cannot be used: {problem}") from None
        self._method = method

    async def stop(self) -> None:
        """End the call and hand over what came. Idempotent."""
        self._stopping.set()
        self._end("Ended: stopped")
        stub, self._stub = self._stub, None
        if stub is not None:
            await asyncio.to_thread(stub.close)
        tasks, self._tasks = self._tasks, []
        if not tasks:
            return
        connecting, handing = tasks
        if self._session is not None:
            self._session.cancel()
        self._inbox.close()
        await asyncio.wait([connecting])
        _, late = await asyncio.wait([handing], timeout=DRAIN_S)
        for task in late:
            log.warning("gRPC client '%s': %d messages were not stored", self.name, len(self._inbox))
            task.cancel()
        await asyncio.wait([handing])

    # ---- what is shown

    @property
    def proto_name(self) -> str:
        return self.proto.path.stem if self.proto is not None else ""

    @property
    def request_name(self) -> str:
        return self.call.request or (self._method.request_type.rpartition(".")[2] if self._method is not None else "")

    @property
    def state(self) -> str:
        """``Connected``, ``Not connected: why`` or ``Ended: why``."""
        return self._state

    @property
    def connected(self) -> bool:
        return self._state == "Connected"

    @property
    def ended(self) -> bool:
        return self._ended

    def _end(self, state: str) -> None:
        if not self._ended:
            self._ended, self._state = True, state

    @property
    def waiting(self) -> int:
        """Messages that came and are not on their way to the journal yet."""
        return len(self._inbox)

    # ---- the connection

    async def _connect(self) -> None:
        failures, problem = 0, ""
        while not self._stopping.is_set():
            began = time.monotonic()
            problem = await self._session_problem()
            if self._stopping.is_set():
                break
            if not problem:
                self._end(f"Ended: limit of {self._pace.limit} messages")
                break
            self._failed(problem)
            if not self._pace.reconnect:
                self._end(f"Ended: {problem}")
                break
            failures = 0 if time.monotonic() - began > STABLE_S else failures
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stopping.wait(), pause_s(failures))
            failures += 1
        self._inbox.close()
        self._answer("stopped" if self._stopping.is_set() else problem)

    def _answer(self, problem: str) -> None:
        """To ``start``: the connection stands, or why it does not."""
        if not self._first.done():
            self._first.set_result(problem)

    def _failed(self, problem: str) -> None:
        self._state = f"Not connected: {problem}"
        self.counts.last_error = problem
        if self._lost.failed():
            log.warning("gRPC client '%s': %s: %s%s", self.name, self.server.address, problem, self._lost.times)

    def _connected(self, session: Session) -> None:
        if self._stopping.is_set() or self._session is not session:
            return
        self._state = "Connected"
        if failures := self._lost.worked():
            log.warning("gRPC client '%s': %s: connected after %d failures", self.name, self.server.address, failures)
        self._answer("")

    async def _session_problem(self) -> str:
        """One connection from beginning to end; returns why it failed, nothing when it ended as it should."""
        from edgelake.inputs.grpc import link  # grpcio is loaded by nodes that have such a client

        loop = asyncio.get_running_loop()

        def connected() -> None:
            loop.call_soon_threadsafe(self._connected, session)

        def timed_out(problem: str) -> None:
            loop.call_soon_threadsafe(self._timed_out, problem)

        left = self._pace.limit - self._received if self._pace.limit else 0
        told = link.Told(connected, self._defined, timed_out)
        session = link.Session(self.server, self.call, self._method, self._pace, left, self._inbox, told)
        self._session = session
        try:
            await in_thread(session.run, f"grpc {self.name}")
            return ""
        except EdgeLakeError as problem:
            self.counts.timeouts += isinstance(problem, TimeoutExpiredError)
            return _said(problem)
        except Exception as problem:  # noqa: BLE001 - the next try may succeed; this one is shown
            return f"{type(problem).__name__}: {problem}"
        finally:
            self._received += session.took
            self._session = None

    def _timed_out(self, problem: str) -> None:
        self.counts.timeouts += 1
        self.counts.last_error = problem

    # ---- calls of scripts

    async def ask(self, value: Sequence[tuple[str, str]]) -> tuple[list[Any], bool]:
        """Call the function once; returns the objects of its replies, and whether there may be several.

        Args:
            value: fields of the request, in place of those of the declaration; empty = those.

        Raises CommandError for a value that does not fit; ServiceError, TimeoutExpiredError without an answer.
        """
        from edgelake.inputs.grpc import link

        if self._stub is None:
            self._stub = link.Stub(self.server)
        call = replace(self.call, value=tuple(value) or self.call.value)
        stub, most = self._stub, self._pace.limit or MOST_REPLIES
        try:
            method, replies = await in_thread(
                lambda: stub.ask(call, self._method, self._pace.timeout_s, most), f"grpc {self.name}"
            )
        except (ServiceError, TimeoutExpiredError) as problem:
            self.counts.timeouts += isinstance(problem, TimeoutExpiredError)
            self.counts.last_error = _said(problem)
            problem.detail = f"gRPC client '{self.name}': {self.server.address}: {problem.detail}"
            raise
        if self._decoder is None:
            self._defined(method)
        self.counts.messages += len(replies)
        assert self._decoder is not None
        payload, _, failed, reason = self._decoder.decode(replies)
        if failed:
            raise ServiceError(f"gRPC client '{self.name}': a reply cannot be decoded: {reason}")
        return json.loads(payload), method.streams

    # ---- the way to the journal

    async def _hand_over(self) -> None:
        try:
            await self._hand_all_over()
        finally:
            if self.sink is not None:
                self.sink.close()

    async def _hand_all_over(self) -> None:
        while (messages := await self._inbox.take()) is not None:
            self.counts.messages += len(messages)
            assert self._decoder is not None  # nothing comes before the definition
            payload, objects, failed, reason = self._decoder.decode(messages)
            if failed:
                self._refused(failed, f"{failed} messages cannot be decoded: {reason}")
            if self._show is not None:
                self._show_all(payload)
            if self.sink is not None and objects:
                await self._store(self.sink, payload, objects)
            await self._inbox.gather(GATHER_S)

    async def _store(self, sink: Sink, payload: bytes, objects: int) -> None:
        """Offered until it is taken: what waits here fills the inbox, which stops the server."""

        async def offer() -> Stored:
            try:
                return await sink.store(payload)
            except (OverloadedError, StorageFullError, JournalError):
                raise
            except EdgeLakeError as problem:
                return Stored(0, objects, str(problem))

        stored = await until_taken(offer, self._waits)
        self.counts.rows += stored.rows
        if stored.rejected:
            self._refused(stored.rejected, stored.reason)
        else:
            self._misfits.worked()

    def _waits(self, problem: Exception) -> None:
        self.counts.last_error = str(problem)
        log.warning("gRPC client '%s': messages wait: %s", self.name, problem)

    def _refused(self, number: int, reason: str) -> None:
        self.counts.errors += number
        self.counts.last_error = reason
        if self._misfits.failed():
            log.warning("gRPC client '%s': %d not stored: %s%s", self.name, number, reason, self._misfits.times)

    def _show_all(self, payload: bytes) -> None:
        assert self._show is not None
        shown = json.loads(payload)
        for one in shown[:SHOWN_MESSAGES]:
            self._show(json.dumps(one, ensure_ascii=False)[:SHOWN_CHARACTERS])
        if len(shown) > SHOWN_MESSAGES:
            self._show(f"and {len(shown) - SHOWN_MESSAGES} more")


def _said(problem: EdgeLakeError) -> str:
    """What an error says beyond its kind."""
    text = problem.detail or problem.text
    return f"{text} ({problem.hint})" if problem.hint else text


async def in_thread(work: Callable[[], T], name: str) -> T:
    """Run what blocks for long in a thread of its own: those of ``asyncio.to_thread`` are few."""
    loop = asyncio.get_running_loop()
    done: asyncio.Future[T] = loop.create_future()

    def run() -> None:
        try:
            result = work()
        except BaseException as problem:  # noqa: BLE001 - it is raised where it is awaited
            loop.call_soon_threadsafe(done.set_exception, problem)
        else:
            loop.call_soon_threadsafe(done.set_result, result)

    threading.Thread(target=run, name=name, daemon=True).start()
    return await done
