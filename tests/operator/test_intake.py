"""Files of the watch directory become rows, exactly once, and are archived."""

from __future__ import annotations

import gzip
import json
from datetime import UTC, datetime
from pathlib import Path

import pytest

from edgelake.errors import AlreadyRunningError, EdgeLakeError
from edgelake.ingest.names import content_hash
from tests.operator.node import START, Node, NoWidening, is_root, running

TWO = '{"timestamp": "2026-01-01T00:00:00Z", "value": 1}\n{"timestamp": "2026-01-01T00:00:01Z", "value": 2.5}\n'


async def test_a_file_becomes_rows_and_is_archived_by_day(tmp_path: Path) -> None:
    async with running(tmp_path) as node:
        node.drop("d.t.json", TWO)
        await node.settled()
        assert await node.rows("SELECT value, tsd_name, tsd_id FROM t ORDER BY row_id") == [
            (1.0, "0", 0),
            (2.5, "0", 0),
        ]
        day = datetime.now(UTC).strftime("%y/%m/%d")
        kept = node.folder("archive_dir") / day / f"d.t.0.{content_hash('d', 't', TWO.encode())}.0.json.gz"
        assert gzip.decompress(kept.read_bytes()).decode() == TWO
        assert node.names("err_dir") == []


@pytest.mark.parametrize(
    "content",
    ['[{"a": 1}, {"a": 2}, {"a": 3}]', '{\n "a": 1\n}\n{\n "a":\n 2}\n{"a": 3}', '{"a": 1}{"a": 2},{"a": 3}'],
    ids=["list", "several lines", "glued"],
)
async def test_every_form_of_content_is_taken(tmp_path: Path, content: str) -> None:
    async with running(tmp_path) as node:
        node.drop("d.t.json", content)
        await node.settled()
        assert await node.rows("SELECT a FROM t ORDER BY a") == [(1,), (2,), (3,)]


async def test_a_compressed_file_is_unpacked_on_the_way(tmp_path: Path) -> None:
    async with running(tmp_path) as node:
        node.drop("d.t.json.gz", gzip.compress(TWO.encode()))
        await node.settled()
        assert await node.rows("SELECT count(*) FROM t") == [(2,)]
        assert node.names("archive_dir") == [f"d.t.0.{content_hash('d', 't', TWO.encode())}.0.json.gz"]


async def test_files_that_lay_there_before_the_start_are_taken(tmp_path: Path) -> None:
    node = Node(tmp_path)
    node.drop("d.t.json", TWO)
    async with running(tmp_path) as started:
        await started.settled()
        assert await started.rows("SELECT count(*) FROM t") == [(2,)]


async def test_equal_files_without_tsd_are_both_stored_and_both_kept(tmp_path: Path) -> None:
    async with running(tmp_path) as node:
        for _ in range(2):
            node.drop("d.t.json", TWO)
            await node.settled()
        assert await node.rows("SELECT count(*) FROM t") == [(4,)]
        assert len(node.names("archive_dir")) == 2


@pytest.mark.parametrize(
    ("option", "kept"),
    [("archive_json = false", []), ("compress_json = false", ["json"]), ("archive = false", [])],
)
async def test_archive_options(tmp_path: Path, option: str, kept: list[str]) -> None:
    async with running(tmp_path, f"{START} and {option}") as node:
        node.drop("d.t.json", TWO)
        await node.settled()
        assert [name.rpartition(".")[2] for name in node.names("archive_dir")] == kept
        assert node.names("err_dir") == []


REFUSED = {
    "nosuchdb.t.json": (TWO, 10),
    "d.json": (TWO, 119),
    "d.t.0.h.p.5.json": (TWO, 119),
    "d.t.json": ('{"a": 1}\n{"a": ', 6),
    "d.empty.json": ("[]", 6),
    "d.t.0.h.0.7.3.260101010101.json": (TWO, 131),
    "d.t.0.0.h.0.insert.sql": ("DROP TABLE t", 16),
}


@pytest.mark.parametrize("name", REFUSED)
async def test_a_file_that_cannot_be_taken_goes_to_the_error_folder_with_its_reason(tmp_path: Path, name: str) -> None:
    content, number = REFUSED[name]
    async with running(tmp_path) as node:
        node.drop(name, content)
        await node.refused()
        (path,) = (p for p in node.folder("err_dir").iterdir() if p.suffix != ".reason")
        kind = ".insert.sql" if name.endswith(".sql") else ".json"
        assert path.name.startswith(f"{name.removesuffix(kind)}.err_{number}.")
        assert path.name.endswith(kind)
        assert path.read_text() == content
        assert json.loads(path.with_name(path.name + ".reason").read_text())["err_code"] == number
        assert node.names("watch_dir") == []
        errors = await node.data("get operator error")
        assert [(e["counter"], e["last error"]) for e in errors] == [(1, number)]


async def test_limit_tables_lets_in_what_is_listed(tmp_path: Path) -> None:
    async with running(tmp_path, f"{START} and limit_tables = (d.t, anywhere)") as node:
        for table in ("t", "anywhere", "other"):
            node.drop(f"d.{table}.json", TWO)
        await node.settled()
        assert sorted(node.ctx.stores.get("d").tables) == ["anywhere", "t"]
        assert [n.partition(".err_")[2][:3] for n in node.names("err_dir")] == ["130", "130"]


@pytest.mark.parametrize("spelling", ["create_table", "craete_table"])
async def test_create_table_false_is_honoured_in_both_spellings(tmp_path: Path, spelling: str) -> None:
    async with running(tmp_path, f"{START} and {spelling} = false") as node:
        node.drop("d.t.json", TWO)
        await node.settled()
        assert ".err_171." in node.names("err_dir")[0]


async def test_rows_that_do_not_fit_go_to_the_error_folder_and_the_rest_is_stored(tmp_path: Path) -> None:
    async with running(tmp_path, ingest=NoWidening()) as node:
        node.drop("d.t.json", '{"a": 1}')
        await node.settled()
        node.drop("d.t.json", '{"a": 2}\n{"a": "not a number"}\n{"a": 3}')
        await node.settled()
        assert await node.rows("SELECT a FROM t ORDER BY a") == [(1,), (2,), (3,)]
        (path,) = (p for p in node.folder("err_dir").iterdir() if p.suffix != ".reason")
        assert json.loads(path.read_text()) == {"a": "not a number"}
        reason = json.loads(path.with_name(path.name + ".reason").read_text())
        assert [row["row"] for row in reason["rows"]] == [2]
        assert len(node.names("archive_dir")) == 2


async def test_a_file_with_no_fitting_row_goes_whole(tmp_path: Path) -> None:
    async with running(tmp_path, ingest=NoWidening()) as node:
        node.drop("d.t.json", '{"a": 1}')
        await node.settled()
        node.drop("d.t.json", '{"a": "x"}')
        await node.settled()
        assert len(node.names("archive_dir")) == 1
        assert len(node.names("err_dir")) == 2


async def test_a_schema_change_widens_the_table(tmp_path: Path) -> None:
    async with running(tmp_path) as node:
        node.drop("d.t.json", '{"a": 1}')
        await node.settled()
        node.drop("d.t.json", '{"a": 1.5, "b": "new"}')
        await node.settled()
        assert await node.rows("SELECT a, b FROM t ORDER BY a") == [(1, None), (1.5, "new")]


async def test_with_tsd_the_file_is_entered_named_and_taken_once(tmp_path: Path) -> None:
    async with running(tmp_path, f"{START} and update_tsd_info = true", tsd=True) as node:
        node.drop("d.t.json", TWO)
        await node.settled()
        entered = await node.rows("SELECT file_id, dbms_name, table_name, rows FROM tsd_info", "almgm")
        assert entered == [(1, "d", "t", 2)]
        assert await node.rows("SELECT DISTINCT tsd_name, tsd_id FROM t") == [("95", 1)]
        (kept,) = node.names("archive_dir")
        assert kept.startswith(f"d.t.0.{content_hash('d', 't', TWO.encode())}.0.95.1.")
        node.drop("d.t.json", TWO)
        await node.settled()
        assert await node.rows("SELECT count(*) FROM t") == [(2,)]
        assert ".err_86." in node.names("err_dir")[0]


async def test_update_tsd_info_needs_its_table(tmp_path: Path) -> None:
    with pytest.raises(EdgeLakeError, match="almgm") as caught:
        async with running(tmp_path, f"{START} and update_tsd_info = true"):
            pass
    assert caught.value.number == 3


async def test_sql_files_insert_into_the_table_and_are_archived_on_request(tmp_path: Path) -> None:
    sql = (
        "INSERT INTO par_t_2026_01_d14_insert_timestamp (insert_timestamp, timestamp, value) VALUES "
        "('2026-01-02 03:04:05', '2026-01-01 00:00:02', 3), (DEFAULT, '2026-01-01 00:00:03', 4);\n"
    )
    async with running(tmp_path, f"{START} and archive_sql = true and compress_sql = false") as node:
        node.drop("d.t.json", TWO)
        await node.settled()
        node.drop("d.t.2026_01_d14_insert_timestamp.0.h.0.insert.sql", sql)
        await node.settled()
        assert node.names("err_dir") == []
        assert await node.rows("SELECT timestamp / 1000000 - 1767225600, value FROM t ORDER BY timestamp") == [
            (0, 1.0),
            (1, 2.5),
            (2, 3.0),
            (3, 4.0),
        ]
        assert [n for n in node.names("archive_dir") if n.endswith(".sql")] == node.names("bkup_dir")


async def test_a_file_of_rows_already_inserted_is_only_archived(tmp_path: Path) -> None:
    async with running(tmp_path) as node:
        node.drop("d.t.0.h.0.@.12.260101010101.json", TWO)
        await node.settled()
        assert list(node.ctx.stores.get("d").tables) == []
        path = node.folder("archive_dir") / "26/01/01/d.t.0.h.0.95.12.260101010101.json.gz"
        assert path.is_file()
        assert (await node.data("get operator json"))["d"]["t"][:2] == [1, 1]


async def test_a_file_that_cannot_be_moved_stays_and_is_not_inserted_again(tmp_path: Path) -> None:
    async with running(tmp_path) as node:
        archive = node.folder("archive_dir")
        archive.rmdir()
        archive.write_text("not a folder")
        node.drop("d.t.json", TWO)
        await node.until(lambda: node.operator.status().last_error != "")
        assert node.names("watch_dir") == ["d.t.json"]
        archive.unlink()
        archive.mkdir()
        node.operator._again(node.folder("watch_dir") / "d.t.json")
        await node.settled()
        assert await node.rows("SELECT count(*) FROM t") == [(2,)]
        assert len(node.names("archive_dir")) == 1


async def test_start_needs_its_directories(tmp_path: Path) -> None:
    async with running(tmp_path) as node:
        await node.text("exit operator")
        node.folder("watch_dir").rmdir()
        with pytest.raises(EdgeLakeError, match="watch_dir") as caught:
            await node.text(START)
        assert caught.value.number == 35
        if not is_root():
            node.folder("watch_dir").mkdir(mode=0o500)
            with pytest.raises(EdgeLakeError) as caught:
                await node.text(START)
            assert caught.value.number == 63


async def test_policy_is_needed_and_a_second_start_refused(tmp_path: Path) -> None:
    async with running(tmp_path) as node:
        with pytest.raises(AlreadyRunningError):
            await node.text(START)
        await node.text("exit operator")
        with pytest.raises(EdgeLakeError, match="nosuch") as caught:
            await node.text("run operator where policy = nosuch")
        assert caught.value.number == 113
        await node.text(START)
        details = (await node.data("get processes"))["Operator"]
        assert details == {
            "Status": "Running",
            "Details": "Cluster Member: True, Using Master: False, Threads Pool: 1",
        }


async def test_the_seeds_example_starts(tmp_path: Path) -> None:
    line = (
        "run operator where create_table = true and update_tsd_info = true and archive_json = true and "
        "distributor = true and master_node = 127.0.0.1:32048 and policy = !policy and threads = 3"
    )
    async with running(tmp_path, line, tsd=True) as node:
        details = (await node.data("get processes"))["Operator"]["Details"]
        assert details == "Cluster Member: True, Using Master: 127.0.0.1:32048, Threads Pool: 3"
        assert await node.text("get watch directories") == f"[{node.folder('watch_dir')}/]"
