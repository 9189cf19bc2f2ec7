"""A blob that was cut or changed where it is kept is found out."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable
from pathlib import Path

import pytest

from edgelake.errors import BlobDamagedError, EdgeLakeError
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
