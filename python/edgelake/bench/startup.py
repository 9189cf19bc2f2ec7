"""Start to ready, and the memory of an idle node."""

from __future__ import annotations

import os
import socket
import statistics
import subprocess
import sys
import time
from pathlib import Path

from edgelake.bench import Settings
from edgelake.bench.results import Result

RUNS = 5


def run(settings: Settings) -> list[Result]:
    seconds, resident = [], []
    with settings.folder("startup") as folder:
        for at in range(RUNS):
            settings.say(f"start {at + 1} of {RUNS}")
            took, rss_mb = start_once(Path(folder) / str(at))
            seconds.append(took)
            resident.append(rss_mb)
    return [
        Result("start to ready (REST answers)", statistics.median(seconds), "s", 0.5, "lower"),
        Result("idle RSS", statistics.median(resident), "MB", 60, "lower"),
    ]


def start_once(home: Path) -> tuple[float, float]:
    """Start a node with a REST server; seconds until it answers, and its resident memory a second later."""
    home.mkdir()
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    script = home / "start.al"
    script.write_text(f"run rest server where internal_ip = 127.0.0.1 and internal_port = {port} and bind = true\n")
    begin = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, "-m", "edgelake", "process", str(script)],
        env={**os.environ, "EDGELAKE_HOME": str(home)},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
    )
    try:
        while not answers(port):
            if process.poll() is not None:
                raise RuntimeError(f"the node ended with code {process.returncode} before it was ready")
            if time.perf_counter() - begin > 30:
                raise RuntimeError("the node was not ready after 30 s")
        took = time.perf_counter() - begin
        time.sleep(1)
        return took, resident_mb(process.pid)
    finally:
        process.terminate()
        process.wait(10)


def answers(port: int) -> bool:
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=1) as connection:
            connection.sendall(b"GET /health HTTP/1.1\r\nHost: node\r\nConnection: close\r\n\r\n")
            return connection.recv(64).startswith(b"HTTP/1.1 200")
    except OSError:
        time.sleep(0.002)
        return False


def resident_mb(pid: int) -> float:
    """Resident memory of a process, from /proc."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / 1024
    raise RuntimeError(f"no memory figure for process {pid}")
