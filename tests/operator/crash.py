"""A node that dies at a chosen point, without a goodbye.

``python -m tests.operator.crash <home> <point> [options]``
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from edgelake.ingest import filing
from edgelake.ingest.intake import Intake
from edgelake.store.sqlite import SqliteStore
from tests.operator.node import START, running


def _die(*_: Any, **__: Any) -> Any:
    os._exit(9)


def _before_insert() -> None:
    SqliteStore.insert = _die  # type: ignore[method-assign]


def _before_archive() -> None:
    filing.move = _die


def _before_forget() -> None:
    Intake._forget = _die  # type: ignore[method-assign]


POINTS: dict[str, Callable[[], None]] = {
    "insert": _before_insert,
    "archive": _before_archive,
    "forget": _before_forget,
}


async def main(home: Path, point: str, options: str) -> None:
    POINTS[point]()
    async with running(home, START + options, tsd="tsd" in options) as node:
        await node.until(lambda: False, limit_s=30)


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), sys.argv[2], " ".join(sys.argv[3:])))
