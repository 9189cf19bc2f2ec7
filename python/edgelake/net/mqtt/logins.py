"""Verdicts on logins, on a thread of their own: password hashes are slow on purpose."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Protocol

from msgspec import Struct

from edgelake._rust import MqttAcl
from edgelake.errors import CredentialsError, ServiceError
from edgelake.identity.gate import Gate
from edgelake.identity.identities import TOKEN_PREFIX, Identities
from edgelake.identity.passwords import Attempts, Hash, TooManyAttemptsError
from edgelake.model import CommandClass
from edgelake.net.endpoints import is_loopback
from edgelake.net.mqtt.acl import AclFile
from edgelake.net.mqtt.users import UserFile

log = logging.getLogger(__name__)

BAD_USER_OR_PASSWORD, NOT_AUTHORIZED, UNAVAILABLE, RATE_EXCEEDED = 0x86, 0x87, 0x88, 0x9F


class Login(Struct, frozen=True):
    """A CONNECT that waits."""

    ticket: int
    client_id: str
    user: str | None
    password: bytes | None
    ip: str
    transport: str
    certificate: str | None


class Answers(Protocol):
    """The broker, as far as logins need it."""

    def grant(self, ticket: int, user: str | None, acl: MqttAcl) -> None: ...
    def refuse(self, ticket: int, reason: int) -> None: ...


def anonymous(gate: Gate, option: bool | None, has_identities: bool) -> tuple[bool, bool]:
    """Whether clients without a name may connect: from this machine, and from others.

    Args:
        option: as the owner gave it; None = by the rule of design, section 4.
        has_identities: the broker has users or an authority of its own.
    """
    if option is not None:
        return option, option
    is_granted = CommandClass.DATA in gate.identities.anonymous_classes("mqtt")
    local = CommandClass.DATA in gate.anonymous("mqtt", True)
    remote = not has_identities and CommandClass.DATA in gate.anonymous("mqtt", False)
    return local, remote or is_granted


class Logins:
    """Who may connect, and with which rights.

    Args:
        anonymous: None = from this machine, and from others while there is no user.
        has_authority: client certificates are checked, so there are identities.
        gate: the users and tokens of the node, which may connect, too (a token as the password of its name).
    """

    def __init__(
        self,
        users: UserFile | None,
        acl: AclFile,
        anonymous: bool | None,
        *,
        has_authority: bool = False,
        gate: Gate | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._users, self._acl, self._anonymous, self._has_authority = users, acl, anonymous, has_authority
        self._gate = gate or Gate(Identities(Path))
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="mqtt-login")
        self._attempts = Attempts(clock)

    def decide(self, login: Login, answers: Answers) -> None:
        """Answer later, from the thread."""
        self._thread.submit(self._decide, login, answers)

    def close(self) -> None:
        self._thread.shutdown(wait=True, cancel_futures=True)

    def _decide(self, login: Login, answers: Answers) -> None:
        try:
            verdict = self.verdict(login)
            if isinstance(verdict, int):
                answers.refuse(login.ticket, verdict)
            else:
                answers.grant(login.ticket, *verdict)
        except ServiceError as problem:
            log.error("MQTT client '%s' is refused: %s", login.client_id, problem)
            answers.refuse(login.ticket, UNAVAILABLE)
        except Exception:  # this is the border of the thread: the client gets an answer in any case
            log.exception("MQTT client '%s' is refused", login.client_id)
            answers.refuse(login.ticket, UNAVAILABLE)

    def verdict(self, login: Login) -> tuple[str | None, MqttAcl] | int:
        """User and rights, or the reason code of the refusal. Raises ServiceError for files that cannot be read."""
        users = self._users.users() if self._users is not None else {}
        if login.user is not None and (users or self._gate.asks):
            return self._with_password(login, users, login.user)
        if login.certificate is not None:
            return login.certificate, self._acl.rights(login.certificate, login.client_id)
        if self._may_be_anonymous(login.ip, bool(users) or self._has_authority):
            return None, self._acl.rights(None, login.client_id)
        return BAD_USER_OR_PASSWORD if login.user is not None else NOT_AUTHORIZED

    def _may_be_anonymous(self, ip: str, has_identities: bool) -> bool:
        local, remote = anonymous(self._gate, self._anonymous, has_identities)
        return local if is_loopback(ip) else remote

    def _with_password(self, login: Login, users: Mapping[str, Hash], name: str) -> tuple[str | None, MqttAcl] | int:
        identities, password = self._gate.identities, login.password or b""
        user = identities.user(name) if name not in users else None
        role = user.role if user is not None else None
        try:
            if password.startswith(TOKEN_PREFIX.encode()) and (found := identities.token(password.decode())):
                if found[0] != name:
                    return BAD_USER_OR_PASSWORD
                role = found[1].role
            else:
                known = Hash.parse(user.hash) if user is not None else users.get(name)
                if not self._attempts.is_right(login.ip, name, password, known):
                    return BAD_USER_OR_PASSWORD
        except TooManyAttemptsError:
            return RATE_EXCEEDED
        except (CredentialsError, UnicodeDecodeError):  # a token that has expired, or none
            return BAD_USER_OR_PASSWORD
        if role is not None and CommandClass.DATA not in identities.classes_of(name, role):
            return NOT_AUTHORIZED
        return name, self._acl.rights(name, login.client_id)
