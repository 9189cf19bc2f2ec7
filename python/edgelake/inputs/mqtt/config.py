"""How another broker is reached."""

from __future__ import annotations

from pathlib import Path

from msgspec import Struct

from edgelake.errors import CommandError, NotAvailableError
from edgelake.tls import Tls

TOKEN_S = 60 * 60  # what brokers that take tokens allow at most
RENEW_S = 55 * 60
_BEGIN = "-----BEGIN"


class Token(Struct, frozen=True):
    """A password that is signed when it is needed: RS256, good for an hour (``project_id``, ``private_key``).

    ``private_key`` is the key in PEM form, or the path of its file.
    """

    audience: str
    private_key: str

    def check(self) -> None:
        """Raises CommandError, NotAvailableError when no token can be signed."""
        self.sign(0)

    def sign(self, now_s: int) -> str:
        try:
            import jwt  # with cryptography beside it, 30 ms: never at start
        except ImportError:
            raise NotAvailableError(
                "project_id needs the packages pyjwt and cryptography", hint="pip install 'edgelake[security]'"
            ) from None
        key = self.private_key
        try:
            if not key.lstrip().startswith(_BEGIN):
                key = Path(key).read_text()
            claims = {"iat": now_s, "exp": now_s + TOKEN_S, "aud": self.audience}
            return jwt.encode(claims, key, algorithm="RS256")
        except (OSError, ValueError, jwt.PyJWTError) as problem:
            hint = "private_key is an RSA key in PEM form, or the path of its file"
            raise CommandError(f"private_key: {problem}", hint=hint) from None


class Subscription(Struct, frozen=True):
    """A topic filter and the highest QoS of what comes for it."""

    filter: str
    qos: int = 0


class Broker(Struct, frozen=True):
    """Another broker, and who we are to it.

    Attributes:
        version: of MQTT, 4 (3.1.1) or 5.
        clean: forget the session at the end of a connection; False = the broker keeps for us what is QoS 1 or 2.
    """

    host: str
    client_id: str
    port: int = 1883
    user: str = ""
    password: str = ""
    token: Token | None = None
    tls: Tls | None = None
    version: int = 4
    keepalive_s: int = 60
    clean: bool = True

    def secret(self, now_s: int) -> str:
        """The password of a connection that is made now."""
        return self.token.sign(now_s) if self.token is not None else self.password
