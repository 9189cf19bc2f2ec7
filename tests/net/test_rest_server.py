"""Start, stop, busy addresses, HTTPS and long replies of the REST server."""

from __future__ import annotations

import asyncio
import json
import ssl
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from edgelake.bench.processes import free_port
from edgelake.errors import AddressInUseError, EdgeLakeError, QueryError, ServiceError
from edgelake.model import Reply
from edgelake.net.certificates import self_signed
from edgelake.net.rest import BodyLimits, RestConfig
from tests.net.helpers import FakeNode, Loop, Site, new_server, read_all

GET = b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\ncommand: %s\r\nConnection: close\r\n\r\n"


def test_a_busy_address_is_refused_with_the_systems_reason(site: Site, loop: Loop, node: FakeNode) -> None:
    second = new_server(node, site.config)
    with pytest.raises(AddressInUseError, match="Address already in use") as caught:
        loop.run(second.start())
    assert caught.value.number == 81
    assert not second.status().running
    assert site.command("get status")[0] == 200


def test_an_address_of_another_machine_is_refused(loop: Loop, node: FakeNode) -> None:
    server = new_server(node, RestConfig(internal_ip="192.0.2.1", internal_port=free_port(), bind=True))
    with pytest.raises(AddressInUseError, match=r"192\.0\.2\.1"):
        loop.run(server.start())


@pytest.mark.parametrize(("options", "number"), [({}, 40), ({"internal_port": 70000}, 21)])
def test_ports_are_checked(options: dict[str, int], number: int) -> None:
    with pytest.raises(EdgeLakeError) as caught:
        RestConfig(**options)  # type: ignore[arg-type]
    assert caught.value.number == number


@pytest.mark.parametrize(
    ("options", "host"),
    [
        ({}, "127.0.0.1"),
        ({"internal_ip": "127.0.0.1"}, "127.0.0.1"),
        ({"internal_ip": "10.0.0.1"}, "0.0.0.0"),
        ({"internal_ip": "10.0.0.1", "bind": True}, "10.0.0.1"),
        ({"external_ip": "203.0.113.9", "internal_ip": "10.0.0.1", "bind": True}, "10.0.0.1"),
    ],
)
def test_what_is_listened_on(options: dict[str, object], host: str) -> None:
    config = RestConfig(external_port=7849, **options)  # type: ignore[arg-type]
    assert config.listening == (host, 7849)


def test_exit_and_start_again_on_the_same_address(site: Site, loop: Loop, node: FakeNode) -> None:
    for _ in range(3):
        loop.run(site.server.stop())
        loop.run(site.server.stop())
        assert not site.server.status().running
        with pytest.raises(ConnectionError):
            site.command("get status")
        loop.run(site.server.start())
        assert site.command("get status")[0] == 200
    fresh = new_server(node, site.config)
    loop.run(site.server.stop())
    loop.run(fresh.start())
    assert site.command("get status")[0] == 200
    loop.run(fresh.stop())


def test_status_says_where_it_listens(site: Site) -> None:
    status = site.server.status()
    assert status.details == f"Listening on: 127.0.0.1:{site.port}, Threads Pool: 5, Timeout: 20, SSL: False"


def test_stop_answers_what_still_runs_and_leaves_nothing_listening(site: Site, loop: Loop, node: FakeNode) -> None:
    begun = loop.event()

    async def forever() -> Reply:
        begun.set()
        await asyncio.Event().wait()
        return Reply.done()

    node.commands["get x"] = forever
    with site.connect() as running, site.connect() as half, site.connect() as idle:
        half.sendall(b"PUT / HT")
        idle.sendall(b"")
        running.sendall(GET % b"get x")
        loop.run(begun.wait())
        loop.run(site.server.stop(), timeout=5)
        reply = read_all(running)
        assert reply.startswith(b"HTTP/1.1 503 ")
        assert b'"code": "service.stopping"' in reply
        with pytest.raises(ConnectionError):
            site.connect()
        loop.run(site.server.start())
        assert site.command("get status")[0] == 200


def streaming(pieces: int, size: int, closed: asyncio.Event | None = None, fail: bool = False) -> Reply:
    async def stream() -> AsyncIterator[bytes]:
        try:
            for number in range(pieces):
                yield b"%08d" % number * (size // 8)
            if fail:
                raise QueryError("broken in the middle")
        finally:
            if closed is not None:
                closed.set()

    return Reply(stream=stream(), media_type="text/plain")


def body_of(reply: bytes) -> bytes:
    """Body of a chunked or plain reply."""
    head, _, rest = reply.partition(b"\r\n\r\n")
    if b"chunked" not in head.lower():
        return rest
    parts = []
    while rest:
        size, _, rest = rest.partition(b"\r\n")
        parts.append(rest[: int(size, 16)])
        rest = rest[int(size, 16) + 2 :]
    return b"".join(parts)


@pytest.mark.parametrize(("pieces", "size"), [(0, 8), (1, 8), (3, 65536), (17, 65536), (100, 65536)])
def test_a_streamed_reply_arrives_whole(site: Site, node: FakeNode, pieces: int, size: int) -> None:
    async def answer() -> Reply:
        return streaming(pieces, size)

    node.commands["get x"] = answer
    for _ in range(3):
        status, _, body = site.command("get x")
        assert status == 200
        assert body == b"".join(b"%08d" % number * (size // 8) for number in range(pieces))


def test_a_slow_reader_holds_the_producer_not_the_memory(site: Site, loop: Loop, node: FakeNode) -> None:
    made = 0

    async def answer() -> Reply:
        async def stream() -> AsyncIterator[bytes]:
            nonlocal made
            for _ in range(3000):
                made += 1
                yield bytes(1 << 16)

        return Reply(stream=stream())

    node.commands["get x"] = answer
    before = psutil.Process().memory_info().rss
    with site.connect() as link:
        link.sendall(GET % b"get x")
        link.recv(1000)
        seen = -1
        while seen != made:  # until the producer waits
            seen = made
            loop.run(asyncio.sleep(0.3))
        assert made < 1000
        assert psutil.Process().memory_info().rss - before < 40 << 20
        assert len(body_of(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")) == 0
        rest = read_all(link)
    assert len(rest) > 2900 << 16
    assert made == 3000


@contextmanager
def endless_reply(site: Site, loop: Loop, node: FakeNode) -> Iterator[asyncio.Event]:
    """A client that has read the begin of a long reply; the event is set when the producer has ended."""
    closed = loop.event()

    async def answer() -> Reply:
        return streaming(1 << 30, 1 << 16, closed)

    node.commands["get x"] = answer
    with site.connect() as link:
        link.sendall(GET % b"get x")
        link.recv(1000)
        yield closed


def test_a_client_that_leaves_ends_the_producer(site: Site, loop: Loop, node: FakeNode) -> None:
    with endless_reply(site, loop, node) as closed:
        pass
    loop.run(closed.wait(), timeout=10)
    assert site.command("get status")[0] == 200
    assert site.server.pool.busy == [False] * 5


def test_a_silent_producer_ends_with_the_time_limit_when_the_client_left(
    make_site: Callable[..., Site], loop: Loop, node: FakeNode
) -> None:
    site = make_site(timeout_seconds=0.3)
    closed = loop.event()

    async def answer() -> Reply:
        async def stream() -> AsyncIterator[bytes]:
            try:
                yield bytes(1 << 20)
                await asyncio.Event().wait()
            finally:
                closed.set()

        return Reply(stream=stream())

    node.commands["get x"] = answer
    with site.connect() as link:
        link.sendall(GET % b"get x")
        link.recv(1000)
    loop.run(closed.wait(), timeout=10)


def test_an_early_error_of_a_stream_has_its_status_a_late_one_ends_the_body(site: Site, node: FakeNode) -> None:
    async def early() -> Reply:
        return streaming(1, 8, fail=True)

    async def late() -> Reply:
        return streaming(10, 65536, fail=True)

    node.commands.update({"get early": early, "get late": late})
    assert site.command("get early")[0] == 400
    status, _, body = site.command("get late")
    assert status == 200
    assert json.loads(body.splitlines()[-1])["detail"] == "broken in the middle"


def test_a_stream_that_falls_silent_is_a_504(make_site: Callable[..., Site], node: FakeNode) -> None:
    site = make_site(timeout_seconds=0.05)

    async def answer() -> Reply:
        async def stream() -> AsyncIterator[bytes]:
            yield b"x"
            await asyncio.Event().wait()

        return Reply(stream=stream())

    node.commands["get x"] = answer
    assert site.command("get x")[0] == 504


def test_stop_while_a_reply_streams(site: Site, loop: Loop, node: FakeNode) -> None:
    with endless_reply(site, loop, node) as closed:
        loop.run(site.server.stop(), timeout=5)
        loop.run(closed.wait(), timeout=5)


def test_no_descriptor_or_request_is_left_behind(site: Site, loop: Loop, node: FakeNode) -> None:
    async def answer() -> Reply:
        return streaming(20, 65536)

    node.commands["get x"] = answer
    site.command("get x")
    before = psutil.Process().num_fds()
    for _ in range(30):
        site.command("get x")
        with site.connect() as link:
            link.sendall(GET % b"get x")
    deadline = time.monotonic() + 10
    while psutil.Process().num_fds() > before + 3 and time.monotonic() < deadline:
        loop.run(asyncio.sleep(0.05))
    assert psutil.Process().num_fds() <= before + 3


def test_https_with_a_self_signed_certificate(make_site: Callable[..., Site], tmp_path: Path, node: FakeNode) -> None:
    files = self_signed(tmp_path, ("127.0.0.1", "localhost"))
    site = make_site(certificate=files.certificate, key=files.key)
    trust = ssl.create_default_context(cafile=files.certificate)
    with trust.wrap_socket(site.connect(), server_hostname="127.0.0.1") as link:
        link.sendall(GET % b"get status")
        assert read_all(link).endswith(b"node running")
    old = ssl.create_default_context(cafile=files.certificate)
    old.minimum_version = old.maximum_version = ssl.TLSVersion.TLSv1_2
    with old.wrap_socket(site.connect(), server_hostname="localhost") as link:
        assert link.version() == "TLSv1.2"
    with pytest.raises(ssl.SSLCertVerificationError):
        ssl.create_default_context().wrap_socket(site.connect(), server_hostname="127.0.0.1")
    assert site.server.status().details.endswith("SSL: True")
    assert files.key.stat().st_mode & 0o077 == 0
    assert self_signed(tmp_path, ("127.0.0.1",)) == files


def test_a_bad_certificate_keeps_the_server_down(loop: Loop, node: FakeNode, tmp_path: Path) -> None:
    bad = tmp_path / "x.crt"
    bad.write_text("no certificate")
    server = new_server(node, RestConfig(internal_port=free_port(), certificate=bad, key=bad))
    with pytest.raises(ServiceError, match="SSL Connection"):
        loop.run(server.start())
    assert not server.status().running


def test_idle_connections_are_closed(make_site: Callable[..., Site]) -> None:
    site = make_site(BodyLimits(), idle_connection_seconds=1)
    with site.connect() as link:
        link.sendall(b"GET / HTTP/1.1\r\nHo")
        assert read_all(link) == b""
