"""Options of the message broker. Spec: brokers and mapping, section 1; services and status, section 2."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from msgspec import Struct

from edgelake.errors import error
from edgelake.net.endpoints import Endpoints

if TYPE_CHECKING:
    from edgelake._rust import MessageClients, Pipeline

ANONYMOUS = "EDGELAKE_MQTT_ANONYMOUS"
"""In the environment: the option ``anonymous`` where the command has none."""


class Rows(Struct, frozen=True):
    """Where messages that become rows go."""

    clients: MessageClients
    pipeline: Pipeline


class BrokerConfig(Endpoints, frozen=True):
    """One broker.

    Attributes:
        threads: workers that map messages to rows.
        anonymous: clients without name and password; None = from this machine, and from others until the first user.
        users, acl: files of users and of their rights.
        certificate, key: PEM files of TLS.
        ssl: the port speaks TLS; ``ssl_port``: a further port that does.
        client_cert: PEM file of the authority of which TLS clients must show a certificate.
        websocket_port: a further port for WebSocket, with TLS when ``ssl``.
        keep_alive_max_s: longest keep alive of version 5 clients, who are told; 0 = any.
        message_max_bytes: largest packet; connections: open at the same time.
        queue_messages: that wait for one client which is away or slow.
        session_max_s: longest session without a connection; None = no limit.
    """

    threads: int = 6
    anonymous: bool | None = None
    users: Path | None = None
    acl: Path | None = None
    certificate: Path | None = None
    key: Path | None = None
    ssl: bool = False
    ssl_port: int = 0
    client_cert: Path | None = None
    websocket_port: int = 0
    keep_alive_max_s: int = 60
    message_max_bytes: int = 16 << 20
    connections: int = 100_000
    queue_messages: int = 100_000
    session_max_s: int | None = None

    def __post_init__(self) -> None:
        """Raises error 40 when no port is given, 21 for a value out of range."""
        self.check_ports("Message Broker", self.ssl_port, self.websocket_port)
        for name, value, least, most in (
            ("threads", self.threads, 1, 256),
            ("keep_alive_max", self.keep_alive_max_s, 0, 65535),
            ("message_max", self.message_max_bytes, 128, 256 << 20),
            ("connections", self.connections, 1, 1_000_000),
            ("queue_messages", self.queue_messages, 1, 10_000_000),
        ):
            if not least <= value <= most:
                raise error(21, f"{name} = {value}: between {least} and {most}")

    @property
    def host(self) -> str:
        """The address to bind, as a number."""
        host = self.listening[0]
        return "127.0.0.1" if host == "localhost" else host

    @property
    def listeners(self) -> list[tuple[str, int, bool, bool]]:
        """(ip, port, WebSocket, TLS) of each listener, the main one first."""
        found = [(self.host, self.internal[1], False, self.ssl)]
        if self.ssl_port:
            found.append((self.host, self.ssl_port, False, True))
        if self.websocket_port:
            found.append((self.host, self.websocket_port, True, self.ssl))
        return found

    @property
    def has_tls(self) -> bool:
        return self.ssl or bool(self.ssl_port)

    @property
    def asks(self) -> bool:
        """Whether there are identities, so that each login is looked at."""
        return self.users is not None or self.client_cert is not None
