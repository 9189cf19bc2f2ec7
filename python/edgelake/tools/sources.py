"""Where ``edgelake top`` looks: at a node of this machine by its socket, or at any node by its REST server."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Final, Protocol

import msgspec

from edgelake.net.http_client import InvalidUrl, ProtocolError, Target, request
from edgelake.tools.attach import Link, NotRunningError, linked

LIMIT_S: Final = 10.0


class LookError(Exception):
    """The node gave no answer, and why."""


class Source(Protocol):
    """A node that is looked at."""

    name: str
    """As the screen shows it."""

    async def look(self, view: str) -> dict[str, Any]:
        """A document of ``/v1``. Raises LookError."""
        ...

    async def run(self, line: str) -> None:
        """A command. Raises LookError when it fails."""
        ...


class SocketSource:
    """The node of a folder."""

    def __init__(self, home: Path, link: Link) -> None:
        self.name = str(home)
        self._link = link

    async def look(self, view: str) -> dict[str, Any]:
        try:
            return _document(await self._link.look(view))
        except (NotRunningError, OSError) as problem:
            raise LookError(str(problem)) from problem

    async def run(self, line: str) -> None:
        failed: list[str] = []
        if not await self._link.execute(line, show=_nothing, fail=failed.append):
            raise LookError(failed[0].splitlines()[0] if failed else "the node has ended")


class UrlSource:
    """A node that listens for REST."""

    def __init__(self, url: str, token: str, tls: ssl.SSLContext | None) -> None:
        self.name = url
        self._url = url.rstrip("/")
        self._headers = {"Authorization": f"Bearer {token}"} if token else {}
        self._tls = tls

    async def look(self, view: str) -> dict[str, Any]:
        return await self._asked("GET", f"/v1/{view}")

    async def run(self, line: str) -> None:
        await self._asked("POST", "/v1/command", msgspec.json.encode({"command": line}))

    async def _asked(self, method: str, path: str, body: bytes | None = None) -> dict[str, Any]:
        headers = {**self._headers, **({"Content-Type": "application/json"} if body is not None else {})}
        try:
            target = Target.of(f"{self._url}{path}")
            tls = self._tls if target.scheme == "https" else None
            async with asyncio.timeout(LIMIT_S), request(method, target, headers, body, tls) as reply:
                found = _document(b"".join([piece async for piece in reply.pieces]))
        except (InvalidUrl, ProtocolError, TimeoutError, OSError) as problem:
            raise LookError(str(problem) or type(problem).__name__) from problem
        if reply.status >= 400:
            told = found.get("detail") or found.get("title") or reply.reason
            raise LookError(f"{reply.status}: {told}" + (" (--token-file)" if reply.status == 401 else ""))
        return found


@contextlib.asynccontextmanager
async def source_of_home(home: Path) -> AsyncIterator[Source]:
    """Raises NotRunningError."""
    async with linked(home) as link:
        yield SocketSource(home, link)


@contextlib.asynccontextmanager
async def source_of_url(url: str, token: str, *, ca: str = "") -> AsyncIterator[Source]:
    """Raises OSError for a file of authorities that cannot be read, LookError for what is no token."""
    if not token.isascii() or not token.isprintable():
        raise LookError("that is no token: it is one line of letters and digits")
    yield UrlSource(url, token, ssl.create_default_context(cafile=ca or None))


def _document(data: bytes) -> dict[str, Any]:
    try:
        return msgspec.json.decode(data, type=dict[str, Any])
    except msgspec.DecodeError:
        raise LookError("that is no node of EdgeLake: its answer is no JSON") from None


def _nothing(text: str, stream: Any = None, *, end: str = "\n") -> None:
    """What the command says is not shown."""
