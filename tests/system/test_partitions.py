"""A link between two network namespaces that is cut while a query uses it, and healed."""

from __future__ import annotations

import http.client
import json
import os
import signal
import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import pytest

from edgelake.net.peer.link import ROWS_S
from tests.system.deployed import Deployed, Network, network
from tests.system.partition import Cut, Pair, missing, pair
from tests.system.program import AGENT

MISSING = missing()
pytestmark = [pytest.mark.skipif(bool(MISSING), reason=MISSING), pytest.mark.slow]

SQL = "select count(*) as n, sum(value) as total from sensors"
WIDE_ROWS, BODY_ROWS = 120_000, 10_000
GONE_S = ROWS_S + 60
"""A connection whose other end is gone is given up when nothing has been confirmed for ``ROWS_S``."""

POOL_THREADS = (os.cpu_count() or 1) + 4
"""The pool for blocking work makes a thread whenever all it has are busy, up to so many, and keeps them."""

CUTS: list[Cut] = ["down", "silent"]


@pytest.fixture
def joined() -> Iterator[Pair]:
    with pair() as made:
        yield made


def held(node: Deployed) -> tuple[int, int]:
    """Sockets and threads of its process."""
    assert node.process is not None
    at = Path(f"/proc/{node.process.pid}")
    sockets = 0
    for entry in (at / "fd").iterdir():
        try:
            sockets += os.readlink(entry).startswith("socket:")
        except FileNotFoundError:
            continue  # closed since it was listed
    return sockets, len(list((at / "task").iterdir()))


def warmed(made: Network, tables: dict[str, tuple[int, int]]) -> list[tuple[int, int]]:
    """What query node and far operator hold when all connections that are kept are there."""
    for table, wanted in tables.items():
        made.query.until(partial(made.knows, table))
        for _ in range(3):
            assert made.found(table) == wanted
    return [held(made.query), held(made.operators[1])]


def nothing_left(made: Network, before: list[tuple[int, int]], tables: dict[str, tuple[int, int]]) -> None:
    """After the link is healed: whole answers, no query that runs, no more connections or threads than before."""
    query, south = made.query, made.operators[1]
    query.until(lambda: query.over_all(SQL)[0] == 200, limit_s=60)
    for table, wanted in tables.items():
        assert made.found(table) == wanted
    for node, was in zip((query, south), before, strict=True):
        ends = time.monotonic() + GONE_S
        while (now := held(node))[0] > was[0] or now[1] > was[1] + POOL_THREADS:
            assert time.monotonic() < ends, f"{node.address}: sockets and threads are {now}, were {was}"
            time.sleep(0.05)  # another process is told of no end
        assert "select" not in node.get("job active")
        said = node.data("get processes")
        assert all(said[name]["Status"] == "Running" for name in ("TCP", "REST", "Blockchain Sync"))
        assert node.get("get connections").count(f":{node.tcp_port}|") >= 1


@pytest.mark.parametrize("cut", CUTS)
def test_a_cut_while_an_operator_works_is_a_time_out_that_names_it(tmp_path: Path, joined: Pair, cut: Cut) -> None:
    with network(tmp_path, joined) as made, ThreadPoolExecutor(1) as pool:
        made.put("sensors", [[1, 2, 3], [10, 20]])
        tables = {"sensors": (5, 36)}
        before = warmed(made, tables)
        south = made.operators[1]
        assert south.process is not None
        south.process.send_signal(signal.SIGSTOP)  # it works on the query, for as long as we like
        asked = pool.submit(made.query.over_all, SQL)
        made.query.until(lambda: "select" in made.query.get("query status"))
        joined.cut(cut)
        south.process.send_signal(signal.SIGCONT)
        status, said = asked.result(60)
        assert (status, said["err_code"]) in [(504, 26), (502, 208)], said
        assert south.address in said["local_msg"]
        assert made.found(subset="true") == (3, 6)
        joined.heal(cut)
        nothing_left(made, before, tables)


def put_wide(made: Network) -> None:
    """Many rows at the far operator, one at the other."""
    north, south = made.operators
    for first in range(0, WIDE_ROWS, BODY_ROWS):
        lines = (json.dumps({"value": n, "text": "x" * 100}) for n in range(first, first + BODY_ROWS))
        assert south.put("\n".join(lines).encode(), table="wide")[0] == 200
    assert north.put(b'{"value": 0, "text": ""}', table="wide")[0] == 200
    for operator in made.operators:
        operator.post("flush buffers")


def cut_in_the_middle(made: Network, joined: Pair, cut: Cut) -> bytes:
    """What comes of a select of all wide rows when the link is cut after the first of them."""
    with joined.left():
        link = http.client.HTTPConnection("127.0.0.1", made.query.port, timeout=60)
        command = 'sql plant format = json:output and stat = true "select value, text from wide"'
        headers = {**AGENT, "command": command, "destination": "network", "timeout": "8"}
        link.request("GET", "/", headers=headers)
        reply = link.getresponse()
        assert reply.status == 200  # rows were there before anything was wrong
        rows = reply.read(50_000)
        joined.cut(cut)
        rows += reply.read()
        link.close()
    return rows


@pytest.mark.parametrize("cut", CUTS)
def test_a_cut_in_the_middle_of_rows_ends_the_answer_with_who_is_missing(
    tmp_path: Path, joined: Pair, cut: Cut
) -> None:
    with network(tmp_path, joined) as made:
        made.put("sensors", [[1, 2, 3], [10, 20]])
        south = made.operators[1]
        put_wide(made)
        tables = {"sensors": (5, 36), "wide": (WIDE_ROWS + 1, WIDE_ROWS * (WIDE_ROWS - 1) // 2)}
        before = warmed(made, tables)
        rows = cut_in_the_middle(made, joined, cut)
        last = json.loads(rows.splitlines()[-1])
        assert last["err_code"] in (26, 208), last
        assert south.address in last["local_msg"]
        joined.heal(cut)
        nothing_left(made, before, tables)


def test_connections_over_a_link_that_stays_cut_are_given_up_though_rows_were_on_their_way(
    tmp_path: Path, joined: Pair
) -> None:
    with network(tmp_path, joined) as made:
        made.put("sensors", [[1, 2, 3], [10, 20]])
        put_wide(made)
        warmed(made, {"sensors": (5, 36)})
        made.query.until(partial(made.knows, "wide"))
        south = made.operators[1]
        assert established(south, joined.right.address) >= 1
        cut_in_the_middle(made, joined, "silent")
        south.until(lambda: established(south, joined.right.address) == 0, limit_s=GONE_S)
        joined.heal("silent")
        made.query.until(lambda: made.query.over_all(SQL)[0] == 200, limit_s=60)
        assert made.found() == (5, 36)


def established(node: Deployed, address: str) -> int:
    """Connections of a node's network namespace that are open and have this end."""
    assert node.process is not None
    end = socket.inet_aton(address)[::-1].hex().upper()  # as the system's table has it on this kind of machine
    lines = Path(f"/proc/{node.process.pid}/net/tcp").read_text().splitlines()[1:]
    return sum(fields[1].startswith(end) and fields[3] == "01" for fields in map(str.split, lines))
