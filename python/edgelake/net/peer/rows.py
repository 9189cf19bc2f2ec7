"""Rows between nodes: a query is asked, its rows are sent (network protocol, section 6.2)."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Coroutine, Sequence
from typing import TYPE_CHECKING, Any

from edgelake._rust import PeerMessage, PeerRowWriter, peer_blocks
from edgelake.errors import EdgeLakeError, TableMissingError, error
from edgelake.net.peer.dispatch import JOB_STOP
from edgelake.net.peer.jobs import RowEvent, RowJob
from edgelake.net.peer.link import ROWS_S, Link
from edgelake.net.peer.send import address_of, finish, send
from edgelake.net.peer.short import Sending
from edgelake.net.peer.upgrade import mark_of
from edgelake.peering import UNREACHABLE

if TYPE_CHECKING:
    from edgelake.net.peer.service import PeerServer

log = logging.getLogger(__name__)

NOT_HERE = 1006
"""Code of a node that does not have the table: no rows, and no failure."""

_TEXT = 4


class RowExchange:
    """A query at other nodes. To be closed; requests that are on their way then end."""

    def __init__(self, server: PeerServer) -> None:
        self._server = server
        self._loop = asyncio.get_running_loop()
        self._job: RowJob = server.jobs.begin_rows()
        self._job.send_again = self._begin
        self._requests: list[tuple[str, str]] = []
        self._sending: set[asyncio.Task[None]] = set()

    def ask(self, peer: str, command: str, printed: str = "") -> int:
        """Send a request; what the peer answers comes under the number that this returns, or why it was not sent.

        Args:
            printed: how rows are to be printed, where the peer can do that.
        """
        link = self._server.links.open_to(peer)
        receiver = self._job.add(peer, link or self._server.connect_to(peer) or address_of(peer)[0])
        self._requests.append((command, printed))
        if link is not None:
            self._ask_on(link, receiver)
        else:
            self._begin(receiver)
        return receiver

    def _begin(self, receiver: int) -> None:
        if not self._is_asked(receiver):
            self._keep(self._ask(receiver))

    def _is_asked(self, receiver: int) -> bool:
        """Send a request in a block as far as that takes no waiting; False: it is for a task."""
        job, peer = self._job, self._job.peers[receiver]
        try:
            begun = self._server.asking.begin_query(peer, self._requests[receiver][0], self._flow(receiver))
        except EdgeLakeError as failure:
            self._failed(receiver, failure)
            return True
        if begun is None:
            return False
        job.sent_to[receiver], rest = begun
        if rest is not None:
            self._keep(self._ask_further(receiver, rest))
        return True

    async def _ask_further(self, receiver: int, rest: Sending) -> None:
        try:
            await finish(self._job.peers[receiver], rest)
        except EdgeLakeError as failure:
            self._failed(receiver, failure)

    def _keep(self, sending: Coroutine[Any, Any, None]) -> None:
        task = asyncio.ensure_future(sending)
        self._sending.add(task)
        task.add_done_callback(self._sending.discard)

    def _ask_on(self, link: Link, receiver: int) -> None:
        self._job.sent_to[receiver] = link
        command, printed = self._requests[receiver]
        try:
            link.request(command, self._flow(receiver), printed.encode())
        except EdgeLakeError as failure:
            self._failed(receiver, failure)

    async def _ask(self, receiver: int) -> None:
        job, peer = self._job, self._job.peers[receiver]
        try:
            link = await self._server.links.link(peer)
            if link is not None:
                self._ask_on(link, receiver)
            else:
                command, _ = self._requests[receiver]
                # Rows may come before the sending has ended.
                job.sent_to[receiver] = self._server.connect_to(peer) or address_of(peer)[0]
                job.sent_to[receiver] = await self._server.asking.send_query(peer, command, self._flow(receiver))
        except EdgeLakeError as failure:
            self._failed(receiver, failure)

    def _flow(self, receiver: int) -> tuple[int, int, int, int]:
        return self._job.location, self._job.number, len(self._job.peers), receiver

    def _failed(self, receiver: int, failure: EdgeLakeError) -> None:
        """Put down that a request did not arrive."""
        self._job.streams[receiver] = 0
        text = failure.detail or failure.text
        self._job.push(RowEvent(receiver, is_end=True, error=failure.number, text=text))

    def give_up(self, receiver: int, why: str) -> None:
        """Wait no longer for an answer: it ends as that of a node which is not reached."""
        job = self._job
        if job.streams[receiver] != 0:
            if isinstance(link := job.sent_to[receiver], Link):
                link.taken(self._flow(receiver), refused=True)
            self._failed(receiver, error(UNREACHABLE, f"{job.peers[receiver]}: {why}"))

    async def next(self) -> list[RowEvent]:
        """What has come, at least one. Cancel it to stop waiting."""
        return await self._job.take()

    def close(self) -> None:
        """Want nothing more; nodes that have not said all are told to stop."""
        for task in self._sending:
            task.cancel()
        unfinished = [peer for receiver, peer in enumerate(self._job.peers) if self._job.streams[receiver] != 0]
        self._server.jobs.end_rows(self._job)
        self._job.streams = [0] * len(self._job.peers)
        if unfinished and not self._loop.is_closed():
            # An answer that nobody read may be dropped from any thread.
            self._loop.call_soon_threadsafe(self._stop_all, unfinished)

    def _stop_all(self, peers: Sequence[str]) -> None:
        for peer in peers:
            self._server.keep(asyncio.ensure_future(self._stop(peer)))

    async def _stop(self, peer: str) -> None:
        try:
            await self._server.tell(peer, f"event {JOB_STOP} {self._job.location} {self._job.number}")
        except EdgeLakeError as failure:
            log.info("%s is not told that its rows are not wanted: %s", peer, failure)


Rows = AsyncIterator[bytes] | EdgeLakeError
"""Rows for another node, a JSON text a line, or why there are none."""


async def reply_on(link: Link, message: PeerMessage, answer: Rows, kind: str) -> None:
    """Send the answer to a query on a link; ``kind`` of rows: lines or printed."""
    try:
        if isinstance(answer, TableMissingError):
            link.reply("job reply", b"", message.job, info=_TEXT, error=NOT_HERE)
        elif isinstance(answer, EdgeLakeError):
            link.reply("job reply", str(answer).encode(), message.job, info=_TEXT, error=answer.number)
        else:
            await _rows_on(link, message, answer, kind)
    except EdgeLakeError as problem:
        log.warning("the rows for %s did not arrive: %s", link.peer, problem)


async def _rows_on(link: Link, message: PeerMessage, lines: AsyncIterator[bytes], kind: str) -> None:
    try:
        await link.send_rows(lines, message.job, kind)
    except EdgeLakeError as failure:
        log.warning("a query of %s broke off: %s", link.peer, failure)
        link.reply("job reply", str(failure).encode(), message.job, info=_TEXT, error=failure.number)
    finally:
        if isinstance(lines, AsyncGenerator):
            await lines.aclose()


async def reply(message: PeerMessage, source: str, reply_to: str, connect_to: str, answer: Rows) -> None:
    """Send the answer to a query. Errors of the way are logged: nobody waits for them."""
    ours = address_of(source)
    mark = mark_of(ours)
    try:
        if isinstance(answer, TableMissingError):
            blocks = peer_blocks("job reply", b"", ours, job=message.job, info=_TEXT, error=NOT_HERE, mark=mark)
            await send(reply_to, blocks, connect_to)
        elif isinstance(answer, EdgeLakeError):
            text = str(answer).encode()
            blocks = peer_blocks("job reply", text, ours, job=message.job, info=_TEXT, error=answer.number, mark=mark)
            await send(reply_to, blocks, connect_to)
        else:
            await send(
                reply_to, _blocks(answer, PeerRowWriter(ours, message.job, mark=mark)), connect_to, silence_s=ROWS_S
            )
    except (EdgeLakeError, ValueError) as problem:
        log.warning("the rows for %s did not arrive: %s", reply_to, problem)
    finally:
        if isinstance(answer, AsyncGenerator):  # the query ends here, also when nobody began to read its rows
            await answer.aclose()


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
