"""What the page on moving says: policies and rows of an old node, taken over by the lines and program that it shows."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import apsw

from tests.docs.test_docs import ROOT
from tests.system.program import Program

PAGE = (ROOT / "docs" / "migration.md").read_text()


def shown(kind: str) -> str:
    """The page's first block of a kind."""
    return re.findall(rf"^```{kind}\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)[0]


def test_policies_are_taken_over(tmp_path: Path) -> None:
    ledger = tmp_path / "old/EdgeLake/blockchain/blockchain.json"
    ledger.parent.mkdir(parents=True)
    policies = [
        {"cluster": {"name": "c1", "company": "acme", "id": "c-1", "date": "2026-01-01T00:00:00.000000Z"}},
        {"table": {"name": "motor", "dbms": "plant", "id": "t-1", "date": "2026-01-01T00:00:00.000000Z"}},
    ]
    ledger.write_text("".join(json.dumps(policy) + "\n" for policy in policies))
    (tmp_path / "edgelake").write_text(f'#!/bin/sh\nexec {sys.executable} -m edgelake "$@"\n')
    (tmp_path / "edgelake").chmod(0o755)
    environment = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"}
    done = subprocess.run(
        ["sh", "-e", "-c", shown("sh")], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    assert "Policies are valid" in done.stdout
    assert done.stdout.split()[-1] == "2"


def test_rows_of_a_sqlite_file_are_taken_over_with_their_times_and_types(tmp_path: Path) -> None:
    old = tmp_path / "old.dbms"
    link = apsw.Connection(str(old))
    link.execute(
        "create table motor (row_id integer primary key, insert_timestamp timestamp, tsd_name char(3), tsd_id int,"
        " timestamp timestamp, device varchar, speed float, runs bool)"
    )
    rows = [
        (n, "2026-01-01", "abc", 1, f"2026-01-02 03:04:{n % 60:02}.5", f"m-{n % 3}", n / 2, n % 2)
        for n in range(12_000)
    ]
    with link:
        link.executemany("insert into motor values (?, ?, ?, ?, ?, ?, ?, ?)", rows)
        link.execute("update motor set speed = null where row_id = 7")
    link.close()
    (tmp_path / "rows.py").write_text(shown("python"))
    with Program(tmp_path / "node") as node:
        told = [sys.executable, "rows.py", str(old), "plant", "motor", f"http://127.0.0.1:{node.port}"]
        for _ in range(2):  # again: the same requests store nothing twice
            done = subprocess.run(told, cwd=tmp_path, capture_output=True, text=True, timeout=60)
            assert (done.returncode, done.stdout) == (0, "12000 rows\n"), done.stderr
            node.post("flush buffers")
            assert node.count("motor") == 12_000
        select = "select min(timestamp) as first, max(speed) as top, count(speed) as n from motor"
        (found,) = json.loads(node.get(f'sql plant format = json:list and stat = false and timezone = utc "{select}"'))
        columns = node.data("get columns where dbms = plant and table = motor")
    assert found["first"].startswith("2026-01-02T03:04:00.5")
    assert (float(found["top"]), found["n"]) == (5999.5, 11_999)
    assert columns["timestamp"].startswith("timestamp")
    assert columns["device"].startswith("char")
