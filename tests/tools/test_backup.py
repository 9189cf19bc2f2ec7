"""Backups of nodes that run, and what is restored of them."""

from __future__ import annotations

import json
import threading
from pathlib import Path

import pytest

from tests.system.program import OPERATOR, STANDALONE, Program
from tests.tools.test_configuration import edgelake


def rows(first: int, count: int) -> bytes:
    return b"\n".join(
        b'{"timestamp": "2026-01-01T00:00:%02dZ", "value": %d}' % (n % 60, n) for n in range(first, first + count)
    )


def sums(node: Program) -> dict[str, int]:
    """Rows, different values, largest value."""
    select = "select count(*) as n, count(distinct value) as d, max(value) as m from t"
    found: dict[str, int] = json.loads(node.get(f'sql plant format = json:list and stat = false "{select}"'))[0]
    return found


def backup(node: Program, target: Path) -> None:
    done = edgelake("backup", str(target), "--home", str(node.home), cwd=node.home)
    assert done.returncode == 0, done.stderr


def restore(target: Path, home: Path) -> None:
    home.mkdir()
    done = edgelake("restore", str(target), "--home", str(home), cwd=home)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("script", [STANDALONE, OPERATOR], ids=["alone", "operator"])
def test_a_running_node_is_copied_and_restored_equal(tmp_path: Path, script: str) -> None:
    with Program(tmp_path / "node", script) as node:
        node.post("id add user where name = eva and password = x")
        assert node.put(rows(0, 5000))[0] == 200
        backup(node, tmp_path / "copy")
        before = sums(node)
        policies = node.get("blockchain get *")
        assert node.put(rows(5000, 100))[0] == 200  # after the backup
    restore(tmp_path / "copy", tmp_path / "again")
    with Program(tmp_path / "again", script) as node:
        assert sums(node) == before
        assert node.get("blockchain get *") == policies
        assert "eva" in node.get("get users")
        assert node.put(rows(0, 10))[0] == 200  # it goes on
        node.post("flush buffers")
        assert node.count("t") == 5010
    assert (tmp_path / "again/EdgeLake/anylog/users.json").stat().st_mode & 0o777 == 0o600


def test_a_backup_under_load_has_one_moment_of_each_database(tmp_path: Path) -> None:
    with Program(tmp_path / "node") as node:
        stopped, sent = threading.Event(), []

        def load() -> None:
            while not stopped.is_set():
                first = 500 * len(sent)
                assert node.put(rows(first, 500))[0] == 200
                sent.append(first)

        thread = threading.Thread(target=load)
        thread.start()
        node.until(lambda: len(sent) > 5)
        before = len(sent)
        backup(node, tmp_path / "copy")
        stopped.set()
        thread.join()
    restore(tmp_path / "copy", tmp_path / "again")
    with Program(tmp_path / "again") as node:
        found = sums(node)
    assert found["n"] == found["d"] == found["m"] + 1  # batches are there whole, in their order, none is missing
    assert 500 * before <= found["n"] <= 500 * len(sent)


def test_a_node_that_was_killed_is_copied_with_its_journal(tmp_path: Path) -> None:
    node = Program(tmp_path / "node", STANDALONE + "set buffer threshold where time = 60 seconds and volume = 100MB\n")
    node.start()
    assert node.put(rows(0, 1000))[0] == 200
    node.kill()
    backup(node, tmp_path / "copy")
    restore(tmp_path / "copy", tmp_path / "again")
    with Program(tmp_path / "again") as again:
        again.post("flush buffers")
        assert again.count("t") == 1000


def test_a_backup_that_is_damaged_is_not_restored(tmp_path: Path) -> None:
    with Program(tmp_path / "node") as node:
        assert node.put(rows(0, 10))[0] == 200
        backup(node, tmp_path / "copy")
        again = edgelake("backup", str(tmp_path / "copy"), "--home", str(node.home), cwd=tmp_path)
        assert (again.returncode, "is not empty" in again.stderr) == (1, True)
        inside = edgelake("backup", str(node.home / "EdgeLake/x"), "--home", str(node.home), cwd=tmp_path)
        assert (inside.returncode, "inside" in inside.stderr) == (1, True)
        over = edgelake("restore", str(tmp_path / "copy"), "--home", str(node.home), cwd=tmp_path)
        assert (over.returncode, "is there" in over.stderr) == (1, True)
    whole = edgelake("restore", str(tmp_path / "copy"), "--check", cwd=tmp_path)
    assert (whole.returncode, "is whole" in whole.stdout) == (0, True)
    (damaged,) = (tmp_path / "copy/files/data/dbms").glob("plant*")
    content = bytearray(damaged.read_bytes())
    content[5000] ^= 1
    damaged.write_bytes(content)
    home = tmp_path / "again"
    home.mkdir()
    for more in (["--check"], []):
        done = edgelake("restore", str(tmp_path / "copy"), "--home", str(home), *more, cwd=tmp_path)
        assert (done.returncode, damaged.name in done.stderr) == (1, True)
    assert not list(home.iterdir())
    (tmp_path / "copy/manifest.json").unlink()
    cut = edgelake("restore", str(tmp_path / "copy"), "--home", str(home), cwd=tmp_path)
    assert (cut.returncode, "no backup" in cut.stderr) == (1, True)


def test_a_manifest_cannot_reach_outside(tmp_path: Path) -> None:
    with Program(tmp_path / "node") as node:
        backup(node, tmp_path / "copy")
    path = tmp_path / "copy/manifest.json"
    manifest = json.loads(path.read_text())
    manifest["files"].append({"path": "../../evil", "size": 0, "sha256": "", "mode": 420})
    path.write_text(json.dumps(manifest))
    home = tmp_path / "again"
    home.mkdir()
    done = edgelake("restore", str(tmp_path / "copy"), "--home", str(home), cwd=tmp_path)
    assert (done.returncode, "outside" in done.stderr) == (1, True)
