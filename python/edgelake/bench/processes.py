"""Processes of the benches: nodes on free ports, and helpers that answer with one line of JSON."""

from __future__ import annotations

import contextlib
import errno
import itertools
import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

from edgelake.processes import NODE, STOP_SECONDS, NodeProcess

_PORTS = range(10_240, 32_000)
_TURN = itertools.count(os.getpid() * 97)  # processes side by side begin at different places


class BenchError(Exception):
    """A bench that cannot go on, or an answer that is wrong."""


@contextlib.contextmanager
def node(home: Path, script: Sequence[str] = (), program: Sequence[str] = NODE) -> Iterator[NodeProcess]:
    """A ready node, stopped at the end."""
    made = NodeProcess(home, script, port=free_port(), program=program)
    try:
        made.wait_ready()
        yield made
    finally:
        made.stop()


class Child:
    """A helper in a process of its own. It is told what to do by JSON in its argument, and answers with a JSON line."""

    def __init__(self, program: Sequence[str], what: dict[str, Any], *, core: int | None = None) -> None:
        """``core``: the only one that it may use."""
        pin = (lambda: os.sched_setaffinity(0, {core})) if core is not None else None
        self._process = subprocess.Popen(
            [sys.executable, *program, json.dumps(what)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            preexec_fn=pin,
        )

    def line(self) -> dict[str, Any]:
        """Its next line. Raises BenchError when it ended without one."""
        assert self._process.stdout is not None
        said = self._process.stdout.readline()
        if not said:
            raise BenchError(f"a helper process ended with code {self._process.wait()}")
        found: dict[str, Any] = json.loads(said)
        return found

    def asked(self, key: str, **what: Any) -> dict[str, Any]:
        """Its answer to a further line of JSON."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps({"key": key, **what}).encode() + b"\n")
        self._process.stdin.flush()
        return self.line()

    def end(self) -> None:
        """Wait until it is gone; stop it if it still runs."""
        if self._process.poll() is None:
            self._process.terminate()
        self._process.wait(STOP_SECONDS)
        for pipe in (self._process.stdin, self._process.stdout):
            assert pipe is not None
            pipe.close()


def ask(program: Sequence[str], what: dict[str, Any], *, core: int | None = None) -> dict[str, Any]:
    """The answer of a helper that does one thing."""
    child = Child(program, what, core=core)
    try:
        return child.line()
    finally:
        child.end()


def tell(**answer: Any) -> None:
    """In a helper: its answer, at once."""
    print(json.dumps(answer), flush=True)


def free_port() -> int:
    """A port that nothing listens on, given out once by this process.

    It lies below the range that the system takes outgoing connections from: a port out of that range
    may be some connection's own before the server that it was picked for listens.
    """
    for _ in range(len(_PORTS)):
        port = _PORTS[next(_TURN) % len(_PORTS)]
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise OSError(errno.EADDRINUSE, f"no free port from {_PORTS[0]} to {_PORTS[-1]}")


def accepts(port: int) -> bool:
    """Whether something listens there."""
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True


def resident_mb(pid: int) -> float:
    """Resident memory of a process, from /proc."""
    return _status_mb(pid, "VmRSS:")


def peak_resident_mb(pid: int | Literal["self"]) -> float:
    """The most it ever was."""
    return _status_mb(pid, "VmHWM:")


def reset_peak(pid: int) -> None:
    """Let ``peak_resident_mb`` count from now on."""
    Path(f"/proc/{pid}/clear_refs").write_text("5")


def _status_mb(pid: int | Literal["self"], name: str) -> float:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(name):
            return int(line.split()[1]) / 1024
    raise BenchError(f"no memory figure for process {pid}")
