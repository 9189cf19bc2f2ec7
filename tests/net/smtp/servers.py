"""A mail server for tests: aiosmtpd, which answers as it is told."""

from __future__ import annotations

import socket
import ssl
from dataclasses import dataclass, field
from email import message_from_bytes, policy
from email.message import EmailMessage
from pathlib import Path
from queue import Queue
from typing import Any, Self

import trustme
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session

from edgelake.bench.processes import free_port

EMAIL = "node@plant.example"
PASSWORD = "s3cret-of-mail"


@dataclass
class Post:
    """What came, and what is answered.

    Attributes:
        refused: answer for a mailbox, by its name; absent = taken.
        password: what the login wants.
    """

    mails: Queue[EmailMessage] = field(default_factory=Queue)
    refused: dict[str, str] = field(default_factory=dict)
    after_data: str = "250 OK"
    password: str = PASSWORD
    logins: int = 0
    helos: list[str] = field(default_factory=list)

    async def handle_EHLO(
        self, server: SMTP, session: Session, envelope: Envelope, hostname: str, responses: list[str]
    ) -> list[str]:
        session.host_name = hostname
        self.helos.append(hostname)
        return responses

    async def handle_RCPT(
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        if answer := self.refused.get(address):
            return answer
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:
        if self.after_data.startswith("250"):
            assert isinstance(envelope.content, bytes)
            mail = message_from_bytes(envelope.content, policy=policy.default)
            assert isinstance(mail, EmailMessage)
            mail["X-Envelope"] = f"{envelope.mail_from} {' '.join(envelope.rcpt_tos)}"
            self.mails.put(mail)
        return self.after_data

    def login(self, server: SMTP, session: Session, envelope: Envelope, mechanism: str, data: Any) -> AuthResult:
        self.logins += 1
        assert isinstance(data, LoginPassword)
        right = data.login.decode() == EMAIL and data.password.decode() == self.password
        return AuthResult(success=right, handled=False)

    def next(self) -> EmailMessage:
        return self.mails.get(timeout=20)


class _Listening(Controller):
    """The library asks its own server for a greeting before ``start`` returns; over TLS it does so as a server."""

    def _trigger_server(self) -> None:
        if self.ssl_context is None:
            super()._trigger_server()
            return
        anybody = ssl.create_default_context()
        anybody.check_hostname, anybody.verify_mode = False, ssl.CERT_NONE
        with socket.create_connection((self.hostname, self.port), 5) as plain, anybody.wrap_socket(plain) as link:
            link.recv(1024)


class MailServer:
    """Listens on loopback. ``security``: "tls", "starttls" or "none"; ``auth`` wants a login."""

    def __init__(self, folder: Path, *, security: str = "none", auth: bool = False, host: str = "127.0.0.1") -> None:
        self.port = free_port()
        self.post = Post()
        self.ca = folder / "ca.pem"
        self._options: dict[str, Any] = {}
        if security != "none":
            authority = trustme.CA()
            authority.cert_pem.write_to_path(self.ca)
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            authority.issue_cert(host).configure_cert(context)
            if security == "tls":
                self._options["ssl_context"] = context
            else:
                self._options |= {"tls_context": context, "require_starttls": True}
        if auth:
            self._options |= {"authenticator": self.post.login, "auth_required": True}
            self._options["auth_require_tls"] = security == "starttls"  # it does not see TLS from the first byte
        self._controller: _Listening | None = None

    def start(self) -> None:
        self._controller = _Listening(self.post, "127.0.0.1", self.port, **self._options)
        self._controller.start()

    def stop(self) -> None:
        controller, self._controller = self._controller, None
        if controller is not None:
            controller.stop()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *args: object) -> None:
        self.stop()
