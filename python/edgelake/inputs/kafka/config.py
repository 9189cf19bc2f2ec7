"""How a Kafka cluster is reached, and what is read of it."""

from __future__ import annotations

import importlib.util
import logging
from dataclasses import dataclass, field
from typing import Any, Literal

from msgspec import Struct

from edgelake.errors import CommandError, NotAvailableError
from edgelake.tls import Tls

Mechanism = Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"]
Reset = Literal["latest", "earliest"]


def need_library() -> None:
    """Raises NotAvailableError where the extra is not installed."""
    if importlib.util.find_spec("aiokafka") is None:
        raise NotAvailableError("Kafka library not installed (aiokafka)", hint="pip install 'edgelake[kafka]'")
    # It tells each attempt to connect of each of its tasks; what fails is told by our status and log, once.
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL + 1)


@dataclass(frozen=True, slots=True)
class Login:
    """Who we are to a cluster (SASL)."""

    user: str
    password: str = field(repr=False)
    mechanism: Mechanism = "PLAIN"


class Cluster(Struct, frozen=True):
    """A cluster by the address of one of its brokers, reached in the clear when ``tls`` is None."""

    host: str
    port: int
    login: Login | None = None
    tls: Tls | None = None

    @property
    def address(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    def security(self) -> dict[str, Any]:
        """What clients and single connections of aiokafka take. Raises CommandError for TLS files; blocks."""
        if self.login is not None and not self.login.user:
            raise CommandError("password needs a user")
        protocol = ("SASL_" if self.login else "") + ("SSL" if self.tls else "PLAINTEXT")
        found: dict[str, Any] = {"security_protocol": protocol}
        if self.tls is not None:
            found["ssl_context"] = self.tls.context()
        if self.login is not None:
            found |= {
                "sasl_mechanism": self.login.mechanism,
                "sasl_plain_username": self.login.user,
                "sasl_plain_password": self.login.password,
            }
        return found


class Source(Struct, frozen=True):
    """Topics that a group of consumers reads.

    Attributes:
        reset: where a partition begins of which the group has read nothing yet.
    """

    group: str
    topics: tuple[str, ...]
    reset: Reset = "latest"
