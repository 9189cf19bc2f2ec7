"""One HTTP request after the other: which kind it is, and what answers it. Small PUTs go by ``short`` instead."""

from __future__ import annotations

import asyncio
import logging
import time
from functools import partial
from typing import Any

from edgelake.errors import EdgeLakeError, MethodError, SlowBodyError, StoppingError
from edgelake.net.pool import Pool
from edgelake.net.rest import api, commands, data
from edgelake.net.rest.api import Api, ApiFailedError, is_api, is_for_grafana, send_api_error
from edgelake.net.rest.bodies import Body
from edgelake.net.rest.calls import CallRecord, CallStatistics
from edgelake.net.rest.config import BodyLimits
from edgelake.net.rest.cors import Cors
from edgelake.net.rest.durations import Durations
from edgelake.net.rest.exchange import Exchange, Scope
from edgelake.net.rest.hooks import RestHooks
from edgelake.net.rest.replies import PageFailedError, as_error, send_error, send_options
from edgelake.net.rest.requests import NO_AGENT, agent_name
from edgelake.net.rest.short import ShortWay
from edgelake.net.rest.shown import show_error

log = logging.getLogger(__name__)

_SERVED = -1  # not waiting for the client


class Entry:
    """Target of the HTTP server.

    Attributes:
        timeout_seconds: longest wait for a reply (0 = none); changed by ``set rest timeout``.
        stopping: new requests get 503.
    """

    def __init__(
        self, hooks: RestHooks, limits: BodyLimits, pool: Pool, timeout_seconds: float, cors: Cors | None = None
    ) -> None:
        self.hooks = hooks
        self.cors = cors or Cors()
        self.durations = Durations()
        self.limits = limits
        self.pool = pool
        self.calls = CallStatistics()
        self.timeout_seconds = timeout_seconds
        self.stopping = False
        submit, callers = hooks.submit_then, hooks.callers
        self.short = ShortWay(submit, self, callers.may_put, hooks.profiler.active) if submit else None
        self._tick = 0
        self._running: dict[asyncio.Task[None], int] = {}
        self._slow: set[asyncio.Task[None]] = set()
        self._idle = asyncio.Event()
        self._ending = asyncio.Event()
        self._live: set[asyncio.Task[Any]] = set()

    async def handle(self, scope: Scope, proto: Exchange) -> None:
        """Answer one request; whatever happens, it is answered."""
        task = asyncio.current_task()
        assert task is not None
        proto = self.cors.told(scope, proto)
        begun, is_live = time.perf_counter(), False
        self._running[task] = self._tick
        problem: EdgeLakeError | None = None
        page_of: str | None = None
        of_api = False
        profiled = self.hooks.profiler.run
        try:
            if self.stopping:
                raise StoppingError("The REST server is being stopped")
            await self.hooks.callers.admit(scope)
            if is_for_grafana(scope):
                await profiled("post", self._api(scope, proto, task, self.hooks.grafana))
            elif is_api(scope):
                is_live = await profiled(scope.method.lower(), self._api(scope, proto, task, self.hooks.api))
            elif scope.method == "PUT":
                await profiled("put", self._put(scope, proto, task))
            else:
                await profiled(scope.method.lower(), self._other(scope, proto, task))
        except asyncio.CancelledError:
            problem = self._why_cancelled(task)
            task.uncancel()
        except PageFailedError as failure:
            problem, page_of = failure.problem, failure.command
        except ApiFailedError as failure:
            problem, of_api = failure.problem, True
        except Exception as failure:  # noqa: BLE001 - the border of a request
            problem, of_api = as_error(failure, scope.method), is_api(scope) or is_for_grafana(scope)
        finally:
            del self._running[task]
            self.ended()
        if not is_live:  # an answer without an end has no duration
            self.durations.observe(_kind(scope), scope.method, time.perf_counter() - begun)
        if problem is None:
            self._succeeded(scope)
        else:
            self._failed(scope, proto, problem, page_of, of_api=of_api)

    async def _put(self, scope: Scope, proto: Exchange, task: asyncio.Task[None]) -> None:
        self.hooks.callers.check_put(scope)
        body = Body(proto, scope.headers, self.limits, partial(self._waiting, task))
        headers, reply = await data.put(scope.headers, body, self.hooks, self.limits)
        proto.response_bytes(200, headers, reply)

    async def _api(self, scope: Scope, proto: Exchange, task: asyncio.Task[None], handler: Api) -> bool:
        body = Body(proto, scope.headers, self.limits, partial(self._waiting, task))
        hooks = self.hooks
        if scope.method in {"GET", "HEAD"}:
            self._waiting(task, False)  # nobody reads a body that is not there, so nobody else says so
        serving = api.Serving(handler, hooks.callers, self.timeout_seconds or None, self._ending, self._live, self.cors)
        return await api.answer(scope, proto, body, serving)

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
        if self.short is not None:
            self.short.expire(self.limits.idle_seconds)
        for task, since in list(self._running.items()):
            if since != _SERVED and self._tick - since > self.limits.idle_seconds and task not in self._slow:
                self._slow.add(task)
                task.add_done_callback(self._slow.discard)
                task.cancel()

    def is_serving(self, task: asyncio.Task[Any] | None) -> bool:
        """Whether a task is one of the running requests."""
        return task in self._running

    def accept(self) -> None:
        """Take requests (again)."""
        self.stopping = False
        self._ending.clear()
        if self.short is not None:
            self.short.closed = False

    def stop_accepting(self) -> None:
        """New requests get 503."""
        self.stopping = True
        if self.short is not None:
            self.short.closed = True

    async def end_live(self, seconds: float) -> None:
        """End the answers that have no end.

        Before the HTTP server ends: of a client that has left unnoticed, its thread waits for what we send next, and
        the end of the server waits for the thread.
        """
        self._ending.set()
        if self._live:
            await asyncio.wait(self._live, timeout=seconds)

    def _busy(self) -> int:
        return len(self._running) + (len(self.short.running) if self.short is not None else 0)

    def ended(self) -> None:
        if self.stopping and not self._busy():
            self._idle.set()

    async def drain(self, seconds: float) -> None:
        """Let running requests end; those that take longer are cancelled and answered with 503."""
        self.stop_accepting()
        await self._wait_idle(seconds)
        for task in list(self._running):
            task.cancel()
        if self.short is not None:
            self.short.end_all()
        await self._wait_idle(seconds / 4)

    async def _wait_idle(self, seconds: float) -> None:
        self._idle.clear()
        if not self._busy():
            return
        try:
            async with asyncio.timeout(seconds):
                await self._idle.wait()
        except TimeoutError:
            log.warning("REST: %d requests still run after %g s", self._busy(), seconds)

    def _why_cancelled(self, task: asyncio.Task[None]) -> EdgeLakeError:
        if task in self._slow:
            return SlowBodyError(f"No data for {self.limits.idle_seconds} s in the middle of a request")
        return StoppingError("The REST server was stopped before the request was finished")

    # -- errors and counters --------------------------------------------------------------------------------------

    def succeeded(self, scope: Scope, seconds: float) -> None:
        """Count a request of the short way that was answered."""
        self.durations.observe("rows", scope.method, seconds)
        self._succeeded(scope)

    def failed(self, scope: Scope, proto: Exchange, problem: EdgeLakeError, seconds: float) -> None:
        """Count, answer and log a request of the short way that failed."""
        self.durations.observe("rows", scope.method, seconds)
        self._failed(scope, proto, problem)

    def _succeeded(self, scope: Scope) -> None:
        self._record(scope)
        if self.hooks.log_all():
            self._log(scope, "200", False)

    def _failed(
        self, scope: Scope, proto: Exchange, problem: EdgeLakeError, page_of: str | None = None, *, of_api: bool = False
    ) -> None:
        """Count, answer and log a request that failed; ``page_of``: the command, when a page was asked for."""
        record = self._record(scope)
        record.errors += 1
        record.last_error = problem.text
        if of_api:
            send_api_error(proto, problem)
        elif page_of is None:
            send_error(proto, problem, scope.method, scope.client)
        else:
            show_error(proto, problem, page_of)
        self._log(scope, f"{problem.http_status} {problem.text}", True)  # not the detail: it may quote the command

    def _record(self, scope: Scope) -> CallRecord:
        headers = scope.headers
        agent = headers.get("user-agent") or NO_AGENT
        if scope.method != "PUT" and "command" not in headers and commands.in_url(scope):
            agent = "url"
        record = self.calls.record(agent, scope.method, agent_name)
        record.processed += 1
        record.last = time.time()
        record.last_caller = scope.client
        return record

    def _log(self, scope: Scope, outcome: str, failed: bool) -> None:
        self.hooks.log_call(f"{scope.method[:20]} {scope.path[:200]!r} from {scope.client}: {outcome}", failed)


def _kind(scope: Scope) -> str:
    """What a request is for, in a few words: a label of metrics."""
    if is_for_grafana(scope):
        return "grafana"
    if scope.method == "PUT" or (is_api(scope) and scope.path.startswith("/v1/data/")):
        return "rows"
    return "api" if is_api(scope) else "command"
