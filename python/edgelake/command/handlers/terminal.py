"""How replies look at the prompt.

Source: spec "Command language", section 13.
"""

from __future__ import annotations

from typing import Literal

from edgelake.command.console import FORMAT, PAGING, TABLE_WIDTH
from edgelake.command.context import Context
from edgelake.command.registry import command
from edgelake.errors import CommandError
from edgelake.model import CommandClass, Reply


@command(
    "set output format",
    cls=CommandClass.ADMIN,
    topics=("configuration",),
    examples=("set output format json", "set output format text"),
)
async def set_output_format(ctx: Context, form: Literal["text", "json"]) -> Reply:
    """How the prompt shows the replies of commands that have both forms; ``where format = json`` asks for one alone."""
    ctx.node.settings[FORMAT] = form
    return Reply.done()


@command(
    "set output paging",
    cls=CommandClass.ADMIN,
    topics=("configuration",),
    examples=("set output paging off", "set output paging on"),
)
async def set_output_paging(ctx: Context, mode: Literal["on", "off"]) -> Reply:
    """Whether the prompt gives replies that are longer than the screen to a pager: $PAGER, or less, or more."""
    ctx.node.settings[PAGING] = mode == "on"
    return Reply.done()


@command(
    "set output table width",
    cls=CommandClass.ADMIN,
    topics=("configuration",),
    examples=("set output table width 60",),
)
async def set_output_table_width(ctx: Context, characters: int) -> Reply:
    """Longest line within a cell of a table that the prompt shows; longer texts are broken."""
    if characters < 10:
        raise CommandError(f"{characters} characters are too few", hint="at least 10")
    ctx.node.settings[TABLE_WIDTH] = characters
    return Reply.done()
