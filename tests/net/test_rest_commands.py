"""GET, POST and the other methods over real sockets. Spec: "REST API", sections 1 to 10."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from urllib.parse import quote

import pytest

from edgelake.errors import DatabaseMissingError, OverloadedError, StorageFullError
from edgelake.model import CommandClass, Reply
from tests.net.helpers import FakeNode, Site


def test_a_get_runs_the_command_and_sends_its_text(site: Site) -> None:
    status, headers, body = site.command("get status")
    assert (status, body) == (200, b"node running")
    assert headers["content-type"] == "text/plain; charset=utf-8"
    assert headers["access-control-allow-origin"] == "*"


def test_a_json_reply_is_one_line_of_valid_json(site: Site, node: FakeNode) -> None:
    async def answer() -> Reply:
        return Reply.of_text('{"status": "running"}')

    node.commands["get status where format = json"] = answer
    status, headers, body = site.command("get status where format = json")
    assert (status, headers["content-type"]) == (200, "application/json")
    assert json.loads(body) == {"status": "running"}


@pytest.mark.parametrize(
    ("method", "line", "status"),
    [
        ("GET", "get status", 200),
        ("POST", "get status", 400),
        ("GET", "set x = 1", 400),
        ("POST", "set x = 1", 200),
        ("POST", "v = get status", 200),
        ("GET", 'sql d "select 1"', 200),
        ("POST", 'sql d "insert"', 200),
        ("GET", "GET  status", 400),  # allowed by its method; the fake node does not know it in this form
        ("GET", "getstatus", 400),
    ],
)
def test_each_command_has_its_method(site: Site, method: str, line: str, status: int) -> None:
    got, _, body = site.request(method, {"User-Agent": "anylog", "command": line})
    assert got == status
    if line in {"set x = 1", "get status"} and status == 400:
        assert json.loads(body)["err_code"] == 156


def test_an_error_is_a_well_formed_object_with_its_status(site: Site, node: FakeNode) -> None:
    async def fail() -> Reply:
        raise DatabaseMissingError("d")

    node.commands["get tables where dbms = d"] = fail
    status, headers, body = site.command("get tables where dbms = d")
    found = json.loads(body)
    assert (status, headers["content-type"]) == (404, "application/json")
    assert found["method"] == "get"
    assert found["node"] == "127.0.0.1"
    assert (found["err_code"], found["code"]) == (5, "dbms.missing")


@pytest.mark.parametrize(
    ("problem", "status", "retry"), [(OverloadedError("q"), 503, "1"), (StorageFullError("d"), 507, None)]
)
def test_a_full_node_says_so(site: Site, node: FakeNode, problem: Exception, status: int, retry: str | None) -> None:
    async def fail() -> Reply:
        raise problem

    node.commands["get x"] = fail
    got, headers, _ = site.command("get x")
    assert (got, headers.get("retry-after")) == (status, retry)


def test_a_fault_inside_the_node_is_a_500_without_its_text(site: Site, node: FakeNode) -> None:
    async def fail() -> Reply:
        raise ValueError("secret detail")

    node.commands["get x"] = fail
    status, _, body = site.command("get x")
    assert status == 500
    assert b"secret" not in body
    assert json.loads(body)["err_code"] == 3


@pytest.mark.parametrize(
    ("agent", "path", "status", "body"),
    [
        ("Mozilla/5.0", "/", 200, b""),
        ("curl/8.0", "/", 200, b"node running"),
        ("AnyLog/1.23", "/", 400, None),
        ("Grafana/11", "/anything", 200, b"OK"),
        ("curl/8.0", "/api/status", 200, b'{"status": "ok"}'),
    ],
)
def test_a_get_without_command(site: Site, agent: str, path: str, status: int, body: bytes | None) -> None:
    got, _, content = site.request("GET", {"User-Agent": agent}, path=path)
    assert got == status
    assert body is None or content == body


@pytest.mark.parametrize("path", ["/health", "/healthz"])
def test_health_answers_everybody(site: Site, path: str) -> None:
    status, _, body = site.request("GET", path=path)
    assert status == 200
    assert json.loads(body)["status"] == "healthy"


def test_a_command_header_is_served_for_any_agent(site: Site) -> None:
    assert site.request("GET", {"command": "get status", "User-Agent": "x"})[2] == b"node running"
    assert site.request("GET", {"command": "get status"})[2] == b"node running"


@pytest.mark.parametrize(
    "query",
    [
        "User-Agent=AnyLog/1.23?command=get status",
        " AnyLog-Agent = AnyLog/1.23 ? command = get status",
        "command=get status",
        "destination=local&command=get status",
    ],
)
def test_a_command_may_stand_in_the_url(site: Site, query: str) -> None:
    path = "/?" + quote(query, safe="?=&/")
    assert site.request("GET", {"User-Agent": "Mozilla/5.0"}, path=path)[2] == b"node running"


def test_a_quoted_question_mark_belongs_to_the_value(site: Site, node: FakeNode) -> None:
    line = "sql d \"select '?' where a = 1\""
    path = "/?" + quote(f"User-Agent=AnyLog/1?command={line}", safe="?=")
    assert site.request("GET", path=path)[0] == 200
    assert node.ran[0][0] == line


def test_a_url_part_without_equal_sign_is_refused(site: Site) -> None:
    status, _, body = site.request("GET", path="/?command=get%20status?nonsense")
    assert status == 400
    assert "Error in header value nonsense" in json.loads(body)["detail"]


def test_body_commands_run_first_in_order(site: Site, node: FakeNode) -> None:
    body = b"a = 1\n\n< b =\n 2>\nc = 3\n<d = \n4"
    assert site.request("POST", {"User-Agent": "anylog", "command": "set x = 1"}, body)[0] == 200
    assert [line for line, _ in node.ran] == ["a = 1", "b = 2", "c = 3", "d = 4", "set x = 1"]


def test_a_failing_body_command_stops_everything(site: Site, node: FakeNode) -> None:
    status, _, body = site.request("POST", {"User-Agent": "anylog", "command": "set x = 1"}, b"a = 1\nnonsense\nb = 1")
    assert status == 400
    assert "Error with command #2 in the message body: 'nonsense'" in json.loads(body)["detail"]
    assert [line for line, _ in node.ran] == ["a = 1", "nonsense"]


def test_the_body_may_be_the_command_in_utf8(site: Site, node: FakeNode) -> None:
    assert site.request("POST", {"command": "body"}, "set city = Zürich".encode())[0] == 200
    assert node.ran[0][0] == "set city = Zürich"


def test_a_header_outside_ascii_is_refused_with_a_way_out(site: Site, node: FakeNode) -> None:
    reply = site.raw("GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\ncommand: get é\r\n\r\n".encode("latin-1"))
    assert reply.startswith(b"HTTP/1.1 400 ")
    assert b"command: body" in reply
    assert not node.ran


def test_a_json_body_holds_the_headers(site: Site, node: FakeNode) -> None:
    assert site.request("POST", body=b'{"Command": "get status"}')[2] == b"node running"
    site.request("POST", body=b'{"dbms": "d", "sql": "select 1", "destination": "local"}')
    assert node.ran[-1][0] == 'sql d "select 1"'


@pytest.mark.parametrize("agent", ["", "other/1"])
def test_a_post_that_says_nothing_is_refused(site: Site, agent: str) -> None:
    status, _, body = site.request("POST", {"User-Agent": agent} if agent else {}, b"hello")
    assert status == 400
    assert "unknown 'User-Agent'" in json.loads(body)["detail"]


def test_an_assignment_header_becomes_an_assignment(site: Site, node: FakeNode) -> None:
    assert site.command("get status", assignment="now")[0] == 200
    assert node.ran[0][0] == "now = get status"
    assert site.command("get status", assignment="a b = c")[0] == 400


def test_a_destination_sends_the_command_to_other_nodes(site: Site, node: FakeNode) -> None:
    assert site.command("get status", destination="local")[0] == 200
    found = site.command("sql d select 1", destination="network", subset="true", timeout="5")
    assert found[0] == 200, found
    assert site.command("get status", destination="10.0.0.1:7848, 10.0.0.2:7848", timeout="30")[0] == 200
    assert [line for line, *_ in node.ran] == [
        "get status",
        "run client (subset = true, timeout = 5) sql d select 1",
        "run client (10.0.0.1:7848, 10.0.0.2:7848, named = true, timeout = 30) get status",
    ]


@pytest.mark.parametrize("method", ["DELETE", "VIEW", "PATCH"])
def test_unknown_methods_get_an_answer(site: Site, method: str) -> None:
    status, _, body = site.request(method)
    assert status == 501
    assert f"{method} NOT SUPPORTED" in json.loads(body)["detail"]


def test_head_is_a_get_without_body(site: Site) -> None:
    status, headers, body = site.request("HEAD", {"User-Agent": "anylog", "command": "get status"})
    assert (status, body, headers["content-length"]) == (200, b"", "12")


def test_options_answers_a_preflight(site: Site) -> None:
    status, headers, _ = site.request("OPTIONS", {"Access-Control-Request-Headers": "command, x-y"})
    assert status == 204
    assert headers["access-control-allow-headers"] == "command, x-y"
    assert "PUT" in headers["access-control-allow-methods"]
    assert (
        "command"
        in site.request("OPTIONS", {"Access-Control-Request-Headers": "a: b<"})[1]["access-control-allow-headers"]
    )


@pytest.mark.parametrize("text", ["get status\r\nX: y", "get %0d%0aSet-Cookie: a=b", "get \x00status"])
def test_text_of_a_command_never_reaches_the_head_of_a_reply(site: Site, text: str) -> None:
    path = "/?command=" + quote(text, safe="%")
    head, _, body = site.raw(f"GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode()).partition(
        b"\r\n\r\n"
    )
    assert head.startswith(b"HTTP/1.1 400 Bad Request\r\n")
    assert b"cookie" not in head.lower()
    assert b"\r\nX:" not in head
    json.loads(body)


def test_classes_follow_address_and_origin(site: Site, node: FakeNode) -> None:
    own = f"http://127.0.0.1:{site.port}"
    site.command("get status")
    site.command("get status", Origin=own)
    site.command("get status", Origin="http://evil.example")
    site.command("get status", Origin="null")
    site.command("get status", Host=f"evil.example:{site.port}", Origin=f"http://evil.example:{site.port}")
    site.command("get status", **{"Sec-Fetch-Site": "cross-site"})
    classes = [caller.classes for _, caller in node.ran]
    assert all(CommandClass.ADMIN in c and CommandClass.EXEC not in c for c in classes[:2])
    assert all(c == {CommandClass.DATA} for c in classes[2:])


def test_a_command_beyond_its_time_is_a_504(make_site: Callable[..., Site], node: FakeNode) -> None:
    async def forever() -> Reply:
        await asyncio.Event().wait()
        return Reply.done()

    node.commands["get x"] = forever
    site = make_site(timeout_seconds=0.05)
    status, _, body = site.command("get x")
    assert (status, json.loads(body)["err_code"]) == (504, 26)
    assert site.command("get x", timeout="0.01")[0] == 504
    status, _, body = site.command("get status", timeout="soon")
    assert (status, json.loads(body)["err_code"]) == (400, 182)
    assert site.command("get status", timeout="2 minutes")[0] == 200


def test_commands_run_in_a_bounded_pool_and_health_beside_it(make_site: Callable[..., Site], node: FakeNode) -> None:
    site = make_site(threads=1, waiting=0)
    begun, end = site.loop.event(), site.loop.event()

    async def long() -> Reply:
        begun.set()
        await end.wait()
        return Reply.of_text("done")

    node.commands["get x"] = long
    with site.connect() as link:
        link.sendall(b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\ncommand: get x\r\nConnection: close\r\n\r\n")
        site.loop.run(begun.wait())
        assert site.server.pool.busy == [True]
        status, headers, _ = site.command("get status")
        assert (status, headers["retry-after"]) == (503, "1")
        assert site.request("GET", path="/health")[0] == 200
        assert site.put(b'{"a": 1}')[0] == 200
        site.loop.loop.call_soon_threadsafe(end.set)
        assert link.recv(65536).endswith(b"done")
    assert site.server.pool.busy == [False]
    assert site.server.pool.total == 1


def test_calls_are_counted_by_agent_and_method(site: Site) -> None:
    site.command("get status")
    site.command("nonsense")
    site.put(b'{"a": 1}')
    site.request("PUT", {"dbms": "d", "table": "t", "mode": "streaming"}, b'{"a": 1}')
    site.request("GET", path="/?command=get%20status")
    found = {(r.agent, r.method): (r.processed, r.errors, r.last_error) for r in site.server.calls}
    assert found[("anylog", "GET")] == (2, 1, "Wrong HTTP method used")
    assert found[("anylog", "PUT")] == (1, 0, "")
    assert found[("AnyLog-V1", "PUT")] == (1, 0, "")
    assert found[("url", "GET")] == (1, 0, "")


def test_any_number_of_agents_needs_bounded_memory(site: Site) -> None:
    for number in range(600):
        site.server.calls.record(f"agent{number}/1", "GET", lambda text: text.partition("/")[0])
    assert len(list(site.server.calls)) == 256
