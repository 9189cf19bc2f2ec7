"""Files longer than a block: in bounded memory, exactly once whenever the node dies, nothing of a malformed one."""

from __future__ import annotations

import gzip
import json
import signal
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

import apsw
import pytest

from edgelake import _rust
from edgelake.errors import DatabaseError
from edgelake.ingest import rejects, source, sqlfile
from edgelake.ingest.names import FileName, content_hash
from edgelake.ingest.source import SourceFile
from edgelake.store.sqlite import SqliteStore
from tests.operator.crash import SMALL_BLOCK
from tests.operator.node import START, Node, NoWidening, running

ROWS = 2000
TSD = f"{START} and update_tsd_info = true"


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(source, "BLOCK_BYTES", SMALL_BLOCK)
    monkeypatch.setattr(sqlfile, "BLOCK_BYTES", SMALL_BLOCK)


def lines(numbers: Iterable[object]) -> str:
    return "".join(json.dumps({"n": n, "text": "x" * 40}) + "\n" for n in numbers)


def as_list(text: str) -> str:
    return f"[{text.strip().replace(chr(10), ', ')}]"


def as_pretty(text: str) -> str:
    return "".join(json.dumps(json.loads(line), indent=1) for line in text.splitlines())


async def numbers(node: Node) -> list[int]:
    return [row[0] for row in await node.rows("SELECT n FROM t ORDER BY n")]


async def leftovers(node: Node) -> int:
    return len(await node.rows("SELECT * FROM _edgelake_files"))


@pytest.mark.parametrize("form", [str, as_list, as_pretty], ids=["lines", "list", "pretty"])
@pytest.mark.parametrize("packed", [False, True], ids=["plain", "gz"])
async def test_a_long_file_of_any_form_is_stored_and_archived(
    tmp_path: Path, form: type[str], packed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = form(lines(range(ROWS))).encode()
    inserts = counted_inserts(monkeypatch)
    async with running(tmp_path, TSD, tsd=True) as node:
        if packed:
            half = len(content) // 2  # a file of two members
            node.drop("d.t.json.gz", gzip.compress(content[:half]) + gzip.compress(content[half:]))
        else:
            node.drop("d.t.json", content)
        await node.settled()
        assert await numbers(node) == list(range(ROWS))
        assert len(inserts) > 10
        assert await node.rows("SELECT DISTINCT tsd_name, tsd_id FROM t") == [("95", 1)]
        found = await node.rows("SELECT file_hash, rows FROM tsd_info", "almgm")
        assert found == [(content_hash("d", "t", content), ROWS)]
        (kept,) = node.folder("archive_dir").rglob("*.gz")
        assert gzip.decompress(kept.read_bytes()) == content
        assert node.names("err_dir") == []
        assert await leftovers(node) == 0


def counted_inserts(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    seen: list[int] = []
    insert = SqliteStore.insert

    async def counted(self: SqliteStore, wanted: object, **options: object) -> object:
        seen.append(1)
        return await insert(self, wanted, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(SqliteStore, "insert", counted)
    return seen


async def test_a_short_file_is_one_transaction(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    inserts = counted_inserts(monkeypatch)
    async with running(tmp_path) as node:
        content = lines(range(20))
        assert len(content) < SMALL_BLOCK
        node.drop("d.t.json", content)
        await node.settled()
        assert await numbers(node) == list(range(20))
        assert len(inserts) == 1


LATE = {
    "cut row": '{"n": 1, "te',
    "no JSON": "{n: 1}\n",
    "no object": "17\n",
    "bracket": '{"n": [1}\n',
    "encoding": b'{"n": "\xff"}\n',
}


@pytest.mark.parametrize("name", LATE)
async def test_a_file_malformed_at_its_end_stores_nothing(tmp_path: Path, name: str) -> None:
    late = LATE[name]
    content = lines(range(ROWS)).encode() + (late if isinstance(late, bytes) else late.encode())
    async with running(tmp_path) as node:
        node.drop("d.t.json", content)
        await node.refused()
        assert list(node.ctx.stores.get("d").tables) == []
        (path,) = (p for p in node.folder("err_dir").iterdir() if p.suffix != ".reason")
        assert path.read_bytes() == content
        reason = json.loads(path.with_name(path.name + ".reason").read_text())
        assert reason["err_code"] == 6
        assert reason["where"]["row"] == ROWS + 1
        assert reason["where"]["byte"] >= len(lines(range(ROWS)))


async def test_a_cut_gz_file_stores_nothing(tmp_path: Path) -> None:
    async with running(tmp_path) as node:
        node.drop("d.t.json.gz", gzip.compress(lines(range(ROWS)).encode())[:-20])
        await node.refused()
        assert list(node.ctx.stores.get("d").tables) == []


async def test_the_whole_file_decides_the_columns_of_a_new_table(tmp_path: Path) -> None:
    content = lines(range(ROWS)) + '{"n": 1.25, "late": "2026-01-01T00:00:00Z"}\n'
    async with running(tmp_path, ingest=NoWidening()) as node:
        node.drop("d.t.json", content)
        await node.settled()
        assert node.names("err_dir") == []
        kinds = {c.name: c.kind for c in node.ctx.stores.get("d").table("t").user_columns}
        assert kinds == {"n": "decimal", "text": "varchar", "late": "timestamp"}
        assert await node.rows("SELECT count(*), max(n) FROM t") == [(ROWS + 1, ROWS - 1)]


def crash(home: Path, point: str) -> None:
    """A node of its own is killed once so many blocks are committed."""
    line = [sys.executable, "-m", "tests.operator.crash", str(home), point, " and update_tsd_info = true"]
    assert subprocess.run(line, check=False).returncode == -signal.SIGKILL


@pytest.mark.parametrize("packed", [False, True], ids=["plain", "gz"])
async def test_a_file_goes_on_behind_its_last_block_after_kills(
    tmp_path: Path, packed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = as_list(lines(range(ROWS))).encode()
    Node(tmp_path).drop("d.t.json.gz" if packed else "d.t.json", gzip.compress(content) if packed else content)
    for block in (1, 4, 2):
        crash(tmp_path, f"block {block}")
    inserts = counted_inserts(monkeypatch)
    async with running(tmp_path, TSD, tsd=True) as node:
        await node.settled()
        assert await numbers(node) == list(range(ROWS))
        assert len(inserts) == -(-len(content) // (SMALL_BLOCK + 80)) - 7
        assert await node.rows("SELECT file_id, rows FROM tsd_info", "almgm") == [(1, ROWS)]
        assert await node.rows("SELECT DISTINCT tsd_id FROM t") == [(1,)]
        assert len(node.names("archive_dir")) == 1
        assert node.names("err_dir") == []
        assert await leftovers(node) == 0


async def test_rejected_rows_of_all_blocks_are_one_file_also_after_a_kill(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rejects, "LISTED_REASONS", 3)
    bad = range(1, ROWS, 200)
    text = "".join(lines([f"bad {n}" if n in bad else n]) for n in range(ROWS))
    async with running(tmp_path, ingest=NoWidening()) as node:
        node.drop("d.t.json", lines([-1]))
        await node.settled()
        await node.text("exit operator")
    Node(tmp_path).drop("d.t.json", text)
    crash(tmp_path, "block 5 fixed")
    async with running(tmp_path, TSD, tsd=True, ingest=NoWidening()) as node:
        await node.settled()
        assert await numbers(node) == [-1, *(n for n in range(ROWS) if n not in bad)]
        (path,) = (p for p in node.folder("err_dir").iterdir() if p.suffix != ".reason")
        assert [json.loads(line)["n"] for line in path.read_text().splitlines()] == [f"bad {n}" for n in bad]
        reason = json.loads(path.with_name(path.name + ".reason").read_text())
        assert reason["rows_rejected"] == len(bad)
        assert [one["row"] for one in reason["rows"]] == [n + 1 for n in bad[:3]]
        assert (await node.rows("SELECT rows FROM tsd_info", "almgm"))[-1] == (ROWS - len(bad),)


def test_a_file_far_longer_than_a_block_takes_bounded_memory(tmp_path: Path) -> None:
    rows = 9_000
    row = json.dumps({"timestamp": "2026-01-01T00:00:00Z", "text": "0123456789abcdef" * 1024})
    path = tmp_path / "d.t.json"
    with path.open("wb") as file:  # 148 MB, one list
        file.write(f"[{row}".encode())
        for _ in range(rows // 100):
            file.write(f", {row}".encode() * 100)
        file.write(b"]")
    line = [sys.executable, "-m", "tests.operator.peak", str(tmp_path / "home"), str(path)]
    found = subprocess.run(line, check=True, capture_output=True, text=True).stdout.split()
    assert int(found[0]) == rows + 1
    assert int(found[1]) < 120 << 20


@pytest.mark.parametrize("size", [4, ROWS], ids=["short", "long"])
async def test_rows_that_the_database_refuses_are_kept_out_and_the_others_stored_once(
    tmp_path: Path, size: int
) -> None:
    async with running(tmp_path, TSD, tsd=True) as node:
        await node.ctx.stores.get("d").execute("CREATE TABLE t (n integer UNIQUE, text varchar)")
        numbers_given = [*range(size), 1, 2]  # the last two are there already
        node.drop("d.t.json", lines(numbers_given))
        await node.settled()
        assert await numbers(node) == list(range(size))
        (path,) = (p for p in node.folder("err_dir").iterdir() if p.suffix != ".reason")
        assert [json.loads(line)["n"] for line in path.read_text().splitlines()] == [1, 2]
        reason = json.loads(path.with_name(path.name + ".reason").read_text())
        assert [one["row"] for one in reason["rows"]] == [size + 1, size + 2]
        assert "UNIQUE" in reason["rows"][0]["reason"]
        assert await node.rows("SELECT rows FROM tsd_info", "almgm") == [(size,)]
        assert await leftovers(node) == 0


async def test_a_database_that_is_busy_makes_a_file_wait(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with running(tmp_path) as node:
        with monkeypatch.context() as patch:

            async def busy(*_: object, **__: object) -> object:
                raise DatabaseError("d: database is locked") from apsw.BusyError("locked")

            patch.setattr(SqliteStore, "insert", busy)
            node.drop("d.t.json", lines(range(ROWS)))
            await node.until(lambda: "locked" in node.operator.status().last_error)
        assert node.names("watch_dir") == ["d.t.json"]
        node.operator._again(node.folder("watch_dir") / "d.t.json")
        await node.settled()
        assert await numbers(node) == list(range(ROWS))


async def test_others_are_stored_while_a_file_is_loaded(tmp_path: Path) -> None:
    async with running(tmp_path) as node:
        store = node.ctx.stores.get("d")
        node.drop("d.t.json", lines(range(6 * ROWS)))
        await node.until(lambda: "t" in store.tables)
        await store.change(lambda tx: tx.execute("SELECT 1"))
        ((rows, stored),) = await node.rows("SELECT rows, stored FROM _edgelake_files")
        assert 0 < rows == stored < 6 * ROWS
        await node.settled()
        assert await numbers(node) == list(range(6 * ROWS))


async def test_the_operator_stops_between_two_blocks_and_goes_on_at_its_next_start(tmp_path: Path) -> None:
    async with running(tmp_path) as node:
        store = node.ctx.stores.get("d")
        node.drop("d.t.json", lines(range(6 * ROWS)))
        await node.until(lambda: "t" in store.tables)
        await node.text("exit operator")
        assert node.names("watch_dir") == ["d.t.json"]
        assert 0 < len(await numbers(node)) < 6 * ROWS
        await node.text(START)
        await node.settled()
        assert await numbers(node) == list(range(6 * ROWS))
        assert node.names("err_dir") == []


async def test_a_file_that_is_changed_meanwhile_waits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with running(tmp_path) as node:
        insert = SqliteStore.insert
        path = node.folder("watch_dir") / "d.t.json"

        async def insert_and_write(self: SqliteStore, wanted: object, **options: object) -> object:
            with path.open("a") as file:
                file.write(lines([ROWS]))
            return await insert(self, wanted, **options)  # type: ignore[arg-type]

        monkeypatch.setattr(SqliteStore, "insert", insert_and_write)
        node.drop("d.t.json", lines(range(ROWS)))
        await node.until(lambda: "changed while it was read" in node.operator.status().last_error)
        assert path.exists()


@pytest.mark.parametrize("threads", [3])
async def test_equal_files_at_once_are_one_with_tsd(tmp_path: Path, threads: int) -> None:
    async with running(tmp_path, f"{TSD} and threads = {threads}", tsd=True) as node:
        for number in range(6):
            node.drop(f"d.t.{number}.json", lines(range(10)))
        await node.settled()
        assert await numbers(node) == list(range(10))
        assert len([name for name in node.names("err_dir") if ".err_86." in name and "reason" not in name]) == 5


# ---- SQL


def statements(count: int) -> str:
    values = "('2026-01-01 00:00:{:02}', 'it''s; \"{}\" DEFAULT', DEFAULT)"
    return "".join(
        f"INSERT INTO t (timestamp, text, n) VALUES {values.format(n % 60, n)}, {values.format(n % 60, -n)};\n"
        for n in range(count)
    )


async def test_a_long_sql_file_is_run_in_blocks(tmp_path: Path) -> None:
    async with running(tmp_path) as node:
        node.drop("d.t.json", '{"timestamp": "2026-01-01T00:00:00Z", "text": "first long text", "n": 1}')
        await node.settled()
        before = (await node.data("get operator sql"))["d"]["t"][0]
        node.drop("d.t.0.0.h.0.insert.sql.gz", gzip.compress(statements(500).encode()))
        await node.settled()
        assert node.names("err_dir") == []
        assert await node.rows("SELECT count(*), count(DISTINCT text) FROM t") == [(1001, 1000)]
        assert (await node.rows("SELECT text FROM t ORDER BY row_id LIMIT 1 OFFSET 3"))[0] == ('it\'s; "1" DEFAULT',)
        assert (await node.data("get operator sql"))["d"]["t"][0] > before + 5
        assert await leftovers(node) == 0


async def test_of_an_sql_file_that_fails_late_only_the_rest_is_handed_back(tmp_path: Path) -> None:
    async with running(tmp_path) as node:
        node.drop("d.t.json", '{"timestamp": "2026-01-01T00:00:00Z", "text": "first long text", "n": 1}')
        await node.settled()
        node.drop("d.t.0.0.h.0.insert.sql", f"{statements(500)}INSERT INTO t (nosuch) VALUES (1);\n{statements(1)}")
        await node.refused()
        (path,) = (p for p in node.folder("err_dir").iterdir() if p.suffix != ".reason")
        reason = json.loads(path.with_name(path.name + ".reason").read_text())
        kept = list(sqlfile.split([path.read_bytes()]))
        assert "nosuch" in path.read_text()
        assert reason["statements_stored"] + len(kept) == 502
        assert 0 < reason["statements_stored"] < 500
        stored = (await node.rows("SELECT count(*) - 1 FROM t"))[0][0]
        assert stored == 2 * reason["statements_stored"]
        await node.until(lambda: not node.names("watch_dir"))
        await node.operator.idle()
        assert await leftovers(node) == 0


async def test_an_sql_file_with_another_statement_at_its_end_stores_nothing(tmp_path: Path) -> None:
    async with running(tmp_path) as node:
        node.drop("d.t.json", '{"timestamp": "2026-01-01T00:00:00Z", "text": "first long text", "n": 1}')
        await node.settled()
        node.drop("d.t.0.0.h.0.insert.sql", statements(500) + "DROP TABLE t;")
        await node.refused()
        assert await node.rows("SELECT count(*) FROM t") == [(1,)]


@pytest.mark.parametrize("cut", [1, 2, 3, 7, 64, 100_000])
def test_statements_are_the_same_however_the_file_is_cut(cut: int) -> None:
    text = (
        "INSERT INTO t VALUES ('a;''b\";', \"c;\"\"d\", 'é');;\n INSERT INTO t VALUES (1) ; INSERT INTO t VALUES ('x')"
    )
    content = text.encode()
    found = list(sqlfile.split(content[at : at + cut] for at in range(0, len(content), cut)))
    assert found == [
        "INSERT INTO t VALUES ('a;''b\";', \"c;\"\"d\", 'é')",
        "INSERT INTO t VALUES (1)",
        "INSERT INTO t VALUES ('x')",
    ]


def test_the_content_of_a_file_is_its_own_after_another_took_its_name(tmp_path: Path) -> None:
    path = tmp_path / "d.t.json"
    path.write_text("one")
    with SourceFile(path, FileName("d", "t")) as opened:
        path.unlink()
        path.write_text("two")
        assert b"".join(opened.pieces()) == b"one"
        assert not opened.is_in_place()


def test_picked_rows_are_as_they_came() -> None:
    payload = b"[{'a': 1}, {\"b\": [1,\n2]},{'c': '}'}]"
    assert _rust.pick_rows(payload, [0, 2]) == b'{"a": 1}\n{"c": "}"}\n'
    assert _rust.pick_rows(b'{"a" : 1}{"b":2 }', [1]) == b'{"b":2 }\n'
    assert _rust.pick_rows(b"no rows", [0]) == b""
