"""Commands of the language itself: print, json, wait, random and the like.

Source: spec "Command language", section 9.
"""

from __future__ import annotations

from typing import Annotated

from edgelake.command.context import Context
from edgelake.command.grammar import Tail
from edgelake.command.registry import command
from edgelake.model import CommandClass, Reply


@command("print", cls=CommandClass.DATA, topics=("script",), examples=("print hello !name",))
async def print_(ctx: Context, text: Annotated[str, Tail(raw=False)] = "") -> Reply:
    """Show the words, with !variables replaced, joined by one blank."""
    return Reply.of_text(text)
