"""Request bodies: read with limits, decompressed, and cut into blocks.

What arrives is untrusted: it may be endless, end early, be slow, or grow a thousandfold when decompressed.
"""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import AsyncIterator, Callable

from edgelake._rust import PayloadSplitter
from edgelake.errors import BodyEncodingError, BodyTooLargeError, RequestError
from edgelake.net.rest.config import BodyLimits
from edgelake.net.rest.exchange import Exchange, Headers

INFLATE_STEP = 1 << 20


class Body:
    """One request body.

    Args:
        waiting: called with True whenever the client has to send next, with False when it has done so (the server's
            watch over silent clients: time that the node itself takes is not the client's).
    """

    def __init__(self, source: Exchange, headers: Headers, limits: BodyLimits, waiting: Callable[[bool], None]) -> None:
        self._source = source
        self._limits = limits
        self._waiting = waiting
        self._encoding = (headers.get("content-encoding") or "identity").strip().lower()
        self._announced = announced_bytes(headers)

    @property
    def is_there(self) -> bool:
        """Whether the headers announce a body."""
        return self._announced != 0

    async def whole(self, *, hint: str = "") -> bytes:
        """The body as one piece. Raises as ``pieces``, and BodyTooLargeError above ``whole_bytes``."""
        parts: list[bytes] = []
        size = 0
        async for piece in self.pieces():
            size += len(piece)
            if size > self._limits.whole_bytes:
                raise BodyTooLargeError(
                    f"The body is larger than {self._limits.whole_bytes:,} bytes and has to be held whole", hint=hint
                )
            parts.append(piece)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    async def pieces(self, *, files: bool = False) -> AsyncIterator[bytes]:
        """The decompressed body as it arrives.

        Args:
            files: it goes to the disk as it is, so that more of it is taken: ``file_bytes`` instead of ``total_bytes``.

        Raises: BodyTooLargeError, BodyEncodingError, RequestError when it ends early or is not what its headers say.
        """
        total = 0
        most = self._limits.file_bytes if files else self._limits.total_bytes
        async for piece in self._decoded(most):
            total += len(piece)
            if total > most:
                raise _too_large(most)
            yield piece

    def _decoded(self, most: int) -> AsyncIterator[bytes]:
        if (self._announced or 0) > most:
            raise _too_large(most)
        if self._encoding in {"identity", ""}:
            return self._raw()
        if self._encoding in {"gzip", "x-gzip"}:
            return self._inflated()
        raise BodyEncodingError(f"Content-Encoding '{self._encoding}' is not known", hint="use gzip, or send it plain")

    async def _raw(self) -> AsyncIterator[bytes]:
        """Bytes as received.

        granian ends a complete body with one empty piece; an empty piece that is not the last one stands for a
        broken connection or a faulty chunk.
        """
        received = 0
        ended = False
        self._waiting(True)
        async for piece in self._source:
            self._waiting(False)
            if ended:
                raise RequestError("The body ended early or its chunks are damaged; nothing of the rest was stored")
            received += len(piece)
            if piece:
                yield piece
            else:
                ended = True
            self._waiting(True)
        self._waiting(False)
        if self._announced is not None and received != self._announced:
            raise RequestError(f"The body has {received} bytes, Content-Length says {self._announced}")

    async def _inflated(self) -> AsyncIterator[bytes]:
        """gzip, of one or more members, in steps of bounded size."""
        inflater = zlib.decompressobj(wbits=31)
        begun = False
        try:
            async for piece in self._raw():
                rest = piece
                while rest:
                    if inflater.eof:
                        inflater = zlib.decompressobj(wbits=31)
                    begun = True
                    out = inflater.decompress(rest, INFLATE_STEP)
                    rest = inflater.unused_data if inflater.eof else inflater.unconsumed_tail
                    if out:
                        yield out
                    if rest:
                        await asyncio.sleep(0)  # a body that grows a thousandfold must not hold the loop
        except zlib.error as problem:
            raise RequestError(f"The body is not gzip: {problem}") from problem
        if begun and not inflater.eof:
            raise RequestError("The gzip body ends early")


def _too_large(most: int) -> BodyTooLargeError:
    return BodyTooLargeError(f"The body is larger than {most:,} bytes", hint="send it in parts")


def announced_bytes(headers: Headers) -> int | None:
    """Content-Length; None when the body is chunked. Raises RequestError for a length that is no number."""
    length = headers.get("content-length")
    if length is None:
        return None if "transfer-encoding" in headers else 0
    if not length.isascii() or not length.isdigit():
        raise RequestError("Content-Length is not a number")
    return int(length) if "transfer-encoding" not in headers else None


async def blocks(body: Body, limits: BodyLimits) -> AsyncIterator[bytes]:
    """Rows of a streamed body as payloads that can be stored one by one.

    A short body is one block, as it came. A longer one (objects one after another, or a list) is cut between rows, so
    that memory stays bounded however long it is. Raises PayloadError, RowTooLongError, and what ``pieces`` raises.
    """
    splitter = PayloadSplitter(block_bytes=limits.block_bytes, row_bytes=limits.whole_bytes)
    async for piece in body.pieces():
        for block in splitter.feed(piece):
            yield block
    for block in splitter.finish():
        yield block
