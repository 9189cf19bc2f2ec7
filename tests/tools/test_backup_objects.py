"""Backups in object storage: S3 (moto), Azure (Azurite), and a folder by its URL."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import obstore
import pytest
from obstore.store import AzureStore, LocalStore, S3Store

from tests.blobs.servers import BUCKET, AzureServer, S3Server
from tests.system.program import Program
from tests.tools.test_backup import rows, sums
from tests.tools.test_configuration import edgelake

S3_KEYS = {
    "AWS_ACCESS_KEY_ID": "key-of-the-test",
    "AWS_SECRET_ACCESS_KEY": "secret-of-the-test",
    "AWS_REGION": "us-east-1",
}


class Service:
    """A place for backups, and what the program needs in its environment."""

    def __init__(self, url: str, environment: dict[str, str], store: Any, server: Any = None) -> None:
        self.url, self.environment, self.store, self.server = url, environment, store, server

    def run(self, *arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
        return edgelake(*arguments, cwd=cwd, **self.environment)

    def names(self) -> list[str]:
        return sorted(one["path"] for group in obstore.list(self.store) for one in group)


@contextmanager
def service(kind: str, folder: Path) -> Iterator[Service]:
    prefix = "backups/today"
    if kind == "file":
        (folder / "kept").mkdir()
        yield Service(f"file://{folder}/kept/today", {}, LocalStore(folder / "kept" / "today", mkdir=True))
        return
    server = S3Server(folder) if kind == "s3" else AzureServer(folder)
    server.start()
    try:
        server.make_bucket()
        options: dict[str, Any] = {"prefix": prefix, "client_options": {"allow_http": True}}
        if isinstance(server, S3Server):
            keys = {**S3_KEYS, "AWS_ENDPOINT_URL": server.address}
            store: Any = S3Store(
                BUCKET,
                endpoint=server.address,
                region="us-east-1",
                access_key_id="key-of-the-test",
                secret_access_key="secret-of-the-test",
                **options,
            )
            yield Service(f"s3://{BUCKET}/{prefix}", keys, store, server)
        else:
            keys = {
                "AZURE_STORAGE_ACCOUNT_NAME": server.ACCOUNT,
                "AZURE_STORAGE_ACCOUNT_KEY": server.KEY,
                "AZURE_STORAGE_ENDPOINT": server.address,
            }
            store = AzureStore(
                BUCKET, endpoint=server.address, account_name=server.ACCOUNT, account_key=server.KEY, **options
            )
            yield Service(f"az://{BUCKET}/{prefix}", keys, store, server)
    finally:
        server.kill()


@pytest.mark.parametrize("kind", ["s3", "azure", "file"])
def test_a_running_node_comes_back_equal(tmp_path: Path, kind: str) -> None:
    with service(kind, tmp_path) as there:
        with Program(tmp_path / "node") as node:
            node.post("id add user where name = eva and password = x")
            assert node.put(rows(0, 5000))[0] == 200
            done = there.run("backup", there.url, "--home", str(node.home), cwd=tmp_path)
            assert done.returncode == 0, done.stderr
            before = sums(node)
            assert not list((node.home / "EdgeLake/data/tmp").glob("backup-*"))
        again = there.run("backup", there.url, "--home", str(node.home), cwd=tmp_path)
        assert (again.returncode, "is not empty" in again.stderr) == (1, True)
        whole = there.run("restore", there.url, "--verify", cwd=tmp_path)
        assert (whole.returncode, "is whole" in whole.stdout) == (0, True), whole.stderr
        (tmp_path / "again").mkdir()
        restored = there.run("restore", there.url, "--home", str(tmp_path / "again"), cwd=tmp_path)
        assert restored.returncode == 0, restored.stderr
    with Program(tmp_path / "again") as node:
        assert sums(node) == before
        assert "eva" in node.get("get users")
    assert (tmp_path / "again/EdgeLake/anylog/users.json").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("damage", ["changed", "missing"])
def test_what_is_not_as_it_was_is_not_restored(tmp_path: Path, damage: str) -> None:
    with service("s3", tmp_path) as there:
        with Program(tmp_path / "node") as node:
            assert node.put(rows(0, 100))[0] == 200
            assert there.run("backup", there.url, "--home", str(node.home), cwd=tmp_path).returncode == 0
        (name,) = (name for name in there.names() if name.endswith("plant.dbms"))
        content = bytearray(obstore.get(there.store, name).bytes())
        content[5000] ^= 1
        obstore.delete(there.store, name)
        if damage == "changed":
            obstore.put(there.store, name, bytes(content))
        (tmp_path / "again").mkdir()
        for more in (["--verify"], ["--home", str(tmp_path / "again")]):
            done = there.run("restore", there.url, *more, cwd=tmp_path)
            assert (done.returncode, "plant.dbms" in done.stderr) == (1, True), done.stderr
        assert not list((tmp_path / "again").iterdir())


def test_a_backup_that_was_cut_off_is_none_and_the_next_one_takes_its_place(tmp_path: Path) -> None:
    with service("s3", tmp_path) as there:
        with Program(tmp_path / "node") as node:
            assert node.put(rows(0, 100))[0] == 200
            for number in range(500):  # so that it is killed in the middle
                (node.home / f"EdgeLake/data/archive/{number}").write_text(str(number))
            killed = subprocess.Popen(
                [sys.executable, "-m", "edgelake", "backup", there.url, "--home", str(node.home)],
                env={**os.environ, **there.environment},
                stderr=subprocess.PIPE,
                stdout=subprocess.PIPE,
            )
            node.until(lambda: bool(there.names()))
            killed.kill()
            killed.communicate(timeout=30)
            first = there.names()
            assert first
            assert "manifest.json" not in first
            for more in (["--verify"], ["--home", str(tmp_path / "again")]):
                done = there.run("restore", there.url, *more, cwd=tmp_path)
                assert (done.returncode, "one that was cut off" in done.stderr) == (1, True)
            done = there.run("backup", there.url, "--home", str(node.home), cwd=tmp_path)
            assert done.returncode == 0, done.stderr
        manifest = json.loads(bytes(obstore.get(there.store, "manifest.json").bytes()))
        listed = sorted(["manifest.json", *(f"{manifest['folder']}/{file['path']}" for file in manifest["files"])])
        assert there.names() == listed  # nothing is left of the first
        assert there.run("restore", there.url, "--verify", cwd=tmp_path).returncode == 0


def test_faults_are_said_with_what_to_do(tmp_path: Path) -> None:
    with service("s3", tmp_path) as there, Program(tmp_path / "node") as node:
        for url, said in (
            (f"s3://nowhere-{BUCKET}/x", "no such bucket"),
            ("ftp://host/x", "s3://, az://, gs://, file://"),
            ("file://other-host/x", "file:///folder"),
        ):
            done = there.run("backup", url, "--home", str(node.home), cwd=tmp_path)
            assert (done.returncode, said in done.stderr) == (1, True), done.stderr
            assert "Traceback" not in done.stderr
            assert "secret-of-the-test" not in done.stderr
        done = there.run("restore", "s3://edge/nothing", cwd=tmp_path)
        assert (done.returncode, "it is no backup" in done.stderr) == (1, True), done.stderr
