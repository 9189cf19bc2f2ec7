"""Rows between nodes: a query is asked, its rows are sent (network protocol, section 6.2)."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

from edgelake._rust import PeerMessage, PeerRowWriter, peer_blocks
from edgelake.errors import EdgeLakeError, TableMissingError
from edgelake.net.peer.jobs import RowEvent, RowJob
from edgelake.net.peer.send import address_of, send

if TYPE_CHECKING:
    from edgelake.net.peer.service import PeerServer

log = logging.getLogger(__name__)

NOT_HERE = 1006
"""Code of a node that does not have the table: no rows, and no failure."""

ROWS_S = 60.0
"""Longest time that who asked takes no more rows: its own reader may be slow."""

_TEXT = 4


class RowExchange:
    """A query at other nodes. To be closed; requests that are on their way then end."""

    def __init__(self, server: PeerServer) -> None:
        self._server = server
        self._job: RowJob = server.jobs.begin_rows()

    def ask(self, peer: str) -> int:
        """Make room for a request to a peer; what it answers comes under the number that this returns."""
        return self._job.add(peer, self._server.connect_to(peer) or address_of(peer)[0])

    async def send(self, receiver: int, command: str) -> None:
        """Send the request. Raises EdgeLakeError (9, 20, 21, 208)."""
        job = self._job
        flow = (job.location, job.number, len(job.peers), receiver)
        job.sent_to[receiver] = await self._server.send_query(job.peers[receiver], command, flow)

    async def failed(self, receiver: int, failure: EdgeLakeError) -> None:
        """Put down that a request did not arrive."""
        text = failure.detail or failure.text
        await self._job.put(RowEvent(receiver, is_end=True, error=failure.number, text=text))

    async def next(self) -> list[RowEvent]:
        """What has come, at least one. Cancel it to stop waiting."""
        return await self._job.take()

    def close(self) -> None:
        self._server.jobs.end_rows(self._job)


Rows = AsyncIterator[bytes] | EdgeLakeError
"""Rows for another node, a JSON text a line, or why there are none."""


async def reply(message: PeerMessage, source: str, reply_to: str, connect_to: str, answer: Rows) -> None:
    """Send the answer to a query. Errors of the way are logged: nobody waits for them."""
    ours = address_of(source)
    try:
        if isinstance(answer, TableMissingError):
            blocks = peer_blocks("job reply", b"", ours, job=message.job, info=_TEXT, error=NOT_HERE)
            await send(reply_to, blocks, connect_to)
        elif isinstance(answer, EdgeLakeError):
            text = str(answer).encode()
            blocks = peer_blocks("job reply", text, ours, job=message.job, info=_TEXT, error=answer.number)
            await send(reply_to, blocks, connect_to)
        else:
            await send(reply_to, _blocks(answer, PeerRowWriter(ours, message.job)), connect_to, silence_s=ROWS_S)
    except (EdgeLakeError, ValueError) as problem:
        log.warning("the rows for %s did not arrive: %s", reply_to, problem)


async def _blocks(lines: AsyncIterator[bytes], writer: PeerRowWriter) -> AsyncIterator[bytes]:
    try:
        async for piece in lines:
            if blocks := await asyncio.to_thread(writer.rows, piece):
                yield blocks
    except EdgeLakeError as failure:
        log.warning("a query of another node broke off: %s", failure)
        yield writer.finish(failure.number)
        return
    yield writer.finish()
