"""One HTTP/1.1 request and its answer over a connection of its own: h11 on a stream of asyncio."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass
from email.message import Message
from typing import Final
from urllib.parse import quote, urljoin, urlsplit

from h11 import CLIENT, NEED_DATA, Connection, Data, EndOfMessage, Event, Request, Response
from h11 import RemoteProtocolError as ProtocolError

__all__ = ["InvalidUrl", "ProtocolError", "Received", "Target", "request"]

_PIECE_BYTES: Final = 1 << 16
_KEPT: Final = "!#$%&'()*+,/:;=?@[]~"  # what stands in a path or query as it is


class InvalidUrl(ValueError):
    """No address of HTTP."""


@dataclass(frozen=True, slots=True)
class Target:
    """Where a request goes."""

    scheme: str
    host: str
    port: int
    path: str  # with the query
    login: str = ""  # user:password of the address itself

    @classmethod
    def of(cls, url: str) -> Target:
        """Raises InvalidUrl."""
        try:
            parts = urlsplit(url)
            port = parts.port or (443 if parts.scheme.lower() == "https" else 80)
            host = (
                (parts.hostname or "").encode("idna").decode() if ":" not in (parts.hostname or "") else parts.hostname
            )
        except (ValueError, UnicodeError) as problem:
            raise InvalidUrl(str(problem)) from None
        if parts.scheme.lower() not in ("http", "https") or not host:
            raise InvalidUrl("http://host:port/path is needed")
        path = quote(parts.path or "/", safe=_KEPT) + (f"?{quote(parts.query, safe=_KEPT)}" if parts.query else "")
        login = f"{parts.username or ''}:{parts.password or ''}" if parts.username else ""
        return cls(parts.scheme.lower(), host, port, path, login)

    def joined(self, location: str) -> str:
        """The address that a redirect from here names."""
        return urljoin(f"{self.scheme}://{self.authority}{self.path}", location)

    @property
    def authority(self) -> str:
        """Host and port as the Host header has them."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == (443 if self.scheme == "https" else 80) else f"{host}:{self.port}"

    @property
    def origin(self) -> tuple[str, str, int]:
        return self.scheme, self.host, self.port


@dataclass(frozen=True, slots=True)
class Received:
    """The head of an answer, and its body as it comes."""

    status: int
    reason: str
    headers: Mapping[str, str]  # names in small letters; of repeated ones the last
    pieces: AsyncIterator[bytes]

    @property
    def media_type(self) -> str:
        return self._content_type().get_content_type()

    @property
    def charset(self) -> str:
        return str(self._content_type().get_content_charset("utf-8"))

    def _content_type(self) -> Message:
        message = Message()
        message["Content-Type"] = self.headers.get("content-type", "application/octet-stream")
        return message


@asynccontextmanager
async def request(
    method: str, target: Target, headers: Mapping[str, str], body: bytes | None, tls: ssl.SSLContext | None
) -> AsyncIterator[Received]:
    """Ask, and end the connection with the block. Raises OSError, ProtocolError; h11.LocalProtocolError for headers
    that cannot be sent."""
    asked = _head(method, target, headers, body)
    link = Connection(CLIENT)
    head = link.send(asked)
    reader, writer = await asyncio.open_connection(
        target.host,
        target.port,
        ssl=tls,
        server_hostname=target.host if tls else None,
    )
    try:
        writer.write((head or b"") + (link.send(Data(data=body)) or b"" if body else b""))
        writer.write(link.send(EndOfMessage()) or b"")
        sending = asyncio.create_task(_drained(writer))  # a server may answer before it has read all
        try:
            answer = await _answer(link, reader)
            async with aclosing(_pieces(link, reader)) as pieces:
                yield Received(
                    answer.status_code,
                    bytes(answer.reason).decode("latin-1"),
                    {bytes(name).decode(): bytes(value).decode("latin-1") for name, value in answer.headers},
                    pieces,
                )
        finally:
            sending.cancel()
    finally:
        writer.transport.abort()


def _head(method: str, target: Target, headers: Mapping[str, str], body: bytes | None) -> Request:
    ours = {"Host": target.authority, "Accept": "*/*", "Accept-Encoding": "identity", "Connection": "close"}
    if body is not None or method in ("POST", "PUT"):
        ours["Content-Length"] = str(len(body or b""))
        ours["Content-Type"] = "application/octet-stream"
    given = {name.lower() for name in headers}
    sent = [*((name, value) for name, value in ours.items() if name.lower() not in given), *headers.items()]
    return Request(method=method, target=target.path, headers=[(name.encode(), value.encode()) for name, value in sent])


async def _drained(writer: asyncio.StreamWriter) -> None:
    try:
        await writer.drain()
    except OSError:  # the reader sees it, too
        return


async def _answer(link: Connection, reader: asyncio.StreamReader) -> Response:
    while True:
        event = await _next(link, reader)
        if isinstance(event, Response):
            return event  # what is in between (100 Continue) says nothing to us


async def _pieces(link: Connection, reader: asyncio.StreamReader) -> AsyncGenerator[bytes, None]:
    while isinstance(event := await _next(link, reader), Data):
        yield bytes(event.data)


async def _next(link: Connection, reader: asyncio.StreamReader) -> Event:
    while (event := link.next_event()) is NEED_DATA:
        link.receive_data(await reader.read(_PIECE_BYTES))
    return event  # type: ignore[return-value]  # of the marks, PAUSED comes to servers only
