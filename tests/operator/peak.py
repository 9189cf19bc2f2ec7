"""A node of its own that takes one file and says how much its peak of memory grew.

``python -m tests.operator.peak <home> <file>``; the file is moved to the watch directory.
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from tests.operator.node import running


def peak_bytes() -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    (line,) = (line for line in lines if line.startswith("VmHWM:"))
    return int(line.split()[1]) << 10


async def main(home: Path, path: Path) -> None:
    async with running(home) as node:
        node.drop("d.warm.json", '{"a": 1}')
        await node.settled()
        before = peak_bytes()
        path.rename(node.folder("watch_dir") / path.name)
        await node.until(lambda: not node.names("watch_dir"), limit_s=60)
        await node.operator.idle()
        ((rows,),) = await node.rows("SELECT count(*) FROM t")
        print(rows, peak_bytes() - before)


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), Path(sys.argv[2])))
