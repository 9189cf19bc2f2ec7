"""The connection to a mail server, and what its failures mean."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import socket
import ssl
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from edgelake.errors import CommandError
from edgelake.net.smtp.mail import Mail
from edgelake.tls import Tls

if TYPE_CHECKING:
    from aiosmtplib import SMTP

WAIT_S: Final = 15.0
"""For the connection, and for each answer of the server."""
_QUIET_S: Final = 5.0
"""A connection that was silent for so long is asked (NOOP) whether it stands."""
_LOGIN_CODES: Final = frozenset({454, 530, 534, 535, 538})


@dataclass(frozen=True, slots=True)
class SmtpConfig:
    """A mail server, and who we are to it.

    Attributes:
        email: sender of all mails, and the user of the login.
        password: empty = no login.
        ssl: TLS from the first byte; else ``starttls`` asks for it, and nothing is sent without.
        tls: authority of the server's certificate; the system's authorities when it names none.
    """

    host: str
    port: int
    email: str
    password: str = field(default="", repr=False)
    ssl: bool = False
    starttls: bool = True
    tls: Tls = field(default_factory=Tls)

    def __post_init__(self) -> None:
        """Raises CommandError."""
        if not 0 < self.port < 65536:
            raise CommandError(f"port = {self.port}: 1 to 65535")
        if self.password and not (self.ssl or self.starttls or _is_here(self.host)):
            raise CommandError(
                f"the password would go to {self.host} unencrypted",
                hint="ssl = true, or starttls = true, or no password",
            )

    @property
    def security(self) -> str:
        return "TLS" if self.ssl else "STARTTLS" if self.starttls else "none"


class Unreachable(Exception):
    """No mail can be sent now, whoever it is for: the server, its certificate, the login."""

    def __init__(self, reason: str, hint: str = "") -> None:
        super().__init__(f"{reason} ({hint})" if hint else reason)
        self.reason, self.hint = reason, hint


class Refused(Exception):
    """The server does not take this mail; ``for_good``: and will not later on."""

    def __init__(self, reason: str, *, for_good: bool) -> None:
        super().__init__(reason)
        self.for_good = for_good


class Link:
    """A connection that is made when it is needed, and checked when it was silent."""

    def __init__(self, config: SmtpConfig) -> None:
        self.config = config
        self._smtp: SMTP | None = None
        self._used = 0.0

    @property
    def is_open(self) -> bool:
        return self._smtp is not None and self._smtp.is_connected

    async def open(self) -> None:
        """Connect and log in, unless that is so. Raises Unreachable."""
        from aiosmtplib import SMTPException

        if self._smtp is not None and self._smtp.is_connected:
            if time.monotonic() - self._used < _QUIET_S:
                return
            with contextlib.suppress(SMTPException, OSError):
                await self._smtp.noop()
                self._used = time.monotonic()
                return
        await self.close()
        await self._connect()

    async def _connect(self) -> None:
        from aiosmtplib import SMTP, SMTPException

        config = self.config
        try:
            context = await asyncio.to_thread(config.tls.context)
        except CommandError as problem:
            raise Unreachable(problem.detail, problem.hint) from None
        smtp = SMTP(
            hostname=config.host,
            port=config.port,
            username=config.email if config.password else None,
            password=config.password or None,
            local_hostname=_own_name(),
            timeout=WAIT_S,
            use_tls=config.ssl,
            start_tls=config.starttls and not config.ssl,
            tls_context=context,
        )
        try:
            await smtp.connect()
        except (SMTPException, OSError, ValueError) as problem:
            smtp.close()
            raise self._unreachable(problem) from None
        self._smtp, self._used = smtp, time.monotonic()

    async def send(self, mail: Mail) -> None:
        """Returns when the server has taken the mail. Raises Refused, Unreachable."""
        from aiosmtplib import (
            SMTPException,
            SMTPNotSupported,
            SMTPRecipientsRefused,
            SMTPResponseException,
            SMTPServerDisconnected,
        )

        assert self._smtp is not None
        try:
            await self._smtp.send_message(mail.message(self.config.email))
        except SMTPRecipientsRefused as problem:
            answer = problem.recipients[0]
            raise Refused(f"mailbox {mail.to}: {_said(answer)}", for_good=answer.code >= 500) from None
        except SMTPServerDisconnected as problem:
            await self.close()
            raise Unreachable(f"the server hung up: {problem}") from None
        except SMTPResponseException as problem:
            if problem.code == 421 or problem.code in _LOGIN_CODES:
                await self.close()
                raise self._unreachable(problem) from None
            raise Refused(f"mail to {mail.to}: {_said(problem)}", for_good=problem.code >= 500) from None
        except (SMTPNotSupported, ValueError, UnicodeError) as problem:
            raise Refused(f"mail to {mail.to}: {problem}", for_good=True) from None
        except (SMTPException, OSError) as problem:
            await self.close()
            raise self._unreachable(problem) from None
        self._used = time.monotonic()

    async def close(self) -> None:
        """Say goodbye, as far as the connection still stands."""
        from aiosmtplib import SMTPException

        smtp, self._smtp = self._smtp, None
        if smtp is not None:
            with contextlib.suppress(SMTPException, OSError, TimeoutError):
                if smtp.is_connected:
                    await smtp.quit(timeout=1.0)
            smtp.close()

    def _unreachable(self, problem: Exception) -> Unreachable:
        """A failure in words."""
        from aiosmtplib import SMTPAuthenticationError, SMTPNotSupported, SMTPResponseException

        cause = _cause(problem)
        if isinstance(problem, SMTPAuthenticationError) or getattr(problem, "code", 0) in _LOGIN_CODES:
            return Unreachable(
                f"the login of {self.config.email} is refused: {_said(problem)}", "check email and password"
            )
        if isinstance(cause, ssl.SSLCertVerificationError):
            return Unreachable(
                f"its certificate is refused: {cause.verify_message}", "ca = <file> names the authority that signed it"
            )
        if isinstance(cause, ssl.SSLError):
            return Unreachable(
                f"TLS: {cause.reason or cause}", "ssl = true is for port 465, ssl = false for 587 and 25"
            )
        if isinstance(cause, socket.gaierror):
            return Unreachable("the host is unknown", "check its name, and the machine's name service")
        if isinstance(problem, SMTPResponseException):
            return Unreachable(f"the server said {_said(problem)}")
        if "STARTTLS extension" in str(problem):
            return Unreachable(
                "the server has no STARTTLS", "ssl = true, or starttls = false for a relay of your own network"
            )
        if isinstance(problem, SMTPNotSupported) or "AUTH" in str(problem):
            return Unreachable(
                "the server takes no login over this connection", "ssl or starttls = true, or no password for a relay"
            )
        if isinstance(problem, TimeoutError):
            return Unreachable(
                f"no answer within {WAIT_S:g} seconds", "is it the right port? ssl = true is for port 465"
            )
        if isinstance(cause, OSError) and cause.strerror:
            return Unreachable(cause.strerror, "is the server up, and reached from here?")
        return Unreachable(str(problem) or type(problem).__name__)


def _cause(problem: Exception) -> BaseException:
    """What lies behind the library's wrapping."""
    found: BaseException = problem
    while found.__cause__ is not None:
        found = found.__cause__
    return found


def _said(problem: Exception) -> str:
    """The server's answer on one line."""
    code, text = getattr(problem, "code", ""), str(getattr(problem, "message", problem))
    return f"{code} {' '.join(text.split())[:300]}".strip()


def _own_name() -> str:
    """How we greet: the machine's name where it is a full one (looking for another may take seconds)."""
    name = socket.gethostname()
    return name if "." in name and " " not in name else "[127.0.0.1]"


def _is_here(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
