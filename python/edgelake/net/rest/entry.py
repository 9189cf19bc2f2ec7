"""One HTTP request after the other: which kind it is, and what answers it.

The way of a single-row PUT is kept short on purpose: it is most of what a node does (design, section 8).
"""

from __future__ import annotations

import asyncio
import logging
import time
from functools import partial
from typing import Any

from granian._granian import RSGIProtocolClosed

from edgelake.errors import EdgeLakeError, MethodError, RequestError, SlowBodyError, StoppingError
from edgelake.net.rest import commands, data
from edgelake.net.rest.bodies import Body
from edgelake.net.rest.calls import CallStatistics, Pool
from edgelake.net.rest.config import BodyLimits
from edgelake.net.rest.exchange import Exchange, Scope
from edgelake.net.rest.hooks import RestHooks
from edgelake.net.rest.replies import JSON_HEADERS, STORED, send_error, send_options
from edgelake.net.rest.requests import NO_AGENT, agent_name

log = logging.getLogger(__name__)

SMALL_BYTES = 64 << 10  # up to here a body is read with one call
_SERVED = -1  # not waiting for the client


class Entry:
    """Target of the HTTP server.

    Attributes:
        timeout_seconds: longest wait for a reply (0 = none); changed by ``set rest timeout``.
        stopping: new requests get 503.
    """

    def __init__(self, hooks: RestHooks, limits: BodyLimits, pool: Pool, timeout_seconds: float) -> None:
        self.hooks = hooks
        self._submit = hooks.submit
        self.limits = limits
        self.pool = pool
        self.calls = CallStatistics()
        self.timeout_seconds = timeout_seconds
        self.stopping = False
        self._tick = 0
        self._running: dict[asyncio.Task[None], int] = {}
        self._slow: set[asyncio.Task[None]] = set()
        self._idle = asyncio.Event()

    async def handle(self, scope: Scope, proto: Exchange) -> None:
        """Answer one request; whatever happens, it is answered."""
        task = asyncio.current_task()
        assert task is not None
        running = self._running
        running[task] = self._tick
        problem: EdgeLakeError | None = None
        method = scope.method
        try:
            if self.stopping:
                raise StoppingError("The REST server is being stopped")
            if method == "PUT":
                await self._put(scope, proto, task)
            else:
                await self._other(scope, proto, task)
        except EdgeLakeError as known:
            problem = known
        except RSGIProtocolClosed:
            problem = RequestError("The connection ended, or the body is damaged, before the request was complete")
        except asyncio.CancelledError:
            problem = self._why_cancelled(task)
            task.uncancel()
        except Exception:
            log.exception("REST %s failed", method)
            problem = EdgeLakeError("The request failed inside the node; its log has the details")
            problem.http_status = 500
        finally:
            del running[task]
            if self.stopping and not running:
                self._idle.set()
        if problem is not None:
            self._refuse(scope, proto, problem)
        elif method != "PUT":
            self._count(scope, None)
        if problem is not None or self.hooks.log_all():
            outcome = f"{problem.http_status} {problem.text}" if problem else "200"  # the detail may quote the command
            text = f"{method[:20]} {scope.path[:200]!r} from {scope.client}: {outcome}"
            self.hooks.log_call(text, problem is not None)

    async def _put(self, scope: Scope, proto: Exchange, task: asyncio.Task[None]) -> None:
        headers = scope.headers
        get = headers.get
        length = get("content-length")
        if (
            length is None
            or len(length) > 5
            or get("mode") != "streaming"
            or "content-encoding" in headers
            or not length.isdigit()
            or int(length) > SMALL_BYTES
        ):
            body = Body(proto, headers, self.limits, partial(self._waiting, task))
            reply_headers, reply = await data.put(headers, body, self.hooks, self.limits)
            proto.response_bytes(200, reply_headers, reply)
        else:
            dbms, table = get("dbms"), get("table")
            if not dbms or not table:
                raise data.missing_name(dbms)
            payload = await proto()
            if not payload:
                raise data.no_rows()
            self._running[task] = _SERVED
            stored = await self._submit(
                dbms.lower(),
                table.lower(),
                payload,
                source=get("source") or "0",
                instructions=get("instructions") or "0",
            )
            proto.response_bytes(200, JSON_HEADERS, data.reply_of(stored) if stored.rejected else STORED)
        record = self.calls.record(get("user-agent") or NO_AGENT, "PUT", agent_name)
        record.processed += 1
        record.last = time.time()
        record.last_caller = scope.client

    async def _other(self, scope: Scope, proto: Exchange, task: asyncio.Task[None]) -> None:
        method = scope.method
        if method == "OPTIONS":
            send_options(proto, scope.headers.get("access-control-request-headers"))
            return
        if method not in {"GET", "HEAD", "POST"}:
            raise MethodError(f"{method[:20]} NOT SUPPORTED", hint="use GET, POST or PUT")
        body = Body(proto, scope.headers, self.limits, partial(self._waiting, task))
        await commands.answer(scope, proto, body, commands.Serving(self.hooks, self.pool, self.timeout_seconds))

    # -- watch over clients and the end of the service ------------------------------------------------------------

    def _waiting(self, task: asyncio.Task[None], waiting: bool) -> None:
        self._running[task] = self._tick if waiting else _SERVED

    def tick(self) -> None:
        """Called each second: ends requests whose client has been silent for too long."""
        self._tick += 1
        for task, since in list(self._running.items()):
            if since != _SERVED and self._tick - since > self.limits.idle_seconds and task not in self._slow:
                self._slow.add(task)
                task.add_done_callback(self._slow.discard)
                task.cancel()

    def is_serving(self, task: asyncio.Task[Any] | None) -> bool:
        """Whether a task is one of the running requests."""
        return task in self._running

    async def drain(self, seconds: float) -> None:
        """Let running requests end; those that take longer are cancelled and answered with 503."""
        self.stopping = True
        await self._wait_idle(seconds)
        for task in list(self._running):
            task.cancel()
        await self._wait_idle(seconds / 4)

    async def _wait_idle(self, seconds: float) -> None:
        self._idle.clear()
        if not self._running:
            return
        try:
            async with asyncio.timeout(seconds):
                await self._idle.wait()
        except TimeoutError:
            log.warning("REST: %d requests still run after %g s", len(self._running), seconds)

    def _why_cancelled(self, task: asyncio.Task[None]) -> EdgeLakeError:
        if task in self._slow:
            return SlowBodyError(f"No data for {self.limits.idle_seconds} s in the middle of a request")
        return StoppingError("The REST server was stopped before the request was finished")

    # -- errors and counters --------------------------------------------------------------------------------------

    def _refuse(self, scope: Scope, proto: Exchange, problem: EdgeLakeError) -> None:
        self._count(scope, problem)
        send_error(proto, problem, scope.method, scope.client)

    def _count(self, scope: Scope, problem: EdgeLakeError | None) -> None:
        headers = scope.headers
        agent = headers.get("user-agent") or NO_AGENT
        if "command" not in headers and commands.in_url(scope):
            agent = "url"
        record = self.calls.record(agent, scope.method, agent_name)
        record.processed += 1
        record.last = time.time()
        record.last_caller = scope.client
        if problem is not None:
            record.errors += 1
            record.last_error = problem.text
