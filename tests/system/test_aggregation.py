"""Aggregates of a node that is killed: they say what SQL says of the rows, here and in another database."""

from __future__ import annotations

import http.client
import itertools
import json
import random
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.system.program import AGENT, STANDALONE, Program

KILLS = 5
SCRIPT = (
    STANDALONE.replace("run rest", "connect dbms history where type = sqlite\n{lines}run rest")
    .replace("{lines}", "".join(f"{line}\n" for line in (
        "set aggregation where dbms = plant and table = t and intervals = 3 and time = 1 minute and value_column = n",
        "set aggregation encoding where dbms = plant and table = t and value_column = n and encoding = bounds",
        "set aggregation where dbms = plant and table = t and time = 1 minute and value_column = m"
        " and target_dbms = history",
        "set aggregation where dbms = plant and table = gone and time = 1 minute and value_column = n",
        "set aggregation ingest where dbms = plant and table = gone and source = false and derived = true",
    )))
)  # fmt: skip


def row(n: int) -> dict[str, Any]:
    second = n // 20
    return {"timestamp": f"2026-01-01T00:{second // 60 % 60:02}:{second % 60:02}Z", "n": n, "m": n / 7}


def send(node: Program, numbers: Iterator[int], acknowledged: list[int]) -> None:
    """Rows until the node is killed; those of an answer that did not come may be there or not."""
    link = http.client.HTTPConnection("127.0.0.1", node.port, timeout=10)
    try:
        while True:
            own = list(itertools.islice(numbers, 7))
            body = "\n".join(json.dumps(row(n)) for n in own).encode()
            for table in ("t", "gone"):
                link.request(
                    "PUT", "/", body=body, headers={**AGENT, "dbms": "plant", "table": table, "mode": "streaming"}
                )
                reply = link.getresponse()
                reply.read()
                assert reply.status == 200
                if table == "gone":
                    acknowledged += own
    except (OSError, http.client.HTTPException):
        return
    finally:
        link.close()


def ask(node: Program, sql: str, dbms: str = "plant") -> list[dict[str, Any]]:
    reply = json.loads(node.get(f'sql {dbms} format = json and stat = false "{sql}"'))
    found: list[dict[str, Any]] = reply["Query"]
    return found


def test_kills_neither_lose_nor_double_a_value(tmp_path: Path) -> None:
    moments, numbers = random.Random(), itertools.count()
    acknowledged: list[int] = []
    for _ in range(KILLS):
        node = Program(tmp_path, SCRIPT)
        node.start()
        sender = threading.Thread(target=send, args=(node, numbers, acknowledged), daemon=True)
        sender.start()
        time.sleep(moments.uniform(0.2, 0.8))  # the moment of the kill is what varies
        node.kill()
        sender.join(15)
    with Program(tmp_path, SCRIPT) as node:
        node.until(lambda: not any(r["waiting"] for r in node.data("get aggregation tables")))
        node.post("flush buffers")
        node.until(lambda: not any(r["waiting"] for r in node.data("get aggregation tables")))
        (here,) = ask(node, "select count(n) as c, min(n) as lo, max(n) as hi, sum(n) as s, sum(m) as sm from t")
        assert int(here["c"]) >= len(acknowledged)
        for table, dbms, low, high, total in (
            ("bounds_t", "plant", here["lo"], here["hi"], here["s"]),
            ("agg_t", "history", float(here["lo"]) / 7, float(here["hi"]) / 7, here["sm"]),
        ):
            parts = ask(node, f"select min_val, max_val, avg_val, events from {table}", dbms)
            assert sum(int(p["events"]) for p in parts) == int(here["c"])
            assert min(float(p["min_val"]) for p in parts) == float(low)
            assert max(float(p["max_val"]) for p in parts) == float(high)
            summed = sum(float(p["avg_val"]) * int(p["events"]) for p in parts)
            assert abs(summed - float(total)) <= 1e-9 * abs(float(total)) + 1e-6
        # Of rows that are not stored themselves the aggregates have every one that was acknowledged.
        condensed = ask(node, "select events, max_val from agg_gone")
        known = sum(int(p["events"]) for p in condensed)
        assert len(acknowledged) <= known <= len(acknowledged) + 7 * KILLS
