"""PUT and POST of readings over real sockets. Spec: "REST API", sections 4 and 5."""

from __future__ import annotations

import gzip
import http.client
import json
import socket
from collections.abc import Callable, Iterator

import pytest

from edgelake import _rust
from edgelake.errors import OverloadedError, PayloadError, StorageFullError, error
from edgelake.model import Stored
from edgelake.net.rest import BodyLimits
from tests.net.helpers import FakeNode, Site, read_all

ROW = b'{"timestamp": "2026-11-23 17:00:35", "value": 1.5}'
SUCCESS = b'{"AnyLog.status":"Success", "AnyLog.hash": "0" }'
HEAD = b"PUT / HTTP/1.1\r\nHost: x\r\ndbms: d\r\ntable: t\r\nmode: streaming\r\n"


def test_a_streamed_row_is_acknowledged_to_the_letter(site: Site, node: FakeNode) -> None:
    status, headers, body = site.put(ROW, dbms="MyDb", table="Tab")
    assert (status, body) == (200, SUCCESS)
    assert headers["content-type"] == "application/json"
    assert node.rows == [("mydb", "tab", ROW, "0", "0")]


def test_source_and_instructions_are_handed_on(site: Site, node: FakeNode) -> None:
    site.put(ROW, source="s1", instructions="pol")
    assert node.rows[0][3:] == ("s1", "pol")


def test_rows_kept_out_are_said(site: Site, node: FakeNode) -> None:
    node.stored = Stored(3, 2, "no number")
    assert site.put(ROW)[2] == b'{"AnyLog.status":"Success", "AnyLog.hash": "0", "AnyLog.rejected": 2 }'
    node.stored = Stored(0, 2, "no number")
    status, _, body = site.put(ROW)
    assert (status, json.loads(body)["detail"]) == (400, "no number")


def test_file_mode_gives_the_hash(site: Site, node: FakeNode) -> None:
    assert site.put(ROW, mode="file")[2] == b'{"AnyLog.status":"Success", "AnyLog.hash": "abc" }'
    assert node.files == [("d", "t", ROW)]
    status, _, body = site.put(b" \n", mode="file")
    assert (status, json.loads(body)["err_code"]) == (400, 67)


@pytest.mark.parametrize(("missing", "code"), [("dbms", 83), ("table", 28)])
@pytest.mark.parametrize("mode", ["streaming", "file"])
def test_a_missing_name_is_answered(site: Site, missing: str, code: int, mode: str) -> None:
    headers = {"dbms": "d", "table": "t", "mode": mode}
    del headers[missing]
    status, _, body = site.request("PUT", headers, ROW)
    assert (status, json.loads(body)["err_code"]) == (400, code)
    assert f"'{missing}'" in json.loads(body)["detail"]


@pytest.mark.parametrize(
    ("problem", "status"),
    [(PayloadError("not JSON"), 400), (OverloadedError("full"), 503), (StorageFullError("full"), 507)],
)
def test_what_the_node_refuses_has_its_status(site: Site, node: FakeNode, problem: Exception, status: int) -> None:
    node.refuse = problem  # type: ignore[assignment]
    got, headers, body = site.put(ROW)
    assert got == status
    assert json.loads(body)["method"] == "put"
    assert ("retry-after" in headers) == (status == 503)


def test_chunked_and_gzip_bodies(site: Site, node: FakeNode) -> None:
    link = http.client.HTTPConnection("127.0.0.1", site.port, timeout=20)
    headers = {"dbms": "d", "table": "t", "mode": "streaming"}
    link.request("PUT", "/", iter([ROW[:10], ROW[10:]]), headers, encode_chunked=True)
    assert link.getresponse().read() == SUCCESS
    link.request("PUT", "/", gzip.compress(ROW[:9]) + gzip.compress(ROW[9:]), {**headers, "Content-Encoding": "gzip"})
    assert link.getresponse().read() == SUCCESS
    link.close()
    assert [row[2] for row in node.rows] == [ROW, ROW]


@pytest.mark.parametrize(
    ("encoding", "body", "status"),
    [
        ("br", ROW, 415),
        ("gzip", ROW, 400),
        ("gzip", gzip.compress(ROW)[:-9], 400),
        ("gzip", gzip.compress(ROW) + b"junk", 400),
    ],
    ids=["unknown", "not packed", "cut", "more behind it"],  # what is packed bears the time, and names must not
)
def test_a_wrong_encoding_is_refused(site: Site, node: FakeNode, encoding: str, body: bytes, status: int) -> None:
    assert site.put(body, **{"Content-Encoding": encoding})[0] == status
    assert not node.rows


def test_an_empty_body_is_refused(make_site: Callable[..., Site], site: Site) -> None:
    status, _, body = site.request(
        "PUT", {"dbms": "d", "table": "t", "mode": "streaming", "Transfer-Encoding": "chunked"}, b"0\r\n\r\n"
    )
    assert (status, json.loads(body)["err_code"]) == (400, 6)


def test_keep_alive_and_pipelining(site: Site, node: FakeNode) -> None:
    one = HEAD + b"Content-Length: %d\r\n\r\n" % len(ROW) + ROW
    last = one.replace(b"Host: x", b"Host: x\r\nConnection: close")
    reply = site.raw(one * 20 + last)
    assert reply.count(b"HTTP/1.1 200 OK") == 21
    assert reply.count(SUCCESS) == 21
    assert len(node.rows) == 21


@pytest.mark.parametrize(
    "tail",
    [
        b"Content-Length: 60\r\n\r\n" + ROW[:40],
        b"Content-Length: 600000\r\n\r\n" + ROW + b"\n",
        b"Transfer-Encoding: chunked\r\n\r\n32\r\n" + ROW[:40],
        b"Transfer-Encoding: chunked\r\n\r\n32\r\n" + ROW + b"\r\n",
        b"Transfer-Encoding: chunked\r\n\r\n32\r\n" + ROW + b"\r\nzz\r\n",
    ],
    ids=["length", "long", "in a chunk", "between chunks", "damaged chunk"],
)
def test_half_a_request_stores_nothing(site: Site, node: FakeNode, tail: bytes) -> None:
    with site.connect() as link:
        link.sendall(HEAD + tail)
        link.shutdown(socket.SHUT_WR)
        reply = read_all(link)
    assert not reply or reply.startswith(b"HTTP/1.1 400 ")
    assert site.put(ROW)[0] == 200
    assert len(node.rows) == 1


def test_a_silent_client_is_answered_with_408(make_site: Callable[..., Site], node: FakeNode) -> None:
    site = make_site(BodyLimits(idle_seconds=1))
    for head in (
        b"Content-Length: 60\r\n\r\n",
        b"Content-Length: 600000\r\n\r\n",
        b"Transfer-Encoding: chunked\r\n\r\n",
    ):
        reply = site.raw(HEAD + head + (b"32\r\n" if b"chunked" in head else b"") + ROW[:10])
        assert reply.startswith(b"HTTP/1.1 408 ")
        assert b'"code": "rest.slow"' in reply
    assert not node.rows


def lines(number: int) -> bytes:
    return b"".join(b'{"n": 1%06d, "text": "%s"}\n' % (n, b"x" * 70) for n in range(number))


def test_a_long_body_of_lines_is_stored_in_blocks(make_site: Callable[..., Site], node: FakeNode) -> None:
    site = make_site(BodyLimits(block_bytes=64 << 10))
    body = lines(20_000)
    for headers in ({}, {"Content-Encoding": "gzip"}):
        node.rows.clear()
        assert site.put(gzip.compress(body, 1) if headers else body, **headers)[0] == 200
        assert b"\n".join(row[2].strip() for row in node.rows) == body.strip()
        assert len(node.rows) > 10
        for row in node.rows:
            assert len(row[2]) < 65 << 10


def test_a_refused_block_says_what_is_stored(make_site: Callable[..., Site], node: FakeNode) -> None:
    site = make_site(BodyLimits(block_bytes=64 << 10))
    stored: list[int] = []

    async def submit(dbms: str, table: str, payload: bytes, *, source: str = "0", instructions: str = "0") -> Stored:
        if b"1019999" in payload:
            raise PayloadError("line 7 is no JSON")
        stored.append(payload.count(b"\n"))
        return Stored(stored[-1])

    node.submit = submit  # type: ignore[method-assign]
    site = make_site(BodyLimits(block_bytes=64 << 10))
    status, _, body = site.put(lines(20_000))
    found = json.loads(body)
    assert status == 400
    assert found["where"]["rows_stored"] == sum(stored) > 0
    assert "rows before it in the body are stored" in found["detail"]


@pytest.mark.parametrize("form", ["list", "glued", "over several lines"])
def test_a_long_body_of_any_form_is_stored_in_blocks(make_site: Callable[..., Site], node: FakeNode, form: str) -> None:
    site = make_site(BodyLimits(block_bytes=16 << 10))
    rows = [{"n": n, "text": '}]"\\{[', "more": {"a": [1, {}]}} for n in range(4000)]
    body = {
        "list": json.dumps(rows),
        "glued": "".join(map(json.dumps, rows)),
        "over several lines": json.dumps(rows, indent=2),
    }[form]
    assert site.put(body.encode())[0] == 200
    assert len(node.rows) > 10
    assert all(len(row[2]) < 17 << 10 for row in node.rows)
    assert [one["n"] for row in node.rows for one in _rust.Rows.parse(row[2]).to_list()] == list(range(4000))


def test_one_row_is_held_whole_up_to_a_limit(make_site: Callable[..., Site], node: FakeNode) -> None:
    body = b'{"a": "' + b"x" * 200_000 + b'"}'
    assert make_site(BodyLimits(block_bytes=16 << 10)).put(body)[0] == 200
    assert [row[2] for row in node.rows] == [body]
    small = make_site(BodyLimits(block_bytes=16 << 10, whole_bytes=100_000))
    status, _, reply = small.put(body)
    assert (status, json.loads(reply)["code"]) == (413, "ingest.row_too_long")
    assert len(node.rows) == 1


@pytest.mark.parametrize("fault", [b"17", b"{]", b"[{}"], ids=["no row", "bracket", "no end"])
def test_a_fault_in_the_first_block_stores_nothing_and_a_later_one_says_what_is_stored(
    make_site: Callable[..., Site], node: FakeNode, fault: bytes
) -> None:
    site = make_site(BodyLimits(block_bytes=16 << 10))
    status, _, reply = site.put(lines(10) + fault + lines(1000))
    assert (status, node.rows) == (400, [])
    status, _, reply = site.put(lines(1000) + fault)
    found = json.loads(reply)
    assert status == 400
    assert found["where"]["rows_stored"] == sum(row[2].count(b"{") for row in node.rows) > 0
    assert "rows before it in the body are stored" in found["detail"]


def test_short_bodies_may_be_nearly_json(make_site: Callable[..., Site], node: FakeNode) -> None:
    body = b"[{'a': '}'},]"
    assert make_site(BodyLimits(block_bytes=len(body) + 1)).put(body)[0] == 200
    assert [row[2] for row in node.rows] == [body]


def test_an_endless_body_is_cut_off(make_site: Callable[..., Site], node: FakeNode) -> None:
    site = make_site(BodyLimits(total_bytes=300_000, block_bytes=100_000, idle_seconds=5))

    def endless() -> Iterator[bytes]:
        while True:
            yield ROW + b"\n"

    link = http.client.HTTPConnection("127.0.0.1", site.port, timeout=20)
    with pytest.raises((ConnectionError, BrokenPipeError)):
        link.request("PUT", "/", endless(), {"dbms": "d", "table": "t", "mode": "streaming"}, encode_chunked=True)
    link.close()
    assert sum(len(row[2]) for row in node.rows) <= 300_000
    announced = HEAD + b"Content-Length: 999999\r\n\r\n"
    assert site.raw(announced).startswith(b"HTTP/1.1 413 ")


def test_a_gzip_bomb_is_cut_off(make_site: Callable[..., Site], node: FakeNode) -> None:
    site = make_site(BodyLimits(total_bytes=4 << 20))
    assert site.put(gzip.compress(b"[" + b" " * (64 << 20)), **{"Content-Encoding": "gzip"})[0] == 413
    assert not node.rows


def test_post_data_reaches_the_subscription(site: Site, node: FakeNode) -> None:
    headers = {"User-Agent": "AnyLog/1.23", "command": "data", "topic": "new-data"}
    assert site.request("POST", headers, ROW)[::2] == (200, b"")
    assert node.data == [("anylog", "new-data", ROW)]
    node.stored = Stored(2, 1, "bad")
    assert json.loads(site.request("POST", headers, ROW)[2]) == {"stored": 2, "rejected": 1, "error": "bad"}
    node.refuse = error(159, "no topic x")
    status, _, body = site.request("POST", headers, ROW)
    assert (status, json.loads(body)["err_code"]) == (400, 159)


def test_post_data_without_agent_or_body_is_refused(site: Site, node: FakeNode) -> None:
    status, _, body = site.request("POST", {"command": "data"}, ROW)
    assert (status, json.loads(body)["err_code"]) == (400, 163)
    status, _, body = site.request("POST", {"command": "data", "User-Agent": "anylog"}, b"")
    assert (status, json.loads(body)["err_code"]) == (400, 299)
    assert not node.data
