"""TLS of kept connections: our certificate, and those in the policies of nodes (network protocol, section 14)."""

from __future__ import annotations

import asyncio
import base64
import logging
import ssl
from collections.abc import Callable
from functools import lru_cache

from edgelake.errors import NotPermittedError, error
from edgelake.net.certificates import TlsFiles

log = logging.getLogger(__name__)


class Secure:
    """Who is spoken to by TLS, and whether a peer is who it should be.

    Args:
        files: our certificate; None = nobody opens TLS connections to us.
        only: speak and take nothing else.
        certificate_of: what the policy of the node with that address says: its certificate (DER as base64), or "".
        demands: take connections of those alone who show a certificate of the policies, or of our authority.
        trusted: the certificates of the policies of all nodes.
    """

    def __init__(
        self,
        files: TlsFiles | None,
        only: bool,
        certificate_of: Callable[[str], str],
        *,
        demands: bool = False,
        trusted: Callable[[], frozenset[str]] = frozenset,
    ) -> None:
        self.demands = demands
        self.only = self._is_only = only or demands
        self._trusted = trusted
        self._taken: tuple[frozenset[str], ssl.SSLContext] | None = None
        self._certificate_of = certificate_of
        self._files = files
        self._shown = b""
        self._server: ssl.SSLContext | None = None
        self._client: ssl.SSLContext | None = None

    def demand_tls(self, on: bool) -> None:
        """Speak and take nothing else from now on (``set encryption``), or as the server was started."""
        self.only = self._is_only or on

    @property
    def certificate(self) -> bytes:
        """Ours (DER), as it was read last; b"" = none."""
        return self._shown

    @property
    def takes(self) -> bool:
        """Whether others may open TLS connections."""
        return self._files is not None

    @property
    def files(self) -> TlsFiles | None:
        """Those of our certificate."""
        return self._files

    def load(self) -> None:
        """Read the files (again: new connections show what is in them now). Raises OSError, ssl.SSLError."""
        if self._files is not None:
            server = _context(self._files, ssl.PROTOCOL_TLS_SERVER)
            client = _context(self._files, ssl.PROTOCOL_TLS_CLIENT)
            self._server, self._client, self._taken = server, client, None
            self._shown = _first(self._files)

    def wants(self, peer: str) -> bool:
        """Whether that peer is spoken to by TLS, or not at all."""
        return self.only or bool(self._certificate_of(peer))

    async def accept(self, transport: asyncio.Transport, protocol: asyncio.Protocol) -> tuple[asyncio.Transport, bytes]:
        """Begin TLS on a connection that came; the certificate (DER) that it shows when one is demanded.

        Raises OSError, ssl.SSLError.
        """
        context = self._demanding() if self.demands else self._server
        assert context is not None
        loop = asyncio.get_running_loop()
        made = _there(await loop.start_tls(transport, protocol, context, server_side=True))
        shown = made.get_extra_info("ssl_object").getpeercert(binary_form=True) if self.demands else None
        return made, shown or b""

    def check_source(self, address: str, shown: bytes) -> None:
        """Whoever shows a certificate speaks for no address of another one. Raises NotPermittedError."""
        if not self.demands or not (written := self._certificate_of(address)):
            return
        try:
            is_same = shown == _der(written)
        except ValueError:
            is_same = False
        if not is_same:
            raise NotPermittedError(f"the certificate that it shows is not that of the policy of {address}")

    def _demanding(self) -> ssl.SSLContext:
        """Takes whom the policies of now have."""
        trusted = self._trusted()
        if self._taken is None or self._taken[0] is not trusted:
            assert self._files is not None
            context = _context(self._files, ssl.PROTOCOL_TLS_SERVER)
            context.verify_mode = ssl.CERT_REQUIRED
            context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN  # a node's own certificate is trust enough
            if self._files.authority is not None:
                context.load_verify_locations(self._files.authority)
            for written in trusted | {certificate_text(self._files)}:
                try:
                    context.load_verify_locations(cadata=_der(written))
                except (ValueError, ssl.SSLError):
                    log.warning("the certificate of a policy is none: %.40s", written)
            self._taken = trusted, context
        return self._taken[1]

    async def open(self, transport: asyncio.Transport, protocol: asyncio.Protocol, peer: str) -> asyncio.Transport:
        """Begin TLS on a connection that we opened. Raises OSError, ssl.SSLError, EdgeLakeError (208)."""
        if self._client is None:
            self._client = _context(None, ssl.PROTOCOL_TLS_CLIENT)
        loop = asyncio.get_running_loop()
        made = _there(await loop.start_tls(transport, protocol, self._client))
        try:
            self._check(peer, made.get_extra_info("ssl_object").getpeercert(binary_form=True))
        except BaseException:
            made.abort()
            raise
        return made

    def _check(self, peer: str, shown: bytes | None) -> None:
        written = self._certificate_of(peer)
        if not written:
            return
        try:
            wanted = _der(written)
        except ValueError:
            raise error(208, f"{peer}: the certificate in its policy is no base64 text") from None
        if shown != wanted:
            raise error(
                208,
                f"{peer}: it shows another certificate than its policy has",
                hint="somebody is in between, or the policy is old: compare !tcp_certificate of that node",
            )


def certificate_text(files: TlsFiles) -> str:
    """Our certificate as policies hold it: DER as base64."""
    return base64.b64encode(_first(files)).decode()


def _first(files: TlsFiles) -> bytes:
    """The certificate itself, without those of who signed it."""
    text, end = files.certificate.read_text(), "-----END CERTIFICATE-----"
    begin = max(text.find("-----BEGIN CERTIFICATE-----"), 0)
    return ssl.PEM_cert_to_DER_cert(text[begin : text.find(end) + len(end)])


def shown_by(transport: asyncio.Transport) -> bytes:
    """The certificate (DER) of the other end; b"" without TLS."""
    opened = transport.get_extra_info("ssl_object")
    return b"" if opened is None else (opened.getpeercert(binary_form=True) or b"")


def _context(files: TlsFiles | None, side: int) -> ssl.SSLContext:
    context = ssl.SSLContext(side)
    if side == ssl.PROTOCOL_TLS_CLIENT:
        # Names say nothing here: nodes have addresses, and the policy has the certificate itself.
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if files is not None:
        context.load_cert_chain(files.certificate, files.key)
    return context


@lru_cache(4096)
def _der(written: str) -> bytes:
    """The certificate of a policy. Raises ValueError."""
    return base64.b64decode(written, validate=True)


def _there(transport: asyncio.Transport | None) -> asyncio.Transport:
    if transport is None:
        raise ConnectionError("the connection ended before TLS began")
    return transport
