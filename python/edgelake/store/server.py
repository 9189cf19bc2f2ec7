"""Where a database server is, and who connects."""

from __future__ import annotations

from dataclasses import dataclass, field

from edgelake.errors import CommandError

DEFAULT_PORT = 5432


@dataclass(frozen=True, slots=True)
class Server:
    """A PostgreSQL server, as ``connect dbms`` names it.

    Attributes:
        unlog: new tables are not in the server's log: faster, and empty after its crash.
    """

    ip: str = "127.0.0.1"
    port: int = DEFAULT_PORT
    user: str = ""
    password: str = field(default="", repr=False)
    autocommit: bool = True
    unlog: bool = False

    @property
    def address(self) -> str:
        return f"{self.ip}:{self.port}"

    @property
    def configuration(self) -> str:
        """How rows are written, as ``get databases`` prints it."""
        log_mode = ", Unlogged tables" if self.unlog else ""
        return f"Autocommit {'On' if self.autocommit else 'Off'}{log_mode}"

    @classmethod
    def parse(
        cls, ip: str, port: str, user: str, password: str, *, autocommit: bool = True, unlog: bool = False
    ) -> Server:
        """From the keys of a command; empty ones have their defaults. Raises CommandError for a wrong port."""
        if port and not (port.isdecimal() and 0 < int(port) < 65536):
            raise CommandError(f"port '{port}'", hint="port = 5432")
        number = int(port) if port else DEFAULT_PORT
        return cls(ip or "127.0.0.1", number, user, password, autocommit, unlog)
