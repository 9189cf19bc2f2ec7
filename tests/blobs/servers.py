"""Servers of object storage in processes of their own."""

from __future__ import annotations

import base64
import hmac
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from email.utils import formatdate
from pathlib import Path

from edgelake.bench.processes import free_port

BUCKET = "edge"
START_S = 60.0
JS = Path(__file__).parent / "js"
NEWLINES = "\n" * 12
"""Behind the method in what Azure's signature is of: eleven headers that are not there."""


def started(command: list[str], log: Path, port: int) -> subprocess.Popen[bytes]:
    """A server that answers at its port."""
    with log.open("ab") as out:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=out, stderr=out)
    ends = time.monotonic() + START_S
    while time.monotonic() < ends and process.poll() is None:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            return process
        except OSError:
            time.sleep(0.02)  # nothing tells another process that a port is open
    process.kill()
    raise AssertionError(f"{command[0]} did not start:\n{log.read_text()}")


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
        self._process = started(command, self._log, self.port)

    def make_bucket(self) -> None:
        self._ask("PUT")

    def unfinished(self) -> int:
        """Uploads of which parts are there, and that are neither finished nor taken back."""
        return self._ask("GET", "?uploads").count(b"<Upload>")

    def _ask(self, method: str, more: str = "") -> bytes:
        request = urllib.request.Request(f"{self.address}/{BUCKET}{more}", method=method)
        request.add_header("Authorization", "AWS4-HMAC-SHA256 Credential=k/20260101/us-east-1/s3/aws4_request")
        with urllib.request.urlopen(request, timeout=10) as answer:
            return bytes(answer.read())

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


class AzureServer:
    """Azurite, the object storage of Azure; it writes its list down every few seconds. Its account is well known."""

    ACCOUNT = "devstoreaccount1"
    KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="

    def __init__(self, folder: Path) -> None:
        self.port = free_port()
        self._folder = folder / "azure"
        self._log = folder / "azure.log"
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.port}/{self.ACCOUNT}"

    @property
    def options(self) -> str:
        """Of ``connect dbms``."""
        return (
            f"type = bucket and provider = azure and endpoint = {self.address} and connection = {BUCKET}"
            f" and access_key = {self.ACCOUNT} and secret_key = {self.KEY}"
        )

    def start(self) -> None:
        program = JS / "node_modules" / ".bin" / "azurite-blob"
        assert program.exists(), "Azurite is missing: make tests/blobs/js/node_modules/.installed"
        words = ["--blobHost", "127.0.0.1", "--blobPort", str(self.port), "--location", str(self._folder)]
        more = ["--disableTelemetry", "--skipApiVersionCheck"]
        self._process = started([str(program), *words, *more], self._log, self.port)

    def make_bucket(self) -> None:
        """Make the container where it is missing, by a request that is signed with the account's key."""
        stated = {"x-ms-date": formatdate(usegmt=True), "x-ms-version": "2021-08-06"}
        resource = f"/{self.ACCOUNT}/{self.ACCOUNT}/{BUCKET}\nrestype:container"
        lines = "".join(f"{name}:{value}\n" for name, value in sorted(stated.items()))
        text = f"PUT{NEWLINES}{lines}{resource}"
        digest = hmac.digest(base64.b64decode(self.KEY), text.encode(), "sha256")
        signature = base64.b64encode(digest).decode()
        request = urllib.request.Request(f"{self.address}/{BUCKET}?restype=container", method="PUT", headers=stated)
        request.add_header("Authorization", f"SharedKey {self.ACCOUNT}:{signature}")
        try:
            urllib.request.urlopen(request, timeout=10).close()
        except urllib.error.HTTPError as refused:
            if refused.code != 409:  # it is there
                raise

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait(10)
            self._process = None
