"""The REST listener: granian in our loop, on a socket that is bound before ``start`` returns."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import socket
import ssl
import time
from collections.abc import Callable
from typing import Any

from granian._granian import SocketHolder
from granian.constants import HTTPModes, Interfaces, SSLProtocols
from granian.http import HTTP1Settings
from granian.server.embed import Server

from edgelake.errors import AddressInUseError, ServiceError
from edgelake.model import Execute, Status, Submit
from edgelake.net.rest.callers import caller_rule
from edgelake.net.rest.calls import CallStatistics, Pool
from edgelake.net.rest.config import RestConfig, join_address
from edgelake.net.rest.entry import Entry
from edgelake.net.rest.hooks import CallerFor, LogCall, PostData, PutFile, Render, RestHooks, no_data, no_file

log = logging.getLogger(__name__)

BACKLOG = 1024
BUFFER_BYTES = 408 << 10  # of a connection; the head of a request must fit
DRAIN_SECONDS = 1.8  # for running requests; with what follows, ``stop`` takes less than 3 s
CLOSE_SECONDS = 0.3

# granian configures the process's logging when it is built; told so, it leaves all handlers alone.
_LOGGING_AS_IT_IS: dict[str, Any] = {"incremental": True, "formatters": {}, "handlers": {}, "loggers": {}}


class _Granian(Server):
    """granian on a socket that we bound: a busy address is seen at once, and no other process may share it."""

    def __init__(self, listener: socket.socket, target: Any, **options: Any) -> None:
        super().__init__(target, **options)
        self._listener = listener
        self._fd = -1
        self._inode = -1

    def _init_shared_socket(self) -> None:
        # SocketHolder takes the descriptor over and closes it when the server stops.
        holder: Any = SocketHolder  # its constructor is missing in granian's type stub
        self._fd = self._listener.detach()
        self._inode = os.fstat(self._fd).st_ino
        self._shd = holder(self._fd, False, BACKLOG)
        self._ssp = None

    def failed(self) -> BaseException | None:
        """What ended the worker, if something did."""
        for worker in self.wrks:
            task = worker._task
            if task is not None and task.done() and not task.cancelled():
                failure: BaseException | None = task.exception()
                return failure
        return None

    async def closed(self, seconds: float) -> bool:
        """Wait until the listening socket is closed, which granian does on a thread of its own."""
        ends = time.monotonic() + seconds
        while time.monotonic() < ends:
            try:
                if os.fstat(self._fd).st_ino != self._inode:
                    return True
            except OSError:
                return True
            await asyncio.sleep(0.002)
        return False

    def end(self) -> None:
        """Stop accepting; ``serve`` ends when the open connections have ended."""
        self.interrupt_signal = True
        self.main_loop_interrupt.set()


class RestServer:
    """HTTP and HTTPS listener: commands in, replies out; readings in, acknowledged when they are durable.

    Args:
        submit: rows of one table; returns when they are durable.
        execute: runs a command line for a caller.
        render: text of a reply without stream.
        caller_for: classes of a client; by default the rule for a node without identities.
        put_file, post_data: file mode of PUT, and ``command: data``; without them these are refused.
        log_to: where lines about requests go, and whether all are wanted or the failed ones.
    """

    name = "rest"

    def __init__(
        self,
        config: RestConfig,
        *,
        submit: Submit,
        execute: Execute,
        render: Render,
        caller_for: CallerFor | None = None,
        put_file: PutFile = no_file,
        post_data: PostData = no_data,
        log_to: tuple[LogCall, Callable[[], bool]] | None = None,
    ) -> None:
        self.config = config
        rule = caller_for or caller_rule((config.external[0], config.internal[0]))
        hooks = RestHooks(submit, execute, rule, render, put_file, post_data, *(log_to or ()))
        self.pool = Pool(config.threads, config.waiting)
        self._entry = Entry(hooks, config.limits, self.pool, config.timeout_seconds)
        self._server: _Granian | None = None
        self._serving: asyncio.Task[None] | None = None
        self._watch: asyncio.Task[None] | None = None
        self._ending: asyncio.Task[None] | None = None
        self._since_us = 0
        self._port = 0

    async def start(self) -> None:
        """Bind and serve. Raises AddressInUseError with the system's reason, ServiceError for a bad certificate."""
        listener = _bind(*self.config.listening)
        self._port = listener.getsockname()[1]
        try:
            self._server = _Granian(listener, self._entry.handle, **_options(self.config))
        except (OSError, ssl.SSLError, ValueError) as problem:
            listener.close()
            raise ServiceError(f"SSL Connection: {problem}", hint="check the certificate and key files") from problem
        self._serving = asyncio.create_task(self._server.serve(), name="rest server")
        for _ in range(10):  # the worker starts within the first turns of the loop, or fails there
            await asyncio.sleep(0)
        if (failure := self._server.failed()) is not None:
            self._server.end()
            raise ServiceError(f"The REST server did not start: {failure}") from failure
        self._entry.stopping = False
        self._watch = asyncio.create_task(self._tick(), name="rest watch")
        self._since_us = time.time_ns() // 1000
        log.info("REST Server initiated on %s", self.bound)

    async def stop(self) -> None:
        """Stop within 3 s: no new connections, running requests get 1.8 s, then 503."""
        server, serving, watch = self._server, self._serving, self._watch
        if server is None or serving is None:
            return
        self._server = self._serving = self._watch = None
        if watch is not None:
            watch.cancel()
        server.end()
        self._since_us = 0
        if not await server.closed(CLOSE_SECONDS):
            log.warning("REST Server %s: the listening socket is not closed yet", self.bound)
        if self._entry.is_serving(asyncio.current_task()):  # "exit rest" over REST: its own reply goes out first
            self._entry.stopping = True
            self._ending = asyncio.create_task(self._end(serving), name="rest end")
        else:
            await self._end(serving)

    async def _end(self, serving: asyncio.Task[None]) -> None:
        await self._entry.drain(DRAIN_SECONDS)
        # A connection with half a request head keeps granian's worker alive until its own time limit; by then nothing
        # listens any more and a late request is answered with 503, so nobody has to wait for it.
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(asyncio.shield(serving), CLOSE_SECONDS)
        log.info("Terminating REST Server %s", self.bound)

    async def _tick(self) -> None:
        while True:
            await asyncio.sleep(1)
            self._entry.tick()

    def status(self) -> Status:
        running = self._server is not None
        ssl_on = self.config.certificate is not None
        if not running:
            return Status("REST", False, "No active connection, Timeout: 0, SSL: False")
        external, internal = self.external, self.internal
        listening = external if external == internal else f"{external} and {internal}"
        details = f"Listening on: {listening}, Threads Pool: {self.config.threads}"
        details += f", Timeout: {self.timeout_seconds:g}, SSL: {ssl_on}"
        counters: dict[str, int | float] = {"requests": sum(r.processed for r in self.calls)}
        counters["errors"] = sum(r.errors for r in self.calls)
        return Status("REST", True, details, self._since_us, counters=counters)

    # -- what status and set commands read and write --------------------------------------------------------------

    @property
    def port(self) -> int:
        """The port that is bound."""
        return self._port

    @property
    def external(self) -> str:
        return join_address(*self.config.external)

    @property
    def internal(self) -> str:
        return join_address(*self.config.internal)

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
    def timeout_seconds(self) -> float:
        """Longest wait for a reply; 0 = no limit."""
        return self._entry.timeout_seconds

    @timeout_seconds.setter
    def timeout_seconds(self, seconds: float) -> None:
        self._entry.timeout_seconds = seconds


def _bind(host: str, port: int) -> socket.socket:
    """A listening socket. Raises AddressInUseError with the system's reason."""
    where = join_address(host, port)
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # not SO_REUSEPORT: one listener per address
        listener.bind((host, port))
        listener.listen(BACKLOG)
        listener.setblocking(False)
    except OSError as problem:
        listener.close()
        said = f"Failed to open a REST server on {where} [Error: {problem.strerror or problem}]"
        log.error("%s", said)
        raise AddressInUseError(said, hint="choose another port or address") from problem
    return listener


def _options(config: RestConfig) -> dict[str, Any]:
    return {
        "interface": Interfaces.RSGI,
        "http": HTTPModes.http1,
        "websockets": False,
        "backlog": BACKLOG,
        "backpressure": config.connections,
        "http1_settings": HTTP1Settings(
            header_read_timeout=config.idle_connection_seconds * 1000, max_buffer_size=BUFFER_BYTES
        ),
        "log_enabled": False,
        "log_dictconfig": _LOGGING_AS_IT_IS,
        "ssl_cert": config.certificate,
        "ssl_key": config.key,
        "ssl_protocol_min": SSLProtocols.tls12,
    }
