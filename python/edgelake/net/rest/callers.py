"""Who a REST client is, and so what it may do. Source: design, section 4."""

from __future__ import annotations

import contextlib
import ipaddress
import socket
import threading
import time
from collections.abc import AsyncGenerator, AsyncIterator, Iterable
from urllib.parse import urlsplit

from msgspec import Struct

from edgelake.errors import CredentialsError, NotPermittedError
from edgelake.identity.gate import Gate, Origin
from edgelake.model import Caller, CommandClass
from edgelake.net.endpoints import is_loopback
from edgelake.net.rest.exchange import Scope

PUT = "put"
"""The word by which policies permit readings."""

LOOK_S = 1.0
"""Between two looks at who gets a stream."""


class Callers:
    """Callers of one server.

    What a browser sends for another site has the class data at most; so has a loopback request whose Host is a name
    that is not this machine's (a page that made its own name resolve to 127.0.0.1).

    Args:
        own_names: host names and addresses of the node, beside localhost and the machine's name.
    """

    def __init__(self, gate: Gate, own_names: Iterable[str] = ()) -> None:
        self._gate = gate
        self._own = {"localhost", socket.gethostname().lower(), *(name.lower() for name in own_names)}
        # A resolver that does not answer takes seconds, which nothing waits for.
        threading.Thread(target=self._learn_full_names, name="host-names", daemon=True).start()

    def _learn_full_names(self) -> None:
        """The machine's name with its domain."""
        with contextlib.suppress(OSError):
            asked = socket.gethostname().encode()  # as bytes: for a str the tables of IDNA are loaded, a megabyte
            name, aliases, _ = socket.gethostbyaddr(asked)  # type: ignore[arg-type]
            self._own = self._own | {known.lower() for known in (name, *aliases)}  # requests look at it meanwhile

    def caller(self, scope: Scope) -> Caller:
        """Who calls; from any thread. Raises CredentialsError."""
        return self._gate.caller(self._origin(scope))

    def is_foreign(self, scope: Scope) -> bool:
        """Whether a browser sends it for a page of another site."""
        return self._origin(scope).is_foreign

    async def admit(self, scope: Scope) -> None:
        """Look at the credentials of a request, before ``caller`` is asked. Raises CredentialsError."""
        if self._gate.asks and "authorization" in scope.headers:
            await self._gate.admit(self._origin(scope))

    def may_put(self, scope: Scope) -> bool:
        """Whether a request may bring readings, as far as is known without a slow look; from any thread."""
        if not self._gate.asks and not self._gate.follows_policies:
            return True
        try:
            self.check_put(scope)
        except (CredentialsError, NotPermittedError):
            return False
        return True

    def check_put(self, scope: Scope) -> None:
        """Raises CredentialsError, NotPermittedError when a request may not bring readings."""
        caller = self.caller(scope)
        if CommandClass.DATA not in caller.classes:
            raise NotPermittedError("readings need the command class 'data'", hint="set permissions ...")
        if caller.rights is not None:
            get = scope.headers.get
            caller.rights.check(PUT, (get("dbms") or "").lower(), (get("table") or "").lower())

    def while_valid(self, scope: Scope, stream: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        """A stream that ends with CredentialsError when who asked for it has expired or is gone meanwhile."""
        name = self._gate.name_of(self._origin(scope))
        return self._watched(name, stream) if name else stream

    async def _watched(self, name: str, stream: AsyncIterator[bytes]) -> AsyncGenerator[bytes]:
        looked = time.monotonic()
        try:
            async for piece in stream:
                if time.monotonic() - looked >= LOOK_S:
                    self._gate.check_still(name)
                    looked = time.monotonic()
                yield piece
        finally:
            if isinstance(stream, AsyncGenerator):
                await stream.aclose()

    def _origin(self, scope: Scope) -> Origin:
        get = scope.headers.get
        ip = scope.client.rpartition(":")[0].strip("[]")
        peer = _Peer(get("origin") or "", get("host") or "", (get("sec-fetch-site") or "").strip().lower())
        is_foreign = _is_foreign(peer, self._own)
        return Origin(scope.client, ip, is_loopback(ip), is_foreign, get("authorization") or "")


class _Peer(Struct, frozen=True):
    """What a browser says about a request."""

    origin: str
    host: str
    fetch_site: str


def _is_foreign(peer: _Peer, own: set[str]) -> bool:
    if peer.fetch_site in {"cross-site", "same-site"}:
        return True
    if peer.host and not _is_own(_host_of("//" + peer.host), own):
        return True
    if not peer.origin:
        return False
    origin = urlsplit(peer.origin)
    return origin.netloc.lower() != peer.host.lower() or not _is_own(_host_of(peer.origin), own)


def _host_of(url: str) -> str:
    try:
        return (urlsplit(url).hostname or "").lower()
    except ValueError:  # e.g. an unclosed bracket
        return ""


def _is_own(name: str, own: set[str]) -> bool:
    """An address written as numbers can't be made to point here by somebody's name server."""
    if name in own:
        return True
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
