"""``bucket ...``: services, buckets and files of object storage by commands, against a server of S3."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from edgelake.command.handlers.blobs import blobs_of
from edgelake.command.render import reply_text
from edgelake.errors import CommandError, EdgeLakeError, NotAvailableError, NotPermittedError, ObjectStorageError
from edgelake.ingest.blobs.bucket import BucketConfig
from edgelake.ingest.blobs.objects import Group, refusal
from edgelake.model import Caller, CommandClass
from edgelake.node import Node
from tests.blobs.servers import BUCKET as NAME
from tests.blobs.servers import AzureServer, S3Server

LARGE = os.urandom(11 << 20)
KEYS = "access_key = key-of-the-test and secret_key = secret-of-the-test"
BUCKET = "group = plant and name = readings"


@pytest.fixture
def s3(tmp_path: Path) -> Iterator[S3Server]:
    server = S3Server(tmp_path)
    server.start()
    yield server
    server.kill()


@asynccontextmanager
async def running(tmp_path: Path) -> AsyncIterator[Node]:
    async with Node(tmp_path / "node") as node:
        await node.execute("create work directories")
        yield node


def connect(s3: S3Server, keys: str = KEYS) -> str:
    return (
        f"bucket provider connect where group = plant and provider = minio and endpoint_url = {s3.address} and {keys}"
    )


async def test_a_file_goes_into_a_bucket_and_comes_back(tmp_path: Path, s3: S3Server) -> None:
    async with running(tmp_path) as node:
        tmp = node.ctx.directories.path("tmp_dir")
        (tmp / "large.bin").write_bytes(LARGE)
        (tmp / "small.txt").write_text("hello")
        assert reply_text(await node.execute(connect(s3))) == ""
        await node.execute(connect(s3))  # again is no error
        await node.execute(f"bucket create where {BUCKET}")
        assert (await node.execute("get bucket names where group = plant")).data == ["readings"]
        upload = f"bucket file upload where {BUCKET} and source_dir = !tmp_dir"
        await node.execute(f"{upload} and file_name = large.bin and key = 2026/11/large.bin")
        await node.execute(f"{upload} and file_name = small.txt and key = 2026/12.txt")
        await node.execute(f"{upload} and file_name = small.txt")
        listed = (await node.execute(f"get bucket files where {BUCKET} and format = json")).data
        assert {(row["key"], row["bytes"]) for row in listed} == {
            ("2026/11/large.bin", len(LARGE)),
            ("2026/12.txt", 5),
            ("small.txt", 5),
        }
        for prefix, keys in (
            ("2026/1", {"2026/11/large.bin", "2026/12.txt"}),
            ("2026/12", {"2026/12.txt"}),
            ("20", {"2026/11/large.bin", "2026/12.txt"}),
            ("x", set()),
        ):
            rows = (await node.execute(f"get bucket files where {BUCKET} and prefix = {prefix}")).data
            assert {row["key"] for row in rows} == keys
        assert len((await node.execute(f"get bucket files where {BUCKET} and limit = 2")).data) == 2
        [info] = (await node.execute(f"get bucket file info where {BUCKET} and key = 2026/12.txt")).data
        assert (info["bytes"], len(info["etag"])) == (5, 32)
        download = f"bucket file download where {BUCKET} and dest_dir = !prep_dir"
        await node.execute(f"{download} and key = 2026/11/large.bin")
        await node.execute(f"{download} and key = small.txt and file_name = other.txt")
        prep = node.ctx.directories.path("prep_dir")
        assert (prep / "large.bin").read_bytes() == LARGE
        assert (prep / "other.txt").read_text() == "hello"
        assert (
            await node.execute(f"bucket file delete where {BUCKET} and key = small.txt and prefix = 2026/12")
        ).data == {"deleted": 2}
        with pytest.raises(ObjectStorageError, match=r"BucketNotEmpty.*delete_all = true"):
            await node.execute(f"bucket drop where {BUCKET}")
        await node.execute(f"bucket drop where {BUCKET} and deleteAllFiles = true")
        assert (await node.execute("get bucket names where group = plant")).data == []
        await node.execute("bucket provider disconnect where group = plant")
        assert (await node.execute("get bucket groups")).data == []


async def test_a_drop_takes_more_files_than_one_page_lists(tmp_path: Path, s3: S3Server) -> None:
    async with running(tmp_path) as node:
        await node.execute(connect(s3))
        await node.execute(f"bucket create where {BUCKET}")
        tmp = node.ctx.directories.path("tmp_dir")
        (tmp / "x").write_text("x")
        objects = blobs_of(node.ctx).groups["plant"].bucket("readings")
        for number in range(1003):
            objects.put(f"many/{number}", tmp / "x")
        assert (await node.execute(f"bucket file delete where {BUCKET} and prefix = many/99")).data == {"deleted": 11}
        await node.execute(f"bucket drop where {BUCKET} and delete_all = true")
        assert (await node.execute("get bucket names where group = plant")).data == []


async def test_keys_are_shown_nowhere(tmp_path: Path, s3: S3Server) -> None:
    async with running(tmp_path) as node:
        await node.execute(connect(s3))
        s3.kill()
        said = [str((await node.execute("get bucket groups")).data)]
        for line in (
            connect(s3),
            f"bucket create where {BUCKET}",
            f"get bucket files where {BUCKET}",
            "bucket provider x",
        ):
            try:
                said.append(reply_text(await node.execute(line)))
            except EdgeLakeError as failure:
                said.append(str(failure))
        for log in ("get event log", "get error log", "get echo queue"):
            said.append(reply_text(await node.execute(log)))
        assert s3.address in said[0]
        assert "secret-of-the-test" not in "".join(said)
        assert "key-of-the-test" not in "".join(said)
        assert "X-Amz-Signature" not in "".join(said)


@pytest.mark.parametrize(
    ("line", "raised", "text"),
    [
        (f"bucket file upload where {BUCKET} and source_dir = !tmp_dir and file_name = a",
         ObjectStorageError, "bucket create"),
        (f"get bucket files where {BUCKET}", ObjectStorageError, "NoSuchBucket.*bucket create"),
        (f"bucket drop where {BUCKET}", ObjectStorageError, "NoSuchBucket.*get bucket names"),
        (f"bucket drop where {BUCKET} and delete_all = true", ObjectStorageError, "NoSuchBucket"),
        ("bucket create where group = plant and name = Bad_Name", CommandError, "no name of a bucket"),
        ("get bucket names where group = other", CommandError, "not connected.*bucket provider connect"),
        ("bucket provider disconnect where group = other", CommandError, "not connected"),
        ("bucket file delete where group = plant and name = there", CommandError, "key or prefix"),
        ("get bucket file info where group = plant and name = there and key = a", EdgeLakeError, "no file 'a'"),
        ("bucket file delete where group = plant and name = there and key = a", EdgeLakeError, "no file 'a'"),
        ("bucket file download where group = plant and name = there and key = a and dest_dir = !tmp_dir",
         EdgeLakeError, "no file 'a'"),
        ("bucket file upload where group = plant and name = there and source_dir = !tmp_dir and file_name = b",
         EdgeLakeError, "is no file"),
        ("bucket provider connect where group = g and provider = tape", CommandError, "one of: s3, aws"),
        ("bucket provider connect where group = g and provider = s3 and access_key = a", CommandError, "one key"),
        ("bucket provider connect where group = plant and provider = s3", CommandError, "connected otherwise"),
    ],
)  # fmt: skip
async def test_what_is_wrong_is_said(
    tmp_path: Path, s3: S3Server, line: str, raised: type[EdgeLakeError], text: str
) -> None:
    async with running(tmp_path) as node:
        await node.execute(connect(s3))
        await node.execute("bucket create where group = plant and name = there")
        (node.ctx.directories.path("tmp_dir") / "a").write_text("a")
        with pytest.raises(raised, match=text):
            await node.execute(line)
        assert not list(node.ctx.directories.path("tmp_dir").glob(".*"))


async def test_wrong_keys_and_a_service_that_is_away_are_said_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with running(tmp_path) as node:
        monkeypatch.setenv("INITIAL_NO_AUTH_ACTION_COUNT", "0")  # the server checks keys
        server = S3Server(tmp_path)
        server.start()
        try:
            await node.execute(connect(server))
            with pytest.raises(ObjectStorageError, match=r"InvalidAccessKeyId.*check access_key") as refused:
                await node.execute(f"get bucket files where {BUCKET}")
            assert "key-of-the-test" not in str(refused.value)
        finally:
            server.kill()
        with pytest.raises(ObjectStorageError, match="is the service up"):
            await node.execute("get bucket names where group = plant")


async def test_buckets_of_other_services_are_not_made_here(tmp_path: Path) -> None:
    async with running(tmp_path) as node:
        for provider in ("azure", "gcs"):
            await node.execute(f"bucket provider connect where group = {provider} and provider = {provider}")
            with pytest.raises(NotAvailableError, match="own tools"):
                await node.execute(f"bucket create where group = {provider} and name = readings")


async def test_callers_keep_to_the_directories_of_the_node(tmp_path: Path, s3: S3Server) -> None:
    async with running(tmp_path) as node:
        await node.execute(connect(s3))
        await node.execute(f"bucket create where {BUCKET}")
        caller = node.ctx.for_caller(Caller("rest", frozenset({CommandClass.DATA, CommandClass.FILES})))
        for line in (
            f"bucket file upload where {BUCKET} and source_dir = /etc and file_name = passwd",
            f"bucket file upload where {BUCKET} and source_dir = !tmp_dir and file_name = ../../../../../../etc/hosts",
        ):
            with pytest.raises(EdgeLakeError, match="not inside"):
                await caller.execute(line)
        with pytest.raises(NotPermittedError):
            await caller.execute(f"bucket drop where {BUCKET}")


@pytest.mark.parametrize(
    ("code", "hint"),
    [
        ("InvalidAccessKeyId", "check access_key"),
        ("SignatureDoesNotMatch", "check access_key"),
        ("AccessDenied", "check access_key"),
        ("BucketNotEmpty", "delete_all = true"),
        ("BucketAlreadyExists", "another name"),
        ("InternalError", "is the service up"),
    ],
)
def test_what_a_service_refuses_is_said_in_its_words(code: str, hint: str) -> None:
    group = Group.of("plant", "minio", BucketConfig("", "", "http://10.0.0.9:9000", "key", "secret"))
    answer = f"PUT http://10.0.0.9:9000/x/: HTTP status 4: <Error><Code>{code}</Code> <Message>It says why</Message>"
    said = str(refusal(group, "readings", answer))
    assert f"readings: http://10.0.0.9:9000: {code}: It says why" in said
    assert hint in said


async def test_files_of_azure_go_in_and_come_back(tmp_path: Path) -> None:
    server = AzureServer(tmp_path)
    server.start()
    try:
        server.make_bucket()
        place = f"group = far and name = {NAME}"
        async with running(tmp_path) as node:
            await node.execute(
                f"bucket provider connect where group = far and provider = azure and endpoint_url = {server.address} "
                f"and access_key = {server.ACCOUNT} and secret_key = {server.KEY}"
            )
            tmp = node.ctx.directories.path("tmp_dir")
            (tmp / "large.bin").write_bytes(LARGE)
            await node.execute(
                f"bucket file upload where {place} and source_dir = !tmp_dir and file_name = large.bin "
                "and key = a/b.bin"
            )
            listed = (await node.execute(f"get bucket files where {place}")).data
            assert [(row["key"], row["bytes"]) for row in listed] == [("a/b.bin", len(LARGE))]
            await node.execute(f"bucket file download where {place} and dest_dir = !tmp_dir and key = a/b.bin")
            assert (tmp / "b.bin").read_bytes() == LARGE
            assert (await node.execute(f"bucket file delete where {place} and prefix = a/")).data == {"deleted": 1}
            with pytest.raises(ObjectStorageError, match=r"ContainerNotFound"):
                await node.execute("get bucket files where group = far and name = other")
    finally:
        server.kill()


@pytest.mark.parametrize(
    ("given", "access_key"),
    [
        ("id = 123 and access_key = k and secret_key = s", "k"),
        ("id = k and password = s", "k"),
        ("id = k and secret_key = s", "k"),
        ("id = 123", ""),
        ("region = far", ""),
    ],
)
async def test_keys_have_two_names(tmp_path: Path, given: str, access_key: str) -> None:
    async with running(tmp_path) as node:
        await node.execute(f"bucket provider connect where group = g and provider = gcs and {given}")
        config = blobs_of(node.ctx).groups["g"].config
        assert (config.access_key, bool(config.secret_key)) == (access_key, bool(access_key))
