"""Commands and queries to other nodes: on a link where there is one, else in blocks (network protocol, section 5)."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from edgelake._rust import peer_blocks
from edgelake.errors import EdgeLakeError, error
from edgelake.net.peer.dispatch import LARGE_COMMAND
from edgelake.net.peer.jobs import Job
from edgelake.net.peer.link import REQUEST, Link
from edgelake.net.peer.send import address_of, begin, finish, send
from edgelake.net.peer.short import Sending
from edgelake.net.peer.upgrade import mark_of
from edgelake.peering import UNREACHABLE, PeerAnswer

if TYPE_CHECKING:
    from edgelake.net.peer.service import PeerServer

MAX_COMMAND_BYTES: Final = 1800
"""A longer command goes as a file; a block has room for 1,841 bytes with everything."""

SENDING: Final = 64
"""Connections to peers that are opened at a time for one command."""

_LARGE_NAMES: Final = 100

Flow = tuple[int, int, int, int]
"""Location and id of a job, number of receivers, id of this one."""


class Asking:
    """Sends requests; replies find their jobs."""

    def __init__(self, server: PeerServer) -> None:
        self._server = server
        self._large = 0

    async def ask(self, peers: Sequence[str], command: str, timeout_s: float) -> list[PeerAnswer]:
        """Send a command to each peer, wait for all answers. Raises EdgeLakeError (20, 21, 108)."""
        server, links, rest = self._server, [], []
        for receiver, peer in enumerate(peers):
            links.append(link := server.links.open_to(peer))
            if link is None:
                server.source_for(peer)
                rest.append(receiver)
        if not peers:
            return []
        job = server.jobs.begin(peers, command)
        sending: list[asyncio.Task[None]] = []
        try:
            for receiver, link in enumerate(links):
                if link is not None:
                    self._ask_on(job, receiver, command, link)
            if rest:
                gate = asyncio.Semaphore(SENDING)
                for receiver in rest:
                    if len(sending) >= SENDING or not self._ask_in_block(job, receiver, command, sending):
                        sending.append(asyncio.ensure_future(self._ask(job, receiver, command, gate)))
            server.deadlines.end(job.done, timeout_s)
            await job.done  # at the time-out as well: the answers say who is silent
        finally:
            server.deadlines.forget(job.done)
            server.jobs.end(job)
            if sending:
                for task in sending:
                    task.cancel()
                await asyncio.gather(*sending, return_exceptions=True)
        return job.result()

    def again(self, job: Job, receiver: int) -> None:
        self._server.keep(asyncio.ensure_future(self._ask(job, receiver, job.command, asyncio.Semaphore())))

    def _ask_on(self, job: Job, receiver: int, command: str, link: Link) -> None:
        """Send a command on the link to its receiver."""
        job.sent_to[receiver] = link
        try:
            link.request(command, (job.location, job.number, len(job.peers), receiver))
        except EdgeLakeError as failure:
            job.put(receiver, PeerAnswer(link.peer, failure.detail or failure.text, error=UNREACHABLE))

    def _ask_in_block(self, job: Job, receiver: int, command: str, sending: list[asyncio.Task[None]]) -> bool:
        """Send a command without a wait to a peer that no link is kept with; False: it is for a task.

        Args:
            sending: takes the task for what is left to be sent.
        """
        peer = job.peers[receiver]
        try:
            begun = self._begin_block(peer, command, (job.location, job.number, len(job.peers), receiver))
        except EdgeLakeError as failure:
            job.put(receiver, PeerAnswer(peer, failure.detail or failure.text, error=UNREACHABLE))
            return True
        if begun is None:
            return False
        job.sent_to[receiver], rest = begun
        if rest is not None:
            sending.append(asyncio.ensure_future(self._ask_further(job, receiver, rest)))
        return True

    async def _ask_further(self, job: Job, receiver: int, rest: Sending) -> None:
        peer = job.peers[receiver]
        try:
            await finish(peer, rest)
        except EdgeLakeError as failure:
            job.put(receiver, PeerAnswer(peer, failure.detail or failure.text, error=UNREACHABLE))

    async def _ask(self, job: Job, receiver: int, command: str, gate: asyncio.Semaphore) -> None:
        peer = job.peers[receiver]
        # Replies may come before the sending has ended.
        job.sent_to[receiver] = self._server.connect_to(peer) or address_of(peer)[0]
        flow = (job.location, job.number, len(job.peers), receiver)
        try:
            async with gate:
                if (link := await self._server.links.link(peer)) is not None and link.is_open:
                    self._ask_on(job, receiver, command, link)
                else:
                    job.sent_to[receiver] = await self.send(peer, command, flow)
        except EdgeLakeError as failure:
            job.put(receiver, PeerAnswer(peer, failure.detail or failure.text, error=UNREACHABLE))

    async def send(self, peer: str, command: str, flow: Flow, data: bytes = b"") -> str:
        """Send a request; returns the address that was connected to. Raises EdgeLakeError (20, 21, 208)."""
        if self._server.secure.wants(peer):
            raise error(208, f"{peer}: this cannot be sent without TLS")
        return await send(peer, self._request(peer, command, flow, data), self._server.connect_to(peer))

    def _request(self, peer: str, command: str, flow: Flow, data: bytes = b"") -> bytes:
        """The blocks of a request. Raises EdgeLakeError (20, 21)."""
        source, sign = address_of(self._server.source_for(peer)), self._server.signatures.sign
        shown = sign(source, peer, command, data)
        if len(command.encode()) + len(data) + len(shown) <= MAX_COMMAND_BYTES:
            return peer_blocks(
                command, data, source, job=flow, info=REQUEST, mark=mark_of(source), authentication=shown
            )
        # Section 3.4. It has no room for the job: nobody answers it.
        self._large = self._large % _LARGE_NAMES + 1
        name = f"file write cmd.{source[0]}.{self._large}.lmsg"
        content = command.encode()
        return peer_blocks(
            name,
            content,
            source,
            generic_flag=LARGE_COMMAND,
            is_file=True,
            mark=mark_of(source),
            authentication=sign(source, peer, name, content),
        )

    async def send_query(self, peer: str, command: str, flow: Flow) -> str:
        """Send a query; returns the address that was connected to. Raises EdgeLakeError (9, 20, 21, 208)."""
        self._check_query(command)
        return await self.send(peer, command, flow)

    def begin_query(self, peer: str, command: str, flow: Flow) -> tuple[str, Sending | None] | None:
        """Send a query as far as that takes no waiting: where to, and what is left. None: it is for a task, a link
        may be had. Raises EdgeLakeError (9, 20, 21, 208)."""
        self._check_query(command)
        return self._begin_block(peer, command, flow)

    def _begin_block(self, peer: str, command: str, flow: Flow) -> tuple[str, Sending | None] | None:
        if self._server.links.is_known(peer) or self._server.secure.wants(peer):
            return None
        return begin(peer, self._request(peer, command, flow), self._server.connect_to(peer))

    def _check_query(self, command: str) -> None:
        """Raises EdgeLakeError (9) for a query that is too long for a block."""
        room = MAX_COMMAND_BYTES - self._server.signatures.room
        if len(command.encode()) > room:
            raise error(
                9,
                f"a query to other nodes has at most {room} bytes; this one {len(command)}",
                hint="select fewer columns, or shorten the condition",
            )
