"""Blobs in a database and in object storage: kept, given out, removed; places that fail cost the others nothing."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import socket
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from edgelake.command.render import reply_text
from edgelake.errors import (
    CommandError,
    DatabaseError,
    DatabaseMissingError,
    EdgeLakeError,
    NotAvailableError,
    ObjectStorageError,
)
from edgelake.ingest.blobs.blobs import Blobs
from edgelake.ingest.blobs.bucket import Bucket, BucketConfig
from edgelake.store.sqlite import SqliteStore
from tests.blobs.camera import Camera, camera, id_of
from tests.blobs.servers import BUCKET, AzureServer, S3Server

ONE, TWO, LONG = os.urandom(300_000), os.urandom(10), os.urandom(24 << 20)
TEXT = b"all the same\n" * 100_000
RUN = "run blobs archiver where dbms = true"
BINARY = {"Content_Type": "application/octet-stream"}
STORE = "file store where dbms = plant and table = photo"


@pytest.fixture
def s3(tmp_path: Path) -> Iterator[S3Server]:
    server = S3Server(tmp_path)
    server.start()
    server.make_bucket()
    yield server
    server.kill()


@pytest.fixture
def azure(tmp_path: Path) -> Iterator[AzureServer]:
    server = AzureServer(tmp_path)
    server.start()
    server.make_bucket()
    yield server
    server.kill()


@pytest.fixture(params=["sqlite", "s3", "azure", "directory"])
def connect(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Connects ``blobs_plant``, each kind of it."""
    if request.param == "sqlite":
        return "connect dbms blobs_plant where type = sqlite"
    if request.param == "directory":
        return f"connect dbms blobs_plant where type = bucket and provider = file and endpoint = {tmp_path / 'far'}"
    server: S3Server | AzureServer = request.getfixturevalue(request.param)
    return f"connect dbms blobs_plant where {server.options}"


async def store(node: Camera, content: bytes, more: str = "") -> str:
    status, _, said = await node.request("POST", f"{STORE}{more}", content, **BINARY)
    assert status == 200, said
    return said.decode()


async def test_a_place_keeps_blobs_and_gives_them_out(tmp_path: Path, connect: str) -> None:
    async with camera(tmp_path, connect, f"{RUN} and compress = true") as node:
        await node.take(ONE, TWO)
        text = await store(node, TEXT, " and dest = a.txt")
        given = await store(node, TEXT, " and hash = 0a")
        long = await store(node, LONG, " and dest = a.mp4")
        assert given == "0a"
        found = await node.until_blobs(5)
        assert found["plant.photo"]["success"] == 5
        assert not node.day.exists()
        contents = {id_of(ONE): ONE, id_of(TWO): TWO, text: TEXT, given: TEXT, long: LONG}
        for blob_id, content in contents.items():
            status, headers, body = await node.get(blob_id)
            assert (status, body == content, headers["content-length"]) == (200, True, str(len(content)))
            status, headers, body = await node.get(blob_id, Range="bytes=5-")
            assert (status, headers["content-range"]) == (206, f"bytes 5-{len(content) - 1}/{len(content)}")
            assert body == content[5:]
        assert (await node.execute("get files count")).data == [{"dbms": "plant", "table": "photo", "count": 5}]
        day = time.strftime("%y%m%d", time.gmtime())
        shown = (await node.execute("get files where dbms = plant")).data
        assert {row["id"] for row in shown} == set(contents)
        assert {(row["dbms"], row["table"], row["date"]) for row in shown} == {("plant", "photo", day)}
        assert {row["place"] for row in shown} == {"dbms" if "sqlite" in connect else "bucket"}
        shown = (await node.execute(f"get files where dbms = plant and table = photo and hash = {given}")).data
        assert [row["id"] for row in shown] == [given]
        assert len((await node.execute("get files where dbms = plant and limit = 2")).data) == 2
        for rule in ("dbms = other", "dbms = plant and table = x", "dbms = plant and date = 200101"):
            assert (await node.execute(f"get files where {rule}")).data == []
        retrieve = "file retrieve where dbms = plant and table = photo"
        assert len((await node.execute(f"{retrieve} and date = {day} and dest = !tmp_dir")).data) == 5
        assert (node.folder("tmp_dir") / f"plant.photo.{long}").read_bytes() == LONG
        with pytest.raises(EdgeLakeError, match="fits"):
            await node.execute(f"{retrieve} and date = 200101 and dest = !tmp_dir")
        shown = (await node.execute("get databases")).data["blobs_plant"]
        assert shown["dbms_type"] == ("sqlite" if "sqlite" in connect else "bucket")
        # A second node over the same place, without the first one's copies.
        await node.execute(f"file remove where dbms = plant and table = photo and id = {text}")
        assert (await node.get(text))[0] == 400
        assert (await node.get(given))[2] == TEXT  # equal content under another name stays
    async with camera(tmp_path, connect) as node:
        for copy in (node.folder("blobs_dir") / ".copies").iterdir():
            copy.unlink()
        del contents[text]
        for blob_id, content in contents.items():
            assert (await node.get(blob_id))[2] == content
        await node.execute("file remove where dbms = plant and table = photo")
        assert (await node.execute("get files count")).data == []
        for blob_id in contents:
            assert (await node.get(blob_id))[0] == 400


async def test_both_places_have_a_blob_where_both_are_asked_for(tmp_path: Path, connect: str) -> None:
    async with camera(tmp_path, connect, f"{RUN} and folder = true") as node:
        await node.take(ONE)
        await node.until_blobs(1)
        assert (node.day / f"plant.photo.{id_of(ONE)}").read_bytes() == ONE
        (node.day / f"plant.photo.{id_of(ONE)}").unlink()
        assert (await node.get(id_of(ONE)))[2] == ONE
        shown = (await node.execute("get processes")).data["Blobs Archiver"]["Details"]
        assert shown.startswith("Flags: dbms = True, folder = True")
        assert (await node.execute("get files count")).data == [{"dbms": "plant", "table": "photo", "count": 1}]


async def test_blobs_go_to_their_database_when_it_is_connected(tmp_path: Path) -> None:
    """Without dbms and folder in the command."""
    async with camera(tmp_path, "run blobs archiver") as node:
        await node.take(ONE)
        await node.until_blobs(1)
        await node.execute("connect dbms blobs_plant where type = sqlite")
        await node.take(TWO)
        await node.until_blobs(2)
        assert [path.name for path in node.day.iterdir()] == [f"plant.photo.{id_of(ONE)}"]
        assert [(await node.get(id_of(content)))[2] for content in (ONE, TWO)] == [ONE, TWO]


async def test_blobs_wait_for_a_database_that_is_not_connected(tmp_path: Path) -> None:
    async with camera(tmp_path, RUN) as node:
        await node.take(ONE)
        found = await node.until(lambda found: found["errors"])
        assert "'blobs_plant' is not connected" in found["plant.photo"]["last_message"]
        assert (await node.get(id_of(ONE)))[2] == ONE
        await node.execute("connect dbms blobs_plant where type = sqlite")
        await node.until_blobs(1)
        assert (await node.get(id_of(ONE)))[2] == ONE


async def test_equal_contents_are_in_a_database_once(tmp_path: Path) -> None:
    async with camera(tmp_path, "connect dbms blobs_plant where type = sqlite", RUN) as node:
        for table in ("photo", "video"):
            command = f"file store where dbms = plant and table = {table}"
            assert (await node.request("POST", command, LONG, **BINARY))[0] == 200
        await node.until_blobs(2)
        size = int(reply_text(await node.execute("get database size blobs_plant")))
        assert len(LONG) < size < 1.1 * len(LONG)


async def test_damage_in_a_database_is_said(tmp_path: Path) -> None:
    async with camera(tmp_path, "connect dbms blobs_plant where type = sqlite", RUN) as node:
        await node.take(ONE)
        await node.until_blobs(1)
        held: SqliteStore = node.node.ctx.stores.get("blobs_plant")
        await held.change(lambda tx: tx.execute("UPDATE _edgelake_blob_pieces SET piece = substr(piece, 1, 1000)"))
        for _ in range(2):
            status, _, said = await node.get(id_of(ONE))
            assert (status, "1,000 of 300,000 bytes are there" in json.loads(said)["detail"]) == (500, True)


@asynccontextmanager
async def kept_far(tmp_path: Path) -> AsyncIterator[tuple[Camera, Path]]:
    """A node whose bucket is a directory, and the file of ONE there."""
    far = tmp_path / "far"
    connect = f"connect dbms blobs_plant where type = bucket and provider = file and endpoint = {far}"
    async with camera(tmp_path, connect, RUN) as node:
        await node.take(ONE)
        await node.until_blobs(1)
        (kept,) = far.rglob("*.png")
        yield node, kept


async def test_damage_in_object_storage_is_said(tmp_path: Path) -> None:
    async with kept_far(tmp_path) as (node, kept):
        os.truncate(kept, 1000)
        status, _, said = await node.get(id_of(ONE))
        assert (status, "1,000 of 300,000 bytes are there" in json.loads(said)["detail"]) == (500, True)


async def test_objects_that_are_named_by_their_md5_are_blobs_too(tmp_path: Path) -> None:
    async with kept_far(tmp_path) as (node, kept):
        older = kept.rename(kept.with_name(f"{hashlib.md5(ONE).hexdigest()}-{kept.name}"))
        assert (await node.get(id_of(ONE)))[2] == ONE
        await node.take(ONE)
        await node.until_blobs(2)
        assert [*(tmp_path / "far").rglob("*.png")] == [kept]
        assert (await node.get(id_of(ONE)))[2] == ONE
        assert not older.exists()


def made_up(content: bytes, damage: str) -> bytes:
    return {"cut": content[:-1], "changed": content[:-1] + bytes([content[-1] ^ 1]), "longer": content + b"x"}[damage]


@pytest.mark.parametrize("damage", ["cut", "changed", "longer"])
async def test_no_place_keeps_what_is_damaged_before_it_is_archived(
    tmp_path: Path, connect: str, damage: str, request: pytest.FixtureRequest
) -> None:
    """In one part and in many, compressed or not, named by its hash, by its coded form or by a note."""
    async with camera(tmp_path, connect) as node:
        await node.take(ONE)
        for content, more in ((LONG, "dest = a.mp4"), (LONG, "dest = a.txt"), (LONG[:-1], "hash = 0a")):
            await store(node, content, f" and {more}")
        arrived = node.folder("blobs_dir")
        for path in node.day.iterdir():  # where they are without an archiver
            path.rename(arrived / path.name)
        found = [path for path in arrived.iterdir() if path.is_file()]
        assert len(found) == 4
        for path in found:
            path.write_bytes(made_up(path.read_bytes(), damage))  # a note stays with its file
        await node.execute(f"{RUN} and compress = true")
        told = await node.until(lambda told: told["errors"] == len(found))
        assert (told["blobs"], told["plant.photo"]["last_error"]) == (0, "The blob is damaged")
        assert len([*node.folder("err_dir").glob("*.reason")]) == len(found)
        assert (await node.execute("get files count")).data == []
        if "provider = s3" in connect:
            s3: S3Server = request.getfixturevalue("s3")
            assert await asyncio.to_thread(s3.unfinished) == 0
        assert not [path for path in (tmp_path / "far").rglob("*") if path.is_file()]


async def test_a_service_that_is_killed_in_the_middle_of_an_upload(tmp_path: Path, s3: S3Server) -> None:
    others = f"connect dbms blobs_mine where type = bucket and provider = file and endpoint = {tmp_path / 'far'}"
    async with camera(tmp_path, f"connect dbms blobs_plant where {s3.options}", others, RUN) as node:
        sent = await store(node, LONG * 4, " and dest = a.mp4")
        await asyncio.to_thread(s3.until_said, "partNumber=")
        s3.kill()
        await node.take(ONE)
        found = await node.until(lambda found: found["errors"])
        assert f"s3://{BUCKET} at {s3.address}" in found["plant.photo"]["last_message"]
        assert "of-the-test" not in str(found)
        # What is not archived yet is given out, and the blobs of other databases are not held up.
        assert (await node.get(sent))[2] == LONG * 4
        assert (await node.get(id_of(ONE)))[2] == ONE
        command = "file store where dbms = mine and table = ore"
        assert (await node.request("POST", command, TWO, **BINARY))[0] == 200
        await node.until(lambda found: "mine.ore" in found and found["mine.ore"]["success"])
        s3.start()
        s3.make_bucket()
        await node.until(lambda found: found["plant.photo"]["success"] == 2 and not found["waiting"])
        assert not [path for path in node.folder("blobs_dir").iterdir() if path.is_file()]
        for copy in (node.folder("blobs_dir") / ".copies").iterdir():
            copy.unlink()
        assert (await node.get(sent))[2] == LONG * 4
        assert (await node.get(id_of(ONE)))[2] == ONE
        s3.kill()
        status, _, said = await node.get(id_of(TWO))
        assert (status, json.loads(said)["err_text"]) == (502, "Object storage cannot be used")


async def test_a_service_that_never_answers_holds_up_nothing(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0), backlog=64) as mute:  # the system takes connections, nobody reads
        silent = f"http://127.0.0.1:{mute.getsockname()[1]}"
        other = f"connect dbms blobs_mine where type = bucket and provider = file and endpoint = {tmp_path / 'far'}"
        async with camera(tmp_path, other, RUN) as node:
            options = f"endpoint = {silent} and connection = b and access_key = key and secret_key = secret"
            said = await node.execute(f"connect dbms blobs_plant where type = bucket and provider = s3 and {options}")
            assert "has not answered" in reply_text(said)
            contents = [os.urandom(1000) for _ in range(20)]
            await node.take(*contents)
            command = "file store where dbms = mine and table = ore"
            for content in contents:
                assert (await node.request("POST", command, content, **BINARY))[0] == 200
            await node.until(lambda found: "mine.ore" in found and found["mine.ore"]["success"] == len(contents))
            assert [(await node.get(id_of(content)))[2] for content in contents] == contents
            assert (await node.archived())["waiting"] >= len(contents) - 4
            await node.execute("exit archiver")
            left = [path for path in node.folder("blobs_dir").iterdir() if path.is_file()]
            assert len(left) == len(contents)
            assert (await node.get(id_of(contents[0])))[2] == contents[0]


async def test_what_is_wrong_with_a_bucket_is_said_by_its_command(tmp_path: Path, s3: S3Server) -> None:
    async with camera(tmp_path) as node:
        wrong = s3.options.replace(f"connection = {BUCKET}", "connection = nobodys")
        said = reply_text(await node.execute(f"connect dbms blobs_plant where {wrong}"))
        assert said.startswith("Connected, but it cannot be used now: s3://nobodys")
        assert "NoSuchBucket" in said
        with pytest.raises(DatabaseError, match="s3://nobodys"):
            await node.execute(f"connect dbms blobs_plant where {s3.options}")
        with pytest.raises(DatabaseError, match="bucket"):
            await node.execute("connect dbms blobs_plant where type = sqlite")
        with pytest.raises(ObjectStorageError):
            await node.execute("get files count")
        await node.execute("disconnect dbms blobs_plant")
        assert reply_text(await node.execute(f"connect dbms blobs_plant where {s3.options}")) == ""
        assert reply_text(await node.execute(f"connect dbms blobs_plant where {s3.options}")) == ""
        for line, text in (
            ("connect dbms photos where type = bucket and connection = b", "blobs_<dbms>"),
            ("connect dbms blobs_x where type = bucket", "connection = <name of the bucket>"),
            ("connect dbms blobs_x where type = bucket and provider = tape and connection = b", "s3, azure"),
            ("connect dbms blobs_x where type = bucket and provider = file", "endpoint = <directory>"),
            (
                "connect dbms blobs_x where type = bucket and provider = gcs and connection = b and secret_key = z",
                "GCP",
            ),
        ):
            with pytest.raises(EdgeLakeError) as failed:
                await node.execute(line)
            assert text in str(failed.value)
        with pytest.raises(DatabaseMissingError):
            await node.execute("disconnect dbms blobs_x")


def test_keys_are_not_shown() -> None:
    config = BucketConfig("s3", "b", access_key="of-the-key", secret_key="of-the-secret")
    assert "of-the" not in repr(config) + str(config)


async def test_what_is_wrong_with_a_container_is_said(tmp_path: Path, azure: AzureServer) -> None:
    async with camera(tmp_path, RUN) as node:
        for wrong, said in (
            (azure.options.replace(f"connection = {BUCKET}", "connection = nobodys"), "azure://nobodys"),
            (azure.options.replace(azure.KEY, "d3Jvbmc="), "azure://edge"),
        ):
            reply = reply_text(await node.execute(f"connect dbms blobs_plant where {wrong}"))
            assert reply.startswith(f"Connected, but it cannot be used now: {said}")
            assert azure.KEY not in reply
            await node.execute("disconnect dbms blobs_plant")
        await node.take(ONE)
        azure.kill()
        reply = reply_text(await node.execute(f"connect dbms blobs_plant where {azure.options}"))
        assert reply.startswith("Connected, but it")
        azure.start()
        azure.make_bucket()
        await node.until_blobs(1)
        assert (await node.get(id_of(ONE)))[2] == ONE


async def test_kinds_of_databases_that_take_no_blobs_say_so(tmp_path: Path) -> None:
    async with camera(tmp_path) as node:
        for kind in ("mongo and ip = 127.0.0.1 and port = 27017", "psql and ip = 127.0.0.1"):
            with pytest.raises(NotAvailableError, match="blobs: type = sqlite"):
                await node.execute(f"connect dbms blobs_plant where type = {kind}")


async def test_a_node_without_buckets_does_without_the_library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    libraries: dict[str, Any] = {name: None for name in list(sys.modules) if name.split(".")[0] == "obstore"}
    for name in {*libraries, "obstore"}:
        monkeypatch.setitem(sys.modules, name, None)
    async with camera(tmp_path, "connect dbms blobs_plant where type = sqlite", RUN) as node:
        await node.take(ONE)
        await node.until_blobs(1)
        with pytest.raises(CommandError, match=r"edgelake\[blobs\]"):
            await node.execute("connect dbms blobs_x where type = bucket and connection = b")


def test_one_place_comes_before_the_others(tmp_path: Path) -> None:
    """A blob that is near is given out while a far place does not answer."""
    from edgelake.ingest.blobs.names import Wanted

    blobs = Blobs(lambda: tmp_path)
    blobs.buckets["blobs_d"] = Bucket(BucketConfig("s3", "b", "http://127.0.0.1:9", "k", "s"))
    named = f"{hashlib.md5(b'd.t' + ONE).hexdigest()}.png"
    (tmp_path / f"d.t.{named}").write_bytes(ONE)
    (found,) = blobs.find(Wanted("d", "t", named))
    assert blobs.fetch(found).read_bytes() == ONE
    with pytest.raises(ObjectStorageError):
        blobs.find(Wanted("d", "t"))
