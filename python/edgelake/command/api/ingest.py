"""``/v1/data/{dbms}/{table}``: readings, acknowledged when they are durable."""

from __future__ import annotations

import asyncio
import hashlib
from typing import Final

from edgelake.command.api.routes import Call, ParameterError, json_reply
from edgelake.command.context import Context
from edgelake.errors import (
    BodyTooLargeError,
    EdgeLakeError,
    JournalError,
    MappingError,
    PayloadError,
    RequestError,
    StoppingError,
)
from edgelake.model import Stored
from edgelake.net.rest.api import ApiReply
from edgelake.net.rest.callers import PUT
from edgelake.net.rest.replies import JSON_TYPE
from edgelake.store.keys import PART, Key, Keys

NDJSON_TYPE: Final = "application/x-ndjson"
KEY: Final = "Idempotency-Key"


def keys_of(ctx: Context) -> Keys:
    """The keys of a node; closed with it."""
    found: Keys | None = ctx.parts.get(PART)
    if found is None:
        found = ctx.parts[PART] = Keys(lambda: ctx.directories.root / "data" / "idempotency.sqlite")
    return found


class KeyReusedError(RequestError):
    """An Idempotency-Key stands for other rows."""

    code = "api.key_reused"
    text = "The Idempotency-Key was used for other rows"
    http_status = 422


class KeyUnknownError(RequestError):
    """The node ended while it stored the rows of an Idempotency-Key."""

    code = "api.key_unknown"
    text = "The node was stopped while it stored the rows of this Idempotency-Key"
    http_status = 409


class Ingestion:
    """Takes rows; a request that comes again with its Idempotency-Key gets the first one's answer.

    Keys are kept on disk, the last 10,000 for a day (``store.keys``).
    """

    def __init__(self, keys: Keys) -> None:
        self._keys = keys
        self._running: dict[tuple[str, str], tuple[bytes, asyncio.Future[Stored]]] = {}

    async def rows(self, call: Call) -> ApiReply:
        """Store a body. Raises PayloadError, OverloadedError, ..., and then nothing of it was stored."""
        if (rights := call.ctx.caller.rights) is not None:
            rights.check(PUT, call.values["dbms"], call.values["table"])
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

    async def _once(self, call: Call, name: str, payload: bytes) -> Stored:
        """Raises KeyReusedError, KeyUnknownError, and what storing raises (then the key is free again)."""
        key = (call.ctx.caller.user, name)
        what = f"{call.values['dbms'].lower()}.{call.values['table'].lower()}".encode()
        digest = hashlib.blake2b(payload, key=what[:64]).digest()
        running = self._running.get(key)
        if running is None:
            future: asyncio.Future[Stored] = asyncio.ensure_future(self._first(call, key, digest, payload))
            running = self._running[key] = (digest, future)
            future.add_done_callback(lambda _: self._running.pop(key))
        _check_same(running[0], digest, name)
        # A client that goes away does not undo what its next try is to find done.
        return await asyncio.shield(running[1])

    async def _first(self, call: Call, key: Key, digest: bytes, payload: bytes) -> Stored:
        known = await self._keys.begin(key, digest)
        if known is not None:
            _check_same(known.digest, digest, key[1])
            if known.rows is None:
                raise KeyUnknownError(
                    f"'{key[1][:100]}': whether they are stored is not known",
                    hint="look for them; then send them with a new key if they are missing",
                )
            return Stored(known.rows, rejected=known.rejected, reason=known.reason)
        try:
            stored = await self._store(call, payload)
        except (StoppingError, JournalError):  # whether it is stored is not known
            raise
        except EdgeLakeError:
            await self._keys.forget(key)
            raise
        await self._keys.end(key, stored.rows, stored.rejected, stored.reason)
        return stored


def _check_same(known: bytes, digest: bytes, name: str) -> None:
    if known != digest:
        raise KeyReusedError(f"'{name[:100]}'", hint="a new key for new rows")
