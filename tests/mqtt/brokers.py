"""Brokers as processes of their own: ours and mosquitto."""

from __future__ import annotations

import os
import shutil
import socket
import ssl
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

import trustme

from edgelake.bench.processes import free_port
from tests.system.program import STANDALONE, Program

START_SECONDS = 20.0
USER, PASSWORD = "ann", "s3cret"


@dataclass(frozen=True)
class Files:
    """PEM files of a test's own authority, a server and a client."""

    ca: Path
    cert: Path
    key: Path
    client_cert: Path
    client_key: Path

    @classmethod
    def made_in(cls, folder: Path) -> Self:
        folder.mkdir(parents=True, exist_ok=True)
        authority = trustme.CA()
        server = authority.issue_cert("localhost", "127.0.0.1")
        client = authority.issue_cert("client@example.org", common_name="device-7")
        files = cls(*(folder / f"{name}.pem" for name in ("ca", "server", "server-key", "client", "client-key")))
        authority.cert_pem.write_to_path(files.ca)
        for issued, cert, key in ((server, files.cert, files.key), (client, files.client_cert, files.client_key)):
            cert.write_bytes(b"".join(blob.bytes() for blob in issued.cert_chain_pems))
            key.write_bytes(_pkcs8(issued.private_key_pem.bytes()))
        return files

    def context(self, *, certificate: bool = False) -> ssl.SSLContext:
        made = ssl.create_default_context(cafile=self.ca)
        if certificate:
            made.load_cert_chain(self.client_cert, self.client_key)
        return made


def _pkcs8(pem: bytes) -> bytes:
    from cryptography.hazmat.primitives import serialization as form

    key = form.load_pem_private_key(pem, None)
    return key.private_bytes(form.Encoding.PEM, form.PrivateFormat.PKCS8, form.NoEncryption())


def accepts(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True


class Mosquitto:
    """A mosquitto on a free port of 127.0.0.1; what it keeps survives ``stop`` and ``start``.

    Args:
        login: only USER with PASSWORD may come.
        tls: files of a TLS listener on ``tls_port``; ``need_certificate``: for clients with a certificate only.
        websocket: whether there is a WebSocket listener on ``websocket_port``.
        settings: more lines of the configuration.
    """

    def __init__(
        self,
        folder: Path,
        *,
        login: bool = False,
        tls: Files | None = None,
        need_certificate: bool = False,
        websocket: bool = False,
        settings: str = "",
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self.port, self.tls_port, self.websocket_port = free_port(), free_port(), free_port()
        self.files = tls
        self._lines = [
            "per_listener_settings false",
            "persistence true",
            f"persistence_location {folder}/",
            "set_tcp_nodelay true",
            "max_inflight_messages 1000",
            "max_queued_messages 0",
            f"listener {self.port} 127.0.0.1",
        ]
        if tls is not None:
            self._lines += [f"listener {self.tls_port} 127.0.0.1", f"cafile {tls.ca}"]
            self._lines += [f"certfile {tls.cert}", f"keyfile {tls.key}"]
            self._lines.append(f"require_certificate {str(need_certificate).lower()}")
        if websocket:
            self._lines += [f"listener {self.websocket_port} 127.0.0.1", "protocol websockets"]
        if login:
            users = folder / "users"
            subprocess.run(["mosquitto_passwd", "-b", "-c", users, USER, PASSWORD], check=True, capture_output=True)
            self._lines += ["allow_anonymous false", f"password_file {users}"]
        else:
            self._lines.append("allow_anonymous true")
        if os.geteuid() == 0:
            self._lines.append("user root")  # else it becomes another user, who may not write here
        self._lines.append(settings)
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Returns when it accepts connections."""
        config = self._folder / "mosquitto.conf"
        config.write_text("\n".join(self._lines) + "\n")
        program = shutil.which("mosquitto", path=os.environ["PATH"] + ":/usr/sbin")
        assert program, "mosquitto is missing: apt-get install mosquitto"
        with (self._folder / "mosquitto.log").open("ab") as log:
            self.process = subprocess.Popen([program, "-c", config], stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        ends = time.monotonic() + START_SECONDS
        while not accepts(self.port):
            alive = self.process.poll() is None and time.monotonic() < ends
            assert alive, (self._folder / "mosquitto.log").read_text()
            time.sleep(0.01)  # nothing tells another process that a port is open

    def stop(self) -> None:
        """SIGTERM: it saves what it keeps."""
        if self.process is not None and self.process.poll() is None:
            self.process.terminate()
            self.process.wait(10)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


class Ours:
    """A node as a process of its own, with its message broker; what it keeps survives ``kill`` and ``start``.

    Args:
        before: lines of the script ahead of the broker.
    """

    def __init__(self, home: Path, *, tls: Files | None = None, websocket: bool = False, before: str = "") -> None:
        self.home = home
        self.port, self.tls_port, self.websocket_port = free_port(), free_port(), free_port()
        self.files = tls
        line = (
            f"run message broker where internal_ip = 127.0.0.1 and internal_port = {self.port} "
            f"and external_ip = 127.0.0.1 and external_port = {self.port} and bind = true"
        )
        if tls is not None:
            line += f" and ssl_port = {self.tls_port} and cert = {tls.cert} and key = {tls.key}"
        if websocket:
            line += f" and websocket_port = {self.websocket_port}"
        self.program = Program(home, STANDALONE + before + line + "\n")

    def start(self) -> None:
        """Returns when it accepts connections."""
        self.program.start()
        self.program.until(lambda: accepts(self.port))

    def kill(self) -> None:
        self.program.kill()

    def stop(self) -> int:
        return self.program.stop()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        process = self.program.process
        if process is not None and process.poll() is None:
            self.stop()
