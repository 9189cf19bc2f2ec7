"""``run blobs archiver`` with folders: blobs and row files, damage, restarts."""

from __future__ import annotations

import gzip
import json
import os
from pathlib import Path

import pytest

from edgelake.command.render import reply_text
from edgelake.errors import AlreadyRunningError, CommandError, EdgeLakeError
from edgelake.ingest.names import running_hash
from tests.blobs.camera import camera, id_of

RUN = "run blobs archiver"
ONE, TWO = os.urandom(300_000), os.urandom(10)
IDLE = """
Table/File  Success Error Last Error Last File Last Message\x20
-----------|-------|-----|----------|---------|------------|
Source JSON|      0|    0|          |         |            |
"""
TEXT = b"all the same\n" * 10_000


async def test_contents_of_rows_go_to_the_folder_of_the_day(tmp_path: Path) -> None:
    async with camera(tmp_path) as node:
        assert reply_text(await node.execute("get blobs archiver")) == "Archiver not active"
        await node.take(TWO)  # before the archiver runs
        await node.execute("run blobs archiver where dbms = false and folder = true and reuse_blobs = true")
        with pytest.raises(AlreadyRunningError):
            await node.execute(RUN)
        await node.until(lambda found: found["blobs"] == 1 and not found["waiting"])
        await node.take(ONE, TWO)
        await node.until(lambda found: found["blobs"] == 3)
        for content in (ONE, TWO):
            assert (node.day / f"plant.photo.{id_of(content)}").read_bytes() == content
            status, headers, body = await node.get(id_of(content))
            assert (status, headers["content-type"], body) == (200, "image/png", content)
        status, headers, body = await node.get(id_of(ONE), Range="bytes=10-99")
        assert (status, headers["content-range"], body) == (206, f"bytes 10-99/{len(ONE)}", ONE[10:100])
        assert [path.name for path in node.folder("blobs_dir").iterdir() if path.is_file()] == []
        assert (await node.execute("get files count")).data == [{"dbms": "plant", "table": "photo", "count": 2}]
        shown = (await node.execute("get processes")).data["Blobs Archiver"]
        flags = "Flags: dbms = False, folder = True, compress = False, reuse_blobs = True"
        assert shown == {"Status": "Running", "Details": flags}
        text = reply_text(await node.execute("get blobs archiver"))
        assert "Table/File  Success Error Last Error Last File" in text
        assert "Source JSON|      0|    0|" in text
        await node.execute("exit archiver")
        assert reply_text(await node.execute("get blobs archiver")) == "Archiver not active"
        assert (await node.get(id_of(ONE)))[2] == ONE


async def test_an_archiver_with_nothing_to_do_prints_its_table(tmp_path: Path) -> None:
    async with camera(tmp_path, RUN) as node:
        assert reply_text(await node.execute("get blobs archiver")).replace("\r\n", "\n") == IDLE
        status, _, said = await node.request("GET", "get blobs archiver where format = json")
        assert (status, json.loads(said)["files"][0]["table/file"]) == (200, "Source JSON")


async def test_a_blob_that_comes_again_is_of_the_later_day(tmp_path: Path) -> None:
    async with camera(tmp_path, RUN) as node:
        old = node.folder("blobs_dir") / "20" / "01" / "31"
        old.mkdir(parents=True)
        (old / f"plant.photo.{id_of(ONE)}").write_bytes(ONE)
        assert (await node.get(id_of(ONE)))[2] == ONE
        await node.take(ONE)
        await node.until_blobs(1)
        assert (node.day / f"plant.photo.{id_of(ONE)}").read_bytes() == ONE
        assert not (node.folder("blobs_dir") / "20").exists()


async def test_what_was_cut_or_changed_on_disk_is_said_and_not_given_out(tmp_path: Path) -> None:
    async with camera(tmp_path, RUN) as node:
        await node.take(ONE)
        await node.until_blobs(1)
        path = node.day / f"plant.photo.{id_of(ONE)}"
        assert (await node.get(id_of(ONE)))[0] == 200
        os.truncate(path, 1000)
        for headers in ({}, {"Range": "bytes=0-99"}):
            status, _, said = await node.get(id_of(ONE), **headers)
            assert status == 500
            assert "1,000 of 300,000 bytes are there" in json.loads(said)["detail"]
        path.write_bytes(ONE[::-1])
        status, _, said = await node.get(id_of(ONE))
        assert (status, "do not fit its hash" in json.loads(said)["detail"]) == (500, True)
        with pytest.raises(EdgeLakeError, match="hash"):
            await node.execute(
                f"file retrieve where dbms = plant and table = photo and id = {id_of(ONE)} and dest = !tmp_dir"
            )
        assert not list(node.folder("tmp_dir").iterdir())
        await node.take(ONE)  # it comes again, whole
        await node.until_blobs(2)
        assert (await node.get(id_of(ONE)))[2] == ONE


async def test_what_is_damaged_before_it_is_archived_goes_to_the_error_folder(tmp_path: Path) -> None:
    async with camera(tmp_path) as node:
        await node.take(ONE)
        path = node.folder("blobs_dir") / f"plant.photo.{id_of(ONE)}"
        os.truncate(path, 1000)
        assert (await node.get(id_of(ONE)))[0] == 500
        await node.execute(RUN)
        found = await node.until(lambda found: found["errors"])
        assert found["plant.photo"]["last_error"] == "The blob is damaged"
        (reason,) = node.folder("err_dir").glob("plant.photo.*.reason")
        assert json.loads(reason.read_text())["err_text"] == "The blob is damaged"
        assert not path.exists()


async def test_what_a_killed_node_left_half_written_goes_when_the_archiver_starts(tmp_path: Path) -> None:
    async with camera(tmp_path) as node:
        arrived, before = node.folder("blobs_dir"), node.node.ctx.node.started_us / 1e6 - 1
        node.day.mkdir(parents=True)
        left = [
            arrived / ".0a1b.part",
            arrived / ".plant.photo.0a.png.adopted_tmp",
            node.day / ".plant.photo.0a.png_tmp",
        ]
        others = [arrived / ".0a1c.part", arrived / ".hidden", arrived / "day.part"]
        for path in (*left, *others):
            path.write_bytes(b"half of")
            if path != others[0]:  # this one is being written
                os.utime(path, (before, before))
        await node.execute(RUN)
        assert not [path for path in left if path.exists()]
        assert [path for path in others if not path.exists()] == []


async def test_contents_are_compressed_where_asked(tmp_path: Path) -> None:
    async with camera(tmp_path, "run blobs archiver where compress = true") as node:
        store = "file store where dbms = plant and table = photo"
        status, _, said = await node.request(
            "POST", f"{store} and dest = a.txt", TEXT, Content_Type="application/octet-stream"
        )
        blob_id = said.decode()
        assert (status, blob_id) == (200, id_of(TEXT, "txt", coded=False))
        status, _, said = await node.request(
            "POST", f"{store} and hash = 0a", TEXT, Content_Type="application/octet-stream"
        )
        assert (status, said) == (200, b"0a")
        await node.take(ONE)  # a picture is compressed already
        await node.until_blobs(3)
        assert sorted(path.name for path in node.day.iterdir()) == sorted(
            [f"plant.photo.{blob_id}.gz", "plant.photo.0a..gz", f"plant.photo.{id_of(ONE)}"]
        )
        packed = node.day / f"plant.photo.{blob_id}.gz"
        assert gzip.decompress(packed.read_bytes()) == TEXT
        assert packed.stat().st_size < len(TEXT) / 10
        for one in (blob_id, "0a"):
            assert (await node.get(one))[2] == TEXT
            status, headers, body = await node.get(one, Range="bytes=100000-100099")
            assert (status, headers["content-range"]) == (206, f"bytes 100000-100099/{len(TEXT)}")
            assert body == TEXT[100_000:100_100]
        for damage in (packed.read_bytes()[:-20], packed.read_bytes()[:100], b""):
            for copy in (node.folder("blobs_dir") / ".copies").iterdir():
                copy.unlink()
            with packed.open("r+b") as file:
                file.truncate()
                file.write(damage)
            status, _, said = await node.get(blob_id)
            assert (status, "bytes are there" in json.loads(said)["detail"]) == (500, True)
        removed = await node.request("POST", "file remove where dbms = plant and table = photo")
        assert removed[0] == 200
        assert (await node.execute("get files count")).data == []
        assert not node.day.exists()


async def test_row_files_go_on_when_their_blobs_are_there(tmp_path: Path) -> None:
    own = running_hash("plant", "photo")
    own.update(ONE)
    async with camera(tmp_path, RUN) as node:
        bwatch, blobs = node.folder("bwatch_dir"), node.folder("blobs_dir")
        (blobs / "shot-1.PNG").write_bytes(ONE)  # named by a row, as it is
        await node.take(TWO)
        rows = [
            {"file": "shot-1.PNG", "speed": 1},
            {"file": id_of(TWO), "speed": 2},
            {"file": "shot-1.PNG", "speed": 3},
            {"speed": 4},
        ]
        (bwatch / ".a").write_bytes(gzip.compress(json.dumps(rows).encode()))
        (bwatch / ".a").rename(bwatch / "plant.photo.0.0.0.json.gz")
        await node.until(lambda found: found["Source JSON"]["success"] == 1 and found["blobs"] == 2)
        (passed,) = node.folder("watch_dir").iterdir()
        assert passed.name == "plant.photo.0.0.0.json.gz"
        found = [json.loads(line) for line in gzip.decompress(passed.read_bytes()).splitlines()]
        first = f"{own.hexdigest()}.png"
        assert [row.get("file") for row in found] == [first, id_of(TWO), first, None]
        assert [row["speed"] for row in found] == [1, 2, 3, 4]
        assert (await node.get(first))[2] == ONE
        # Again, by the policy of its name, with a blob that is stored already: the file passes as it is.
        content = json.dumps({"file": first})
        (bwatch / ".b").write_text(content)
        (bwatch / ".b").rename(bwatch / "plant.photo.0.0.camera.json")
        await node.until(lambda found: found["Source JSON"]["success"] == 2)
        assert (node.folder("watch_dir") / "plant.photo.0.0.0.json").read_text() == content
        assert list(bwatch.iterdir()) == []
        assert not (blobs / "shot-1.PNG").exists()


async def test_a_file_that_rows_have_named_may_stay_for_others(tmp_path: Path) -> None:
    async with camera(tmp_path, f"{RUN} where reuse_blobs = true") as node:
        bwatch = node.folder("bwatch_dir")
        (node.folder("blobs_dir") / "map.svg").write_bytes(ONE)
        for number in (1, 2):
            (bwatch / ".a").write_text(json.dumps({"file": "map.svg", "speed": number}))
            (bwatch / ".a").rename(bwatch / f"plant.photo.{number}.0.0.json")
            await node.until(lambda found, number=number: found["Source JSON"]["success"] == number)
        named = {json.loads(path.read_text())["file"] for path in node.folder("watch_dir").iterdir()}
        assert len(named) == 1
        assert (await node.get(named.pop()))[2] == ONE


@pytest.mark.parametrize("named", ["0a1b.png", "gone.png", "../dbms/plant.dbms", ".hidden", "a/b"])
async def test_row_files_whose_blob_is_missing_go_to_the_error_folder(tmp_path: Path, named: str) -> None:
    async with camera(tmp_path, RUN) as node:
        (node.folder("blobs_dir") / ".hidden").write_bytes(b"x")
        bwatch = node.folder("bwatch_dir")
        (bwatch / ".a").write_text(json.dumps({"file": named}))
        (bwatch / ".a").rename(bwatch / "plant.photo.0.0.0.json")
        found = await node.until(lambda found: found["Source JSON"]["error"] == 1)
        assert named in found["Source JSON"]["last_message"]
        assert list(node.folder("watch_dir").iterdir()) == []
        (reason,) = node.folder("err_dir").glob("*.reason")
        assert named in json.loads(reason.read_text())["detail"]


async def test_a_place_is_needed(tmp_path: Path) -> None:
    async with camera(tmp_path) as node:
        with pytest.raises(CommandError, match="both false"):
            await node.execute("run blobs archiver where dbms = false and folder = false")
        node.folder("bwatch_dir").rmdir()
        with pytest.raises(EdgeLakeError, match="bwatch_dir"):
            await node.execute(RUN)
        assert reply_text(await node.execute("get blobs archiver")) == "Archiver not active"
