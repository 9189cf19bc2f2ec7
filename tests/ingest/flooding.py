"""A process that takes readings much faster than it stores them; prints its memory in MiB and whether all is there.

``python -m tests.ingest.flooding <folder> <rows>``
"""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path

from edgelake._rust import workload_body
from edgelake.bench.processes import peak_resident_mb
from edgelake.ingest.service import Brake, Ingest
from edgelake.store.sqlite import SqliteStore

LIMIT_BYTES = 8 << 20


async def main(folder: Path, rows: int) -> None:
    ingest = Ingest(folder / "journal", timezone="UTC", limit_bytes=LIMIT_BYTES)
    ingest.brake = Brake(sync_delay_us=5000, us_per_row=50)
    await ingest.start()
    store = SqliteStore("d", folder / "d.dbms")
    await ingest.attach(store)
    before = peak_resident_mb("self")
    bodies = iter([workload_body(first, 1000) for first in range(0, rows, 1000)])
    highest = 0

    async def sender() -> None:
        nonlocal highest
        for body in bodies:
            await ingest.submit("d", "t", body, wait=True)
            highest = max(highest, ingest.pipeline.occupied_bytes())

    await asyncio.gather(*(sender() for _ in range(64)))
    waited = ingest.totals().buffered_rows
    writer = ingest.writer("d")
    assert writer is not None
    writer.slow_us_per_row = 0.0
    await ingest.flush()
    peak = peak_resident_mb("self")
    stored = (await store.row_counts(["t"]))["t"]
    await ingest.stop()
    await store.close()
    print(json.dumps({"grown_mb": peak - before, "highest": highest, "waited": waited, "stored": stored}))


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), int(sys.argv[2])))
