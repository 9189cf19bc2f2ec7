"""From credentials to a caller: who it is, and which command classes it has. Source: design, section 4."""

from __future__ import annotations

import asyncio
import base64
import binascii
import hashlib
import secrets
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Literal

from msgspec import Struct

from edgelake.errors import CredentialsError
from edgelake.identity.identities import LONGEST_PASSWORD_BYTES, Identities
from edgelake.identity.passwords import REMEMBERED, REMEMBERED_S, Attempts, Hash, TooManyAttemptsError
from edgelake.model import FOREIGN_ORIGIN_CLASSES, LOOPBACK_CLASSES, OUTSIDE_CLASSES, Caller, CommandClass, Rights

Entry = Literal["rest", "peer", "mqtt"]
LONGEST_HEADER = 4 * LONGEST_PASSWORD_BYTES
_WAITING = 64


class Origin(Struct, frozen=True):
    """Where a request comes from.

    Attributes:
        address: of the client, as it is shown.
        ip: the same without its port.
        is_local: it comes from this machine.
        is_foreign: a browser sends it for a page of another site.
        authorization: the header; "" = none.
    """

    address: str
    ip: str
    is_local: bool
    is_foreign: bool = False
    authorization: str = ""


class _Verified(Struct, frozen=True):
    """A password that was right: it counts as long as the user's hash is that, and for some minutes."""

    name: str
    hash: str
    until_s: float


class Gate:
    """Who may come in, and what for.

    ``admit`` takes the slow look at a password; ``caller`` then answers at once, and from any thread.

    Attributes:
        changing: held by who changes ``identities``.
        on_refused: told of address, name and reason of a login that failed.
        rights_of: what policies permit to a user, "" = to a client without a name; None = they are not asked.
    """

    def __init__(self, identities: Identities, clock: Callable[[], float] = time.monotonic) -> None:
        self.identities = identities
        self._clock = clock
        self._attempts = Attempts(clock)
        self._secret = secrets.token_bytes(32)
        self._verified: dict[bytes, _Verified] = {}
        self._thread: ThreadPoolExecutor | None = None
        self._waiting = 0
        self.changing = asyncio.Lock()
        self.on_refused: Callable[[str, str, str], None] = lambda ip, name, why: None
        self.rights_of: Callable[[str], Rights | None] = lambda name: None

    @property
    def asks(self) -> bool:
        """Whether names are looked at: there are identities, or a name is needed."""
        return self.identities.has_any or self.identities.content.enforced

    @property
    def follows_policies(self) -> bool:
        """Whether policies say what users may do."""
        return self.identities.content.nodes_enforced

    def close(self) -> None:
        """End the thread. Idempotent."""
        if self._thread is not None:
            self._thread.shutdown(wait=False, cancel_futures=True)
            self._thread = None

    # ---- what a caller may do

    def anonymous(self, entry: Entry, is_local: bool) -> frozenset[CommandClass]:
        """Classes of a caller without a name."""
        content = self.identities.content
        if is_local and not content.enforced:
            return LOOPBACK_CLASSES
        if not self.asks:
            return OUTSIDE_CLASSES
        return self.identities.anonymous_classes(entry)

    def caller(self, origin: Origin) -> Caller:
        """The caller of a REST request. Raises CredentialsError when a name is needed, or the given one is wrong."""
        named = self._named(origin.authorization) if origin.authorization and self.asks else None
        if named is not None:
            name, classes = named
        elif origin.authorization and self.asks:
            raise CredentialsError("the credentials are not those of a user or token of this node")
        else:
            name, classes = "", self.anonymous("rest", origin.is_local and not origin.is_foreign)
            if not classes:
                raise CredentialsError("this node wants to know who calls", hint="send user and password, or a token")
        rights = None if CommandClass.ADMIN in classes else self.rights_of(name)
        if origin.is_foreign:
            classes &= FOREIGN_ORIGIN_CLASSES
        return Caller("rest", classes, origin.address, name, rights)

    def _named(self, authorization: str) -> tuple[str, frozenset[CommandClass]] | None:
        """Name and classes of credentials that need no slow look (any more)."""
        kind, _, value = authorization.strip().partition(" ")
        if kind.lower() == "bearer":
            found = self.identities.token(value.strip())
            return None if found is None else (found[0], self.identities.classes_of(found[0], found[1].role))
        verified = self._verified.get(self._key(authorization))
        user = self.identities.user(verified.name) if verified is not None else None
        if verified is None or user is None or user.hash != verified.hash or self._clock() >= verified.until_s:
            return None
        return verified.name, self.identities.classes_of(verified.name, user.role)

    def name_of(self, origin: Origin) -> str:
        """The name in the credentials of a request that was let in; "" = none. Raises CredentialsError."""
        if not self.asks or not origin.authorization:
            return ""
        kind, _, value = origin.authorization.strip().partition(" ")
        if kind.lower() == "bearer":
            found = self.identities.token(value.strip())
            return found[0] if found is not None else ""
        return _basic(origin.authorization)[0]

    def check_still(self, name: str) -> None:
        """Raises CredentialsError when a user or token that was let in has expired or is gone."""
        if not self.identities.is_valid(name):
            raise CredentialsError(f"'{name}' has expired, or was removed", hint="an admin makes a new one")

    # ---- the slow look

    async def admit(self, origin: Origin) -> None:
        """Look at the credentials of a request, before ``caller`` is asked.

        Raises CredentialsError: wrong ones, too many attempts, or too many of others that wait for a look.
        """
        authorization = origin.authorization
        if not self.asks or not authorization or self._named(authorization) is not None:
            return
        name, password = _basic(authorization)
        hashed = await self.check(origin.ip, name, password)
        if len(self._verified) >= REMEMBERED:
            self._verified = {}  # seldom: each is looked at once more
        self._verified[self._key(authorization)] = _Verified(name, hashed, self._clock() + REMEMBERED_S)

    async def check(self, ip: str, name: str, password: str | bytes) -> str:
        """Look whether that is a user's password; returns its hash. Raises CredentialsError."""
        if self._waiting >= _WAITING:
            raise CredentialsError("too many logins at a time", retry_s=1)
        if self._thread is None:  # hashes take 30 ms each: one thread, so that guessing cannot take all of the machine
            self._thread = ThreadPoolExecutor(1, thread_name_prefix="login")
        self._waiting += 1
        try:
            loop = asyncio.get_running_loop()
            given = password if isinstance(password, bytes) else password.encode()
            return await loop.run_in_executor(self._thread, self._look, ip, name, given)
        except CredentialsError as refusal:
            self.on_refused(ip, name, refusal.detail)
            raise
        finally:
            self._waiting -= 1

    def _look(self, ip: str, name: str, password: bytes) -> str:
        """In the thread."""
        user = self.identities.user(name)
        try:
            right = self._attempts.is_right(ip, name, password, Hash.parse(user.hash) if user is not None else None)
        except TooManyAttemptsError as problem:
            raise CredentialsError("too many failed attempts", retry_s=problem.wait_s) from problem
        if not right or user is None:
            raise CredentialsError("user or password is wrong")
        return user.hash

    def _key(self, authorization: str) -> bytes:
        return hashlib.blake2b(authorization.encode(), key=self._secret).digest()


def _basic(authorization: str) -> tuple[str, bytes]:
    """Name and password of ``Basic ...`` (RFC 7617). Raises CredentialsError."""
    kind, _, value = authorization.strip().partition(" ")
    try:
        if kind.lower() != "basic" or len(value) > LONGEST_HEADER:
            raise ValueError
        name, colon, password = base64.b64decode(value.strip(), validate=True).partition(b":")
        if not colon:
            raise ValueError
        return name.decode(), password
    except (ValueError, binascii.Error):
        raise CredentialsError(
            "the header Authorization is neither 'Basic ...' nor a token of this node ('Bearer ...')"
        ) from None
