"""A process that submits rows and writes a line to its standard output for each acknowledgement, at once.

``python -m tests.ingest.acknowledging <folder> <first row> <rows, 0 = endless> [operator] [memory]``
"""

from __future__ import annotations

import asyncio
import itertools
import os
import sys
from pathlib import Path

from tests.ingest.helpers import OPERATOR, edge

TOGETHER = 20


async def main(folder: Path, first: int, rows: int, *options: str) -> None:
    lines = [f"{OPERATOR} and update_tsd_info = true"] if "operator" in options else []
    if "memory" in options:
        lines.append("set durability where level = memory")
    async with edge(folder, *lines, tsd="operator" in options) as node:

        async def one(n: int) -> None:
            await node.put("t", f'{{"n": {n}, "name": "row-{n}."}}')
            os.write(1, b"ack-%d.\n" % n)

        numbers = itertools.count(first) if rows == 0 else iter(range(first, first + rows))
        for group in iter(lambda: list(itertools.islice(numbers, TOGETHER)), []):
            await asyncio.gather(*(one(n) for n in group))


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), *sys.argv[4:]))
