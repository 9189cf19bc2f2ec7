"""Options of the REST server. Spec: services and status, section 2."""

from __future__ import annotations

from pathlib import Path

from msgspec import Struct, field

from edgelake.model import FILE_BYTES
from edgelake.net.endpoints import Endpoints
from edgelake.net.rest.cors import Cors


class BodyLimits(Struct, frozen=True):
    """How much of a request body is taken, and how patiently. A value of 0 is not allowed.

    Attributes:
        total_bytes: largest body, after decompression; above it 413.
        file_bytes: the same of files, which are not held in memory.
        block_bytes: a longer streamed body is stored in blocks of about this size.
        whole_bytes: largest body that must be held whole (``command: data``, commands), largest row of a streamed one.
        idle_seconds: longest silence inside a body (a short body: its whole duration); beyond it 408.
    """

    total_bytes: int = 1 << 30
    file_bytes: int = FILE_BYTES
    block_bytes: int = 4 << 20
    whole_bytes: int = 64 << 20
    idle_seconds: int = 30


class RestConfig(Endpoints, frozen=True):
    """One REST listener.

    Attributes:
        timeout_seconds: longest wait for a reply; 0 = no limit.
        threads: commands and queries that run at the same time (ingestion takes none of them).
        waiting: commands that may wait for a free one; more are refused with 503.
        connections: open connections; more wait in the backlog.
        certificate, key: PEM files of HTTPS (the key in PKCS#8); None = HTTP.
        client_cert: connections of those alone who show a certificate by the authority.
        cors: pages of which other sites may read answers.
        idle_connection_seconds: a kept-alive connection without a request, or with half a request head, is closed.
    """

    timeout_seconds: float = 20
    threads: int = 5
    waiting: int = 1000
    connections: int = 4096
    certificate: Path | None = None
    key: Path | None = None
    certificate_authority: Path | None = None
    client_cert: bool = False
    idle_connection_seconds: int = 60
    limits: BodyLimits = field(default_factory=BodyLimits)
    cors: Cors = field(default_factory=Cors)

    def __post_init__(self) -> None:
        """Raises error 40 when no port is given, 21 for a port out of range."""
        self.check_ports("REST Server")

    @property
    def scheme(self) -> str:
        return "https" if self.certificate else "http"
