"""The TCP server of a node: messages of peers come in, its own go out (network protocol, sections 1 to 7)."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import logging
import socket
import ssl
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from functools import lru_cache, partial
from typing import Any, Final

from edgelake._rust import PeerMessage
from edgelake.errors import AddressInUseError, CredentialsError, EdgeLakeError, NotPermittedError, ServiceError, error
from edgelake.identity.messages import Signatures, is_own
from edgelake.model import Status
from edgelake.net.certificates import Renewal, fingerprint
from edgelake.net.endpoints import Addressed, is_loopback, join_address
from edgelake.net.peer import rows
from edgelake.net.peer.arrivals import Arrivals
from edgelake.net.peer.asking import Asking
from edgelake.net.peer.blocks import REPLIES, TEXT, Blocks, said
from edgelake.net.peer.config import PeerConfig
from edgelake.net.peer.deadlines import Deadlines
from edgelake.net.peer.dispatch import Answer, Dispatch, row_request
from edgelake.net.peer.entrance import Entrance, is_whole
from edgelake.net.peer.files import BLOCK_BYTES, file_blocks, once
from edgelake.net.peer.jobs import Jobs
from edgelake.net.peer.link import Link
from edgelake.net.peer.links import Links
from edgelake.net.peer.listener import Connection, Listener, first_bytes
from edgelake.net.peer.secure import Secure
from edgelake.net.peer.send import address_of, send
from edgelake.net.peer.upgrade import Capability
from edgelake.net.pool import Pool
from edgelake.peering import NO_ANSWER, UNREACHABLE, FileTarget, PeerAnswer, failure_of

log = logging.getLogger(__name__)

WAITING: Final = 1000
TAKEN_S: Final = 30.0
"""Who sends a file waits so long until the peer has put it in its place."""
_SHARED = ipaddress.ip_network("100.64.0.0/10")


MAX_TASKS: Final = 10_000
BACKLOG: Final = 1024
"""Connections that wait to be accepted: hundreds of nodes may answer a query at once, and one that finds no place
tries again a second later.
"""
MAX_LINKS: Final = 4096
"""Links that others may keep here; who comes later is spoken to in blocks."""


class PeerServer(Addressed):
    """Listens for other nodes and talks to them; implements ``peering.Peers``.

    Args:
        is_known: whether an address is that of a node in the policies: replies go to those too.
        certificate_of: the certificate in the policy of the node with that address, "" = none.
        trusted: the certificates in the policies of all nodes.
        reply_address: what ``set reply ip`` says; "" = the rules of section 4.
        is_open: whether nodes of other machines that do not name themselves may do anything here.
        signatures: sign what is sent, and look at what comes.
    """

    name = "tcp server"
    config: PeerConfig

    def __init__(
        self,
        config: PeerConfig,
        dispatch: Dispatch,
        *,
        is_known: Callable[[str], bool],
        certificate_of: Callable[[str], str] = lambda _peer: "",
        trusted: Callable[[], frozenset[str]] = frozenset,
        reply_address: Callable[[], str] = lambda: "",
        is_open: Callable[[], bool] = lambda: False,
        signatures: Signatures | None = None,
    ) -> None:
        self.signatures = signatures or Signatures(lambda: False)
        self.config = config
        self._is_open = is_open
        self.pool = Pool("TCP", config.threads, WAITING)
        self.jobs = Jobs()
        self.refused = 0
        self.dispatch, self._is_known, self._reply_address = dispatch, is_known, reply_address
        self.secure = Secure(config.tls, config.tls_only, certificate_of, demands=config.tls_client, trusted=trusted)
        self.links = Links(self, self.source_for, self.connect_to, self.secure, self.signatures, config.message_bytes)
        self._accepted: set[Link] = set()
        self.blocks = Blocks(self)
        self.asking = Asking(self)
        self.deadlines = Deadlines()
        self._arrivals = Arrivals(dispatch, config.file_bytes, config.message_bytes)
        self._server: Listener | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._open: dict[str, int] = {}
        self._since_us = 0
        self._renewal: Renewal | None = None
        self.on_renewed: Callable[[], None] = lambda: None
        self._internal, self._external = self.internal, join_address(*config.external)
        self._hosts = (config.external[0], config.internal[0])

    # ---- life

    async def start(self) -> None:
        """Bind and serve. Raises AddressInUseError."""
        host, port = self.config.listening
        self.dispatch.clear()
        try:
            self.secure.load()
        except (OSError, ssl.SSLError) as problem:
            raise ServiceError(f"TCP Server: the certificate cannot be used: {problem}") from problem
        try:
            listener = Listener(self._accept)
            await listener.open(host, port, BACKLOG)
            self._server = listener
        except OSError as problem:
            raise AddressInUseError(
                f"TCP Server: {join_address(host, port)}: {problem.strerror or problem}",
                hint="choose another port, or end what listens there",
            ) from problem
        self._since_us = time.time_ns() // 1000
        if (files := self.secure.files) is not None:
            self._renewal = Renewal("TCP Server", (files.certificate, files.key), self.renew_certificate)
        log.info("TCP Server initiated on %s", self.bound)
        if self.warning:
            log.warning("TCP Server: %s", self.warning)

    async def stop(self) -> None:
        """Close the listener and what is open; who waits for peers is told. Idempotent."""
        if self._server is None:
            return
        server, self._server = self._server, None
        if self._renewal is not None:
            self._renewal.close()
        server.close()
        self.jobs.end_all("the TCP server of this node has ended")
        self.deadlines.close()
        await self.links.close()
        for link in list(self._accepted):
            link.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def renew_certificate(self) -> None:
        """Show what is in the files of the certificate now on connections from now on. Raises ServiceError: the old
        one stays."""
        files = self.secure.files
        if files is None:
            raise ServiceError("TCP Server: it has no TLS")
        try:
            await asyncio.to_thread(self.secure.load)
        except (OSError, ssl.SSLError, ValueError) as problem:
            raise ServiceError(f"TCP Server: the certificate cannot be renewed, the old one stays: {problem}") from None
        log.info("TCP Server: certificate renewed, SHA-256 fingerprint %s", fingerprint(files.certificate))
        self.on_renewed()

    @property
    def warning(self) -> str:
        """What the owner should know about nodes that do not name themselves; empty = nothing."""
        return self.nameless(not self.config.tls_client and not self.signatures.is_on() and self._is_open())

    def status(self) -> Status:
        config = self.config
        details = f"Listening on: {self.external}, Threads Pool: {config.threads}"
        if self.signatures.is_on():
            details += ", Messages: signed"
        if config.tls_client:
            details += ", TLS: with certificates of nodes"
        elif self.secure.takes:
            details += ", TLS: alone" if config.tls_only else ", TLS: for who asks"
        if self.warning:
            details += f", Warning: {self.warning}"
        counters: dict[str, int | float] = {
            "refused": self.refused,
            "late_replies": self.jobs.dropped,
            "waiting": len(self.jobs),
            "links": len(self._accepted),
        }
        return Status("TCP", self._server is not None, details, self._since_us, counters=counters)

    @property
    def external(self) -> str:
        return self._external

    @property
    def bound(self) -> str:
        return join_address(*self.config.listening)

    # ---- to other nodes

    def source_for(self, peer: str) -> str:
        """Our address as that peer should see it (section 4)."""
        if self._server is None:
            raise error(21, "the TCP server of this node has ended", hint="run tcp server where ...")
        given = self._reply_address()
        if given:
            host = "0.0.0.0" if given == "dynamic" else given
            has_port = host.count(":") == 1 or host.startswith("[")
            return host if has_port else join_address(host, self.config.external[1])
        return self._internal if _is_private(address_of(peer)[0]) else self._external

    def is_own(self, address: str) -> bool:
        return self._server is not None and address in (self._external, self._internal)

    def is_upgraded(self, peer: str) -> bool:
        return self.links.is_known(peer)

    async def tell(self, peer: str, command: str, data: bytes = b"") -> None:
        """Send a command that nobody waits for. Raises EdgeLakeError (20, 21, 208)."""
        if (link := await self.links.link(peer)) is not None:
            await link.confirmed(link.request(command, (0, 0, 1, 0), data))
        else:
            await self.asking.send(peer, command, (0, 0, 1, 0), data)

    def ask(
        self, peers: Sequence[str], command: str, *, timeout_s: float = 20.0
    ) -> Coroutine[Any, Any, list[PeerAnswer]]:
        """Send a command to each peer, wait for all answers. Raises EdgeLakeError (20, 21, 108)."""
        return self.asking.ask(peers, command, timeout_s)

    def query(self) -> rows.RowExchange:
        """A query at other nodes. Raises EdgeLakeError (21, 108)."""
        self.source_for("127.0.0.1:1")
        return rows.RowExchange(self)

    async def send_file(
        self, peer: str, destination: str, content: bytes | AsyncIterator[bytes], target: FileTarget
    ) -> None:
        """Send a file; what comes in pieces is never in memory as a whole. Raises EdgeLakeError (9, 20, 21, 208)."""
        command = f"file write {destination.replace(' ', chr(9))}"
        if (link := await self.links.link(peer)) is not None:
            await self._send_file_on(link, command, content, int(target))
            return
        if target == FileTarget.DELIVERY:
            raise error(UNREACHABLE, f"{peer}: no connection on which it would say that it has the file")
        source = address_of(self.source_for(peer))
        shown = self.signatures.sign(source, peer, command, None)
        blocks = file_blocks(command, content, source, int(target), shown)
        taken_s = 0 if target == FileTarget.LEDGER else TAKEN_S
        await send(peer, blocks, self.connect_to(peer), taken_s=taken_s)

    async def _send_file_on(self, link: Link, command: str, content: bytes | AsyncIterator[bytes], flag: int) -> None:
        """Send a file and wait until it is in its place. Raises what the peer says against it."""
        job = self.jobs.begin([link.peer], command)
        job.sent_to[0] = link
        pieces = once(content) if isinstance(content, bytes) else content
        try:
            await link.send_file(command, pieces, (job.location, job.number, 1, 0), flag)
            self.deadlines.end(job.done, TAKEN_S)
            await job.done
        finally:
            self.deadlines.forget(job.done)
            self.jobs.end(job)
        (answer,) = job.answers
        if answer is None:
            raise error(NO_ANSWER, f"{link.peer} does not say that it has the file")
        if answer.error:
            raise failure_of(answer.error, f"{link.peer}: {answer.text}")

    def connect_to(self, peer: str) -> str:
        """A node reaches itself by its inner address: the outer one may not come back through its router."""
        outer, inner = self._hosts
        return inner if address_of(peer)[0] == outer else ""

    # ---- from other nodes: connections

    def _accept(self, opened: socket.SocketType, ip: str) -> None:
        if (count := self._open.get(ip, 0)) >= self.config.connections_per_ip:
            self.refuse(ip, f"more than {self.config.connections_per_ip} connections")
            opened.close()
            return
        self._open[ip] = count + 1
        connection = Connection(opened, ip, self.left)
        first = first_bytes(opened, BLOCK_BYTES + 1)  # more than a block is for a transport
        try:
            if first is None:
                connection.close()
            elif self.secure.only or not is_whole(first) or not self.blocks.whole(first, ip, connection):
                self.keep(asyncio.ensure_future(self._enter(opened, ip, first)))
        except ValueError as problem:
            self.refuse(ip, str(problem))
            connection.close()

    async def _enter(self, opened: socket.SocketType, ip: str, first: bytes) -> None:
        """Give a connection a transport: more is to come."""
        entrance = Entrance(self, ip, first, self.config.block_s)
        connection = socket.socket(fileno=opened.detach())
        try:
            connection.setblocking(False)
            await asyncio.get_running_loop().connect_accepted_socket(lambda: entrance, connection)
        except OSError as problem:
            log.info("a connection of %s has ended: %s", ip, problem)
        finally:
            if not entrance.is_made:
                Connection(connection, ip, self.left).close()

    def left(self, ip: str) -> None:
        if (count := self._open[ip] - 1) > 0:
            self._open[ip] = count
        else:
            del self._open[ip]

    def refuse(self, ip: str, why: str) -> None:
        self.refused += 1
        log.warning("a message from %s is refused: %s", ip, why)

    def keep(self, task: asyncio.Task[None]) -> None:
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def linked(self, ip: str, capabilities: Capability) -> Link:
        if len(self._accepted) >= MAX_LINKS:
            raise ValueError(f"{MAX_LINKS} links are kept already")
        link = Link(self, ip, address_of(self.source_for(f"{ip}:1")), self.config.message_bytes, capabilities)
        if capabilities & Capability.SIGNED:
            link.challenge = self.signatures.challenge()
        self._accepted.add(link)
        return link

    # ---- from other nodes: who they are

    @property
    def demands_signatures(self) -> bool:
        """Whether who opens a link has to sign."""
        return self.signatures.is_on()

    def signer_of(self, message: PeerMessage, ip: str, data: bytes | None = b"") -> str:
        """The key that signed a message in blocks; "" = none. Raises CredentialsError, which is put down.

        Args:
            data: that the signature covers, b"" = of the message; None: none of a file.
        """
        if not message.authentication:
            return ""
        covered = message.data if data == b"" else data
        try:
            own = partial(self._is_mine, ip)
            return self.signatures.check(message.authentication, message.source, own, message.command, covered)
        except CredentialsError as refusal:
            self._not_taken(ip, message.command, refusal)
            raise

    def identified(self, link: Link, message: PeerMessage) -> None:
        """Who opened a link has signed its number. Raises ValueError, which ends the link, for a wrong signature."""
        channel = self.secure.certificate if link.capabilities & Capability.TLS else b""
        try:
            own = partial(self._is_mine, link.ip)
            link.key = self.signatures.check_answer(
                message.authentication, link.challenge, message.source, own, channel
            )
        except CredentialsError as refusal:
            self._not_taken(link.ip, message.command, refusal)
            raise ValueError(str(refusal)) from None

    def _is_mine(self, ip: str, to: str) -> bool:
        """Whether a message was meant for this node."""
        own, ports = {self._external, self._internal, self.bound}, {self.config.external[1], self.config.internal[1]}
        return any(is_own(to, own, port, is_local=is_loopback(ip)) for port in ports)

    def _not_taken(self, ip: str, command: str, refusal: CredentialsError) -> None:
        self.refuse(ip, refusal.detail)
        self.dispatch.not_taken(ip, command, refusal.detail)

    def end_links(self, why: str) -> None:
        """End all links; those that are needed are opened anew."""
        self.links.end_all(why)
        for link in list(self._accepted):
            link.close(why)

    # ---- from other nodes: links

    def arrived(self, link: Link, message: PeerMessage) -> None:
        """A message on a link. Raises ValueError, which ends the link."""
        if message.job[1] and message.command.startswith(REPLIES):
            if self.jobs.answered(message, link):
                pass
            elif (query := self.jobs.query_of(message, link)) is not None:
                query.push_from(link, message)
            elif message.has_rows:
                link.taken(message.job, refused=True)
            else:
                self.jobs.take(message, link)
        elif len(self._tasks) >= MAX_TASKS:
            raise ValueError(f"{MAX_TASKS} requests are worked on already")
        elif self._is_answered(link, message):
            pass
        elif not message.command.startswith("file write ") or self._is_new_file(link, message):
            self.keep(asyncio.ensure_future(self._serve(link, message)))

    def _is_answered(self, link: Link, message: PeerMessage) -> bool:
        """Answer a request that takes no waiting; False: it is to be served by a task."""
        command = message.command
        ready = self.dispatch.ready(command, link.ip, link.key)
        if ready is None or not link.has_room:
            return False
        try:
            reply_to = link.reply_to if message.source == link.origin else self._reply_on(link, message)
        except NotPermittedError:
            return False  # the task tells the peer
        if not self.pool.passes():
            return False
        self.links.know(reply_to)
        answer = self.dispatch.carry_out(ready, command, reply_to)
        try:
            _say_on(link, message, answer)
        except EdgeLakeError as problem:
            log.warning("the reply to %s did not arrive: %s", link.peer, problem)
        if not answer.error:
            ready.note()
        return True

    def _reply_on(self, link: Link, message: PeerMessage) -> str:
        """As ``reply_to``; what does not depend on the policies is put down with the link."""
        reply_to = self._checked(link, message)
        if message.source[0] in (link.ip, *self._hosts):
            link.origin, link.reply_to = message.source, reply_to
        return reply_to

    def _checked(self, link: Link, message: PeerMessage) -> str:
        """As ``reply_to``, of a peer whose certificate is that of the address. Raises NotPermittedError."""
        reply_to = self.reply_to(message, link.ip)
        if link in self._accepted:  # on one that we opened, the peer has shown who it is
            self.secure.check_source(reply_to, link.shown)
        return reply_to

    def _is_new_file(self, link: Link, message: PeerMessage) -> bool:
        """Take a piece of a file; whether it is the first one. Raises ValueError."""
        try:
            self._checked(link, message)
        except NotPermittedError as problem:
            raise ValueError(str(problem)) from None
        return self._arrivals.put(link, message)

    def lost(self, link: Link) -> None:
        self.links.lost(link)
        self._accepted.discard(link)
        self._arrivals.lost(link)
        self.jobs.lost(link, self.asking.again)

    async def _serve(self, link: Link, message: PeerMessage) -> None:
        """Carry out a request that came on a link, and answer on it."""
        # A file has further pieces on the same link, which has to be read for them: it is not among what stops that.
        is_file = message.command.startswith("file write ")
        async with contextlib.nullcontext() if is_file else link.request_served():
            try:
                await self._serve_one(link, message)
            except EdgeLakeError as problem:
                log.warning("the reply to %s did not arrive: %s", link.peer, problem)

    async def _serve_one(self, link: Link, message: PeerMessage) -> None:
        try:
            reply_to = self._checked(link, message)
            self.links.know(reply_to)
            if message.command.startswith("sql"):
                printed = message.data.decode(errors="replace")
                async with self.pool.place():
                    found = await self.dispatch.query(
                        row_request(message, reply_to, printed, knows_others=True), link.ip, link.key
                    )
                await rows.reply_on(link, message, found, "printed" if printed else "lines")
                return
            if message.command.startswith("file write "):
                answer = await self._arrivals.receive(link, message, reply_to)
            else:
                async with self.pool.place():
                    answer = await self.dispatch.command(message.command, message.data, link.ip, reply_to, link.key)
        except EdgeLakeError as problem:
            answer = Answer(str(problem), error=problem.number)
        if answer is not None:
            await link.room()
            _say_on(link, message, answer)

    def reply_to(self, message: PeerMessage, ip: str) -> str:
        """Where replies go: to who sent it, or to a node of the policies; nobody makes us call others.

        Raises NotPermittedError.
        """
        host, port = message.source
        if host in ("", "0.0.0.0"):
            host = ip
        if host != ip and host not in self._hosts and not self._is_known(host):
            raise NotPermittedError(f"its source address {join_address(host, port)} is not that of a known node")
        return join_address(host, port)


def _say_on(link: Link, message: PeerMessage, answer: Answer) -> None:
    """Answer a request on the link that it came on. Raises EdgeLakeError (9, 208)."""
    if (told := said(message, answer)) is not None:
        verb, text, code, flag = told
        link.reply(verb, text, message.job, info=TEXT, error=code, generic_flag=flag)


@lru_cache(4096)
def _is_private(host: str) -> bool:
    """Networks in which a node shows its inner address."""
    try:
        found = ipaddress.ip_address("127.0.0.1" if host == "localhost" else host)
    except ValueError:
        return False
    return found.is_loopback or found in _SHARED or (found.is_private and not found.is_unspecified)
