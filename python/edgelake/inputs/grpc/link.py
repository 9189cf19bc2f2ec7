"""One connection to a server, in a thread of its own: the function is called again and again.

The blocking interface of grpcio takes half the time of its asyncio one. A module of nodes that have such a client.
"""

from __future__ import annotations

import contextlib
import itertools
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import grpc
from edgelake.errors import ServiceError, TimeoutExpiredError
from edgelake.inputs.grpc.config import Call, Pace, Server
from edgelake.inputs.grpc.inbox import Inbox
from edgelake.inputs.grpc.proto import Method, functions_in, method_of
from edgelake.inputs.grpc.reflection import Reflection

LONGEST_MESSAGE_BYTES = 16 << 20
LONGEST_REFLECTION_S = 10.0
NOTHING_CAME_S = 1.0  # before a stream is called again that brought nothing
QUIET = 2.0  # timeouts without a message, after which a server is asked whether it is there
PROBE = "/edgelake.Probe/Answer"
"""A function that no server has: whatever says so is alive. One that it has might wait for a thread of its own."""

_OPTIONS = (
    ("grpc.max_receive_message_length", LONGEST_MESSAGE_BYTES),
    ("grpc.use_local_subchannel_pool", 1),  # else the pause after a failure is that of an earlier channel
    ("grpc.enable_retries", 0),
    ("grpc.enable_http_proxy", 0),
    # For what ``Session`` does not ask itself. Servers take a ping in 5 minutes, and end connections with more.
    ("grpc.keepalive_time_ms", 330_000),
    ("grpc.keepalive_timeout_ms", 20_000),
    ("grpc.http2.max_pings_without_data", 0),
)


def open_channel(server: Server) -> Any:
    """Connects when it is first used. Raises CommandError for TLS files that cannot be used."""
    if server.tls is None:
        return grpc.insecure_channel(server.address, options=_OPTIONS)
    authorities, key, certificate = server.certificates()
    credentials = grpc.ssl_channel_credentials(authorities, key, certificate)
    return grpc.secure_channel(server.address, credentials, options=_OPTIONS)


@contextlib.contextmanager
def failures() -> Iterator[None]:
    """What grpcio raises, as ours: TimeoutExpiredError, or ServiceError with the status and what the server says."""
    try:
        yield
    except grpc.RpcError as problem:
        text = f"{problem.code().name}: {problem.details()}"
        if problem.code() == grpc.StatusCode.DEADLINE_EXCEEDED:
            raise TimeoutExpiredError(text) from None
        raise ServiceError(text) from None


@dataclass(frozen=True, slots=True)
class Told:
    """What a session tells, from its threads.

    Attributes:
        connected: the server is there and the definition known; perhaps more than once.
        defined: the server's definition, before the first message. Raises CommandError, which ends the session.
    """

    connected: Callable[[], None]
    defined: Callable[[Method], None]
    timed_out: Callable[[str], None]


class Session:
    """A connection from beginning to end. ``run`` blocks, ``cancel`` may be called from anywhere.

    Args:
        method: what to call; None = the server is asked for the definition.
        left: messages to take before the end; 0 = no limit.

    Attributes:
        took: messages so far, counted after each call.
    """

    def __init__(
        self, server: Server, call: Call, method: Method | None, pace: Pace, left: int, inbox: Inbox, told: Told
    ) -> None:
        self._server = server
        self._call = call
        self._method = method
        self._pace = pace
        self._left = left
        self._inbox = inbox
        self._told = told
        self._lock = threading.Lock()
        self._stopping = threading.Event()
        self._settled = threading.Event()
        self._over = threading.Event()
        self._is_mute = False
        self._running: Any = None
        self._ready = False
        self.took = 0

    def run(self) -> None:
        """Returns when the limit is reached or it is cancelled. Raises EdgeLakeError; the server may be mute."""
        channel = open_channel(self._server)
        try:
            with failures():
                self._connect(channel)
                threading.Thread(target=self._watch, args=(channel,), name="grpc watch", daemon=True).start()
                if self._method is None:
                    reflection = Reflection(channel, min(self._pace.timeout_s, LONGEST_REFLECTION_S))
                    self._method = method_of(reflection.descriptors(self._call.service), self._call)
                    self._told.defined(self._method)
                    self._tell()
                self._call_on(channel, self._method)
        except ServiceError:
            if not self._stopping.is_set():
                raise
        finally:
            self._over.set()
            channel.close()
        if self._is_mute:
            raise TimeoutExpiredError(f"connected, but it answers nothing within {self._pace.timeout_s:g} seconds")

    def cancel(self) -> None:
        with self._lock:
            self._stopping.set()
            self._settled.set()
            if self._running is not None:
                self._running.cancel()

    def _watch(self, channel: Any) -> None:
        """A server that sends nothing may be frozen, or cut off: it is asked, and given up when it does not answer."""
        came = self._inbox.came
        while not self._over.wait(self._pace.timeout_s * QUIET):
            before, came = came, self._inbox.came
            if came == before and not self._answers(channel):
                self._is_mute = not self._stopping.is_set()
                self.cancel()
                return

    def _answers(self, channel: Any) -> bool:
        try:
            channel.unary_unary(PROBE)(b"", timeout=self._pace.timeout_s)
        except grpc.RpcError as problem:
            return bool(problem.code() != grpc.StatusCode.DEADLINE_EXCEEDED)
        except ValueError:  # the channel was closed meanwhile
            return True
        return True

    def _connect(self, channel: Any) -> None:
        """Waits until it is known whether the server is there; if it is not, the next call says why."""
        channel.subscribe(self._state_changed, try_to_connect=True)
        if not self._settled.wait(self._pace.timeout_s):
            raise TimeoutExpiredError(f"no connection within {self._pace.timeout_s:g} seconds")

    def _state_changed(self, state: grpc.ChannelConnectivity) -> None:
        if state == grpc.ChannelConnectivity.READY:
            self._ready = True
            self._tell()
        if state in (grpc.ChannelConnectivity.READY, grpc.ChannelConnectivity.TRANSIENT_FAILURE):
            self._settled.set()

    def _tell(self) -> None:
        if self._ready and self._method is not None:
            self._told.connected()

    def _call_on(self, channel: Any, method: Method) -> None:
        open_call = channel.unary_stream(method.path) if method.streams else channel.unary_unary(method.path).future
        read = self._read_stream if method.streams else self._read_reply
        while not self._stopping.is_set():
            before = self.took
            with self._lock:
                if self._stopping.is_set():
                    return
                timeout = None if method.streams else self._pace.timeout_s
                self._running = open_call(method.request, timeout=timeout)
            if not read(self._running):
                self._running.cancel()
                return
            pause_s = self._pace.frequency_s
            if method.streams and self.took == before:
                pause_s = max(pause_s, NOTHING_CAME_S)
            if pause_s:
                self._stopping.wait(pause_s)

    def _read_stream(self, replies: Any) -> bool:
        """False: that was the last."""
        put, limit = self._inbox.put, self._left
        took = self.took
        try:
            for message in replies:
                if not put(message):
                    return False
                took += 1
                if took == limit:
                    return False
        finally:
            self.took = took
        return True

    def _read_reply(self, reply: Any) -> bool:
        try:
            with failures():
                message = reply.result()
        except TimeoutExpiredError as problem:
            self._told.timed_out(problem.detail)
            return True
        except grpc.FutureCancelledError:
            return False
        self.took += 1
        return self._inbox.put(message) and self.took != self._left


class Stub:
    """Calls that scripts make, over a connection that stays. Its methods block."""

    def __init__(self, server: Server) -> None:
        """Raises CommandError for TLS files that cannot be used."""
        self._channel = open_channel(server)

    def ask(self, call: Call, method: Method | None, timeout_s: float, most: int) -> tuple[Method, list[bytes]]:
        """The replies of one call, at most ``most``; what a stream brought within the time.

        ``method``: None = the server is asked for the definition. Raises EdgeLakeError.
        """
        with failures():
            descriptors = method.descriptors if method is not None else None
            if descriptors is None:
                descriptors = Reflection(self._channel, timeout_s).descriptors(call.service)
            method = method_of(descriptors, call)
            if not method.streams:
                return method, [self._channel.unary_unary(method.path)(method.request, timeout=timeout_s)]
            replies = self._channel.unary_stream(method.path)(method.request, timeout=timeout_s)
            taken: list[bytes] = []
            try:
                taken.extend(itertools.islice(replies, most))
            except grpc.RpcError as problem:
                if not taken or problem.code() != grpc.StatusCode.DEADLINE_EXCEEDED:
                    raise
            replies.cancel()
            return method, taken

    def close(self) -> None:
        self._channel.close()


def functions_of(server: Server, timeout_s: float) -> list[tuple[str, str, str, str, str]]:
    """Service, function, request, response, and which of the two are streams, of all that a server offers. Blocks.

    Raises ServiceError, TimeoutExpiredError for a server that is not reached, or has no reflection.
    """
    channel = open_channel(server)
    try:
        with failures():
            reflection = Reflection(channel, timeout_s)
            return [
                function
                for service in reflection.services()
                for function in functions_in(reflection.descriptors(service))
                if function[0] == service
            ]
    except (ServiceError, TimeoutExpiredError) as problem:
        problem.detail = f"{server.address}: {problem.detail}"
        raise
    finally:
        channel.close()
