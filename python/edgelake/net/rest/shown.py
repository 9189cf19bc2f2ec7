"""Answers as pages: what ``into = html`` asks for. Spec: "REST API", section 11.

A page is made whole, in a thread, from an answer of bounded size. The modules that draw are loaded with the first page.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import aclosing
from typing import Final

from msgspec.structs import replace

from edgelake.errors import CommandError, EdgeLakeError
from edgelake.model import Reply
from edgelake.net.rest.exchange import Exchange
from edgelake.net.rest.hooks import Render
from edgelake.net.rest.replies import CORS, send_failure
from edgelake.net.rest.requests import Asked
from edgelake.query.options import rows_as_json

MAX_ANSWER_BYTES: Final = 8 << 20

Run = Callable[[Asked], Awaitable[Reply]]
"""Runs a command with the lines of its body."""


async def show(asked: Asked, proto: Exchange, run: Run, render: Render) -> None:
    """Answer a request with a page. Raises EdgeLakeError."""
    from edgelake.net.rest import pages

    kind = pages.kind_of(asked.values)
    added = pages.additions(await _additions(asked, run, render))
    as_it_is = kind in {"", "text"}
    reply = await run(asked if as_it_is else replace(asked, command=rows_as_json(asked.command)))
    if reply.stream is not None:
        answered = pages.Answered(asked.command, await _collected(reply.stream))
    else:
        data = reply.data if reply.has_data else None
        answered = pages.Answered(asked.command, render(reply), data, tuple(reply.tables))
    made = await asyncio.to_thread(pages.page, kind, answered, added)
    proto.response_bytes(200, [*pages.PAGE_HEADERS, *CORS], made)


def show_error(proto: Exchange, problem: EdgeLakeError, command: str) -> None:
    """Answer a request for a page that failed."""
    from edgelake.net.rest import pages

    send_failure(proto, problem, [*pages.PAGE_HEADERS, *CORS], pages.error_page(problem, command))


async def _additions(asked: Asked, run: Run, render: Render) -> str:
    """The header ``html``, or the policy that its ``blockchain get`` finds."""
    text = asked.values.get("html", "").strip()
    if text.split()[:2] != ["blockchain", "get"]:
        return text
    found = render(await run(replace(asked, command=text, lines=())))
    if not found:
        raise CommandError(f"html: no policy is found by '{text[:100]}'")
    return found


async def _collected(stream: AsyncIterator[bytes]) -> str:
    parts: list[bytes] = []
    size = 0
    async with aclosing(_closable(stream)) as pieces:
        async for piece in pieces:
            size += len(piece)
            if size > MAX_ANSWER_BYTES:
                raise CommandError(
                    f"The answer is larger than the {MAX_ANSWER_BYTES >> 20} MiB that a page shows",
                    hint="add a limit, group the rows, or leave out into",
                )
            parts.append(piece)
    return b"".join(parts).decode("utf-8", "replace")


async def _closable(stream: AsyncIterator[bytes]) -> AsyncGenerator[bytes]:
    """The stream, closed with this one."""
    try:
        async for piece in stream:
            yield piece
    finally:
        if isinstance(stream, AsyncGenerator):
            await stream.aclose()
