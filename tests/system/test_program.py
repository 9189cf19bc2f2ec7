"""The program ``edgelake``: a clean stop, and what it answers while it stops."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.system.program import Program


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_stops_the_node_cleanly_and_nothing_is_lost(tmp_path: Path, number: signal.Signals) -> None:
    with Program(tmp_path) as node:
        for n in range(50):
            assert node.put(b'{"n": %d}' % n)[0] == 200
        assert node.process is not None
        node.process.send_signal(number)
        assert node.process.wait(5) == 0
    with Program(tmp_path) as again:
        assert again.count("t") == 50


def test_exit_node_stops_it(tmp_path: Path) -> None:
    with Program(tmp_path) as node:
        node.post("exit node")
        assert node.process is not None
        assert node.process.wait(5) == 0


def test_an_open_connection_does_not_hold_the_stop(tmp_path: Path) -> None:
    import socket

    with Program(tmp_path) as node, socket.create_connection(("127.0.0.1", node.port)) as link:
        link.sendall(b"PUT / HTTP/1.1\r\nhost: x\r\ndbms: plant\r\ntable: t\r\ncontent-length: 1000\r\n\r\n{")
        started = time.monotonic()
        assert node.stop() == 0
        assert time.monotonic() - started < 5


def test_commands_of_the_command_line(tmp_path: Path) -> None:
    environment = {**os.environ, "EDGELAKE_HOME": str(tmp_path)}
    base = [sys.executable, "-m", "edgelake"]
    good = subprocess.run([*base, "-c", "x = 5", "-c", "print !x"], env=environment, capture_output=True, timeout=30)
    assert (good.returncode, good.stdout.decode().split()) == (0, ["5"])
    bad = subprocess.run([*base, "-c", "get nonsense"], env=environment, capture_output=True, timeout=30)
    assert bad.returncode == 1
    assert b"get nonsense" in bad.stderr
