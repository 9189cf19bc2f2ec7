"""SQL by REST: replies and error objects as clients see them."""

from __future__ import annotations

import asyncio
import http.client
import json
from pathlib import Path

from edgelake.bench.processes import free_port
from edgelake.node import Node

ROWS = b"\n".join(
    b'{"timestamp": "2025-01-01T00:00:00Z", "id": %d, "name": "a \\"quoted\\" name"}' % n for n in range(5000)
)


async def asked(port: int, command: str, **headers: str) -> tuple[int, str, str]:
    """Status, content type and body of a GET."""

    def work() -> tuple[int, str, str]:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
        connection.request("GET", "/", headers={"User-Agent": "AnyLog/1.23", "command": command, **headers})
        reply = connection.getresponse()
        body = reply.read().decode()
        connection.close()
        return reply.status, reply.headers["content-type"], body

    return await asyncio.to_thread(work)


async def test_answers_and_errors(tmp_path: Path) -> None:
    port = free_port()
    async with Node(tmp_path, timezone="utc") as node:
        await node.execute("connect dbms new_company where type = sqlite")
        await node.execute(f"run rest server where external_ip = 127.0.0.1 and external_port = {port} and bind = true")
        await node.ingest("new_company", "rand_data", ROWS)
        await node.execute("flush buffers")

        status, kind, body = await asked(port, 'sql new_company format=json "select count(*) from rand_data"')
        assert (status, kind) == (200, "application/json")
        assert json.loads(body) == {
            "Query": [{"count(*)": 5000}],
            "Statistics": [{"Count": 1, "Time": "00:00:00", "Nodes": 0}],
        }

        # More than a reply that is sent whole: it comes through the stream.
        status, _, body = await asked(
            port, "sql new_company format = json:output and stat = false select * from rand_data"
        )
        lines = [json.loads(line) for line in body.splitlines()]
        assert (status, len(lines), lines[-1]["name"]) == (200, 5000, 'a "quoted" name')

        _, _, body = await asked(port, "sql new_company select * from rand_data where timestamp > '2099-01-01'")
        assert json.loads(body)["Statistics"][0]["Count"] == 0

        for sql, status, number, message in (
            ("select count(*) from nosuch", 404, 45, "nosuch"),
            (
                "select nocol from rand_data",
                400,
                46,
                "Column 'nocol' is not recognized in table: new_company.rand_data",
            ),
            ("selec x", 400, 134, "selec"),
            ("select value::nosuch from rand_data", 400, 195, "nosuch"),
            ("select name::int from rand_data", 400, 194, "name"),
        ):
            found, kind, body = await asked(port, f'sql new_company format=json "{sql}"')
            problem = json.loads(body)
            assert (found, kind, problem["err_code"]) == (status, "application/json", number), sql
            assert message in problem["local_msg"]
            assert {"method", "node", "err_text"} <= problem.keys()
        found, _, body = await asked(port, 'sql nodb format=json "select * from rand_data"')
        assert (found, json.loads(body)["err_code"]) == (404, 5)


async def test_a_query_as_a_chart_under_a_title_of_a_policy(tmp_path: Path) -> None:
    port = free_port()
    async with Node(tmp_path, timezone="utc") as node:
        await node.execute("connect dbms plant where type = sqlite")
        await node.execute(f"run rest server where external_ip = 127.0.0.1 and external_port = {port} and bind = true")
        await node.ingest("plant", "motor", b'{"timestamp": "2025-01-01T00:00:00Z", "device": "<m>", "speed": 1480.5}')
        await node.execute("flush buffers")
        policy = {"html": {"name": "hall", "body": {"include": ["<h2>Hall</h2>"]}}}
        await node.execute(f"p = {json.dumps(policy)}")
        await node.execute("blockchain insert where policy = !p and local = true")
        command = "sql plant format = table select timestamp, device, speed from motor"
        status, kind, page = await asked(port, command, into="html.line", html="blockchain get html where name = hall")
        assert (status, kind) == (200, "text/html; charset=utf-8")
        assert "<h2>Hall</h2>" in page
        assert "&lt;m&gt;, 2025-01-01 00:00:00.000000: 1480" in page
        status, _, page = await asked(port, "sql plant select nothing from motor", into="html.bar")
        assert status == 400
        assert "nothing" in page
