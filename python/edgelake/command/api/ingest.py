"""``/v1/data/{dbms}/{table}``: readings, acknowledged when they are durable."""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections import OrderedDict
from typing import Final

from edgelake.command.api.routes import Call, ParameterError, json_reply
from edgelake.errors import BodyTooLargeError, MappingError, PayloadError, RequestError
from edgelake.model import Stored
from edgelake.net.rest.api import ApiReply
from edgelake.net.rest.replies import JSON_TYPE

NDJSON_TYPE: Final = "application/x-ndjson"
KEPT: Final = 10_000
KEPT_S: Final = 24 * 3600.0
KEY: Final = "Idempotency-Key"

_State = tuple[bytes, "asyncio.Future[Stored]", float]


class KeyReusedError(RequestError):
    """An Idempotency-Key stands for other rows."""

    code = "api.key_reused"
    text = "The Idempotency-Key was used for other rows"
    http_status = 422


class Ingestion:
    """Takes rows; a request that comes again with its Idempotency-Key gets the first one's answer.

    Keys are kept in memory, the last 10,000 for a day: a request that is repeated across a restart of the node is
    stored again.
    """

    def __init__(self) -> None:
        self._known: OrderedDict[tuple[str, str], _State] = OrderedDict()

    async def rows(self, call: Call) -> ApiReply:
        """Store a body. Raises PayloadError, OverloadedError, ..., and then nothing of it was stored."""
        kind = (call.request.headers.get("content-type") or JSON_TYPE).partition(";")[0].strip().lower()
        if kind not in (JSON_TYPE, NDJSON_TYPE):
            raise ParameterError(f"Content-Type: {kind[:100]}", hint=f"{JSON_TYPE} or {NDJSON_TYPE}")
        try:
            payload = await call.request.body.whole(hint="send the rows in several requests")
        except BodyTooLargeError as problem:
            problem.hint = problem.hint or "send the rows in several requests"
            raise
        if not payload.strip():
            raise PayloadError("the body is empty", hint="send a JSON object, a list, or one object a line")
        key = call.values.get(KEY)
        stored = await (self._once(call, key, payload) if key else self._store(call, payload))
        if stored.rejected and not stored.rows:
            raise MappingError(stored.reason or "no row could be stored", rejected=stored.rejected)
        return json_reply({"stored": stored.rows, "rejected": stored.rejected, "reason": stored.reason or None})

    async def _store(self, call: Call, payload: bytes) -> Stored:
        dbms, table = call.values["dbms"].lower(), call.values["table"].lower()
        found: Stored = await call.ctx.ingest.submit(dbms, table, payload, source="0", instructions="0")
        return found

    async def _once(self, call: Call, key: str, payload: bytes) -> Stored:
        """Raises KeyReusedError, and what storing raises (then the key is free again)."""
        self._forget()
        where = (call.ctx.caller.user, key)
        what = f"{call.values['dbms'].lower()}.{call.values['table'].lower()}".encode()
        digest = hashlib.blake2b(payload, key=what[:64]).digest()
        if (known := self._known.get(where)) is not None:
            if known[0] != digest:
                raise KeyReusedError(f"'{key[:100]}'", hint="a new key for new rows")
            return await asyncio.shield(known[1])
        future: asyncio.Future[Stored] = asyncio.ensure_future(self._store(call, payload))
        self._known[where] = (digest, future, time.monotonic())
        future.add_done_callback(lambda ended: self._free_if_failed(where, ended))
        # A client that goes away does not undo what its next try is to find done.
        return await asyncio.shield(future)

    def _free_if_failed(self, where: tuple[str, str], ended: asyncio.Future[Stored]) -> None:
        """Nothing of it was stored: the key may come again, whether or not somebody still waits for the answer."""
        if ended.cancelled() or ended.exception() is not None:
            self._known.pop(where, None)

    def _forget(self) -> None:
        oldest = time.monotonic() - KEPT_S
        while self._known:
            where, (_, future, at) = next(iter(self._known.items()))
            if not future.done() or (at >= oldest and len(self._known) < KEPT):
                return
            del self._known[where]
