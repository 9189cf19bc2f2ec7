"""The unit for systemd: systemd takes it, it leaves little open, and a node lives within its limits."""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
from pathlib import Path

import pytest

from edgelake.bench.processes import free_port
from tests.tools.test_configuration import GOOD, edgelake

PR_SET_MDWE, REFUSE_EXEC_GAIN = 65, 1  # <linux/prctl.h>, Linux 6.3 and later


@pytest.fixture
def unit(tmp_path: Path) -> Path:
    (tmp_path / "edgelake.toml").write_text(GOOD)
    shown = edgelake("service", "show", "--user", "daemon", cwd=tmp_path)
    assert shown.returncode == 0, shown.stderr
    path = tmp_path / "edgelake.service"
    path.write_text(shown.stdout)
    return path


def test_systemd_finds_nothing_wrong_in_the_unit(unit: Path) -> None:
    found = subprocess.run(["systemd-analyze", "verify", unit], capture_output=True, text=True, timeout=60)
    ours = [line for line in found.stderr.splitlines() if "edgelake" in line]
    assert (found.returncode, ours) == (0, [])


def test_the_unit_leaves_little_open(unit: Path) -> None:
    """On systemd's scale from 0 (nothing) to 10 (everything)."""
    asked = ["systemd-analyze", "security", "--offline=true", "--threshold=20", "--no-pager", unit]
    found = subprocess.run(asked, capture_output=True, text=True, timeout=60)
    assert found.returncode == 0, found.stdout


def test_a_node_needs_no_system_call_that_the_unit_refuses(unit: Path, tmp_path: Path) -> None:
    assert "SystemCallFilter=@system-service\n" in unit.read_text()
    calls = tmp_path / "calls"
    port, broker, peers = free_port(), free_port(), free_port()
    commands = [
        "create work directories",
        "connect dbms plant where type = sqlite",
        f"run rest server where external_ip = 127.0.0.1 and external_port = {port} and bind = true",
        f"run message broker where external_ip = 127.0.0.1 and external_port = {broker} and bind = true",
        f"run tcp server where external_ip = 127.0.0.1 and external_port = {peers} and bind = true",
        'stream {"speed": 12.5} where dbms = plant and table = motor',
        "flush buffers",
        'sql plant format = table "select max(speed) from motor"',
        "get node info cpu_percent",
        "get disk usage .",
    ]
    done = subprocess.run(
        ["strace", "-f", "-c", "-U", "name", "-o", calls, sys.executable, "-m", "edgelake", *_batch(commands)],
        cwd=tmp_path,
        env={**os.environ, "EDGELAKE_HOME": str(tmp_path / "node")},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=100,
        preexec_fn=_no_executable_memory,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "12.5" in done.stdout
    used = {word for word in calls.read_text().split() if word.isidentifier()} - {"syscall", "total"}
    assert {"fdatasync", "execve"} <= used  # the list is a list of calls
    assert used <= _allowed("@system-service")


def _batch(commands: list[str]) -> list[str]:
    return [word for command in commands for word in ("-c", command)]


def _no_executable_memory() -> None:
    """What MemoryDenyWriteExecute= forbids, as far as this kernel can (before Linux 6.3: nothing)."""
    ctypes.CDLL(None).prctl(PR_SET_MDWE, REFUSE_EXEC_GAIN, 0, 0, 0)


def _allowed(group: str) -> set[str]:
    """The calls of a group, those of the groups in it too."""
    shown = subprocess.run(
        ["systemd-analyze", "--no-pager", "syscall-filter", group], capture_output=True, text=True, timeout=60
    )
    found: set[str] = set()
    for line in shown.stdout.splitlines():
        word = line.strip()
        if not line.startswith(" ") or word.startswith("#"):
            continue
        found |= _allowed(word) if word.startswith("@") else {word}
    return found
