"""Options of ``run tcp server``. Spec: services and status, section 2."""

from __future__ import annotations

from edgelake.model import FILE_BYTES
from edgelake.net.certificates import TlsFiles
from edgelake.net.endpoints import Endpoints


class PeerConfig(Endpoints, frozen=True):
    """Where messages of other nodes come in.

    Attributes:
        tls: our certificate, for kept connections of our kind.
        tls_only: speak and take nothing else.
        tls_client: take connections of those alone who show a certificate of the policies, or of the authority.
        threads: commands of peers that are worked on at a time.
        connections_per_ip: open at a time from one address; more are closed at once.
        block_s: a peer may take this long for a block.
        message_bytes: longest text of a message.
        file_bytes: largest file that a peer may send.
    """

    tls: TlsFiles | None = None
    tls_only: bool = False
    tls_client: bool = False
    threads: int = 6
    connections_per_ip: int = 256
    block_s: float = 30.0
    message_bytes: int = 16 << 20
    file_bytes: int = FILE_BYTES
