"""Commands of the REST server, run as a user does: by a line, and over the server itself."""

from __future__ import annotations

import http.client
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from edgelake.bench.processes import free_port
from edgelake.command.context import Context, NodeInfo
from edgelake.command.local import language_context
from edgelake.command.render import reply_text
from edgelake.errors import AddressInUseError, AlreadyRunningError, CommandError, EdgeLakeError, ServiceError
from edgelake.model import Reply
from tests.net.helpers import FakeNode, Loop


class Console:
    """A node's language; lines run on the loop of the servers."""

    def __init__(self, loop: Loop, ctx: Context) -> None:
        self.loop, self.ctx, self.port = loop, ctx, free_port()

    def run(self, line: str) -> Reply:
        return self.loop.run(self.ctx.execute(line.replace("PORT", str(self.port))))

    def text(self, line: str) -> str:
        return reply_text(self.run(line)).replace("\r\n", "\n")

    def get(self, line: str, method: str = "GET") -> tuple[int, str]:
        link = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        link.request(method, "/", headers={"User-Agent": "AnyLog/1.23", "command": line})
        reply = link.getresponse()
        found = reply.status, reply.read().decode().replace("\r\n", "\n")
        link.close()
        return found


START = "run rest server where internal_ip = 127.0.0.1 and internal_port = PORT"


@pytest.fixture
def console(loop: Loop, node: FakeNode, tmp_path: Path) -> Iterator[Console]:
    async def make() -> Context:
        ctx = language_context(home=tmp_path, node=NodeInfo(name="edge-1", version="1.0"))
        ctx.ingest = node
        ctx.directories.create()
        return ctx

    made = Console(loop, loop.run(make()))
    yield made
    loop.run(made.ctx.services.stop_all())


def test_a_server_runs_commands_of_the_node(console: Console) -> None:
    console.run(START)
    assert console.get("get status")[1].endswith(" running")
    assert console.get("x = 5", "POST")[0] == 200
    assert console.get("get !x") == (200, "5")
    assert "REST   " in console.get("get processes")[1]


def test_rows_reach_the_node(console: Console, node: FakeNode) -> None:
    console.run(START)
    link = http.client.HTTPConnection("127.0.0.1", console.port, timeout=20)
    link.request("PUT", "/", b'{"a": 1}', {"dbms": "d", "table": "t", "mode": "streaming"})
    assert link.getresponse().read() == b'{"AnyLog.status":"Success", "AnyLog.hash": "0" }'
    assert [row[:3] for row in node.rows] == [("d", "t", b'{"a": 1}')]


def test_a_second_server_is_refused(console: Console) -> None:
    console.run(START)
    with pytest.raises(AddressInUseError, match=f"Host and port '127.0.0.1:{console.port}' already in use"):
        console.run(START)
    with pytest.raises(AlreadyRunningError, match=f"127.0.0.1:{console.port}"):
        console.run(f"run rest server where internal_port = {free_port()}")


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ("bind = true", EdgeLakeError),
        ("internal_port = PORT and threads = 0", CommandError),
        ("internal_port = PORT and ssl = true and cert = /nowhere.crt and key = /nowhere.key", ServiceError),
        ("internal_port = PORT and ssl = true and cert = /nowhere.crt", CommandError),
        ("internal_port = PORT and ssl = true and ca_org = a and server_org = my org", EdgeLakeError),
    ],
)
def test_wrong_options_start_nothing(console: Console, options: str, problem: type[Exception]) -> None:
    with pytest.raises(problem):
        console.run(f"run rest server where {options}")
    assert console.text("get rest pool") == "Rest Pool is not declared"


def test_https_makes_a_certificate(console: Console) -> None:
    console.run(START + " and ssl = true")
    info = json.loads(reply_text(console.run("get rest server info where format = json")))
    assert info["is_ssl"] is True
    assert info["connection"] == f"https://127.0.0.1:{console.port}"
    assert Path(info["node_cr"]).parent == console.ctx.directories.path("pem_dir")


def test_exit_over_rest_is_answered_and_frees_the_address(console: Console) -> None:
    console.run(START)
    assert console.get("exit rest", "POST")[0] == 200
    assert console.text("get rest pool") == "Rest Pool is not declared"
    console.run("exit rest")
    with pytest.raises(ConnectionError):
        console.get("get status")
    console.run(START)
    assert console.get("get status")[0] == 200


def test_server_info(console: Console) -> None:
    console.run(START + " and timeout = 0 and threads = 6")
    console.run("set rest timeout 2 minutes")
    console.run("set rest log on")
    assert console.text("get rest server info") == (
        "\n"
        "Attribute        Value                    \n"
        "----------------|------------------------|\n"
        "buff_size       | 417792                 |\n"
        "ca_public_key   | None                   |\n"
        f"connection      | http://127.0.0.1:{console.port} |\n"
        "is_bind         | False                  |\n"
        "is_ssl          | False                  |\n"
        "node_cr         | None                   |\n"
        "node_private_key| None                   |\n"
        "streaming_log   | True                   |\n"
        "timeout         | 120                    |\n"
        "trace           | False                  |\n"
        "workers_count   | 6                      |\n"
    )


def test_calls_and_pool(console: Console) -> None:
    console.run(START + " and threads = 3")
    console.get("get status")
    console.get("get nonsense")
    console.get("x = 1", "POST")
    lines = console.text("get rest calls").splitlines()
    assert lines[1] == f"Statistics for REST calls using http://127.0.0.1:{console.port}"
    assert lines[2].split()[:4] == ["Caller", "Call", "Processed", "Errors"]
    assert lines[4].replace(" ", "").startswith("anylog|GET|2|1|")
    assert lines[5].replace(" ", "").startswith("|POST|1|0||")
    assert console.text("get rest pool") == f"{'REST Pool with 3 threads:':<60}[0, 0, 0] (3)"
    assert "Percentage" in console.text("get rest pool where details = true and reset = true")
    assert console.text("get rest pool").endswith("(0)")
    assert console.get("get rest pool")[1].endswith("[1, 0, 0] (1)")


def test_calls_of_the_log_name_no_secret(console: Console) -> None:
    console.run(START)
    console.run("set rest log on")
    console.get("get nonsense where password = abc123")
    log = console.text("get streaming log") if console.ctx.logs.ring("streaming").select() else ""
    assert "GET '/' from 127.0.0.1" in log
    assert "abc123" not in log
    assert "abc123" not in console.text("get rest calls")
