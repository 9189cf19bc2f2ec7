"""Small PUTs have a short way of their own; to a client it is the same as the way of all others."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from edgelake.errors import OverloadedError, StorageFullError
from edgelake.model import Stored
from tests.net.helpers import FakeNode, Loop, Site, read_all

ROW = b'{"a": 1}'
CLOSE = b"Connection: close\r\n"
HEAD = b"PUT / HTTP/1.1\r\nHost: x\r\nUser-Agent: sensor/1\r\ndbms: D\r\ntable: T\r\nmode: streaming\r\n" + CLOSE
PLAIN = b"Content-Length: %d\r\n\r\n%s" % (len(ROW), ROW)
CHUNKED = b"Transfer-Encoding: chunked\r\n\r\n8\r\n%s\r\n0\r\n\r\n" % ROW

both = pytest.mark.parametrize("body", [PLAIN, CHUNKED], ids=["short", "ordinary"])


@both
def test_a_row_is_stored_answered_and_counted(site: Site, node: FakeNode, body: bytes) -> None:
    reply = site.raw(HEAD + body)
    assert reply.startswith(b"HTTP/1.1 200 OK\r\n")
    assert reply.endswith(b'{"AnyLog.status":"Success", "AnyLog.hash": "0" }')
    assert node.rows == [("d", "t", ROW, "0", "0")]
    (record,) = site.server.calls
    assert (record.agent, record.method, record.processed, record.errors) == ("sensor", "PUT", 1, 0)
    assert record.last_caller.startswith("127.0.0.1:")


@both
def test_a_late_failure_has_its_status(site: Site, node: FakeNode, body: bytes) -> None:
    node.refuse_late = StorageFullError("the disk is full")
    reply = site.raw(HEAD + body)
    assert reply.startswith(b"HTTP/1.1 507 ")
    (record,) = site.server.calls
    assert (record.processed, record.errors) == (1, 1)
    assert record.last_error == StorageFullError.text


@both
def test_a_full_node_says_when_to_come_again(site: Site, node: FakeNode, body: bytes) -> None:
    node.refuse = OverloadedError("full")
    reply = site.raw(HEAD + body)
    assert reply.startswith(b"HTTP/1.1 503 ")
    assert b"\r\nretry-after: 1\r\n" in reply.lower()


@both
def test_rows_kept_out_are_said(site: Site, node: FakeNode, body: bytes) -> None:
    node.stored = Stored(3, 2, "no number")
    assert b'"AnyLog.rejected": 2' in site.raw(HEAD + body)
    node.stored = Stored(0, 2, "no number")
    assert site.raw(HEAD + body).startswith(b"HTTP/1.1 400 ")


@both
def test_a_fault_of_the_node_is_a_500(site: Site, node: FakeNode, body: bytes) -> None:
    node.refuse_late = ZeroDivisionError("secret")  # type: ignore[assignment]
    reply = site.raw(HEAD + body)
    assert reply.startswith(b"HTTP/1.1 500 ")
    assert b"secret" not in reply


@both
def test_stop_lets_a_running_put_end(site: Site, loop: Loop, node: FakeNode, body: bytes) -> None:
    node.hold = loop.event()
    with site.connect() as link:
        link.sendall(HEAD + body)
        loop.run(node.begun.wait())
        stopping = loop.begin(site.server.stop())
        loop.loop.call_soon_threadsafe(node.hold.set)
        assert read_all(link).startswith(b"HTTP/1.1 200 OK")
        stopping.result(5)
    assert len(node.rows) == 1


@both
def test_stop_answers_a_put_that_does_not_end(site: Site, loop: Loop, node: FakeNode, body: bytes) -> None:
    node.hold = loop.event()
    with site.connect() as link:
        link.sendall(HEAD + body)
        loop.run(node.begun.wait())
        loop.run(site.server.stop(), timeout=5)
        reply = read_all(link)
        assert reply.startswith(b"HTTP/1.1 503 ")
        assert json.loads(reply.partition(b"\r\n\r\n")[2])["code"] == "service.stopping"
    loop.loop.call_soon_threadsafe(node.hold.set)  # its late end disturbs nobody
    loop.run(site.server.start())
    assert site.put(ROW)[0] == 200


def test_stop_answers_a_put_whose_body_is_missing(site: Site, loop: Loop, node: FakeNode) -> None:
    with site.connect() as link:
        link.sendall(HEAD + PLAIN[:-3])
        site.put(ROW)  # the server has surely seen the first one, too
        loop.run(site.server.stop(), timeout=5)
        assert read_all(link).startswith(b"HTTP/1.1 503 ")
    assert len(node.rows) == 1


def test_all_of_many_at_once_are_answered_in_their_order(make_site: Callable[..., Site], node: FakeNode) -> None:
    site = make_site()
    with site.connect() as link:
        for number in range(500):
            body = b'{"n": %d}' % number
            head = HEAD if number == 499 else HEAD.replace(CLOSE, b"")
            link.sendall(head + b"Content-Length: %d\r\n\r\n" % len(body) + body)
        assert read_all(link).count(b"HTTP/1.1 200 OK") == 500
    assert [json.loads(stored[2])["n"] for stored in node.rows] == list(range(500))


def test_it_is_taken_by_small_ordinary_puts_only(site: Site, loop: Loop) -> None:
    """What has to be looked at more closely is left to the loop."""
    short = site.server._entry.short
    assert short is not None
    taken: list[bool] = []
    begin = short.begin
    short.begin = lambda scope, proto: taken.append(begin(scope, proto)) or taken[-1]  # type: ignore[method-assign, func-returns-value]
    loop.run(site.server.stop())
    loop.run(site.server.start())
    requests = {
        HEAD + PLAIN: True,
        HEAD + CHUNKED: False,
        HEAD.replace(b"mode: streaming", b"mode: file") + PLAIN: False,
        HEAD.replace(b"dbms: D\r\n", b"") + PLAIN: False,
        HEAD + b"Content-Encoding: gzip\r\n" + PLAIN: False,
        HEAD + b"Content-Length: 65537\r\n\r\n" + b" " * 65537: False,
        HEAD.replace(b"PUT", b"GET") + b"\r\n": False,
    }
    for request in requests:
        assert site.raw(request).startswith(b"HTTP/1.1 ")
    assert taken == list(requests.values())
