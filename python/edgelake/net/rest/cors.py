"""Which pages of other sites a browser lets read the node's answers (``run rest server ... cors``).

``*``, as in the reference: every page may read answers of commands; such a request has the class data at most, and the
API refuses it. A list of origins: only these, and these may use the API, too. ``none``: no page.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable
from urllib.parse import urlsplit

from msgspec import Struct

from edgelake.errors import CommandError
from edgelake.net.rest.exchange import Exchange, HeaderList, Reading, Scope

ALL = "*"
MOST_ORIGINS = 100
_ALLOW = "access-control-"


class Cors(Struct, frozen=True):
    """The origins that may read; ``everybody``: all."""

    everybody: bool = True
    origins: frozenset[str] = frozenset()

    @classmethod
    def parse(cls, text: str) -> Cors:
        """``*``, ``none`` or ``(https://a.example, http://b:3000)``. Raises CommandError."""
        names = [one.strip().lower() for one in text.strip().removeprefix("(").removesuffix(")").split(",")]
        names = [one for one in names if one]
        if names == [ALL]:
            return cls()
        if names == ["none"]:
            return cls(False)
        if not names or len(names) > MOST_ORIGINS:
            raise CommandError("cors = *, none, or a list of origins", hint="(https://a.example, http://b:3000)")
        return cls(False, frozenset(_checked(one) for one in names))

    def __str__(self) -> str:
        return ALL if self.everybody else ", ".join(sorted(self.origins)) or "none"

    def lists(self, scope: Scope) -> bool:
        """Whether a page of an origin that is listed by name sends it."""
        return bool(self.origins) and (scope.headers.get("origin") or "").lower() in self.origins

    def told(self, scope: Scope, proto: Exchange) -> Exchange:
        """Where to answer: with headers for the origin of the request, or for none."""
        if self.everybody:
            return proto
        return _Told(proto, scope.headers.get("origin") or "" if self.lists(scope) else "")


def _checked(origin: str) -> str:
    try:
        parts = urlsplit(origin)
        is_origin = parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port or 1) > 0
    except ValueError:
        is_origin = False
    if not is_origin or f"{parts.scheme}://{parts.netloc}" != origin or "@" in origin or not origin.isprintable():
        raise CommandError(f"cors: '{origin[:100]}' is no origin", hint="scheme, host and port: https://a.example:8443")
    return origin


class _Told:
    """An exchange whose answers name one origin, or none."""

    def __init__(self, proto: Exchange, origin: str) -> None:
        self._proto, self._origin = proto, origin

    def _headers(self, headers: HeaderList) -> HeaderList:
        kept = [one for one in headers if not one[0].startswith(_ALLOW) and one[0] != "vary"]
        vary = [one for one in headers if one[0] == "vary" and one[1] != "Origin"]
        kept += [("vary", ", ".join(["Origin", *(value for _, value in vary)]))]
        if not self._origin:
            return kept
        of_preflight = [one for one in headers if one[0].startswith(_ALLOW) and not one[0].endswith("-origin")]
        expose = [] if of_preflight else [("access-control-expose-headers", "*")]
        return [*kept, ("access-control-allow-origin", self._origin), *of_preflight, *expose]

    def __call__(self) -> Reading:
        return self._proto()

    def __aiter__(self) -> AsyncIterator[bytes]:
        return aiter(self._proto)

    def client_disconnect(self) -> Awaitable[None]:
        return self._proto.client_disconnect()

    def response_empty(self, status: int, headers: HeaderList) -> None:
        self._proto.response_empty(status, self._headers(headers))

    def response_bytes(self, status: int, headers: HeaderList, body: bytes) -> None:
        self._proto.response_bytes(status, self._headers(headers), body)

    def response_file(self, status: int, headers: HeaderList, file: str) -> None:
        self._proto.response_file(status, self._headers(headers), file)

    def response_file_range(self, status: int, headers: HeaderList, file: str, start: int, end: int) -> None:
        self._proto.response_file_range(status, self._headers(headers), file, start, end)
