"""TLS of kept connections: our certificate, and those in the policies of nodes (network protocol, section 14)."""

from __future__ import annotations

import asyncio
import base64
import binascii
import ssl
from collections.abc import Callable

from edgelake.errors import error
from edgelake.net.certificates import TlsFiles


class Secure:
    """Who is spoken to by TLS, and whether a peer is who it should be.

    Args:
        files: our certificate; None = nobody opens TLS connections to us.
        only: speak and take nothing else.
        certificate_of: what the policy of the node with that address says: its certificate (DER as base64), or "".
    """

    def __init__(self, files: TlsFiles | None, only: bool, certificate_of: Callable[[str], str]) -> None:
        self.only = only
        self._certificate_of = certificate_of
        self._files = files
        self._server: ssl.SSLContext | None = None
        self._client: ssl.SSLContext | None = None

    @property
    def takes(self) -> bool:
        """Whether others may open TLS connections."""
        return self._files is not None

    def load(self) -> None:
        """Read the files. Raises OSError, ssl.SSLError."""
        if self._files is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.minimum_version = ssl.TLSVersion.TLSv1_2
            context.load_cert_chain(self._files.certificate, self._files.key)
            self._server = context

    def wants(self, peer: str) -> bool:
        """Whether that peer is spoken to by TLS, or not at all."""
        return self.only or bool(self._certificate_of(peer))

    async def accept(self, transport: asyncio.Transport, protocol: asyncio.Protocol) -> asyncio.Transport:
        """Begin TLS on a connection that came. Raises OSError, ssl.SSLError."""
        assert self._server is not None
        loop = asyncio.get_running_loop()
        made = await loop.start_tls(transport, protocol, self._server, server_side=True)
        return _there(made)

    async def open(self, transport: asyncio.Transport, protocol: asyncio.Protocol, peer: str) -> asyncio.Transport:
        """Begin TLS on a connection that we opened. Raises OSError, ssl.SSLError, EdgeLakeError (208)."""
        if self._client is None:
            # Names say nothing here: nodes have addresses, and the policy has the certificate itself.
            self._client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            self._client.check_hostname = False
            self._client.verify_mode = ssl.CERT_NONE
            self._client.minimum_version = ssl.TLSVersion.TLSv1_2
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
            wanted = base64.b64decode(written, validate=True)
        except binascii.Error:
            raise error(208, f"{peer}: the certificate in its policy is no base64 text") from None
        if shown != wanted:
            raise error(
                208,
                f"{peer}: it shows another certificate than its policy has",
                hint="somebody is in between, or the policy is old: compare !tcp_certificate of that node",
            )


def certificate_text(files: TlsFiles) -> str:
    """Our certificate as policies hold it: DER as base64."""
    return base64.b64encode(ssl.PEM_cert_to_DER_cert(files.certificate.read_text())).decode()


def _there(transport: asyncio.Transport | None) -> asyncio.Transport:
    if transport is None:
        raise ConnectionError("the connection ended before TLS began")
    return transport
