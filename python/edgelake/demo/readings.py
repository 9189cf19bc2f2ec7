"""Readings of a few machines, and how they reach a node: by HTTP, and as files in its watch directory."""

from __future__ import annotations

import http.client
import json
import math
import random
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import TracebackType
from typing import Self

from edgelake.command.console import write

DBMS = "demo"
TABLE = "readings"
BODY_ROWS = 1000
DEVICES = 8


def bodies(rows: int, first_device: int = 1) -> Iterator[bytes]:
    """Readings of the last three hours from ``DEVICES`` machines, newline-separated, oldest first."""
    noise = random.Random(7)
    count = max(rows // BODY_ROWS, 1) * BODY_ROWS
    last = datetime.now(UTC).replace(microsecond=0)
    step = timedelta(hours=3) / count
    lines: list[str] = []
    for n in range(count):
        lines.append(_reading(last - step * (count - n), n / count, first_device + n % DEVICES, noise))
        if len(lines) == BODY_ROWS:
            yield "\n".join(lines).encode()
            lines.clear()


def body_of_now(first_device: int, moment: int) -> bytes:
    """One reading of each of ``DEVICES`` machines; ``moment``: which one since the demo began."""
    noise, at = random.Random(moment), datetime.now(UTC)
    return "\n".join(_reading(at, moment / 600, first_device + n, noise) for n in range(DEVICES)).encode()


def _reading(at: datetime, phase: float, device: int, noise: random.Random) -> str:
    swing = math.sin(phase * 6 + device)
    reading = {
        "timestamp": at.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "device": f"machine-{device:02}",
        "temperature": round(21.5 + 4 * swing + noise.gauss(0, 0.3), 2),
        "power": round(150.5 + 40 * swing + noise.gauss(0, 5), 1),
    }
    return json.dumps(reading)


class Device:
    """Sends readings to the REST server of a node, as a device outside would."""

    def __init__(self, port: int) -> None:
        self._link = http.client.HTTPConnection("127.0.0.1", port, timeout=30)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._link.close()

    def put(self, body: bytes) -> None:
        """Blocks. Raises RuntimeError when the node refuses."""
        headers = {"dbms": DBMS, "table": TABLE, "mode": "streaming", "User-Agent": "AnyLog/1.23"}
        self._link.request("PUT", "/", body=body, headers=headers)
        reply = self._link.getresponse()
        text = reply.read().decode(errors="replace")
        if reply.status != 200:
            raise RuntimeError(f"the node answered {reply.status}: {text}")


def drop(body: bytes, number: int, prep: Path, watch: Path) -> None:
    """Put a file into the watch directory: whole files appear there, by a rename."""
    working = prep / f"{DBMS}.{TABLE}.gateway{number}.json"
    working.write_bytes(body)
    working.rename(watch / working.name)


class Progress:
    """One line that is rewritten on a terminal; a few lines elsewhere."""

    def __init__(self, total: int) -> None:
        self._total = total
        self._began = time.monotonic()

    def show(self, done: int) -> None:
        """``done`` bodies are sent."""
        if sys.stdout.isatty():
            width = 30
            bar = "#" * (width * done // self._total)
            rate = done * BODY_ROWS / max(time.monotonic() - self._began, 1e-3)
            sys.stdout.write(f"\r  [{bar:<{width}}] {done * BODY_ROWS:>9,} readings, {rate:,.0f}/s")
            sys.stdout.flush()
        elif done % max(self._total // 4, 1) == 0:
            write(f"  {done * BODY_ROWS:,} of {self._total * BODY_ROWS:,} readings sent")
