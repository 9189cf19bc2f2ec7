"""PUT and ``command: data``: readings become rows. Spec: "REST API", sections 4 and 5; ingestion, section 3.

A client's fault is 400 here (the reference answers 500), a full queue 503, a full disk 507.
"""

from __future__ import annotations

from collections.abc import AsyncIterator

from edgelake.errors import EdgeLakeError, MappingError, PayloadError, error
from edgelake.model import Stored
from edgelake.net.rest.bodies import Body, blocks
from edgelake.net.rest.config import BodyLimits
from edgelake.net.rest.exchange import HeaderList, Headers
from edgelake.net.rest.hooks import RestHooks
from edgelake.net.rest.replies import JSON_HEADERS, json_text, stored_body
from edgelake.net.rest.uploads import Form, is_form


def missing_name(dbms: str | None) -> EdgeLakeError:
    """The error for a PUT without dbms or table."""
    number, name = (83, "dbms") if not dbms else (28, "table")
    return error(number, f"Missing '{name}' name in REST PUT command", hint=f"add the header {name}")


def no_rows() -> PayloadError:
    """The error for a body without content."""
    return PayloadError("Message Body is empty", hint="send a JSON object, a list, or one object per line")


def reply_of(stored: Stored) -> bytes:
    """Body of the reply. Raises MappingError when every row was kept out."""
    if stored.rejected and not stored.rows:
        raise MappingError(stored.reason or "No row of the message could be stored", rejected=stored.rejected)
    return stored_body(stored)


async def put(headers: Headers, body: Body, hooks: RestHooks, limits: BodyLimits) -> tuple[HeaderList, bytes]:
    """Store a body of any size; returns headers and body of the reply."""
    dbms, table = headers.get("dbms"), headers.get("table")
    if not dbms or not table:
        raise missing_name(dbms)
    dbms, table = dbms.lower(), table.lower()
    source, instructions = headers.get("source") or "0", headers.get("instructions") or "0"
    if (headers.get("mode") or "file").strip().lower() == "streaming":
        rows = _Streamed(hooks, dbms, table, source, instructions)
        await rows.store(blocks(body, limits))
        stored = rows.stored()
    else:
        kind = (headers.get("type") or "json").strip().lower()
        stored = await hooks.put_file(
            dbms, table, _not_empty(body), file_type=kind, source=source, instructions=instructions
        )
    return JSON_HEADERS, reply_of(stored)


async def _not_empty(body: Body) -> AsyncIterator[bytes]:
    empty = True
    async for piece in body.pieces():
        empty = empty and not piece.strip()
        yield piece
    if empty:
        raise error(67, "REST PUT command without new data")


class _Streamed:
    """The blocks of one streamed body, stored one after the other.

    Each block is durable before the next one is read. When a later block is refused, or the body breaks off, the blocks
    before it stay: the error says so, with their number of rows (``where.rows_stored``), so that the client can send
    the rest.
    """

    def __init__(self, hooks: RestHooks, dbms: str, table: str, source: str, instructions: str) -> None:
        self._hooks = hooks
        self._where = (dbms, table, source, instructions)
        self._blocks = 0
        self._rows = 0
        self._rejected = 0
        self._reason = ""

    async def store(self, blocks: AsyncIterator[bytes]) -> None:
        dbms, table, source, instructions = self._where
        try:
            async for block in blocks:
                stored = await self._hooks.submit(dbms, table, block, source=source, instructions=instructions)
                self._blocks += 1
                self._rows += stored.rows
                self._rejected += stored.rejected
                self._reason = self._reason or stored.reason
        except EdgeLakeError as problem:
            if self._blocks:
                problem.detail = f"{problem.detail or problem.text}; {self._rows} rows before it in the body are stored"
                problem.where = {**problem.where, "rows_stored": self._rows, "rows_rejected": self._rejected}
            raise

    def stored(self) -> Stored:
        if not self._blocks:
            raise no_rows()
        return Stored(self._rows, self._rejected, self._reason)


async def post(agent: str, topic: str, body: Body, headers: Headers, hooks: RestHooks) -> str:
    """``command: data``; returns the reply, "" when everything was stored."""
    if is_form(headers):
        stored = await hooks.post_form(agent, topic, Form(headers, body))
    else:
        payload = await body.whole(hint="send the readings in several messages")
        if not payload.strip():
            raise error(299, "The message has no body")
        stored = await hooks.post_data(agent, topic, payload)
    if not stored.rejected:
        return ""
    if not stored.rows:
        raise MappingError(stored.reason, rejected=stored.rejected)
    return json_text({"stored": stored.rows, "rejected": stored.rejected, "error": stored.reason})
