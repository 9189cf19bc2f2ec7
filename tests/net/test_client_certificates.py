"""REST connections of those alone who show a certificate of the authority."""

from __future__ import annotations

import contextlib
import datetime
import ssl
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from edgelake import Node
from edgelake.bench.processes import free_port
from edgelake.errors import CommandError
from edgelake.net.certificates import self_signed
from tests.net.helpers import Site

REQUEST = b"GET / HTTP/1.1\r\nHost: localhost\r\nUser-Agent: AnyLog/1\r\ncommand: get status\r\n\r\n"


class Authority:
    """One that signs certificates of clients."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        self._folder = folder
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "authority")])
        made = self._signed(self._name, self._key.public_key(), is_authority=True)
        self.file = folder / "authority.crt"
        self.file.write_bytes(made.public_bytes(serialization.Encoding.PEM))

    def _signed(self, subject: x509.Name, key: Any, *, is_authority: bool) -> x509.Certificate:
        now = datetime.datetime.now(datetime.UTC)
        builder = x509.CertificateBuilder(self._name, subject, key, x509.random_serial_number())
        builder = builder.not_valid_before(now - datetime.timedelta(days=1))
        builder = builder.not_valid_after(now + datetime.timedelta(days=1))
        builder = builder.add_extension(x509.BasicConstraints(is_authority, None), critical=True)
        return builder.sign(self._key, hashes.SHA256())

    def client(self) -> tuple[Path, Path]:
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "eva")])
        certificate, secret = self._folder / "client.crt", self._folder / "client.key"
        made = self._signed(name, key.public_key(), is_authority=False)
        certificate.write_bytes(made.public_bytes(serialization.Encoding.PEM))
        form = serialization.PrivateFormat.PKCS8
        secret.write_bytes(key.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption()))
        return certificate, secret


def answer(site: Site, client: tuple[Path, Path] | None) -> bytes:
    """Raises OSError when the server refuses the client."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    if client is not None:
        context.load_cert_chain(*client)
    with context.wrap_socket(site.connect(), server_hostname="localhost") as link:
        link.sendall(REQUEST)
        data = b""
        while b"node running" not in data and (piece := link.recv(4096)):
            data += piece
        return data


def test_only_who_shows_one_is_answered(make_site: Callable[..., Site], tmp_path: Path) -> None:
    files = self_signed(tmp_path / "server", ("127.0.0.1", "localhost"))
    ours, other = Authority(tmp_path / "ours"), Authority(tmp_path / "other")
    site = make_site(certificate=files.certificate, key=files.key, certificate_authority=ours.file, client_cert=True)
    assert b"node running" in answer(site, ours.client())
    for client in (None, other.client()):
        with contextlib.suppress(ssl.SSLError, ConnectionError):  # or closed without an alert
            assert answer(site, client) == b""
    assert len(site.node.ran) == 1


async def test_it_needs_an_authority(tmp_path: Path) -> None:
    async with Node(tmp_path) as node:
        for more in ("", " and ssl = true"):
            with pytest.raises(CommandError):
                await node.ctx.execute(
                    f"run rest server where internal_port = {free_port()} and client_cert = required{more}"
                )
