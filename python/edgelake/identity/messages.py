"""Signed messages between nodes (security spec, section 6; network protocol, section 9).

The authentication part of a message is text, its words apart by one blank: public key, signature, the ``ip:port`` of
the sender as the header has it, the time (Unix microseconds), a number that is used once, and the address that was
called. The signature covers these, the command and its data, so that nothing of it fits another message, receiver or
moment. On a connection that is kept the receiver gives the number, and one signature stands for all that follows there.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import secrets
import time
from collections import OrderedDict
from collections.abc import Callable, Collection
from typing import Final

from msgspec import Struct

from edgelake.errors import CredentialsError
from edgelake.identity import keys
from edgelake.identity.keys import Opened

FRESH_S: Final = 60
REMEMBERED: Final = 200_000
"""Signatures that a second message must not have."""
CHALLENGE_BYTES: Final = 32
LONGEST_BYTES: Final = 1600
_MESSAGE: Final = "edgelake message 1"
_LINK: Final = "edgelake link 1"
_LONGEST_ADDRESSES: Final = 180
_WORDS: Final = 6
_NOTHING: Final = "-"

Address = tuple[str, int]


def now_us() -> int:
    return time.time_ns() // 1000


class Claim(Struct, frozen=True):
    """An authentication part, read but not looked at."""

    key: str
    signature: bytes
    source: str
    time_us: int
    once: str
    to: str

    @classmethod
    def of(cls, part: bytes) -> Claim | None:
        """None: it has another form than ours."""
        try:
            words = part.decode("ascii").split(" ")
            if len(words) != _WORDS:
                return None
            key, signature, source, time_us, once, to = words
            return cls(key, base64.b64decode(signature, validate=True), source, int(time_us), once, to)
        except (ValueError, binascii.Error):
            return None


class Signatures:
    """Signs what a node sends, and looks at what comes.

    Args:
        is_on: whether messages are to be signed, ``set node authentication on``.

    Attributes:
        own: the private key of the node, once it is open.
        signatory: another member's name and key, which signs in its place.
    """

    def __init__(self, is_on: Callable[[], bool], clock_us: Callable[[], int] = now_us) -> None:
        self.is_on, self._clock_us = is_on, clock_us
        self.own: Opened | None = None
        self.signatory: tuple[str, Opened] | None = None
        self._since_us = clock_us()
        self._seen: OrderedDict[bytes, int] = OrderedDict()

    @property
    def signer(self) -> Opened | None:
        """Who signs; None: no key is open."""
        return self.signatory[1] if self.signatory is not None else self.own

    @property
    def room(self) -> int:
        """Bytes that what names us takes of a message, about."""
        signer = self.signer
        return 0 if signer is None or not self.is_on() else _LONGEST_ADDRESSES + 3 * len(signer.public)

    # ---- messages in blocks

    def sign(self, source: Address, to: str, command: str, data: bytes | None) -> bytes:
        """The authentication part of a message, b"" while messages are not to be signed.

        Args:
            data: None = it is not known yet (a file): it is not covered.

        Raises CredentialsError when no key is open.
        """
        if not self.is_on():
            return b""
        signer = self._signer()
        where, at, once = _text(source), self._clock_us(), secrets.token_hex(8)
        signature = signer.sign(_message(where, to, at, once, command, data))
        return _part(signer.public, signature, where, at, once, to)

    def check(self, part: bytes, source: Address, own: Callable[[str], bool], command: str, data: bytes | None) -> str:
        """The key that signed a message; "" when it has no signature of ours.

        Raises CredentialsError for a signature that is wrong, old, or came before.
        """
        claim = Claim.of(part) if part and self.is_on() else None
        if claim is None:
            return ""
        signed = _message(claim.source, claim.to, claim.time_us, claim.once, command, data)
        self._look_at(claim, source, own, signed)
        now = self._clock_us()
        if abs(now - claim.time_us) > FRESH_S * 1_000_000:
            raise CredentialsError(
                f"the message was signed {(now - claim.time_us) / 1e6:+.0f} s ago; {FRESH_S} are allowed",
                hint="set the clocks of both nodes",
            )
        if claim.time_us < self._since_us:
            raise CredentialsError("the message was signed before this node was started", hint="send it again")
        self._remember(claim, now)
        return claim.key

    def _remember(self, claim: Claim, now: int) -> None:
        """Raises CredentialsError for a message that came before."""
        seen = self._seen
        while seen and (first := next(iter(seen.items())))[1] < now - 2 * FRESH_S * 1_000_000:
            del seen[first[0]]
        # Not the signature's own bytes: other ones might stand for the same signature.
        digest = hashlib.blake2b(f"{claim.key} {claim.time_us} {claim.once}".encode(), digest_size=16).digest()
        if digest in seen:
            raise CredentialsError("a message with this signature came before")
        if len(seen) >= REMEMBERED:
            raise CredentialsError("too many signed messages at a time", retry_s=1)
        seen[digest] = now

    # ---- connections that are kept

    def challenge(self) -> bytes:
        """A number for a connection, used once."""
        return secrets.token_bytes(CHALLENGE_BYTES)

    def answer(self, challenge: bytes, source: Address, to: str, channel: bytes) -> bytes:
        """What names this node on a connection. Raises CredentialsError when no key is open.

        Args:
            channel: the certificate that the other side shows; b"" without TLS.
        """
        signer, where, at = self._signer(), _text(source), self._clock_us()
        once = secrets.token_hex(8)
        signature = signer.sign(_link(challenge, channel, where, to, at, once))
        return _part(signer.public, signature, where, at, once, to)

    def check_answer(
        self, part: bytes, challenge: bytes, source: Address, own: Callable[[str], bool], channel: bytes
    ) -> str:
        """The key of who opened a connection. Raises CredentialsError."""
        claim = Claim.of(part)
        if claim is None:
            raise CredentialsError("the answer to the challenge has no signature")
        signed = _link(challenge, channel, claim.source, claim.to, claim.time_us, claim.once)
        self._look_at(claim, source, own, signed)
        return claim.key

    # ---- both

    def _signer(self) -> Opened:
        if (signer := self.signer) is None:
            raise CredentialsError(
                "messages to other nodes are to be signed: open the private key of this node with set private password"
            )
        return signer

    def _look_at(self, claim: Claim, source: Address, own: Callable[[str], bool], signed: bytes) -> None:
        if claim.source != _text(source):
            raise CredentialsError(f"the message says it comes from {_text(source)}; {claim.source} signed it")
        if not own(claim.to):
            raise CredentialsError(f"the message was signed for {claim.to}, which is another node")
        if not keys.is_signed(claim.key, signed, claim.signature):
            raise CredentialsError("the signature of the message is wrong")


def _text(address: Address) -> str:
    return f"{address[0]}:{address[1]}"


def _part(public: str, signature: bytes, source: str, at: int, once: str, to: str) -> bytes:
    made = f"{public} {base64.b64encode(signature).decode()} {source} {at} {once} {to}".encode()
    if len(made) > LONGEST_BYTES:
        raise CredentialsError(f"the key that signs is too long for a message: {len(made)} bytes")
    return made


def _message(source: str, to: str, at: int, once: str, command: str, data: bytes | None) -> bytes:
    digests = (_NOTHING if one is None else hashlib.sha256(one).hexdigest() for one in (command.encode(), data))
    return "\n".join((_MESSAGE, source, to, str(at), once, *digests)).encode()


def _link(challenge: bytes, channel: bytes, source: str, to: str, at: int, once: str) -> bytes:
    shown = hashlib.sha256(channel).hexdigest() if channel else _NOTHING
    return "\n".join((_LINK, challenge.hex(), shown, source, to, str(at), once)).encode()


def is_own(to: str, own: Collection[str], port: int, *, is_local: bool) -> bool:
    """Whether a message that was sent to ``to`` was meant for the node with these addresses.

    A name may stand for any of them; from the same machine any loopback address does.
    """
    if to in own:
        return True
    host, _, at = to.rpartition(":")
    if at != str(port):
        return False
    host = host.strip("[]")
    is_number = host.replace(".", "").isdigit() or ":" in host
    return (is_local and (host.startswith("127.") or host in ("::1", "0.0.0.0"))) or not is_number
