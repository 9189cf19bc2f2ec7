"""SIGKILL at random moments: acknowledged rows are in the table once, and in the archive once."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest

from tests.ingest.helpers import OPERATOR, edge

ROOT = Path(__file__).parents[2]
ENVIRONMENT = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "python")])}
KILLS = 10  # of each form


def killed(folder: Path, first: int, *options: str) -> set[int]:
    """Run a node until it is killed; what it acknowledged."""
    command = [sys.executable, "-m", "tests.ingest.acknowledging", str(folder), str(first), "0", *options]
    with subprocess.Popen(command, env=ENVIRONMENT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        acknowledged = {number(process.stdout.readline())}
        time.sleep(random.uniform(0.0, 0.35))  # the moment of the kill is what the test varies
        process.send_signal(signal.SIGKILL)
        acknowledged |= {number(line) for line in process.stdout if line.endswith("\n")}
    return acknowledged


def number(line: str) -> int:
    return int(line.removeprefix("ack-").rstrip(".\n"))


@pytest.mark.parametrize("options", [(), ("operator",)], ids=["alone", "operator"])
def test_acknowledged_rows_are_stored_once_and_archived_once(tmp_path: Path, options: tuple[str, ...]) -> None:
    acknowledged: set[int] = set()
    for attempt in range(KILLS):
        acknowledged |= killed(tmp_path, attempt * 1_000_000, *options)

    async def replay() -> None:
        lines = [f"{OPERATOR} and update_tsd_info = true"] if options else []
        async with edge(tmp_path, *lines, tsd=bool(options)) as node:
            await node.ingest.flush()
            stored = [n for (n,) in await node.rows("SELECT n FROM t")]
            assert len(stored) == len(set(stored))
            assert acknowledged <= set(stored)
            if not options:
                return
            while await node.rows("SELECT 1 FROM _edgelake_batches"):  # noqa: ASYNC110 - see ``until``
                await asyncio.sleep(0.01)
            lines = "".join(node.content("archive_dir")).splitlines()
            archived = Counter(int(line.split(",")[0].removeprefix('{"n": ')) for line in lines)
            assert archived == Counter(stored)
            by_batch = dict(await node.rows("SELECT tsd_id, count(*) FROM t GROUP BY tsd_id"))
            entered = dict(await node.rows("SELECT file_id, rows FROM tsd_info", "almgm"))
            assert by_batch == {file_id: rows for file_id, rows in entered.items() if rows}

    asyncio.run(replay())
