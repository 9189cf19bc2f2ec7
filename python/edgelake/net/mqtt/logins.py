"""Verdicts on logins, on a thread of their own: password hashes are slow on purpose."""

from __future__ import annotations

import hashlib
import logging
import secrets
import time
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Protocol

from edgelake._rust import MqttAcl
from edgelake.errors import ServiceError
from edgelake.net.endpoints import is_loopback
from edgelake.net.mqtt.acl import AclFile
from edgelake.net.mqtt.users import Hash, UserFile

log = logging.getLogger(__name__)

BAD_USER_OR_PASSWORD, NOT_AUTHORIZED, UNAVAILABLE, RATE_EXCEEDED = 0x86, 0x87, 0x88, 0x9F
REMEMBERED = 1000
REMEMBERED_S = 300.0
FREE_FAILURES = 3
LONGEST_WAIT_S = 30.0


@dataclass(frozen=True, slots=True)
class Login:
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


class Logins:
    """Who may connect, and with which rights.

    Args:
        anonymous: None = from this machine, and from others while there is no user.
        has_authority: client certificates are checked, so there are identities.
    """

    def __init__(
        self,
        users: UserFile | None,
        acl: AclFile,
        anonymous: bool | None,
        *,
        has_authority: bool = False,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._users, self._acl, self._anonymous, self._has_authority = users, acl, anonymous, has_authority
        self._clock = clock
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="mqtt-login")
        self._secret = secrets.token_bytes(32)
        self._nobody = Hash.of(b"")
        # (name, keyed digest of the password) -> (its hash in the file, until when it needs no second look)
        self._verified: OrderedDict[tuple[str, bytes], tuple[Hash, float]] = OrderedDict()
        # (ip, name) -> (failures in a row, no attempt before)
        self._failed: OrderedDict[tuple[str, str], tuple[int, float]] = OrderedDict()

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
        if login.user is not None and users:
            return self._with_password(login, users, login.user)
        if login.certificate is not None:
            return login.certificate, self._acl.rights(login.certificate, login.client_id)
        if self._may_be_anonymous(login.ip, bool(users) or self._has_authority):
            return None, self._acl.rights(None, login.client_id)
        return BAD_USER_OR_PASSWORD if login.user is not None else NOT_AUTHORIZED

    def _may_be_anonymous(self, ip: str, has_identities: bool) -> bool:
        if self._anonymous is not None:
            return self._anonymous
        return is_loopback(ip) or not has_identities

    def _with_password(self, login: Login, users: dict[str, Hash], name: str) -> tuple[str | None, MqttAcl] | int:
        origin, now = (login.ip, name), self._clock()
        failures, not_before = self._failed.get(origin, (0, 0.0))
        if now < not_before:
            return RATE_EXCEEDED
        if not self._is_right(name, login.password or b"", users.get(name)):
            wait = 0.0 if failures < FREE_FAILURES else min(0.5 * 2 ** (failures - FREE_FAILURES), LONGEST_WAIT_S)
            self._failed[origin] = (failures + 1, now + wait)
            self._failed.move_to_end(origin)
            if len(self._failed) > REMEMBERED:
                self._failed.popitem(last=False)
            return BAD_USER_OR_PASSWORD
        self._failed.pop(origin, None)
        return name, self._acl.rights(name, login.client_id)

    def _is_right(self, name: str, password: bytes, known: Hash | None) -> bool:
        key = (name, hashlib.blake2b(password, key=self._secret).digest())
        hashed, until = self._verified.get(key, (None, 0.0))
        if known is not None and hashed == known and self._clock() < until:
            return True
        right = (known or self._nobody).fits(password) and known is not None  # unknown names take as long
        if right and known is not None:
            self._verified[key] = (known, self._clock() + REMEMBERED_S)
            self._verified.move_to_end(key)
            if len(self._verified) > REMEMBERED:
                self._verified.popitem(last=False)
        return right
