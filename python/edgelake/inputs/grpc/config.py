"""How a gRPC server is reached and what it is asked."""

from __future__ import annotations

import importlib.util
import os
import ssl
from pathlib import Path

from msgspec import Struct

from edgelake.errors import NotAvailableError
from edgelake.tls import Tls

_LIBRARIES = ("grpc", "grpc_tools", "grpc_reflection")


def need_libraries() -> None:
    """Raises NotAvailableError where the extra is not installed."""
    missing = [name for name in _LIBRARIES if importlib.util.find_spec(name) is None]
    if missing:
        raise NotAvailableError(
            f"gRPC library not installed ({', '.join(missing)})", hint="pip install 'edgelake[grpc]'"
        )
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")  # its own log writes to stderr; what fails is told by our errors


class Server(Struct, frozen=True):
    """A server, reached in the clear when ``tls`` is None."""

    host: str
    port: int
    tls: Tls | None = None

    @property
    def address(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    def certificates(self) -> tuple[bytes | None, bytes | None, bytes | None]:
        """Authorities, our key, our certificate, each in PEM form or None. Raises CommandError."""
        assert self.tls is not None
        self.tls.context()  # says what is wrong with a file
        authorities = self.tls.ca or ssl.get_default_verify_paths().cafile
        return _content(authorities), _content(self.tls.key), _content(self.tls.cert)


def _content(path: str | None) -> bytes | None:
    return Path(path).read_bytes() if path else None


class ProtoFile(Struct, frozen=True):
    """A definition as people write it: ``<name>.proto`` below ``directory``."""

    directory: Path
    name: str

    @property
    def path(self) -> Path:
        return self.directory / f"{self.name.removesuffix('.proto')}.proto"


class Call(Struct, frozen=True):
    """A function and its request.

    Attributes:
        service, request, response: with or without the package before their names; the latter two may be empty.
        value: fields of the request: name and text; ``.int``, ``.float``, ``.bool`` or ``.str`` behind it is its type.
        added: of ``conn``, ``proto`` and ``request``, what every message gets as ``<conn>`` ...
        defaults: fields of a message that are zero or empty are there, too.
    """

    service: str
    function: str
    request: str = ""
    response: str = ""
    value: tuple[tuple[str, str], ...] = ()
    added: tuple[str, ...] = ()
    defaults: bool = False


class Pace(Struct, frozen=True):
    """How often and how long.

    Attributes:
        timeout_s: of a connection, and of each call that has one reply.
        limit: messages after which the client ends; 0 = never.
        frequency_s: between the end of a call and the next one.
        reconnect: after a failure of the connection or of a call.
    """

    timeout_s: float = 5.0
    limit: int = 0
    frequency_s: float = 0.0
    reconnect: bool = False
