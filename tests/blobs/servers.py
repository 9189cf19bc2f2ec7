"""An S3 server in a process of its own."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
from pathlib import Path

from edgelake.bench.processes import free_port

BUCKET = "edge"
START_S = 30.0


class S3Server:
    """moto. It keeps objects in memory: one that is killed and started again has none, and no bucket."""

    def __init__(self, folder: Path) -> None:
        self.port = free_port()
        self._log = folder / "s3.log"
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def options(self) -> str:
        """Of ``connect dbms``."""
        return (
            f"type = bucket and provider = s3 and endpoint = {self.address} and connection = {BUCKET}"
            " and access_key = key-of-the-test and secret_key = secret-of-the-test"
        )

    def start(self) -> None:
        command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(self.port)]
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        ends = time.monotonic() + START_S
        while time.monotonic() < ends and self._process.poll() is None:
            try:
                socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
                return
            except OSError:
                time.sleep(0.02)  # nothing tells another process that a port is open
        raise AssertionError(f"moto did not start:\n{self._log.read_text()}")

    def make_bucket(self) -> None:
        import urllib.request

        request = urllib.request.Request(f"{self.address}/{BUCKET}", method="PUT")
        request.add_header("Authorization", "AWS4-HMAC-SHA256 Credential=k/20260101/us-east-1/s3/aws4_request")
        urllib.request.urlopen(request, timeout=10).close()

    def until_said(self, text: str) -> None:
        """Wait for a word in its log: a request that it has answered."""
        ends = time.monotonic() + START_S
        while text not in self._log.read_text():
            assert time.monotonic() < ends, self._log.read_text()
            time.sleep(0.005)

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait(10)
            self._process = None
