"""``continuous``: commands again and again, for who watches a node.

Source: spec "Command language", section 9.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Annotated

from edgelake.command.context import Context
from edgelake.command.faults import failure_text
from edgelake.command.grammar import Tail
from edgelake.command.registry import command
from edgelake.command.render import reply_text
from edgelake.command.tokenizer import tokenise
from edgelake.errors import CommandError, EdgeLakeError
from edgelake.model import CommandClass, Reply

ENTER = "enter"  # part of the node: a function that returns when Enter is pressed, set by the prompt
_PERIOD_S = 5.0


@command(
    "continuous",
    cls=CommandClass.ADMIN,
    topics=("script", "status"),
    examples=("continuous get operator inserts", "continuous 10 get cpu usage, get streaming"),
)
async def continuous(ctx: Context, what: Annotated[str, Tail()]) -> Reply:
    """Repeat commands, with commas between them, every 5 seconds or every SECONDS, until Enter is pressed."""
    enter: Callable[[], Awaitable[None]] | None = ctx.parts.get(ENTER)
    if enter is None or ctx.caller.entry != "prompt" or ctx.flow.frame is not None:
        raise CommandError(
            "'continuous' is a command of the prompt", hint="use: schedule name = n and time = t task ..."
        )
    period_s, commands = _split(what)
    return Reply(stream=_rounds(ctx, period_s, commands, enter), media_type="text/plain")


def _split(text: str) -> tuple[float, list[str]]:
    """Period and commands. A comma ends a command where it ends a word outside quotes."""
    words = tokenise(text).words
    period_s, start = _PERIOD_S, 0
    if words and words[0].bare and words[0].text.replace(".", "", 1).isdecimal():
        period_s, start = float(words[0].text), words[0].end
    commands = []
    for word in words:
        if word.bare and word.text.endswith(",") and word.start >= start:
            commands.append(text[start : word.end - 1].strip())
            start = word.end
    commands.append(text[start:].strip())
    if not 0 < period_s <= 86400 or not all(commands):
        raise CommandError(f"'{text[:60]}' names no commands to repeat", hint="continuous 5 get status, get processes")
    return period_s, commands


async def _rounds(
    ctx: Context, period_s: float, commands: list[str], enter: Callable[[], Awaitable[None]]
) -> AsyncIterator[bytes]:
    pressed = asyncio.ensure_future(enter())
    try:
        while not pressed.done():
            for line in commands:
                try:
                    reply = await ctx.execute(line)
                    yield f"{line}\n{reply_text(reply, pretty=True)}\n".encode()
                    if reply.stream is not None:
                        async for piece in reply.stream:
                            yield piece
                except EdgeLakeError as failure:
                    yield f"{line}\n{failure_text(failure)}\n".encode()
            await asyncio.wait({pressed}, timeout=period_s)
    finally:
        pressed.cancel()
