"""Members of a cluster that are killed while blobs go from one to the other: both end with each of them, whole."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path

import pytest

from tests.system.program import AGENT, Program
from tests.system.test_cluster import members_in

COUNT = 6
BYTES = 24 << 20
STORE = "file store where dbms = plant and table = t and dest = a.bin"


class Uploads:
    """Blobs and the rows that name them, at one member; one that was not acknowledged comes again."""

    def __init__(self, member: Program) -> None:
        self.contents: dict[str, str] = {}
        self._member = member

    def put(self, number: int) -> None:
        content = os.urandom(BYTES)
        headers = {**AGENT, "command": STORE, "Content-Type": "application/octet-stream"}
        status, said = self._member.request("POST", headers, content)
        assert status == 200, said
        name = said.decode()
        row = json.dumps({"v": number, "file": name}).encode()
        assert self._member.put(row)[0] == 200
        self.contents[name] = hashlib.sha256(content).hexdigest()


def blobs_dir(member: Program) -> Path:
    return member.home / "EdgeLake" / "data" / "blobs"


def files_of(member: Program) -> dict[str, Path]:
    """Every file below blobs_dir, by the id of its blob; others by their own name."""
    return {path.name.removeprefix("plant.t."): path for path in blobs_dir(member).rglob("*") if path.is_file()}


def is_in_copy(member: Program) -> bool:
    """Whether a content lies there in part."""
    return any(path.is_file() for path in blobs_dir(member).rglob(".*.part"))


@pytest.mark.slow
@pytest.mark.parametrize("victim", ["who fetches", "who gives"])
def test_members_that_are_killed_in_mid_copy_have_every_blob_and_nothing_else(tmp_path: Path, victim: str) -> None:
    first, second = members_in(tmp_path, 2)
    with first, second:
        uploads = Uploads(first)
        killed = second if victim == "who fetches" else first
        for number in range(COUNT):
            uploads.put(number)
        for _ in range(2):
            second.until(lambda: is_in_copy(second), limit_s=60)
            killed.kill()
            assert files_of(second).keys() != uploads.contents.keys()  # it was in the middle
            killed.start()
        for member in (first, second):
            member.until(lambda member=member: files_of(member).keys() == uploads.contents.keys(), limit_s=90)
            kept = {name: hashlib.sha256(path.read_bytes()).hexdigest() for name, path in files_of(member).items()}
            assert kept == uploads.contents
        for name, digest in uploads.contents.items():
            command = f"file retrieve where dbms = plant and table = t and id = {name} and dest = stdout"
            status, content = second.request("GET", {**AGENT, "command": command})
            assert (status, hashlib.sha256(content).hexdigest()) == (200, digest)
