"""Passwords: how they are kept, and how attempts are looked at (security spec, section 3)."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import secrets
import time
from collections import OrderedDict
from collections.abc import Callable

from msgspec import Struct

N, R, P = 1 << 14, 8, 1
SALT_BYTES, HASH_BYTES = 16, 32
MOST_N = 1 << 20
_MEMORY_BYTES = 256 << 20

REMEMBERED = 1000
REMEMBERED_S = 300.0
FREE_FAILURES = 3
LONGEST_WAIT_S = 30.0


class Hash(Struct, frozen=True):
    """A password, as it is kept: ``scrypt$n$r$p$salt$hash``, salt and hash in base64."""

    n: int
    r: int
    p: int
    salt: bytes
    digest: bytes

    @classmethod
    def of(cls, password: bytes) -> Hash:
        salt = secrets.token_bytes(SALT_BYTES)
        return cls(N, R, P, salt, _scrypt(password, salt, N, R, P, HASH_BYTES))

    @classmethod
    def parse(cls, text: str) -> Hash:
        """Raises ValueError."""
        kind, n, r, p, salt, digest = text.split("$")
        made = cls(int(n), int(r), int(p), _decoded(salt), _decoded(digest))
        if kind != "scrypt" or not 1 < made.n <= MOST_N or made.n & (made.n - 1) or not made.digest:
            raise ValueError("not a scrypt hash")
        return made

    def __str__(self) -> str:
        salt, digest = (base64.b64encode(part).decode() for part in (self.salt, self.digest))
        return f"scrypt${self.n}${self.r}${self.p}${salt}${digest}"

    def fits(self, password: bytes) -> bool:
        """Whether it is the password; slow on purpose."""
        digest = _scrypt(password, self.salt, self.n, self.r, self.p, len(self.digest))
        return hmac.compare_digest(digest, self.digest)


def _decoded(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except binascii.Error as problem:
        raise ValueError("not base64") from problem


def _scrypt(password: bytes, salt: bytes, n: int, r: int, p: int, length: int) -> bytes:
    return hashlib.scrypt(password, salt=salt, n=n, r=r, p=p, maxmem=_MEMORY_BYTES, dklen=length)


class TooManyAttemptsError(Exception):
    """The name is not looked at before ``wait_s`` seconds have passed."""

    def __init__(self, wait_s: float) -> None:
        super().__init__(f"wait {wait_s:.1f} s")
        self.wait_s = wait_s


class Attempts:
    """Looks at passwords. What was right is remembered for a while; who fails again and again has to wait.

    Not safe for threads: one thread asks.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._secret = secrets.token_bytes(32)
        self._nobody = Hash(N, R, P, secrets.token_bytes(SALT_BYTES), secrets.token_bytes(HASH_BYTES))
        # (name, keyed digest of the password) -> (its hash, until when it needs no second look)
        self._verified: OrderedDict[tuple[str, bytes], tuple[Hash, float]] = OrderedDict()
        # (ip, name) -> (failures in a row, no attempt before)
        self._failed: OrderedDict[tuple[str, str], tuple[int, float]] = OrderedDict()

    def is_right(self, ip: str, name: str, password: bytes, known: Hash | None) -> bool:
        """Whether it is the password of ``known`` (None: nobody has that name, which takes as long to say).

        Raises TooManyAttemptsError.
        """
        origin, now = (ip, name), self._clock()
        failures, not_before = self._failed.get(origin, (0, 0.0))
        if now < not_before:
            raise TooManyAttemptsError(not_before - now)
        if self._fits(name, password, known):
            self._failed.pop(origin, None)
            return True
        wait = 0.0 if failures < FREE_FAILURES else min(0.5 * 2 ** (failures - FREE_FAILURES), LONGEST_WAIT_S)
        self._failed[origin] = (failures + 1, now + wait)
        self._failed.move_to_end(origin)
        if len(self._failed) > REMEMBERED:
            self._failed.popitem(last=False)
        return False

    def _fits(self, name: str, password: bytes, known: Hash | None) -> bool:
        key = (name, hashlib.blake2b(password, key=self._secret).digest())
        hashed, until = self._verified.get(key, (None, 0.0))
        if known is not None and hashed == known and self._clock() < until:
            return True
        right = (known or self._nobody).fits(password) and known is not None
        if right and known is not None:
            self._verified[key] = (known, self._clock() + REMEMBERED_S)
            self._verified.move_to_end(key)
            if len(self._verified) > REMEMBERED:
                self._verified.popitem(last=False)
        return right
