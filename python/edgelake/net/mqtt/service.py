"""The message broker as a service: start, stop, status. Spec: brokers and mapping, section 1."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from msgspec import Struct

from edgelake import _rust
from edgelake.errors import ServiceError
from edgelake.identity.gate import Gate
from edgelake.identity.identities import Identities
from edgelake.model import Status
from edgelake.net.certificates import Renewal, fingerprint
from edgelake.net.endpoints import Addressed, is_loopback, join_address
from edgelake.net.mqtt.acl import AclFile
from edgelake.net.mqtt.config import BrokerConfig, Rows
from edgelake.net.mqtt.logins import Login, Logins, anonymous
from edgelake.net.mqtt.users import UserFile

log = logging.getLogger(__name__)

NO_LIMIT_S = (1 << 32) - 1
CLIENTS_SHOWN = 10_000
_LEVELS = {"debug": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR}


class Counted(Struct, frozen=True):
    """Packets of one kind from one address. Times are Unix seconds, 0 = never."""

    ip: str
    packet: str
    success: int
    last: float
    errors: int
    last_error: float
    reason: int
    details: str


class Client(Struct, frozen=True):
    """A session, connected or not."""

    client_id: str
    user: str
    version: str
    address: str
    subscriptions: int
    queued: int
    in_flight: int
    expiry_s: int


class MqttBroker(Addressed):
    """MQTT 3.1, 3.1.1 and 5 for clients, on a native thread.

    Args:
        directory: where sessions, queued and retained messages survive the process; None = nowhere.
        rows: where messages of the node's message clients become rows.
        tell: takes lines of the debug log.
        gate: the users, tokens and permissions of the node.
    """

    name = "message broker"
    config: BrokerConfig

    def __init__(
        self,
        config: BrokerConfig,
        *,
        directory: Path | None = None,
        rows: Rows | None = None,
        version: str = "",
        tell: Callable[[str], None] = log.info,
        gate: Gate | None = None,
    ) -> None:
        self._gate = gate or Gate(Identities(Path))
        self.config = config
        self._directory, self._rows, self._version, self._tell = directory, rows, version, tell
        self._acl = AclFile(config.acl)
        self._users = UserFile(config.users) if config.users is not None else None
        self._native: _rust.MqttBroker | None = None
        self._logins: Logins | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._since_us = 0
        self._failure = ""
        self._renewal: Renewal | None = None

    # ---- life

    async def start(self) -> None:
        """Bind and serve.

        Raises AddressInUseError, ServiceError for files that cannot be used, JournalError, StorageFullError.
        """
        users = self._users.users() if self._users is not None else {}
        has_authority = bool(self.config.client_cert)
        logins = Logins(self._users, self._acl, self.config.anonymous, has_authority=has_authority, gate=self._gate)
        try:
            native = await asyncio.to_thread(self._open)
        except BaseException:
            logins.close()
            raise
        self._native, self._logins, self._failure = native, logins, ""
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(native.fileno(), self._news)
        self._gate.identities.watch(self._identities_changed)
        self._since_us = time.time_ns() // 1000
        if (files := self._files()) is not None:
            self._renewal = Renewal("Message Broker", files, self.renew_certificate)
        log.info("Message Broker initiated on %s, %d users", self.bound, len(users))
        if self.warning:
            log.warning("Message Broker: %s", self.warning)

    def _files(self) -> tuple[Path, Path] | None:
        """Certificate and key; None without TLS."""
        config = self.config
        if not config.has_tls or config.certificate is None or config.key is None:
            return None
        return config.certificate, config.key

    async def renew_certificate(self) -> None:
        """Show what is in the files of the certificate now to clients that connect from now on; others go on.

        Raises ServiceError for files that cannot be used: the old one stays.
        """
        native, files = self._native, self._files()
        if native is None or files is None:
            raise ServiceError("Message Broker: it has no TLS, or does not run")
        certificate, key, authority = await asyncio.to_thread(
            lambda: (_content(files[0]), _content(files[1]), _content(self.config.client_cert))
        )
        assert certificate is not None
        assert key is not None
        native.renew(certificate, key, authority)
        log.info("Message Broker: certificate renewed, SHA-256 fingerprint %s", fingerprint(files[0]))

    def _open(self) -> _rust.MqttBroker:
        config = self.config
        if self._directory is not None:
            try:
                self._directory.mkdir(parents=True, exist_ok=True)
            except OSError as problem:
                raise ServiceError(f"Message Broker: {self._directory}: {problem.strerror}") from problem
        rows = self._rows
        local, remote = self._anonymous()
        return _rust.MqttBroker(
            config.listeners,
            certificate=_content(config.certificate) if config.has_tls else None,
            key=_content(config.key) if config.has_tls else None,
            client_authority=_content(config.client_cert),
            directory=self._directory,
            clients=rows.clients if rows else None,
            pipeline=rows.pipeline if rows else None,
            threads=config.threads,
            anonymous_local=local,
            anonymous_remote=remote,
            anonymous_acl=self._acl.rights(None, ""),
            foreign_pages=config.anonymous is True,
            version=self._version,
            keep_alive_max_s=config.keep_alive_max_s,
            packet_max_bytes=config.message_max_bytes,
            connections_max=config.connections,
            session_expiry_max_s=NO_LIMIT_S if config.session_max_s is None else config.session_max_s,
            queue_messages=config.queue_messages,
        )

    def _anonymous(self) -> tuple[bool, bool]:
        """Clients that the broker lets in by itself. With users of its own every login is looked at."""
        return (False, False) if self.config.asks else anonymous(self._gate, self.config.anonymous, False)

    def _identities_changed(self) -> None:
        """From any thread."""
        native = self._native
        if native is not None:
            native.set_anonymous(*self._anonymous())

    async def stop(self) -> None:
        """Stop: what was received is kept and acknowledged, clients are told. Takes some seconds at most."""
        native, logins, loop = self._native, self._logins, self._loop
        if native is None or logins is None or loop is None:
            return
        bound = self.bound
        if self._renewal is not None:
            self._renewal.close()
        self._native = self._logins = self._renewal = None
        self._since_us = 0
        self._gate.identities.unwatch(self._identities_changed)
        loop.remove_reader(native.fileno())
        await asyncio.to_thread(native.stop)
        await asyncio.to_thread(logins.close)
        self._report(native)
        log.info("Terminating Message Broker %s", bound)

    def _news(self) -> None:
        """Logins, lines for the log, or the end of the broker's thread."""
        native, logins = self._native, self._logins
        if native is None or logins is None:
            return
        native.drain()
        for asked in native.take_logins():
            logins.decide(Login(*asked), native)
        self._report(native)
        failure = native.ended()
        if failure and not self._failure:
            self._failure = failure
            log.error("Message Broker %s has ended: %s; start it again with run message broker", self.bound, failure)

    def _report(self, native: _rust.MqttBroker) -> None:
        for severity, text in native.take_reports():
            if severity == "debug":
                self._tell(text)
            else:
                log.log(_LEVELS[severity], "Message Broker: %s", text)

    # ---- status

    @property
    def warning(self) -> str:
        """What the owner should know about clients without a name; empty = nothing."""
        config = self.config
        if config.anonymous is True:
            return "anonymous clients are allowed from everywhere (anonymous = true)"
        has_identities = bool(config.client_cert) or bool(self._users is not None and self._users.has_any)
        if config.anonymous is None and not is_loopback(config.host) and anonymous(self._gate, None, has_identities)[1]:
            return "anonymous clients are allowed from other machines until there is a user (id add user, users = file)"
        return ""

    def status(self) -> Status:
        native = self._native
        if native is None or self._failure:
            return Status("MSG Broker", False, "No active connection", last_error=self._failure)
        external, internal = self.external, self.internal
        listening = external if external == internal else f"{external} and {internal}"
        details = f"Listening on: {listening}, Threads Pool: {self.config.threads}"
        if self.config.has_tls:
            details += ", SSL: True"
        if self.warning:
            details += f", Warning: {self.warning}"
        counters: dict[str, int | float] = {**native.stats()}
        return Status("MSG Broker", True, details, self._since_us, counters=counters)

    @property
    def bound(self) -> str:
        return join_address(self.config.host, self.config.internal[1])

    def stats(self) -> dict[str, int]:
        return self._native.stats() if self._native is not None else {}

    def events(self) -> Iterator[Counted]:
        """What came, by address and kind of packet."""
        for ip, packet, success, last_ms, errors, error_ms, reason, text in (
            self._native.events() if self._native is not None else ()
        ):
            yield Counted(ip, packet, success, last_ms / 1000, errors, error_ms / 1000, reason, text)

    def clients(self) -> Iterator[Client]:
        for client_id, user, version, address, *numbers in (
            self._native.clients(CLIENTS_SHOWN) if self._native is not None else ()
        ):
            yield Client(client_id, user or "", version, address or "", *numbers)

    def set_debug(self, on: bool) -> None:
        """Lines about connections that come and go."""
        if self._native is not None:
            self._native.set_debug(on)

    def disconnect(self, client_id: str) -> None:
        """Close the connection of a client (0x98 administrative action)."""
        if self._native is not None:
            self._native.disconnect(client_id, 0x98)


def _content(path: Path | None) -> bytes | None:
    if path is None:
        return None
    try:
        return path.read_bytes()
    except OSError as problem:
        raise ServiceError(f"SSL Connection: cannot read {path}: {problem.strerror}") from problem
