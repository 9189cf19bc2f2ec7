"""What a careless or hostile client sends costs its own request, and nobody else's data."""

from __future__ import annotations

import gzip
import json
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.system.program import AGENT, OPERATOR, STANDALONE, Program

GOOD = b'{"timestamp": "2026-01-01T00:00:00Z", "value": 1.5}'


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Program]:
    with Program(tmp_path_factory.mktemp("node"), STANDALONE) as running:
        yield running


BODIES = {
    "no JSON": (b"temperature is 21", 400),
    "cut JSON": (b'{"value": 1', 400),
    "a number": (b"17", 400),
    "a list of numbers": (b"[1, 2, 3]", 400),
    "nothing": (b"", 400),
    "only blanks": (b" \n \n", 400),
    "100,000 deep": (b'{"a":' * 100_000 + b"1" + b"}" * 100_000, 400),
    "no UTF-8": (b'{"name": "\xff\xfe"}', 400),
    "UTF-16": ('{"value": 1}'.encode("utf-16"), 400),
    "second line bad": (GOOD + b'\n{"value": ', 400),
}


@pytest.mark.parametrize("name", BODIES)
def test_a_bad_body_is_refused_with_its_reason_and_nothing_of_it_is_stored(node: Program, name: str) -> None:
    body, wanted = BODIES[name]
    assert node.put(GOOD, table="other")[0] == 200
    status, reply = node.put(body, table="bad")
    assert status == wanted, reply
    assert {"err_code", "err_text"} <= reply.keys()
    assert reply["err_text"]
    node.post("flush buffers")
    assert "bad" not in node.get("get tables where dbms = plant")
    assert node.put(GOOD, table="other")[0] == 200


def test_missing_headers_and_unknown_databases_say_what_is_missing(node: Program) -> None:
    status, body = node.request("PUT", {**AGENT, "table": "t", "mode": "streaming"}, GOOD)
    assert status == 400
    assert "dbms" in json.loads(body)["err_text"] + body.decode()
    status, body = node.request("PUT", {**AGENT, "dbms": "plant", "mode": "streaming"}, GOOD)
    assert status == 400
    assert "table" in body.decode()
    status, body = node.request("GET", {**AGENT, "command": 'sql nowhere format = json "select count(*) from t"'})
    assert status in (400, 404)
    assert "nowhere" in body.decode()


def test_a_row_that_the_table_refuses_costs_only_itself(node: Program) -> None:
    node.post("sql plant create table strict_t (n integer check (n < 10))")
    status, reply = node.put(b'{"n": 1}\n{"n": 50}\n{"n": 2}', table="strict_t")
    assert status == 200, reply
    assert node.put(GOOD, table="other")[0] == 200
    node.post("flush buffers")
    assert node.count("strict_t") == 2
    reasons = [p.read_text() for p in (node.home / "EdgeLake" / "data" / "error").glob("plant.strict_t*.reason")]
    assert len(reasons) == 1
    assert "CHECK" in reasons[0]


def test_a_gzip_bomb_and_a_cut_gzip_body_are_refused(node: Program) -> None:
    cut = gzip.compress(GOOD * 100)[:-10]
    status, reply = node.put(cut, **{"Content-Encoding": "gzip"})
    assert status == 400, reply
    status, reply = node.put(GOOD, **{"Content-Encoding": "br"})
    assert status in (400, 415), reply


def test_half_a_request_stops_nobody(node: Program) -> None:
    node.post("flush buffers")
    before = node.count("other") if "other" in node.get("get tables where dbms = plant") else 0
    head = b"PUT / HTTP/1.1\r\nhost: x\r\ndbms: plant\r\ntable: other\r\nmode: streaming\r\ncontent-length: 100\r\n\r\n"
    with socket.create_connection(("127.0.0.1", node.port)) as half:
        half.sendall(head + b'{"value"')
        assert node.put(GOOD, table="other")[0] == 200
    node.post("flush buffers")
    assert node.count("other") == before + 1


def test_header_text_never_becomes_a_reply(node: Program) -> None:
    with socket.create_connection(("127.0.0.1", node.port), timeout=10) as link:
        link.sendall(
            b"GET / HTTP/1.1\r\nhost: x\r\nuser-agent: AnyLog/1\r\n"
            b"command: get \x00\x1b[31mx\r\nconnection: close\r\n\r\n"
        )
        reply = b""
        while piece := link.recv(65536):
            reply += piece
    assert reply.startswith(b"HTTP/1.1 400")
    assert b"\x1b" not in reply


def test_files_with_bad_names_or_content_go_to_the_error_folder_with_their_reason(tmp_path: Path) -> None:
    with Program(tmp_path, OPERATOR) as node:
        data = tmp_path / "EdgeLake" / "data"
        bad = {
            "noname.json": GOOD,
            "plant.t.0.0.0.1.json": GOOD,
            "plant.broken.json": b'{"value": ',
            "other.t.json": GOOD,
        }
        for name, content in bad.items():
            (data / "prep" / name).write_bytes(content)
            (data / "prep" / name).rename(data / "watch" / name)
        status, reply = node.put(GOOD, table="fine", mode="file")
        assert status == 200, reply
        node.until(lambda: not list((data / "watch").iterdir()) and "fine" in node.get("get tables where dbms = plant"))
        reasons = [json.loads(path.read_text()) for path in (data / "error").glob("*.reason")]
        assert len(reasons) == len(bad)
        assert all(reason["err_text"] for reason in reasons)
        assert node.count("fine") == 1
        errors = node.data("get operator error")
        assert errors
