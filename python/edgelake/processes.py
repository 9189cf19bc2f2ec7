"""Nodes in processes of their own, for programs that start several (demo, benches)."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

AGENT: Final = "AnyLog/1.23"
NODE: Final = ("-m", "edgelake", "process")
"""The node's own program, without its script."""

LIFELINE: Final = "EDGELAKE_LIFELINE"
"""In the environment of a node: number of a pipe whose end ends the node, since whoever started it is gone."""

START_SECONDS = 30
STOP_SECONDS = 10


class ProcessError(Exception):
    """A node that did not start, with what it printed."""


class RefusedError(ProcessError):
    """A reply with another status than 200."""

    def __init__(self, status: int, said: str) -> None:
        super().__init__(said)
        self.status = status


class NodeProcess:
    """A node in a process of its own, from a script; when REST answers on the loopback, the script is over.

    It ends with this process, whatever ends that.

    Args:
        home: its folder, made when absent.
        script: commands that run before the REST server is started.
        port: of the REST server.
        program: what is run with the path of the script; the node's own program by default.
        apart: in a session of its own, so that Ctrl-C at the terminal stops whoever started it, not it.
    """

    def __init__(
        self,
        home: Path,
        script: Sequence[str] = (),
        *,
        port: int,
        program: Sequence[str] = NODE,
        apart: bool = False,
    ) -> None:
        home.mkdir(parents=True, exist_ok=True)
        self.name, self.port = home.name, port
        path = home / "start.al"
        first = f"run rest server where internal_ip = 127.0.0.1 and internal_port = {self.port} and bind = true"
        path.write_text("\n".join([*script, first]) + "\n")
        self.ready_seconds = 0.0
        self._log = home / "node.log"
        self.begin = time.perf_counter()
        theirs, self._lifeline = os.pipe()
        with self._log.open("wb") as log, open(theirs, "rb"):
            self.process = subprocess.Popen(
                [sys.executable, *program, str(path)],
                env={**_environment(), "EDGELAKE_HOME": str(home), LIFELINE: str(theirs)},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=apart,
                pass_fds=(theirs,),
            )

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    def wait_ready(self) -> None:
        """Wait until REST answers. Raises ProcessError with its output when it ends before."""
        while not answers(self.port):
            if self.process.poll() is not None:
                raise ProcessError(f"{self.name} ended with code {self.process.returncode}: {self.output()}")
            if "Script terminated" in self.output():
                raise ProcessError(f"{self.name} did not start: {self.output()}")
            if time.perf_counter() - self.begin > START_SECONDS:
                raise ProcessError(f"{self.name} was not ready after {START_SECONDS} s: {self.output()}")
        self.ready_seconds = time.perf_counter() - self.begin

    def output(self) -> str:
        """The end of what it printed."""
        return self._log.read_text(errors="replace")[-2000:].strip()

    def command(self, line: str, timeout_s: float = 60) -> bytes:
        """The body of a GET. Raises RefusedError for another status than 200."""
        return get(self.port, {"command": line}, timeout_s)

    def stop(self) -> None:
        self.process.terminate()
        try:
            self.process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        if self._lifeline >= 0:
            os.close(self._lifeline)
            self._lifeline = -1


def _environment() -> dict[str, str]:
    """The environment, but for what keeps modules from being compiled once for all (an installed node has them so)."""
    return {key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"}


def get(port: int, headers: dict[str, str], timeout_s: float = 60, method: str = "GET") -> bytes:
    """The body of a reply to these headers. Raises RefusedError for another status than 200."""
    import http.client  # not needed by a node, which imports this file

    link = http.client.HTTPConnection("127.0.0.1", port, timeout=timeout_s)
    try:
        link.request(method, "/", headers={"User-Agent": AGENT, **headers})
        reply = link.getresponse()
        body = reply.read()
        if reply.status != 200:
            said = f"{headers.get('command', method)}: {reply.status} {body[:300].decode(errors='replace')}"
            raise RefusedError(reply.status, said)
        return body
    finally:
        link.close()


def answers(port: int) -> bool:
    """Whether an HTTP server is there and says 200; waits 2 ms when it isn't."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=1) as connection:
            connection.sendall(b"GET /health HTTP/1.1\r\nHost: node\r\nConnection: close\r\n\r\n")
            return connection.recv(64).startswith(b"HTTP/1.1 200")
    except OSError:
        time.sleep(0.002)
        return False
