"""The addresses of a service that listens, as its command gives them. Spec: services and status, section 2."""

from __future__ import annotations

import ipaddress
from functools import lru_cache

from msgspec import Struct

from edgelake.errors import error


class Endpoints(Struct, frozen=True):
    """Both pairs of a service; each defaults to the other one.

    Attributes:
        external_ip, external_port: the address given to others.
        internal_ip, internal_port: the address on the local network; the port that is listened on.
        bind: listen on the internal address only.
    """

    external_ip: str = ""
    external_port: int = 0
    internal_ip: str = ""
    internal_port: int = 0
    bind: bool = False

    def check_ports(self, service: str, *further: int) -> None:
        """Raises error 40 when no port is given, 21 for a port out of range."""
        if not (self.external_port or self.internal_port):
            raise error(40, f"Missing port in {service} configuration")
        for port in (self.external_port, self.internal_port, *further):
            if not 0 <= port <= 65535:
                raise error(21, f"{service}: port {port} is not between 1 and 65535")

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


NAMELESS = "clients of other machines need no name"
"""What the owner is told of a service that is open to others (design, section 4)."""


class Addressed:
    """A service that listens: its addresses as text, for status commands."""

    config: Endpoints

    def nameless(self, may: bool) -> str:
        """The warning of a service that listens for other machines, when those may come without a name; else ""."""
        return NAMELESS if may and not is_loopback(self.config.listening[0]) else ""

    @property
    def external(self) -> str:
        return join_address(*self.config.external)

    @property
    def internal(self) -> str:
        return join_address(*self.config.internal)


@lru_cache(4096)
def is_loopback(address: str) -> bool:
    """Whether an address (``ip`` or ``ip:port``) is this machine's loopback; a mapped IPv6 one counts."""
    host = address.strip()
    if host.startswith("["):
        host = host[1:].partition("]")[0]
    elif host.count(":") == 1:
        host = host.partition(":")[0]
    try:
        found = ipaddress.ip_address(host)
    except ValueError:
        return host == "localhost"
    mapped = getattr(found, "ipv4_mapped", None)
    return (mapped or found).is_loopback


def join_address(host: str, port: int) -> str:
    """``host:port``, with brackets around an IPv6 address."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
