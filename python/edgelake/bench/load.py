"""Helper process: puts workload W, or single rows, to a REST server. Its argument and its answer are JSON."""

from __future__ import annotations

import json
import sys
import time
from typing import Any

from edgelake import _rust
from edgelake.bench.processes import ask, tell
from edgelake.processes import AGENT

PROGRAM = ("-m", "edgelake.bench.load")
HEAD = f"User-Agent: {AGENT}\r\ntype: json\r\ndbms: bench\r\ntable: readings\r\nmode: streaming\r\n"


def put(
    address: str, rows: int, rows_per_body: int, connections: int, *, first: int = 0, limit_s: float = 120
) -> dict[str, Any]:
    """Run the load in a process of its own.

    Returns: requests, failures, retries, seconds, begin and end (monotonic clock), p50_us, p99_us, first_failure.
    """
    what = {
        "address": address,
        "rows": rows,
        "rows_per_body": rows_per_body,
        "connections": connections,
        "first": first,
        "limit_s": limit_s,
    }
    return ask(PROGRAM, what)


def main() -> None:
    what = json.loads(sys.argv[1])
    report = _rust.load_put(what.pop("address"), HEAD, **what)
    end = time.monotonic()
    tell(**report, begin=end - float(report["seconds"]), end=end)


if __name__ == "__main__":
    main()
