"""The links of a node: which peers are known to be of our kind, and the connections that are kept with them."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Final

from edgelake._rust import PeerMessage
from edgelake.errors import EdgeLakeError, error
from edgelake.identity.messages import Signatures
from edgelake.net.endpoints import join_address
from edgelake.net.peer.link import Link, Owner
from edgelake.net.peer.secure import Secure, shown_by
from edgelake.net.peer.send import address_of
from edgelake.net.peer.upgrade import GREETING_BYTES, OURS, Capability, greeted, greeting, marked

log = logging.getLogger(__name__)

GREETING_S: Final = 2.0
"""A peer that does not answer a greeting by then is spoken to as one of another kind."""

MAX_KNOWN: Final = 10_000


class Links:
    """Marks that were seen, and links that we opened, by ``ip:port``.

    Args:
        source_for: our address as a peer should see it. Raises EdgeLakeError (21).
        connect_to: a host to connect to instead of the peer's; "" = the peer's.
        secure: who is spoken to by TLS.
        signatures: says who we are to peers that ask.
        limit_bytes: of a text that comes.
    """

    def __init__(
        self,
        owner: Owner,
        source_for: Callable[[str], str],
        connect_to: Callable[[str], str],
        secure: Secure,
        signatures: Signatures,
        limit_bytes: int,
    ) -> None:
        self._signatures = signatures
        self._owner, self._source_for, self._connect_to = owner, source_for, connect_to
        self._secure, self._limit_bytes = secure, limit_bytes
        self._known: dict[str, None] = {}
        self._links: dict[str, Link] = {}
        self._opening: dict[str, asyncio.Task[Link | None]] = {}

    def learn(self, message: PeerMessage, asked: str) -> None:
        """See by the mark of a message whether its sender is of our kind.

        Args:
            asked: the address under which it was asked for this reply; "" = the message is no reply.
        """
        try:
            source, mark = message.source, message.mark
            peer = join_address(*source)
            fits = marked(mark, source)
            if fits and peer in self._known and (not asked or asked in self._known):
                return  # as nearly always
            is_ours = fits and source != address_of(self._source_for(peer))
        except (ValueError, EdgeLakeError):
            return
        for name in (peer, asked) if asked and asked != peer else (peer,):
            if is_ours:
                self.know(name)
            elif name not in self._links:
                self._known.pop(name, None)

    def know(self, peer: str) -> None:
        """Put down that a peer is of our kind."""
        while len(self._known) >= MAX_KNOWN:
            del self._known[next(iter(self._known))]
        self._known[peer] = None

    def is_known(self, peer: str) -> bool:
        """Whether the peer has shown that it is of our kind."""
        return peer in self._known

    def open_to(self, peer: str) -> Link | None:
        """The link to a peer, if there is one."""
        link = self._links.get(peer)
        return link if link is not None and link.is_open else None

    async def link(self, peer: str) -> Link | None:
        """The link to a peer, opened if need be; None: it is not of our kind, or not any more.

        Raises EdgeLakeError (208) when a peer that is to be spoken to by TLS cannot be.
        """
        if (link := self.open_to(peer)) is not None:
            return link
        if not self.is_known(peer) and not self._secure.wants(peer):
            return None
        opening = self._opening.get(peer)
        if opening is None:
            opening = self._opening[peer] = asyncio.ensure_future(self._open(peer))
            opening.add_done_callback(lambda done: self._opened(peer, done))
        return await asyncio.shield(opening)

    def _opened(self, peer: str, done: asyncio.Task[Link | None]) -> None:
        self._opening.pop(peer, None)
        if not done.cancelled():
            done.exception()  # whoever asked has it, or is gone

    async def _open(self, peer: str) -> Link | None:
        host, port = address_of(peer)
        loop = asyncio.get_running_loop()
        taken = Capability(0)
        try:
            async with asyncio.timeout(GREETING_S):
                answered: asyncio.Future[tuple[Capability, bytes]] = loop.create_future()
                transport, _ = await loop.create_connection(
                    lambda: _Greeted(answered), self._connect_to(peer) or host, port
                )
                try:
                    transport.write(greeting(OURS | Capability.TLS | Capability.SIGNED))
                    taken, rest = await answered
                    link = Link(self._owner, peer, address_of(self._source_for(peer)), self._limit_bytes, taken)
                    if taken & Capability.SIGNED:
                        link.challenged = loop.create_future()
                    if taken & Capability.CERTIFICATE:
                        transport = await self._shown(transport, link, peer)
                    elif taken & Capability.TLS:
                        transport = await self._secure.open(transport, link, peer)
                    elif self._secure.wants(peer):
                        raise error(208, f"{peer}: it takes no TLS", hint="start its TCP server with ssl = true")
                    else:
                        transport.set_protocol(link)
                    link.connection_made(transport)
                    if link.challenged is not None:
                        link.data_received(rest)
                        rest = b""
                        await self._identify(link, link.challenged, shown_by(transport))
                except BaseException:
                    transport.abort()
                    raise
        except (OSError, TimeoutError, EdgeLakeError) as problem:
            why = str(problem) or f"it does not answer the greeting within {GREETING_S:g} seconds"
            log.info("no kept connection to %s: %s", peer, why)
            self._known.pop(peer, None)
            if not (self._secure.wants(peer) or taken & (Capability.CERTIFICATE | Capability.SIGNED)):
                return None
            raise problem if isinstance(problem, EdgeLakeError) else error(208, f"{peer}: {why}") from None
        self._links[peer] = link
        if rest:
            link.data_received(rest)
        return link

    async def _shown(self, transport: asyncio.Transport, link: Link, peer: str) -> asyncio.Transport:
        """Begin TLS with a peer that demands our certificate; it says a second greeting when it takes it."""
        if not self._secure.takes:
            raise error(
                208, f"{peer}: it demands a certificate, and this node has none", hint="run tcp server with ssl = true"
            )
        taken: asyncio.Future[tuple[Capability, bytes]] = asyncio.get_running_loop().create_future()
        secured = await self._secure.open(transport, _Greeted(taken), peer)
        try:
            await taken
        except OSError:
            raise error(
                208,
                f"{peer}: it does not take the certificate of this node",
                hint="the policy of this node there needs !tcp_certificate of this node as certificate",
            ) from None
        secured.set_protocol(link)
        return secured

    async def _identify(self, link: Link, challenged: asyncio.Future[bytes], channel: bytes) -> None:
        """Sign what the peer asks for. Raises CredentialsError when no key is open."""
        challenge = await challenged
        link.identify(self._signatures.answer(challenge, link.source, link.peer, channel))

    def end_all(self, why: str) -> None:
        """End the links that we opened; they are opened anew when there is something to say."""
        for link in list(self._links.values()):
            link.close(why)

    def lost(self, link: Link) -> None:
        """A link has ended; its peer is asked for another one when there is something to say."""
        if self._links.get(link.peer) is link:
            del self._links[link.peer]

    async def close(self) -> None:
        opening = list(self._opening.values())
        for task in opening:
            task.cancel()
        await asyncio.gather(*opening, return_exceptions=True)
        for link in list(self._links.values()):
            link.close()


class _Greeted(asyncio.Protocol):
    """Waits for the answer to a greeting."""

    def __init__(self, answered: asyncio.Future[tuple[Capability, bytes]]) -> None:
        self._answered = answered
        self._first = b""

    def data_received(self, data: bytes) -> None:
        self._first += data
        if len(self._first) < GREETING_BYTES or self._answered.done():
            return
        try:
            taken = greeted(self._first[:GREETING_BYTES])
        except ValueError as problem:
            self._answered.set_exception(ConnectionError(str(problem)))
            return
        if taken:
            self._answered.set_result((taken, self._first[GREETING_BYTES:]))
        else:
            self._answered.set_exception(ConnectionError("it answers something else"))

    def connection_lost(self, problem: Exception | None) -> None:
        if not self._answered.done():
            self._answered.set_exception(problem or ConnectionError("it closed the connection"))
