"""Streamed replies with back-pressure.

granian's own stream takes everything at once, without a bound: a fast query and a slow reader would fill the memory.
So a long reply goes through a named pipe, which granian reads as a file: what the client has not taken stays in the
pipe (64 KiB), and the producer waits. A reply that fits into SHORT_BYTES is sent whole, with its Content-Length.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import os
import tempfile
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Coroutine, Iterable
from typing import Any, TypeVar

from edgelake.errors import EdgeLakeError, TimeoutExpiredError
from edgelake.net.rest.exchange import Exchange, HeaderList
from edgelake.net.rest.replies import error_body

log = logging.getLogger(__name__)

T = TypeVar("T")

SHORT_BYTES = 128 << 10
OPEN_SECONDS = 2  # granian opens the pipe within milliseconds, or not at all since the client has left
WRITE_SECONDS = 60  # a client that takes nothing for so long is given up


class ClientGoneError(Exception):
    """The client closed its connection, or takes nothing any more."""


async def send_stream(
    out: Exchange, stream: AsyncIterator[bytes], headers: HeaderList, silence_seconds: float | None, address: str
) -> None:
    """Send a stream as the body of a 200.

    An error before the first SHORT_BYTES is raised (and answered with its own status); a later one ends the body with
    the error object. When the client leaves, the stream is closed and nothing is raised. That shows at the next piece
    that is written (granian does not tell earlier), so a producer that is silent runs on until ``silence_seconds``.

    Args:
        silence_seconds: longest wait for the next piece; None = no limit.
    """
    source = _Source(stream, silence_seconds)
    try:
        head = await source.take(SHORT_BYTES)
        if source.ended:
            out.response_bytes(200, headers, head)
            return
        gone = asyncio.ensure_future(_wait(out.client_disconnect()))
        try:
            await _through_pipe(out, source, head, headers, gone, address)
        except ClientGoneError:
            log.info("REST client %s left before the end of its reply", address)
        finally:
            gone.cancel()
    finally:
        await source.close()


async def send_live(
    out: Exchange, stream: AsyncIterator[bytes], headers: HeaderList, ending: asyncio.Event, address: str
) -> None:
    """Send a stream without an end: each piece as it comes up, until the client leaves or ``ending`` is set.

    The stream is closed then, and nothing is raised. While the client takes nothing, no piece is asked for.
    """
    source = _Source(stream, None)
    leaving = [asyncio.ensure_future(_wait(out.client_disconnect())), asyncio.ensure_future(ending.wait())]
    gone = asyncio.ensure_future(_first(leaving))
    try:
        await _through_pipe(out, source, b"", headers, gone, address)
    except ClientGoneError:
        log.debug("REST client %s: the end of its events", address)
    finally:
        for one in (gone, *leaving):
            one.cancel()
        await source.close()


async def _first(futures: Iterable[asyncio.Future[Any]]) -> None:
    await asyncio.wait(futures, return_when=asyncio.FIRST_COMPLETED)


async def _wait(awaitable: Awaitable[None]) -> None:
    await awaitable  # granian's object is awaitable, yet no coroutine


class _Source:
    def __init__(self, stream: AsyncIterator[bytes], silence_seconds: float | None) -> None:
        self._stream = stream
        self._silence = silence_seconds
        self.ended = False

    async def next(self) -> bytes:
        """The next piece; b"" with ``ended`` set at the end."""
        if self._silence is None:
            piece = await anext(self._stream, None)
            self.ended = piece is None
            return piece or b""
        try:
            async with asyncio.timeout(self._silence):
                return await anext(self._stream)
        except StopAsyncIteration:
            self.ended = True
            return b""
        except TimeoutError as silent:
            raise TimeoutExpiredError(f"REST Server Timeout after {self._silence:g}s waiting for data") from silent

    async def take(self, size: int) -> bytes:
        parts: list[bytes] = []
        while size > 0 and not self.ended:
            parts.append(await self.next())
            size -= len(parts[-1])
        return b"".join(parts)

    async def close(self) -> None:
        if isinstance(self._stream, AsyncGenerator):
            await self._stream.aclose()


async def _through_pipe(
    out: Exchange, source: _Source, head: bytes, headers: HeaderList, gone: asyncio.Future[None], address: str
) -> None:
    with tempfile.TemporaryDirectory(prefix="edgelake-") as folder:
        path = os.path.join(folder, "reply")
        os.mkfifo(path, 0o600)
        out.response_file(200, headers, path)
        writer = await _or_gone(_open_for_writing(path), gone)
    try:
        await _or_gone(_write(writer, head), gone)
        try:
            while not source.ended:
                if piece := await _or_gone(source.next(), gone):
                    await _or_gone(_write(writer, piece), gone)
        except EdgeLakeError as problem:
            await _or_gone(_write(writer, b"\n" + error_body(problem, "get", address)), gone)
    finally:
        os.close(writer)


async def _open_for_writing(path: str) -> int:
    """Open a named pipe as soon as granian reads it, so that its leaving shows as a broken pipe."""
    wait = 0.0005
    while wait < OPEN_SECONDS:
        try:
            return os.open(path, os.O_WRONLY | os.O_NONBLOCK)
        except OSError as nobody:
            if nobody.errno != errno.ENXIO:
                raise
        await asyncio.sleep(wait)
        wait *= 1.5
    raise ClientGoneError


async def _or_gone(work: Coroutine[Any, Any, T], gone: asyncio.Future[None]) -> T:
    """Do a piece of work unless the client leaves meanwhile."""
    task = asyncio.ensure_future(work)
    try:
        await asyncio.wait((task, gone), return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            raise ClientGoneError
        return task.result()
    finally:
        if not task.done():
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task


async def _write(fd: int, data: bytes) -> None:
    """Write all of ``data``, waiting whenever the pipe is full."""
    rest = memoryview(data)
    while rest:
        try:
            rest = rest[os.write(fd, rest) :]
        except BlockingIOError:
            await _writable(fd)
        except BrokenPipeError as left:
            raise ClientGoneError from left


def _set(ready: asyncio.Future[None]) -> None:
    if not ready.done():
        ready.set_result(None)


async def _writable(fd: int) -> None:
    loop = asyncio.get_running_loop()
    ready: asyncio.Future[None] = loop.create_future()
    loop.add_writer(fd, _set, ready)
    try:
        async with asyncio.timeout(WRITE_SECONDS):
            await ready
    except TimeoutError as stalled:
        raise ClientGoneError from stalled
    finally:
        loop.remove_writer(fd)
