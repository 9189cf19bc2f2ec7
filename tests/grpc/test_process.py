"""A node in a process of its own: server and node are killed in turn, and both find each other again."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.grpc.conftest import Start
from tests.grpc.nodes import run
from tests.system.program import STANDALONE, Program


@pytest.mark.slow
def test_server_and_node_are_killed_in_mid_stream(tmp_path: Path, server: Start) -> None:
    source = server(pause_s=0.001)
    more = "dbms = plant and table = t and reconnect = true"
    client = run("long", source.port, "Watch", more, proto="")
    node = Program(tmp_path, STANDALONE.replace("run rest", f"{client}\nrun rest"))

    def stored() -> int:
        return int(node.data("get grpc clients")[0]["Rows"])

    with node:
        node.until(lambda: stored() > 300)
        source.kill()
        source.start(start=1_000_000)
        node.until(lambda: stored() > 1000)
        node.post("flush buffers")
        kept = stored()
        node.kill()
        source.kill()
        source.start(start=2_000_000)
        node.start()
        node.until(lambda: stored() > 300)
        node.post("flush buffers")
        assert node.count("t") >= kept + 300
        reply = node.get("sql plant format = json and stat = false select n from t order by n")
        numbers = [int(row["n"]) for row in json.loads(reply)["Query"]]
    for first in (1, 1_000_000, 2_000_000):
        run_of = [n for n in numbers if first <= n < first + 500_000]
        assert run_of == list(range(first, first + len(run_of)))
