"""Readings that come faster than they are stored wait in the journal, not in memory."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from tests.ingest.flooding import LIMIT_BYTES
from tests.ingest.test_crash import ENVIRONMENT, ROOT

ROWS = 400_000


def test_memory_stays_bounded_and_nothing_acknowledged_is_lost(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "tests.ingest.flooding", str(tmp_path), str(ROWS)]
    answer = subprocess.run(command, env=ENVIRONMENT, cwd=ROOT, stdout=subprocess.PIPE, check=True)
    found = json.loads(answer.stdout)
    assert found["stored"] == ROWS
    assert found["waited"] > ROWS // 2  # it did come faster
    assert found["highest"] < 2 * LIMIT_BYTES
    # The text of all rows is 32 MB and is in that memory too; what a flush takes on its way is a few MB.
    assert found["grown_mb"] < 32 + 80
