"""The node as users run it: a process of its own, started by a script, reached by REST."""

from __future__ import annotations

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import quote

from edgelake.bench.processes import free_port

START_SECONDS = 20.0
AGENT = {"User-Agent": "AnyLog/1.23"}

STANDALONE = """\
set node name edge-1
create work directories
connect dbms plant where type = sqlite
run rest server where external_ip = 127.0.0.1 and external_port = {port} and bind = true
"""
"""A node without an operator: rows go straight to the connected database."""

OPERATOR = """\
set node name edge-1
create work directories
connect dbms plant where type = sqlite
connect dbms almgm where type = sqlite
create table tsd_info where dbms = almgm
id = blockchain get operator bring.first [operator][id]
if not !id then
do p = create policy cluster where name = c1 and company = acme
do blockchain insert where policy = !p and local = true
do c = blockchain get cluster bring.first [cluster][id]
do p = create policy operator where name = op1 and company = acme and cluster = !c and ip = !ip and port = 32148
do blockchain insert where policy = !p and local = true
id = blockchain get operator bring.first [operator][id]
run streamer
run operator where policy = !id and create_table = true and update_tsd_info = true and archive_json = true
run rest server where external_ip = 127.0.0.1 and external_port = {port} and bind = true
"""


class Program:
    """One process ``edgelake process <script>``; the home survives it.

    ``with Program(home, OPERATOR) as node`` waits until REST answers, and stops it by SIGTERM.
    """

    def __init__(self, home: Path, script: str = STANDALONE, *, environment: dict[str, str] | None = None) -> None:
        self.home = home
        self.port = free_port()
        home.mkdir(parents=True, exist_ok=True)
        self._script = home / "start.al"
        self._script.write_text(script.format(port=self.port))
        self._environment = {**os.environ, "EDGELAKE_HOME": str(home), "TZ": "UTC", **(environment or {})}
        self.process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.process is not None and self.process.poll() is None:
            self.stop()

    @property
    def log(self) -> Path:
        return self.home / "node.log"

    def start(self) -> None:
        """Start it; returns when REST answers. What the node prints goes to ``log``."""
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "edgelake", "process", str(self._script)],
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        ends = time.monotonic() + START_SECONDS
        while time.monotonic() < ends:
            if self.process.poll() is not None:
                break
            try:
                socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
                return
            except OSError:
                time.sleep(0.01)  # nothing tells another process that a port is open
        self.kill()
        raise AssertionError(f"the node did not start:\n{self.log.read_text()}")

    def stop(self) -> int:
        """SIGTERM; returns the exit code."""
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(10)

    def kill(self) -> None:
        assert self.process is not None
        self.process.kill()
        self.process.wait(10)

    def until(self, holds: Callable[[], bool], *, limit_s: float = 20.0) -> None:
        """Wait for something that the node does on its own; other processes are told of no event."""
        ends = time.monotonic() + limit_s
        while not holds():
            assert time.monotonic() < ends, f"it did not happen within {limit_s} s:\n{self.log.read_text()}"
            time.sleep(0.02)

    # ---- talking to it

    def request(
        self, method: str, headers: dict[str, str], body: bytes | None = None, *, path: str = "/"
    ) -> tuple[int, bytes]:
        link = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            link.request(method, path, body=body, headers=headers)
            reply = link.getresponse()
            return reply.status, reply.read()
        finally:
            link.close()

    def get(self, command: str) -> str:
        """Reply of a command that reads. Fails the test on another status than 200."""
        status, body = self.request("GET", {**AGENT, "command": quote_latin(command)})
        assert status == 200, body
        return body.decode()

    def post(self, command: str) -> str:
        status, body = self.request("POST", {**AGENT, "command": quote_latin(command)})
        assert status == 200, body
        return body.decode()

    def data(self, command: str) -> Any:
        joined = "and" if " where " in command else "where"
        return json.loads(self.get(f"{command} {joined} format = json"))

    def put(
        self, body: bytes, *, table: str = "t", dbms: str = "plant", mode: str = "streaming", **more: str
    ) -> tuple[int, Any]:
        """PUT rows; the status and the JSON reply."""
        headers = {**AGENT, "dbms": dbms, "table": table, "mode": mode, **more}
        status, reply = self.request("PUT", headers, body)
        return status, json.loads(reply)

    def count(self, table: str, dbms: str = "plant") -> int:
        found: dict[str, int] = self.data(f"get rows count where dbms = {dbms} and table = {table} and group = table")
        return sum(found.values())


def quote_latin(text: str) -> str:
    """A header value: what is no Latin-1 is percent-encoded."""
    try:
        text.encode("latin-1")
        return text
    except UnicodeEncodeError:
        return quote(text)
