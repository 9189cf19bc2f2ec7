"""Replies on the terminal, for everything that isn't the interactive prompt itself."""

from __future__ import annotations

import codecs
import io
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Final, Protocol, TextIO

from edgelake.command.context import Context
from edgelake.command.faults import failure_text
from edgelake.command.render import reply_text
from edgelake.errors import EdgeLakeError
from edgelake.model import Reply

TABLE_WIDTH: Final = "output table width"
FORMAT: Final = "output format"
PAGING: Final = "output paging"
"""Settings: what ``set output ...`` chose."""

BEGINNING_CHARS = 1000
"""What ``shown`` keeps of a reply."""


Drain = Callable[[], Awaitable[None]]
"""Waits until what was shown has been taken."""


class Show(Protocol):
    """Where texts are shown. With ``end = ""`` a text is a piece of a longer one."""

    def __call__(self, text: str, *, end: str = "\n") -> None: ...


def write(text: str, stream: TextIO | None = None, *, end: str = "\n") -> None:
    """Write a text with the terminal's line breaks, ending in one; with ``end = ""`` as it is."""
    out = stream or sys.stdout
    out.write(text.replace("\r\n", "\n").rstrip("\n") + end if end else text)
    out.flush()


def prompt_text(ctx: Context) -> str:
    """The prompt: ``EL > ``, ``EL name > ``, ``EL name +> `` with unread messages."""
    name = f" {ctx.node.name}" if ctx.node.name else ""
    return f"EL{name} {'+' if ctx.echo.unread else ''}> "


async def _no_drain() -> None:
    """The terminal holds up the writer by itself."""


async def show_reply(reply: Reply, ctx: Context, show: Show = write, drain: Drain = _no_drain) -> None:
    """Show a reply; a streamed one piece by piece, each after ``drain``."""
    if reply.stream is not None:
        await _show_stream(reply.stream, show, drain)
        return
    width = ctx.node.settings.get(TABLE_WIDTH, 100)
    if ctx.caller.entry == "prompt" and ctx.flow.frame is None and ctx.node.settings.get(FORMAT) == "json":
        reply.json_wanted = True
    text = reply_text(reply, pretty=True, width=width)
    if text:
        show(text)


async def _show_stream(stream: AsyncIterator[bytes], show: Show, drain: Drain) -> None:
    """Pieces may end anywhere: within a character, or within a line break."""
    decoder = io.IncrementalNewlineDecoder(codecs.getincrementaldecoder("utf-8")("replace"), translate=True)
    last = "\n"
    async for piece in stream:
        await drain()
        if text := decoder.decode(piece):
            show(text, end="")
            last = text[-1]
    if rest := decoder.decode(b"", final=True):
        show(rest, end="")
        last = rest[-1]
    if last != "\n":
        show("\n", end="")


async def shown(line: str, ctx: Context) -> str:
    """Run a line and show its reply on the node's terminal, where it has one; returns the beginning of the reply.

    Raises EdgeLakeError.
    """
    console: Show | None = ctx.console
    kept: list[str] = []
    room = BEGINNING_CHARS

    def show(text: str, *, end: str = "\n") -> None:
        nonlocal room
        kept.append(text[:room])
        room -= len(kept[-1])
        if console is not None:
            console(text, end=end)

    await show_reply(await ctx.execute(line), ctx, show)
    return "".join(kept)


async def execute(
    line: str,
    ctx: Context,
    show: Show = write,
    show_error: Callable[[str], None] | None = None,
    drain: Drain = _no_drain,
) -> bool:
    """Run a line and show its reply or error; False when it failed."""
    try:
        await show_reply(await ctx.execute(line), ctx, show, drain)
    except EdgeLakeError as failure:
        (show_error or show)(failure_text(failure))
        return False
    return True
