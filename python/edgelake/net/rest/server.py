"""The REST service: a listener, the requests that it takes, and its state. See ``listener`` for the sockets."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable
from pathlib import Path

from edgelake.errors import ServiceError
from edgelake.identity.gate import Gate
from edgelake.identity.identities import Identities
from edgelake.model import Execute, Status, Submit, SubmitThen
from edgelake.net.certificates import Watched
from edgelake.net.endpoints import Addressed, join_address
from edgelake.net.pool import Pool
from edgelake.net.rest.api import Api, no_api
from edgelake.net.rest.callers import Callers
from edgelake.net.rest.calls import CallStatistics
from edgelake.net.rest.config import RestConfig
from edgelake.net.rest.durations import Durations
from edgelake.net.rest.entry import Entry
from edgelake.net.rest.hooks import (
    LogCall,
    PostData,
    PostForm,
    PutFile,
    Render,
    RestHooks,
    Upload,
    no_data,
    no_file,
    no_form,
    no_log,
    no_upload,
)
from edgelake.net.rest.listener import Begin, Listener
from edgelake.net.rest.short import ShortWay
from edgelake.profiling import Profiler

log = logging.getLogger(__name__)

DRAIN_SECONDS = 1.8  # for running requests; with what follows, ``stop`` takes less than 3 s
CLOSE_SECONDS = 0.3


class RestServer(Addressed):
    """HTTP and HTTPS listener: commands in, replies out; readings in, acknowledged when they are durable.

    Args:
        submit: rows of one table; returns when they are durable.
        execute: runs a command line for a caller.
        render: text of a reply without stream.
        gate: users, tokens and permissions; without it those of a node that has none.
        put_file, post_data, post_form: file mode of PUT, ``command: data``, and that with a form; without them these
            are refused.
        log_to: where lines about requests go, and whether all are wanted or the failed ones.
        submit_then: as ``submit``, with a callback: the short way of small payloads.
        upload: runs a command line with the file that came along.
        profiler: counts the work on requests while their method is on.
        api: answers requests of the public API.
        grafana: answers those of Grafana's data source.
    """

    name = "rest"
    config: RestConfig

    def __init__(
        self,
        config: RestConfig,
        *,
        submit: Submit,
        execute: Execute,
        render: Render,
        gate: Gate | None = None,
        put_file: PutFile = no_file,
        post_data: PostData = no_data,
        post_form: PostForm = no_form,
        log_to: tuple[LogCall, Callable[[], bool]] = (no_log, bool),
        submit_then: SubmitThen | None = None,
        upload: Upload = no_upload,
        profiler: Profiler | None = None,
        api: Api = no_api,
        grafana: Api = no_api,
    ) -> None:
        self.config = config
        self._gate = gate = gate or Gate(Identities(Path))
        callers = Callers(gate, (config.external[0], config.internal[0]))
        hooks = RestHooks(
            submit,
            execute,
            callers,
            render,
            put_file,
            post_data,
            *log_to,
            submit_then,
            post_form,
            upload,
            profiler or Profiler(),
            api,
            grafana,
        )
        self.pool = Pool("REST", config.threads, config.waiting)
        self._entry = Entry(hooks, config.limits, self.pool, config.timeout_seconds, config.cors)
        self._listener: Listener | None = None
        self._watch: asyncio.Task[None] | None = None
        self._ending: asyncio.Task[None] | None = None
        self._since_us = 0
        self._port = 0
        self._files: Watched | None = None

    async def start(self) -> None:
        """Bind and serve. Raises AddressInUseError with the system's reason, ServiceError for a bad certificate."""
        short = self._entry.short
        listener = Listener(self.config, self._entry.handle, self._begin(short) if short is not None else None)
        await listener.start()
        self._listener, self._port = listener, listener.port
        certificate, key = self.config.certificate, self.config.key
        self._files = Watched(certificate, key) if certificate is not None and key is not None else None
        self._entry.accept()
        self._watch = asyncio.create_task(self._tick(), name="rest watch")
        self._since_us = time.time_ns() // 1000
        log.info("REST Server initiated on %s", self.bound)
        if self.warning:
            log.warning("REST Server: %s", self.warning)

    def _begin(self, short: ShortWay) -> Begin:
        """The short way, which answers everybody alike: with origins to look at, pages take the ordinary one."""
        if self.config.cors.everybody:
            return short.begin
        return lambda scope, proto: "origin" not in scope.headers and short.begin(scope, proto)

    async def stop(self) -> None:
        """Stop within 3 s: no new connections, running requests get 1.8 s, then 503."""
        listener, watch = self._listener, self._watch
        if listener is None:
            return
        self._listener = self._watch = None
        if watch is not None:
            watch.cancel()
        self._since_us = 0
        await self._entry.end_live(CLOSE_SECONDS)
        if not await listener.close(CLOSE_SECONDS):
            log.warning("REST Server %s: the listening socket is not closed yet", self.bound)
        if self._entry.is_serving(asyncio.current_task()):  # "exit rest" over REST: its own reply goes out first
            self._entry.stop_accepting()
            self._ending = asyncio.create_task(self._end(listener), name="rest end")
        else:
            await self._end(listener)

    async def _end(self, listener: Listener) -> None:
        await self._entry.drain(DRAIN_SECONDS)
        await listener.ended(CLOSE_SECONDS)
        log.info("Terminating REST Server %s", self.bound)

    async def _tick(self) -> None:
        while True:
            await asyncio.sleep(1)
            self._entry.tick()
            if self._files is not None and self._files.have_changed():
                with contextlib.suppress(ServiceError):  # it is logged; the files may be written one after the other
                    await self.renew_certificate()

    async def renew_certificate(self) -> None:
        """Take new connections with the certificate that the files have now. Raises ServiceError: the old one stays."""
        listener, files = self._listener, self._files
        if listener is None or files is None:
            raise ServiceError("The REST server does not run with TLS")
        try:
            await files.check()
            await listener.renew()
        except ServiceError as problem:
            log.error(
                "REST Server: the certificate cannot be renewed, the old one stays: %s", problem.detail or problem
            )
            raise
        log.info("REST Server: certificate renewed, SHA-256 fingerprint %s", files.fingerprint)

    def status(self) -> Status:
        running = self._listener is not None
        ssl_on = self.config.certificate is not None
        if not running:
            return Status("REST", False, "No active connection, Timeout: 0, SSL: False")
        external, internal = self.external, self.internal
        listening = external if external == internal else f"{external} and {internal}"
        details = f"Listening on: {listening}, Threads Pool: {self.config.threads}"
        details += f", Timeout: {self.timeout_seconds:g}, SSL: {ssl_on}"
        if self.warning:
            details += f", Warning: {self.warning}"
        counters: dict[str, int | float] = {"requests": sum(r.processed for r in self.calls)}
        counters["errors"] = sum(r.errors for r in self.calls)
        return Status("REST", True, details, self._since_us, counters=counters)

    @property
    def warning(self) -> str:
        """What the owner should know about clients without a name; empty = nothing."""
        return self.nameless(bool(self._gate.anonymous("rest", False)))

    # -- what status and set commands read and write --------------------------------------------------------------

    @property
    def port(self) -> int:
        """The port that is bound."""
        return self._port

    @property
    def bound(self) -> str:
        return join_address(self.config.listening[0], self._port)

    @property
    def url(self) -> str:
        return f"{self.config.scheme}://{self.external}"

    @property
    def calls(self) -> CallStatistics:
        return self._entry.calls

    @property
    def durations(self) -> Durations:
        return self._entry.durations

    @property
    def timeout_seconds(self) -> float:
        """Longest wait for a reply; 0 = no limit."""
        return self._entry.timeout_seconds

    @timeout_seconds.setter
    def timeout_seconds(self, seconds: float) -> None:
        self._entry.timeout_seconds = seconds
