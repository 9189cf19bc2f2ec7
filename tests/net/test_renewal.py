"""Certificates that are replaced while the REST server runs: new connections see the new one, open ones go on."""

from __future__ import annotations

import os
import socket
import ssl
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from edgelake.errors import ServiceError
from edgelake.model import Reply
from edgelake.net.certificates import TlsFiles, self_signed
from tests.net.helpers import FakeNode, Loop, Site

REQUEST = b"GET / HTTP/1.1\r\nHost: localhost\r\nUser-Agent: AnyLog/1\r\ncommand: get status\r\n\r\n"


def made(folder: Path) -> TlsFiles:
    return self_signed(folder, ("127.0.0.1", "localhost"))


def put(new: TlsFiles, old: TlsFiles) -> None:
    """As programs that renew certificates do: each file replaced whole."""
    os.replace(new.key, old.key)
    os.replace(new.certificate, old.certificate)


def shown(site: Site) -> bytes:
    with opened(site) as link:
        certificate = link.getpeercert(binary_form=True)
        assert certificate is not None
        return certificate


def opened(site: Site) -> ssl.SSLSocket:
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context.wrap_socket(site.connect(), server_hostname="localhost")


def answered(link: ssl.SSLSocket) -> bytes:
    link.sendall(REQUEST)
    data = b""
    while b"node running" not in data:
        piece = link.recv(4096)
        assert piece, data
        data += piece
    return data


@pytest.fixture
def files(tmp_path: Path) -> TlsFiles:
    return made(tmp_path / "used")


@pytest.fixture
def site(make_site: Callable[..., Site], files: TlsFiles) -> Site:
    return make_site(certificate=files.certificate, key=files.key)


def test_new_connections_see_the_new_certificate(site: Site, loop: Loop, files: TlsFiles, tmp_path: Path) -> None:
    old = shown(site)
    for number in range(3):
        put(made(tmp_path / str(number)), files)
        loop.run(site.server.renew_certificate())
        new = shown(site)
        assert new == ssl.PEM_cert_to_DER_cert(files.certificate.read_text()) != old
        old = new
        with opened(site) as link:
            assert b"200" in answered(link)
    loop.run(site.server.stop())
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", site.port), timeout=1).close()


def test_it_happens_by_itself(site: Site, files: TlsFiles, tmp_path: Path) -> None:
    old = shown(site)
    put(made(tmp_path / "new"), files)
    ends = time.monotonic() + 20
    while shown(site) == old:
        assert time.monotonic() < ends
        time.sleep(0.1)  # the server looks at its files once a second


def test_files_that_are_no_pair_leave_the_old_one(site: Site, loop: Loop, files: TlsFiles, tmp_path: Path) -> None:
    old = shown(site)
    other = made(tmp_path / "other")
    os.replace(other.key, files.key)
    with pytest.raises(ServiceError, match="SSL Connection"):
        loop.run(site.server.renew_certificate())
    assert shown(site) == old
    files.key.write_text("no key")
    with pytest.raises(ServiceError):
        loop.run(site.server.renew_certificate())
    files.key.unlink()
    with pytest.raises(ServiceError):
        loop.run(site.server.renew_certificate())
    assert shown(site) == old


def test_a_request_that_is_under_way_is_answered(
    site: Site, loop: Loop, node: FakeNode, files: TlsFiles, tmp_path: Path
) -> None:
    begun, go_on = threading.Event(), loop.event()

    async def held() -> Reply:
        begun.set()
        await go_on.wait()
        return Reply.of_text("node running")

    node.commands["get status"] = held
    with opened(site) as link:
        link.sendall(REQUEST)
        assert begun.wait(10)
        put(made(tmp_path / "new"), files)
        loop.run(site.server.renew_certificate())
        loop.loop.call_soon_threadsafe(go_on.set)
        data = b""
        while b"node running" not in data:
            piece = link.recv(4096)
            assert piece, data
            data += piece


def test_a_server_without_tls_has_none(make_site: Callable[..., Site], loop: Loop) -> None:
    with pytest.raises(ServiceError):
        loop.run(make_site().server.renew_certificate())
