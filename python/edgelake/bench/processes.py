"""Processes of the benches: nodes with a REST server, and helpers that answer with one line of JSON."""

from __future__ import annotations

import contextlib
import errno
import http.client
import itertools
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

AGENT = "AnyLog/1.23"
START_SECONDS = 30
STOP_SECONDS = 10

_PORTS = range(10_240, 32_000)
_TURN = itertools.count(os.getpid() * 97)  # processes side by side begin at different places


class BenchError(Exception):
    """A bench that cannot go on, or an answer that is wrong."""


class RefusedError(BenchError):
    """A reply with another status than 200."""

    def __init__(self, status: int, said: str) -> None:
        super().__init__(said)
        self.status = status


class NodeProcess:
    """A node in a process of its own, from a script; REST on a free port of the loopback.

    Args:
        home: its folder, made when absent.
        script: commands that run after the REST server has been started.
        program: what is run with the path of the script; the node's own program by default.
    """

    def __init__(self, home: Path, script: Sequence[str] = (), program: Sequence[str] = ("-m", "edgelake", "process")):
        home.mkdir(parents=True, exist_ok=True)
        self.port = free_port()
        path = home / "start.al"
        first = f"run rest server where internal_ip = 127.0.0.1 and internal_port = {self.port} and bind = true"
        path.write_text("\n".join([*script, first]) + "\n")
        self.ready_seconds = 0.0
        self._log = home / "node.log"
        self.begin = time.perf_counter()
        with self._log.open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, *program, str(path)],
                env={**_environment(), "EDGELAKE_HOME": str(home)},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    def wait_ready(self) -> None:
        """Wait until REST answers. Raises BenchError with its output when it ends before."""
        while not answers(self.port):
            if self.process.poll() is not None:
                raise BenchError(f"the node ended with code {self.process.returncode}: {self.output()}")
            if "Script terminated" in self.output():
                raise BenchError(self.output())
            if time.perf_counter() - self.begin > START_SECONDS:
                raise BenchError(f"the node was not ready after {START_SECONDS} s: {self.output()}")
        self.ready_seconds = time.perf_counter() - self.begin

    def output(self) -> str:
        """The end of what it printed."""
        return self._log.read_text(errors="replace")[-2000:].strip()

    def command(self, line: str, timeout_s: float = 60) -> bytes:
        """The body of a GET. Raises RefusedError for another status than 200."""
        return get(self.port, {"command": line}, timeout_s)

    def rss_mb(self) -> float:
        return resident_mb(self.process.pid)

    def stop(self) -> None:
        self.process.terminate()
        try:
            self.process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


def _environment() -> dict[str, str]:
    """The environment, but for what keeps modules from being compiled once for all (an installed node has them so)."""
    return {key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"}


@contextlib.contextmanager
def node(home: Path, script: Sequence[str] = (), program: Sequence[str] | None = None) -> Iterator[NodeProcess]:
    """A ready node, stopped at the end."""
    made = NodeProcess(home, script, program) if program else NodeProcess(home, script)
    try:
        made.wait_ready()
        yield made
    finally:
        made.stop()


def get(port: int, headers: dict[str, str], timeout_s: float = 60) -> bytes:
    """The body of a GET with these headers. Raises RefusedError for another status than 200."""
    link = http.client.HTTPConnection("127.0.0.1", port, timeout=timeout_s)
    try:
        link.request("GET", "/", headers={"User-Agent": AGENT, **headers})
        reply = link.getresponse()
        body = reply.read()
        if reply.status != 200:
            said = f"{headers.get('command', 'GET')}: {reply.status} {body[:300].decode(errors='replace')}"
            raise RefusedError(reply.status, said)
        return body
    finally:
        link.close()


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


def answers(port: int) -> bool:
    """Whether an HTTP server is there and says 200; waits 2 ms when it isn't."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=1) as connection:
            connection.sendall(b"GET /health HTTP/1.1\r\nHost: node\r\nConnection: close\r\n\r\n")
            return connection.recv(64).startswith(b"HTTP/1.1 200")
    except OSError:
        time.sleep(0.002)
        return False


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
