"""Replies on the terminal, for everything that isn't the interactive prompt itself."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import TextIO

from edgelake.command.context import Context
from edgelake.command.render import reply_text
from edgelake.errors import EdgeLakeError
from edgelake.model import Reply

Show = Callable[[str], None]


def write(text: str, stream: TextIO | None = None) -> None:
    """Write a text with the terminal's line breaks, ending in one."""
    out = stream or sys.stdout
    out.write(text.replace("\r\n", "\n").rstrip("\n") + "\n")
    out.flush()


async def show_reply(reply: Reply, ctx: Context, show: Show = write) -> None:
    """Show a reply; a streamed one piece by piece."""
    if reply.stream is not None:
        async for piece in reply.stream:
            show(piece.decode(errors="replace"))
        return
    width = ctx.node.settings.get("output table width", 100)
    text = reply_text(reply, pretty=True, width=width)
    if text:
        show(text)


def failure_text(failure: EdgeLakeError) -> str:
    """An error as the terminal shows it."""
    return f"Error {failure.number}: {failure}"


async def execute(line: str, ctx: Context, show: Show = write, show_error: Show | None = None) -> bool:
    """Run a line and show its reply or error; False when it failed."""
    try:
        await show_reply(await ctx.execute(line), ctx, show)
    except EdgeLakeError as failure:
        (show_error or show)(failure_text(failure))
        return False
    return True
