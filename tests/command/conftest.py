"""A node with the language alone, on a folder of its own."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest

from edgelake.command.context import Context
from edgelake.command.local import language_context
from edgelake.command.registry import Registry
from edgelake.command.render import reply_text
from edgelake.command.variables import Variables


@pytest.fixture(scope="session")
def registry() -> Registry:
    return Registry.discover()


@pytest.fixture
def ctx(tmp_path: Path, registry: Registry) -> Context:
    return language_context(home=tmp_path, registry=registry, variables=Variables({"HOME": "/home/me"}))


@pytest.fixture
def run(ctx: Context) -> Callable[..., str]:
    """Run lines one after the other; returns the text of the last reply."""

    def lines(*texts: str) -> str:
        async def work() -> str:
            shown = ""
            for text in texts:
                shown = reply_text(await ctx.execute(text))
            return shown

        return asyncio.run(work())

    return lines
