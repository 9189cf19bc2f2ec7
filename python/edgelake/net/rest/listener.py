"""granian in our loop, on a socket that is bound before ``start`` returns."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import ssl
import time
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any

from granian._futures import _future_watcher_wrapper
from granian._granian import CallbackScheduler, RSGIWorker, SocketHolder, WorkerSignal
from granian.constants import HTTPModes, Interfaces, SSLProtocols
from granian.http import HTTP1Settings
from granian.server.embed import Server

from edgelake.errors import AddressInUseError, ServiceError
from edgelake.net.endpoints import join_address
from edgelake.net.rest.config import RestConfig
from edgelake.net.rest.exchange import Exchange, Scope

log = logging.getLogger(__name__)

Begin = Callable[[Scope, Exchange], bool]
"""Takes a request, or leaves it to the loop. Called on granian's Python thread."""

BACKLOG = 1024
CLOSE_SECONDS = 2.0
BUFFER_BYTES = 408 << 10  # of a connection; the head of a request must fit

# granian configures the process's logging when it is built; told so, it leaves all handlers alone.
_LOGGING_AS_IT_IS: dict[str, Any] = {"incremental": True, "formatters": {}, "handlers": {}, "loggers": {}}


class _Granian(Server):
    """granian on a socket that we bound: a busy address is seen at once, and no other process may share it."""

    def __init__(self, listener: socket.socket, target: Any, **options: Any) -> None:
        super().__init__(target, **options)
        self._listener = listener
        self._fd = -1
        self._inode = -1

    async def serve_with(self, begin: Begin | None) -> None:
        """Serve until ``end``; ``begin`` sees each request before the loop does."""
        spawn: Any = partial(_worker, begin) if begin is not None else None
        await self.serve(spawn)

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

    def same_socket(self) -> socket.socket:
        """The listening socket once more, for another server."""
        return socket.socket(fileno=os.dup(self._fd))

    def end(self) -> None:
        """Stop accepting; ``serve`` ends when the open connections have ended."""
        self.interrupt_signal = True
        self.main_loop_interrupt.set()


async def _worker(begin: Begin, worker_id: int, signal: WorkerSignal, handle: Any, sock: Any, *options: Any) -> None:
    """granian's own RSGI worker (``Server._spawn_rsgi_worker``), but for who sees a request first."""
    *of_threads, _task_impl, http, http1, http2, websockets, files, _access_log, tls, _scope = options
    loop = asyncio.get_running_loop()
    ended = loop.create_future()
    signal.add_cb(partial(loop.call_soon_threadsafe, ended.set_result, None))
    make: Any = RSGIWorker  # its type stub lacks arguments
    worker = make(worker_id, sock, None, *of_threads, http, http1, http2, websockets, files, *tls, (None, None))
    worker.serve_async(_scheduler(loop, begin, handle), loop, signal)
    await ended


def _scheduler(loop: asyncio.AbstractEventLoop, begin: Begin, handle: Any) -> Any:
    """What granian's Python thread calls with each request."""
    wrap: Any = _future_watcher_wrapper
    answered = wrap(handle)
    make: Any = CallbackScheduler
    scheduler = make(loop, answered, None, None, None)
    context = scheduler._ctx

    def run(work: Coroutine[Any, Any, None], watcher: Any) -> None:
        watcher.taskref(loop.create_task(work))

    def schedule(watcher: Any) -> None:
        try:
            if begin(watcher.scope, watcher.proto):
                return
        except Exception:  # nobody above would see it
            log.exception("REST: a request could not be looked at")
        loop.call_soon_threadsafe(run, answered(watcher), watcher, context=context)

    scheduler._schedule_fn = schedule
    return scheduler


class Listener:
    """One address that is listened on.

    Args:
        handle: answers one request: ``async def handle(scope, proto)`` of granian's RSGI.
        begin: asked on granian's thread whether it takes a request; those that it does not take go to ``handle``.
    """

    def __init__(self, config: RestConfig, handle: Any, begin: Begin | None = None) -> None:
        self._config = config
        self._handle = handle
        self._begin = begin
        self._server: _Granian | None = None
        self._serving: asyncio.Task[None] | None = None
        self._earlier: set[asyncio.Task[None]] = set()
        self.port = 0

    async def start(self) -> None:
        """Bind and serve. Raises AddressInUseError with the system's reason, ServiceError for a bad certificate."""
        listener = _bind(*self._config.listening)
        self.port = listener.getsockname()[1]
        await self._serve(listener)

    async def renew(self) -> None:
        """Take new connections with the certificate that the files have now; those that are open go on.

        No connection is refused meanwhile: a second server listens on the socket before the first one stops. (One that
        is in its TLS handshake, or waits for a next request, at that moment is closed and has to connect again.) Raises
        ServiceError for files that are no certificate with its key; then nothing changes.
        """
        before, serving = self._server, self._serving
        assert before is not None
        assert serving is not None
        await self._serve(before.same_socket())
        before.end()
        self._earlier.add(serving)
        serving.add_done_callback(self._earlier.discard)
        await before.closed(CLOSE_SECONDS)

    async def _serve(self, listener: socket.socket) -> None:
        """Raises ServiceError."""
        try:
            server = _Granian(listener, self._handle, **_options(self._config))
        except (OSError, ssl.SSLError, ValueError) as problem:
            listener.close()
            raise ServiceError(f"SSL Connection: {problem}", hint="check the certificate and key files") from problem
        serving = asyncio.create_task(server.serve_with(self._begin), name="rest server")
        for _ in range(10):  # the worker starts within the first turns of the loop, or fails there
            await asyncio.sleep(0)
        if (failure := server.failed()) is not None:
            server.end()
            raise ServiceError(f"The REST server did not start: {failure}") from failure
        self._server, self._serving = server, serving

    async def close(self, seconds: float) -> bool:
        """Stop accepting; whether the socket was closed within this time. Open connections go on."""
        assert self._server is not None
        self._server.end()
        return await self._server.closed(seconds)

    async def ended(self, seconds: float) -> None:
        """Wait for the open connections to end, this long at most.

        One with half a request head keeps granian's worker alive until its own time limit; by then nothing listens
        any more and a late request is answered with 503, so nobody has to wait for it.
        """
        assert self._serving is not None
        await asyncio.wait({self._serving, *self._earlier}, timeout=seconds)


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
        "ssl_ca": config.certificate_authority if config.client_cert else None,
        "ssl_client_verify": config.client_cert,
    }
