"""Exactly once over a crash: the node dies for real, another one goes on over the same files."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.operator.node import START, Node, running

TWO = '{"a": 1}\n{"a": 2}\n'


def crash(home: Path, point: str, options: str = "") -> None:
    done = subprocess.run([sys.executable, "-m", "tests.operator.crash", str(home), point, options], check=False)
    assert done.returncode == 9


@pytest.mark.parametrize("options", ["", " and update_tsd_info = true"], ids=["plain", "tsd"])
@pytest.mark.parametrize("point", ["insert", "archive", "forget"])
async def test_a_file_is_inserted_once_and_archived_once(tmp_path: Path, point: str, options: str) -> None:
    Node(tmp_path).drop("d.t.json", TWO)
    crash(tmp_path, point, options)
    async with running(tmp_path, START + options, tsd=bool(options)) as node:
        await node.settled()
        assert await node.rows("SELECT a FROM t ORDER BY a") == [(1,), (2,)]
        assert len(node.names("archive_dir")) == 1
        assert node.names("err_dir") == []
        if options:
            assert await node.rows("SELECT file_id, rows FROM tsd_info", "almgm") == [(1, 2)]
            assert await node.rows("SELECT DISTINCT tsd_id FROM t") == [(1,)]


async def test_a_new_file_of_the_same_name_and_content_is_taken_after_a_crash(tmp_path: Path) -> None:
    Node(tmp_path).drop("d.t.json", TWO)
    crash(tmp_path, "forget")
    async with running(tmp_path) as node:
        node.drop("d.t.json", TWO)
        await node.settled()
        assert await node.rows("SELECT count(*) FROM t") == [(4,)]
        assert await node.rows("SELECT count(*) FROM _edgelake_files") == [(0,)]
