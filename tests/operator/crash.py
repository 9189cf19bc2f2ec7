"""A node that dies at a chosen point, without a goodbye.

``python -m tests.operator.crash <home> <point> [options]``
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from edgelake.ingest import source, sqlfile
from edgelake.ingest.intake import Intake
from edgelake.store.sqlite import SqliteStore
from tests.operator.node import START, NoWidening, running

SMALL_BLOCK = 4096


def _die(*_: Any, **__: Any) -> Any:
    os._exit(9)


def _before_insert() -> None:
    SqliteStore.insert = _die  # type: ignore[method-assign]


def _before_archive() -> None:
    Intake._archive = _die  # type: ignore[method-assign]


def _before_forget() -> None:
    Intake._forget = _die  # type: ignore[method-assign]


POINTS: dict[str, Callable[[], None]] = {
    "insert": _before_insert,
    "archive": _before_archive,
    "forget": _before_forget,
}


def _after_block(number: int) -> None:
    """Small blocks, and SIGKILL when so many are committed."""
    source.BLOCK_BYTES = sqlfile.BLOCK_BYTES = SMALL_BLOCK  # type: ignore[misc]
    insert, seen = SqliteStore.insert, 0

    async def counted(self: SqliteStore, wanted: Any, **options: Any) -> Any:
        nonlocal seen
        done = await insert(self, wanted, **options)
        seen += 1
        if seen == number:
            os.kill(os.getpid(), signal.SIGKILL)
        return done

    SqliteStore.insert = counted  # type: ignore[method-assign]


async def main(home: Path, point: str, options: str) -> None:
    kind, *more = point.split()
    if kind == "block":
        _after_block(int(more[0]))
    else:
        POINTS[kind]()
    ingest = NoWidening() if "fixed" in more else None
    async with running(home, START + options, tsd="tsd" in options, ingest=ingest) as node:
        await node.until(lambda: False, limit_s=30)


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), sys.argv[2], " ".join(sys.argv[3:])))
