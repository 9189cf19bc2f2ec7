"""Options of the REST server. Spec: services and status, section 2."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from edgelake.errors import error


@dataclass(frozen=True, slots=True)
class BodyLimits:
    """How much of a request body is taken, and how patiently. A value of 0 is not allowed.

    Attributes:
        total_bytes: largest body, after decompression; above it 413.
        block_bytes: a longer streamed body is stored in blocks of about this size.
        whole_bytes: largest body that must be held whole (``command: data``, commands), largest row of a streamed one.
        idle_seconds: longest silence inside a body (a short body: its whole duration); beyond it 408.
    """

    total_bytes: int = 1 << 30
    block_bytes: int = 4 << 20
    whole_bytes: int = 64 << 20
    idle_seconds: int = 30


@dataclass(frozen=True, slots=True)
class RestConfig:
    """One REST listener.

    Attributes:
        external_ip, external_port: the address given to others; each pair defaults to the other one.
        internal_ip, internal_port: the address on the local network; the port that is listened on.
        bind: listen on the internal address only.
        timeout_seconds: longest wait for a reply; 0 = no limit.
        threads: commands and queries that run at the same time (ingestion takes none of them).
        waiting: commands that may wait for a free one; more are refused with 503.
        connections: open connections; more wait in the backlog.
        certificate, key: PEM files of HTTPS (the key in PKCS#8); None = HTTP.
        idle_connection_seconds: a kept-alive connection without a request, or with half a request head, is closed.
    """

    external_ip: str = ""
    external_port: int = 0
    internal_ip: str = ""
    internal_port: int = 0
    bind: bool = False
    timeout_seconds: float = 20
    threads: int = 5
    waiting: int = 1000
    connections: int = 4096
    certificate: Path | None = None
    key: Path | None = None
    certificate_authority: Path | None = None
    idle_connection_seconds: int = 60
    limits: BodyLimits = field(default_factory=BodyLimits)

    def __post_init__(self) -> None:
        """Raises error 40 when no port is given, 21 for a port out of range."""
        ports = (self.external_port, self.internal_port)
        if not any(ports):
            raise error(40, "Missing port in REST Server configuration")
        for port in ports:
            if not 0 <= port <= 65535:
                raise error(21, f"REST port {port} is not between 1 and 65535")

    @property
    def external(self) -> tuple[str, int]:
        return self.external_ip or self.internal_ip or "127.0.0.1", self.external_port or self.internal_port

    @property
    def internal(self) -> tuple[str, int]:
        return self.internal_ip or self.external_ip or "127.0.0.1", self.internal_port or self.external_port

    @property
    def listening(self) -> tuple[str, int]:
        """The address to bind.

        Without ``bind`` all addresses, as in the reference; but when only loopback addresses (or none) are given,
        loopback alone: listening outside is the owner's explicit choice (design, section 4).
        """
        host, port = self.internal
        given = {ip for ip in (self.internal_ip, self.external_ip) if ip}
        if self.bind or all(is_loopback(ip) for ip in given):
            return host, port
        return ("::" if ":" in host else "0.0.0.0"), port

    @property
    def scheme(self) -> str:
        return "https" if self.certificate else "http"


def is_loopback(ip: str) -> bool:
    """Whether an address (or its IPv4-in-IPv6 form) never leaves the machine."""
    ip = ip.removeprefix("::ffff:")
    return ip.startswith("127.") or ip in {"::1", "localhost"}


def join_address(host: str, port: int) -> str:
    """``host:port``, with brackets around an IPv6 address."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
