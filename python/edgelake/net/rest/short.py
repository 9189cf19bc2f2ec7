"""The short way of a small PUT: no task, no future, one visit less to the loop.

Most of what a node does is to take single readings, and there the work on the reading itself is less than what is
around it. Measured, 64 connections, processor time a request: 52 us through a task of its own, 32 us on this way; 23 us
for a server that only reads the body and answers.

A request goes through three hands:

1. ``ShortWay.begin``, on the HTTP server's Python thread: looks at the head, which belongs to this request alone, and
   has the body read. Whatever is not quite ordinary is left to ``Entry.handle``, which knows all the errors.
2. ``SmallPut.received``, on the loop: hands the body to the node.
3. ``SmallPut.stored``, on the loop, once the rows are durable: answers.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from collections.abc import Set as AbstractSet
from typing import Protocol

from edgelake.errors import EdgeLakeError, SlowBodyError, StoppingError
from edgelake.model import Stored, SubmitThen
from edgelake.net.rest import data
from edgelake.net.rest.exchange import Exchange, Reading, Scope
from edgelake.net.rest.replies import JSON_HEADERS, STORED, as_error

SMALL_BYTES = 64 << 10
_DIGITS = len(str(SMALL_BYTES))


class Ends(Protocol):
    """Who counts what became of the requests."""

    def succeeded(self, scope: Scope, seconds: float) -> None:
        """Count it, and how long it took."""

    def failed(self, scope: Scope, proto: Exchange, problem: EdgeLakeError, seconds: float) -> None:
        """Answer, count and log."""

    def ended(self) -> None:
        """One less is under way."""


class ShortWay:
    """The small PUTs that are under way.

    Attributes:
        closed: new requests are left to the ordinary way.
    """

    def __init__(
        self,
        submit: SubmitThen,
        ends: Ends,
        may_put: Callable[[Scope], bool],
        profiled: AbstractSet[str] = frozenset(),
    ) -> None:
        self.submit = submit
        self._may_put = may_put
        self.ends = ends
        self.closed = False
        self._profiled = profiled  # what is counted goes the ordinary way
        self._tick = 0
        # Filled on the server's thread, emptied on the loop: adding, discarding and copying are single steps under
        # the interpreter's lock.
        self.running: set[SmallPut] = set()

    def begin(self, scope: Scope, proto: Exchange) -> bool:
        """Take a request if it is a small, ordinary PUT; on the server's thread."""
        if scope.method != "PUT" or self.closed or "put" in self._profiled:
            return False
        headers = scope.headers
        get = headers.get
        length = get("content-length")
        if (
            length is None
            or len(length) > _DIGITS
            or get("mode") != "streaming"
            or not (length.isascii() and length.isdigit())
            or int(length) > SMALL_BYTES
            or "content-encoding" in headers
            or "transfer-encoding" in headers
        ):
            return False
        dbms, table = get("dbms"), get("table")
        if not dbms or not table or not self._may_put(scope):
            return False
        put = SmallPut(self, scope, proto, (dbms.lower(), table.lower()), self._tick)
        self.running.add(put)
        # The body is handed over on this thread, so not before this function has returned: the callback is never
        # called from here, always through the loop.
        put.body = proto()
        put.body.add_done_callback(put.received)
        return True

    def expire(self, idle_ticks: int) -> None:
        """End those whose client has been silent for longer; on the loop, once a tick (a second)."""
        self._tick += 1
        for put in self.running.copy():
            if put.body is not None and self._tick - put.since > idle_ticks:
                put.give_up(SlowBodyError(f"No data for {idle_ticks} s in the middle of a request"))

    def end_all(self) -> None:
        """Answer those that still run with 503."""
        for put in self.running.copy():
            put.give_up(StoppingError("The REST server was stopped before the request was finished"))


class SmallPut:
    """One small PUT. ``body`` is there while the client has to send."""

    __slots__ = ("_begun", "_proto", "_scope", "_way", "_where", "body", "since")

    def __init__(self, way: ShortWay, scope: Scope, proto: Exchange, where: tuple[str, str], since: int) -> None:
        self._begun = time.perf_counter()
        self._way = way
        self._scope = scope
        self._proto = proto
        self._where = where
        self.since = since
        self.body: Reading | None = None

    def received(self, body: Reading) -> None:
        """The body is there, or will not come."""
        self.body = None
        if self not in self._way.running:
            return  # given up
        get = self._scope.headers.get
        dbms, table = self._where
        try:
            payload = body.result()
            if not payload:
                raise data.no_rows()
            self._way.submit(dbms, table, payload, get("source") or "0", get("instructions") or "0", self.stored)
        except Exception as problem:  # noqa: BLE001 - a callback of the loop: whatever happens, the request is answered
            self._fail(as_error(problem, "PUT"))

    def stored(self, stored: Stored | None, failure: BaseException | None) -> None:
        """The rows are durable, or are not taken."""
        if self not in self._way.running:
            return  # answered meanwhile; the rows are kept all the same
        try:
            if stored is None:
                raise failure or AssertionError("an outcome without rows or failure")
            self._proto.response_bytes(200, JSON_HEADERS, data.reply_of(stored) if stored.rejected else STORED)
        except Exception as problem:  # noqa: BLE001 - as above
            self._fail(as_error(problem, "PUT"))
            return
        self._way.ends.succeeded(self._scope, time.perf_counter() - self._begun)
        self._end()

    def give_up(self, problem: EdgeLakeError) -> None:
        """Answer now; what comes later is ignored."""
        body, self.body = self.body, None
        self._fail(problem)
        if body is not None:
            body.cancel()

    def _fail(self, problem: EdgeLakeError) -> None:
        self._way.ends.failed(self._scope, self._proto, problem, time.perf_counter() - self._begun)
        self._end()

    def _end(self) -> None:
        self._way.running.discard(self)
        self._way.ends.ended()
