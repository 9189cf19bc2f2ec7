"""HTTP requests that the node sends (spec: REST API, section 16).

A connection for each, as call-outs are rare. Certificates are always verified, the answer has a bound, and redirects
are followed by GET only, without the password when they lead to another server.
"""

from __future__ import annotations

import asyncio
import base64
import os
import re
import ssl
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, NoReturn
from urllib.parse import urlsplit

from edgelake.errors import CommandError, EdgeLakeError, error
from edgelake.tls import Tls

if TYPE_CHECKING:
    from aiohttp import ClientResponse

LONGEST_ANSWER_BYTES: Final = 16 << 20
MAX_REDIRECTS: Final = 5
_PIECE_BYTES: Final = 1 << 16
_EXCERPT: Final = 300
_KEYS: Final = frozenset({"x-vault-token", "cookie", "x-api-key"})
"""Headers of secrets that a redirect must not carry to another server; the library takes away Authorization only."""

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


@dataclass(frozen=True, slots=True)
class Answer:
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
            answer = Answer(response.status, response.content_type, body, response.charset or "utf-8")
    except TimeoutError:
        _failed(call, f"no answer within {call.timeout_s:g} seconds", "raise it: timeout = 60 seconds")
    if answer.status >= 400:
        raise _refused(call, answer, response.reason or "")
    if 300 <= answer.status < 400 and "Location" in response.headers:
        target = Call(call.method, response.headers["Location"]).place
        _failed(call, f"HTTP status {answer.status}, the resource is at {target}", "use that address")
    return answer


@asynccontextmanager
async def _asked(call: Call) -> AsyncIterator[ClientResponse]:
    import aiohttp  # 0.1 s, 15 MB: loaded by nodes that call out

    context = await asyncio.to_thread(call.tls.context) if call.url[:5].lower() == "https" else True
    follows = call.method == "GET" and not any(name.lower() in _KEYS for name in call.headers)
    try:
        async with (
            aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(ssl=context, force_close=True),
                cookie_jar=aiohttp.DummyCookieJar(),
                timeout=aiohttp.ClientTimeout(),
            ) as session,
            session.request(
                call.method,
                call.url,
                headers=_sent_headers(call),
                data=call.body,
                allow_redirects=follows,
                max_redirects=MAX_REDIRECTS,
            ) as response,
        ):
            yield response
    except (aiohttp.ClientConnectorCertificateError, ssl.SSLCertVerificationError) as problem:
        cause = getattr(problem, "certificate_error", problem)
        reason = getattr(cause, "verify_message", "") or str(cause)
        _failed(call, f"its certificate is refused: {reason}", "ca = <file> names the authority that signed it")
    except aiohttp.ClientSSLError as problem:
        _failed(call, f"TLS: {problem.os_error}", "does this port speak https?")
    except aiohttp.ClientConnectorDNSError:
        _failed(call, "the host is unknown", "check its name, and the machine's name service")
    except aiohttp.InvalidURL:
        raise CommandError(f"url = '{call.place[:100]}' is not valid", hint="url = http://host:port/path") from None
    except aiohttp.TooManyRedirects:
        _failed(call, f"more than {MAX_REDIRECTS} redirects", "use the address where it ends")
    except (aiohttp.ClientError, OSError) as problem:
        cause = getattr(problem, "os_error", problem)
        number = getattr(cause, "errno", None)
        reason = os.strerror(number) if number else str(problem) or type(problem).__name__
        _failed(call, reason, "is the server up, and reached from here? test connection <ip>:<port>")
    except ValueError as problem:  # a port out of range
        raise CommandError(f"the request cannot be sent: {problem}") from None


def _sent_headers(call: Call) -> dict[str, str]:
    """The headers, with user and password among them. Raises CommandError."""
    for name, value in call.headers.items():
        if not _HEADER_NAME.fullmatch(name) or not value.isprintable():
            raise CommandError(
                f"header '{name[:60]}' cannot be sent: its name or value holds characters that are no text"
            )
    if not call.user:
        return dict(call.headers)
    if any(name.lower() == "authorization" for name in call.headers):
        raise CommandError("user and Authorization exclude each other")
    login = base64.b64encode(f"{call.user}:{call.password}".encode()).decode()
    return {**call.headers, "Authorization": f"Basic {login}"}


async def _read(call: Call, response: ClientResponse) -> bytes:
    body = bytearray()
    async for piece in response.content.iter_chunked(_PIECE_BYTES):
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
