"""HTTP requests that the node sends (spec: REST API, section 16).

A connection for each, as call-outs are rare. Certificates are always verified, the answer has a bound, and redirects
are followed by GET only, without the password when they lead to another server.
"""

from __future__ import annotations

import asyncio
import base64
import os
import re
import socket
import ssl
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, NoReturn
from urllib.parse import unquote, urlsplit

from msgspec import Struct

from edgelake.errors import CommandError, EdgeLakeError, error
from edgelake.tls import Tls

if TYPE_CHECKING:
    from edgelake.net.http_client import Received, Target

LONGEST_ANSWER_BYTES: Final = 16 << 20
MAX_REDIRECTS: Final = 5
_EXCERPT: Final = 300
_KEYS: Final = frozenset({"x-vault-token", "cookie", "x-api-key"})
"""Headers of secrets, beside Authorization: a request that has one follows no redirect."""

_REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})
_HEADER_NAME: Final = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")


@dataclass(frozen=True, slots=True)
class Call:
    """One request.

    Attributes:
        url: ``http`` or ``https``.
        timeout_s: for all of it, from the name look-up to the last byte.
        user, password: of Basic authentication; no user = none.
        tls: authority and certificate; the system's authorities when it names none.
    """

    method: str
    url: str
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    body: bytes | None = field(default=None, repr=False)
    timeout_s: float = 20.0
    user: str = ""
    password: str = field(default="", repr=False)
    tls: Tls = field(default_factory=Tls)

    @property
    def place(self) -> str:
        """The address as errors show it: without password and query, which may hold keys."""
        try:
            parts = urlsplit(self.url)
            port = f":{parts.port}" if parts.port else ""
        except ValueError:
            return self.url.partition("?")[0][:100]
        host = f"[{parts.hostname}]" if ":" in (parts.hostname or "") else parts.hostname or ""
        return f"{parts.scheme}://{host}{port}{parts.path}"


class Answer(Struct, frozen=True):
    """What the server sent."""

    status: int
    media_type: str
    body: bytes
    charset: str = "utf-8"

    @property
    def text(self) -> str:
        try:
            return self.body.decode(self.charset, errors="replace")
        except LookupError:
            return self.body.decode(errors="replace")


async def send(call: Call) -> Answer:
    """Send a request and read its answer. Raises EdgeLakeError (51) for a failure or a status from 400 on,
    CommandError for what cannot be sent."""
    if urlsplit(call.url).scheme.lower() not in ("http", "https"):
        raise CommandError(f"url = '{call.place[:100]}' is no address of HTTP", hint="url = http://host:port/path")
    try:
        async with asyncio.timeout(call.timeout_s), _asked(call) as response:
            body = await _read(call, response)
            answer = Answer(response.status, response.media_type, body, response.charset)
    except TimeoutError:
        _failed(call, f"no answer within {call.timeout_s:g} seconds", "raise it: timeout = 60 seconds")
    if answer.status >= 400:
        raise _refused(call, answer, response.reason)
    if 300 <= answer.status < 400 and "location" in response.headers:
        target = Call(call.method, response.headers["location"]).place
        _failed(call, f"HTTP status {answer.status}, the resource is at {target}", "use that address")
    return answer


@asynccontextmanager
async def _asked(call: Call) -> AsyncIterator[Received]:
    from h11 import LocalProtocolError

    from edgelake.net.http_client import InvalidUrl, ProtocolError

    try:
        async with _followed(call) as response:
            yield response
    except InvalidUrl:
        raise CommandError(f"url = '{call.place[:100]}' is not valid", hint="url = http://host:port/path") from None
    except LocalProtocolError as problem:
        raise CommandError(f"the request cannot be sent: {problem}") from None
    except ssl.SSLCertVerificationError as problem:
        reason = problem.verify_message or str(problem)
        _failed(call, f"its certificate is refused: {reason}", "ca = <file> names the authority that signed it")
    except ssl.SSLError as problem:
        _failed(call, f"TLS: {problem.reason or problem}", "does this port speak https?")
    except socket.gaierror:
        _failed(call, "the host is unknown", "check its name, and the machine's name service")
    except ProtocolError as problem:
        _failed(call, f"the answer is broken: {problem}", "does this port speak http?")
    except OSError as problem:
        reason = os.strerror(problem.errno) if problem.errno and problem.errno > 0 else str(problem)
        _failed(call, reason, "is the server up, and reached from here? test connection <ip>:<port>")


@asynccontextmanager
async def _followed(call: Call) -> AsyncIterator[Received]:
    """The answer, behind the redirects that a GET without secrets in its headers follows."""
    from edgelake.net.http_client import Target, request

    target = Target.of(call.url)
    headers = _sent_headers(call, target)
    follows = call.method == "GET" and not any(name.lower() in _KEYS for name in call.headers)
    for _ in range(MAX_REDIRECTS + 1):
        context = await asyncio.to_thread(call.tls.context) if target.scheme == "https" else None
        async with request(call.method, target, headers, call.body, context) as response:
            location = response.headers.get("location", "")
            if not (follows and location and response.status in _REDIRECTS):
                yield response
                return
        ahead = Target.of(target.joined(location))
        if ahead.origin != target.origin:
            headers = {name: value for name, value in headers.items() if name.lower() != "authorization"}
        target = ahead
    _failed(call, f"more than {MAX_REDIRECTS} redirects", "use the address where it ends")


def _sent_headers(call: Call, target: Target) -> dict[str, str]:
    """The headers, with user and password (those of the address where the call names none) among them. Raises
    CommandError."""
    for name, value in call.headers.items():
        if not _HEADER_NAME.fullmatch(name) or not value.isprintable():
            raise CommandError(
                f"header '{name[:60]}' cannot be sent: its name or value holds characters that are no text"
            )
    login = f"{call.user}:{call.password}" if call.user else unquote(target.login)
    if not login:
        return dict(call.headers)
    if any(name.lower() == "authorization" for name in call.headers):
        raise CommandError("user and Authorization exclude each other")
    login = base64.b64encode(login.encode()).decode()
    return {**call.headers, "Authorization": f"Basic {login}"}


async def _read(call: Call, response: Received) -> bytes:
    body = bytearray()
    async for piece in response.pieces:
        body += piece
        if len(body) > LONGEST_ANSWER_BYTES:
            _failed(call, f"the answer is longer than {LONGEST_ANSWER_BYTES >> 20} MiB", "ask for less of it")
    return bytes(body)


def _refused(call: Call, answer: Answer, reason: str) -> EdgeLakeError:
    said = " ".join(answer.text.split())[:_EXCERPT] if answer.media_type.startswith(("text/", "application/")) else ""
    hint = {
        401: "user and password, or Authorization, are wrong or missing",
        403: "the server does not allow it to this user",
        404: "check the path of the url",
        429: "the server wants fewer requests",
    }.get(answer.status, "")
    detail = f"{call.method} {call.place}: HTTP status {answer.status} {reason}".rstrip()
    return error(51, f"{detail}: {said}" if said else detail, hint=hint, status=answer.status)


def _failed(call: Call, reason: str, hint: str) -> NoReturn:
    raise error(51, f"{call.method} {call.place}: {reason}", hint=hint) from None
