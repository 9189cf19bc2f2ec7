"""Archive and file commands, and PUT in file mode."""

from __future__ import annotations

import gzip
import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from edgelake.errors import CommandError, EdgeLakeError, PayloadError
from edgelake.ingest import filing
from edgelake.ingest.names import content_hash
from edgelake.ingest.putfile import FilePut
from tests.operator.node import Node, running

VECTORS = json.loads((Path(__file__).resolve().parent.parent / "vectors" / "names-and-files.json").read_text())


async def opened(home: Path) -> Node:
    node = Node(home)
    await node.open()
    return node


async def test_archived_files_of_a_day_and_their_removal(tmp_path: Path) -> None:
    node = await opened(tmp_path)
    now = datetime.now(UTC)
    for days in (0, 59, 60, 61, 400):
        folder = filing.day_folder(node.folder("archive_dir"), now - timedelta(days=days))
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"d.t{days}.json.gz").write_text("")
    day = (now - timedelta(days=59)).strftime("%Y-%m-%d")
    assert await node.text(f"get archived files {day}") == "d.t59.json.gz"
    assert await node.data("get archived files 2001-01-01") == []
    with pytest.raises(CommandError, match="is no date"):
        await node.text("get archived files yesterday")
    await node.text("delete archive where days = 60")
    assert node.names("archive_dir") == ["d.t0.json.gz", "d.t59.json.gz", "d.t60.json.gz"]
    years = {p.name for p in node.folder("archive_dir").iterdir()}
    assert (now - timedelta(days=400)).strftime("%y") not in years - {now.strftime("%y")}
    await node.close()


async def test_the_archive_keeps_what_does_not_look_like_a_day(tmp_path: Path) -> None:
    node = await opened(tmp_path)
    odd = node.folder("archive_dir") / "99" / "99" / "99"
    odd.mkdir(parents=True)
    (odd / "x").write_text("")
    await node.text("delete archive where days = 1")
    assert node.names("archive_dir") == ["x"]
    await node.close()


async def test_json_file_struct_names_the_parts(tmp_path: Path) -> None:
    node = await opened(tmp_path)
    text = await node.text("get json file struct")
    assert "[dbms].[table].[source].[hash].[instructions].[TSD member].[TSD id].[TSD date].json" in text
    await node.close()


@pytest.mark.parametrize("case", VECTORS["hash"], ids=lambda case: case["table"])
async def test_file_hash_by_the_vectors(tmp_path: Path, case: dict[str, str]) -> None:
    node = await opened(tmp_path)
    path = node.folder("tmp_dir") / f"{case['dbms']}.{case['table']}.json"
    path.write_text(case["data"])
    assert await node.text(f"file hash {path}") == case["expect"]
    path.rename(path.with_suffix(".json.gz")).write_bytes(gzip.compress(case["data"].encode()))
    assert await node.text(f"file hash {path}.gz") == case["expect"]
    await node.close()


async def test_rename_to_the_convention(tmp_path: Path) -> None:
    node = await opened(tmp_path)
    path = node.folder("tmp_dir") / "readings.json"
    path.write_text('{"a":1}')
    with pytest.raises(EdgeLakeError) as caught:
        await node.text(f"time file rename {path}")
    assert caught.value.number == 119
    found = (await node.ctx.execute(f"time file rename {path} to dbms = d and table = t and source = s1")).data
    assert found["new"] == "d.t.s1.91adff74fa5694658407ce1829359915.0.json"
    assert node.names("tmp_dir") == [found["new"]]
    with pytest.raises(EdgeLakeError) as caught:
        await node.text(f"time file rename {path.with_name(found['new'])} to source = a/b")
    assert caught.value.number == 119
    await node.close()


def test_error_names_can_be_undone() -> None:
    for name in ("d.t.json", "d.t.0.h.p.json.gz", "d.t.0.0.h.0.insert.sql"):
        assert filing.plain_name(filing.error_name(name, 10, 1795453542)) == name
    assert filing.error_name("d.t.json", 10, 17) == "d.t.err_10.17.json"


async def pieces(*parts: bytes) -> AsyncIterator[bytes]:
    for part in parts:
        yield part


async def test_put_in_file_mode_is_a_file_of_the_watch_directory(tmp_path: Path) -> None:
    async with running(tmp_path) as node:
        put = FilePut(lambda: (node.folder("prep_dir"), node.folder("watch_dir")))
        stored = await put.put("d", "t", pieces(b'{"a": 1}\n', b'{"a": 2}'), source="s1")
        assert (stored.rows, stored.file_hash) == (2, content_hash("d", "t", b'{"a": 1}\n{"a": 2}'))
        await node.settled()
        assert await node.rows("SELECT a FROM t ORDER BY a") == [(1,), (2,)]
        assert node.names("archive_dir") == [f"d.t.s1.{stored.file_hash}.0.json.gz"]
        (count,) = put.counts()
        assert (count.put_files, count.put_rows) == (1, 2)


@pytest.mark.parametrize(
    ("body", "kind"),
    [(b"", EdgeLakeError), (b'{"a": ', PayloadError), (b"[]", PayloadError)],
    ids=["empty", "cut", "none"],
)
async def test_a_body_that_is_no_rows_leaves_no_file(tmp_path: Path, body: bytes, kind: type[EdgeLakeError]) -> None:
    node = await opened(tmp_path)
    put = FilePut(lambda: (node.folder("prep_dir"), node.folder("watch_dir")))
    with pytest.raises(kind):
        await put.put("d", "t", pieces(body))
    with pytest.raises(EdgeLakeError, match="cannot stand in a file name"):
        await put.put("d", "t", pieces(b"{}"), source="../x")
    assert node.names("prep_dir") == node.names("watch_dir") == []
    await node.close()


async def test_two_equal_puts_are_two_files(tmp_path: Path) -> None:
    node = await opened(tmp_path)
    put = FilePut(lambda: (node.folder("prep_dir"), node.folder("watch_dir")))
    for _ in range(2):
        await put.put("d", "t", pieces(b'{"a": 1}'))
    assert len(node.names("watch_dir")) == 2
    await node.close()


async def test_what_a_killed_node_was_taking_in_is_removed_and_nothing_else(tmp_path: Path) -> None:
    node = await opened(tmp_path)
    prep, watch = node.folder("prep_dir"), node.folder("watch_dir")
    left = prep / "d.t.1.1000.1.put_tmp"
    left.write_bytes(b'{"a": 1}')
    (watch / "d.t.0.abc.0.json_tmp").hardlink_to(left)  # killed between holding the name and the rename
    (watch / "d.u.json_tmp").write_bytes(b"a user's copy in work")
    put = FilePut(lambda: (prep, watch))
    await put.put("d", "t", pieces(b'{"a": 1}'))
    assert node.names("prep_dir") == []
    assert len(node.names("watch_dir")) == 2
    assert (watch / "d.u.json_tmp").exists()
    await node.close()
