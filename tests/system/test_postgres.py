"""Tables in PostgreSQL: the server ends and comes back, the node is killed, no row is lost or doubled."""

from __future__ import annotations

import json
import random
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from edgelake.bench.postgres_server import PostgresServer
from tests.system.program import AGENT, OPERATOR, STANDALONE, Program
from tests.system.test_crash import Numbers, Sender

KILLS = 6


@pytest.fixture
def server() -> Iterator[PostgresServer]:
    started = PostgresServer()
    yield started
    started.stop()


def on(server: PostgresServer, script: str) -> str:
    return script.replace("dbms plant where type = sqlite", f"dbms plant where {server.clause}")


def stored(server: PostgresServer) -> list[int]:
    """Numbers in the table; none while it is not there."""
    if not server.sql("SELECT 1 FROM pg_tables WHERE tablename = 't'", "plant"):
        return []
    return [int(line) for line in server.sql("SELECT n FROM t", "plant").splitlines()]


def test_rows_come_in_while_the_server_is_down(server: PostgresServer, tmp_path: Path) -> None:
    with Program(tmp_path / "home", on(server, STANDALONE)) as node:
        databases = node.get("get databases")
        assert "psql" in databases
        assert f"127.0.0.1:{server.port}" in databases
        assert node.put(b'{"n": 0}')[0] == 200
        node.until(lambda: stored(server) == [0])
        server.crash()
        for n in range(1, 200):
            assert node.put(json.dumps({"n": n}).encode())[0] == 200
        node.until(lambda: "PostgreSQL server runs" in node.get("get error log"))
        node.until(lambda: "Not connected: plant at" in node.get("get databases"))
        server.start()
        node.until(lambda: len(stored(server)) == 200, limit_s=40)
        assert sorted(stored(server)) == list(range(200))
        assert node.count("t") == 200
        assert "Not connected" not in node.get("get databases")
        assert node.get("get error log").count("PostgreSQL server runs") < 10  # what changes, not every attempt
        assert node.stop() == 0


def away(server: PostgresServer, script: str) -> str:
    """All databases are the server's, and what is asked of them cannot be done yet."""
    script = script.replace("type = sqlite", server.clause)
    return script.replace("run rest", "partition plant t using insert_timestamp by 1 day\nrun streamer\nrun rest", 1)


@pytest.mark.parametrize("script", [STANDALONE, OPERATOR], ids=["alone", "operator"])
def test_a_node_starts_while_the_server_is_away(server: PostgresServer, tmp_path: Path, script: str) -> None:
    server.crash()
    script = away(server, script).replace("run streamer\nrun operator", "run operator")
    modes = ["streaming", "file"] if "run operator" in script else ["streaming"]
    sent = 0
    with Program(tmp_path / "home", script) as node:
        for mode in modes * 5:
            assert node.put(json.dumps({"n": sent}).encode(), mode=mode)[0] == 200
            sent += 1
        node.kill()
    with Program(tmp_path / "home", script) as node:
        shown = node.get("get databases")
        assert "Not connected" in shown
        assert "refused" in shown
        status, reply = node.request("GET", {**AGENT, "command": 'sql plant "select count(*) from t"'})
        assert status == 503, reply
        assert "refused" in reply.decode()
        for mode in modes * 5:
            assert node.put(json.dumps({"n": sent}).encode(), mode=mode)[0] == 200
            sent += 1
        server.start()
        node.until(lambda: "Not connected" not in node.get("get databases"), limit_s=40)
        query = "sql plant format = json and stat = false select n from t order by n"
        there = "get table local status where name = t and dbms = plant"
        node.until(lambda: node.data(there)["local"] and node.count("t") == sent, limit_s=40)
        assert [int(row["n"]) for row in json.loads(node.get(query))["Query"]] == list(range(sent))
        assert "par_t_" in node.get("get partitions where dbms = plant and table = t")
        assert not list((tmp_path / "home").rglob("err*/*.json*"))
        assert 1 <= node.get("get error log").count("database plant: plant at") <= 4  # each reason, not each attempt
        assert node.stop() == 0


@pytest.mark.parametrize("script", [STANDALONE, OPERATOR], ids=["alone", "operator"])
def test_acknowledged_rows_are_there_exactly_once_after_kills_of_both(
    server: PostgresServer, tmp_path: Path, script: str
) -> None:
    moments, numbers = random.Random(), Numbers()
    acknowledged: set[int] = set()
    for attempt in range(KILLS):
        node = Program(tmp_path / "home", on(server, script))
        node.start()
        senders = [Sender(node, numbers, rows=1, mode="streaming") for _ in range(2)]
        senders += [Sender(node, numbers, rows=200, mode="streaming")]
        if script is OPERATOR:
            senders += [Sender(node, numbers, rows=50, mode="file")]
        time.sleep(moments.uniform(0.05, 0.5))  # the moment of the kill is what varies
        if attempt % 2:
            server.crash()
            time.sleep(moments.uniform(0.0, 0.3))
        node.kill()
        for sender in senders:
            sender.thread.join(15)
            acknowledged |= set(sender.acknowledged)
        if attempt % 2:
            server.start()
    assert acknowledged
    with Program(tmp_path / "home", on(server, script)) as node:
        node.until(lambda: acknowledged <= set(stored(server)), limit_s=60)
        assert node.stop() == 0
    found = stored(server)
    assert len(found) == len(set(found))
    assert acknowledged <= set(found)
