"""A blob that was cut or changed where it is kept is found out."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable
from pathlib import Path

import pytest

from edgelake.errors import BlobDamagedError, EdgeLakeError
from edgelake.ingest.blobs.arrival import Arrival
from edgelake.ingest.blobs.content import Content, check, note, noted, pieces_of
from edgelake.ingest.blobs.names import BlobName, Wanted

CONTENT = bytes(range(256)) * 5000


def named(coded: bytes) -> BlobName:
    return BlobName("plant", "photo", f"{hashlib.md5(b'plant.photo' + coded).hexdigest()}.png")


CODINGS: dict[str, Callable[[bytes], bytes]] = {
    "as it is": bytes,
    "base64": base64.b64encode,
    "hexadecimal": lambda content: content.hex().encode(),
}


@pytest.mark.parametrize("coded", CODINGS.values(), ids=CODINGS)
def test_the_name_tells_a_content_from_every_other(tmp_path: Path, coded: Callable[[bytes], bytes]) -> None:
    path = tmp_path / "x"
    for content in (CONTENT, b"", b"a", b"ab"):
        path.write_bytes(content)
        assert check(named(coded(content)), None, lambda: pieces_of(path)).bytes == len(content)
    name = named(coded(CONTENT))
    for damage in (CONTENT[:-1], b"", CONTENT + b"x", b"x" + CONTENT[1:]):
        path.write_bytes(damage)
        with pytest.raises(BlobDamagedError, match=name.file):
            check(name, None, lambda: pieces_of(path))


def test_what_was_noted_tells_where_the_name_cannot(tmp_path: Path) -> None:
    path, name = tmp_path / "x", BlobName("plant", "photo", "0a.png")
    path.write_bytes(CONTENT)
    with pytest.raises(BlobDamagedError):
        check(name, noted(path), lambda: pieces_of(path))
    if not note(path, Content(len(CONTENT), hashlib.md5(CONTENT).hexdigest())):
        pytest.skip("the file system keeps no attributes")
    check(name, noted(path), lambda: pieces_of(path))
    with path.open("r+b") as file:
        file.truncate(1000)
    with pytest.raises(BlobDamagedError, match=r"1,000 of 1,280,000 bytes are there"):
        check(name, noted(path), lambda: pieces_of(path))


@pytest.mark.parametrize("wrong", ["../x", "0a.p/x", "0a.png.gz", "", "xyz.png", "0a.", "0a./..", "0a\n"])
def test_no_id_leads_out_of_the_folder(wrong: str) -> None:
    assert BlobName.parse(f"plant.photo.{wrong}") is None
    if wrong:
        with pytest.raises(EdgeLakeError):
            Wanted("plant", "photo", wrong)
    with pytest.raises(EdgeLakeError):
        Wanted("plant", f"../{wrong}")
    with pytest.raises(EdgeLakeError):
        Wanted(f"../{wrong}", "photo")


@pytest.mark.parametrize("size", [100, 1000, len(CONTENT), len(CONTENT) + 1, -1])
@pytest.mark.parametrize("is_noted", [True, False])
def test_the_last_byte_of_a_damaged_content_is_never_read(
    tmp_path: Path, size: int, is_noted: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever has all that a library was told to take has had it checked, also without asking for the end."""
    path, name = tmp_path / "x", named(CONTENT)
    path.write_bytes(CONTENT)
    if is_noted:  # as attributes of the file say it, which not every file system keeps
        known = Content(len(CONTENT), hashlib.md5(CONTENT).hexdigest())
        monkeypatch.setattr("edgelake.ingest.blobs.arrival.noted", lambda path: known)
    with Arrival(path, name).reading() as whole:
        assert b"".join(iter(lambda: whole.read(size), b"")) == CONTENT
    for damage in (CONTENT[:-1], b"", CONTENT + b"x", b"x" + CONTENT[1:]):
        path.write_bytes(damage)
        read = bytearray()
        with pytest.raises(BlobDamagedError, match=name.file):
            read_whole(Arrival(path, name), size, len(damage), read)
        assert len(read) < max(len(damage), 1)


def read_whole(arrival: Arrival, size: int, length: int, into: bytearray) -> None:
    with arrival.reading() as content:
        into += content.read(size)
        while len(into) < length:
            into += content.read(size)


def test_a_damage_is_told_as_it_is_whatever_a_library_makes_of_it(tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_bytes(CONTENT)

    def read_by_a_library(name: BlobName) -> None:
        with Arrival(path, name).reading() as content:
            try:
                content.read()
            except BlobDamagedError as damage:
                raise RuntimeError("an input failed") from damage
            raise RuntimeError("the service does not answer")

    with pytest.raises(BlobDamagedError):
        read_by_a_library(named(CONTENT[1:]))
    with pytest.raises(RuntimeError, match="does not answer"):
        read_by_a_library(named(CONTENT))
