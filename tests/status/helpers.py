"""Run a line, get what a user sees."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from edgelake.command.context import Context
from edgelake.command.render import reply_text

T = TypeVar("T")


async def shown(ctx: Context, line: str) -> str:
    """The reply as text, lines ended by a plain line feed."""
    return reply_text(await ctx.execute(line)).replace("\r\n", "\n")


async def data(ctx: Context, line: str) -> Any:
    """The JSON form of the reply."""
    return json.loads(reply_text(await ctx.execute(f"{line} where format = json")))


def run(body: Callable[[], Awaitable[T]]) -> T:
    async def main() -> T:
        return await body()

    return asyncio.run(main())
