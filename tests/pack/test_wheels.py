"""How wheels are put together; the wheels themselves are tried by ``make wheels-check``."""

from __future__ import annotations

import base64
import csv
import hashlib
import io
import os
import tarfile
import zipfile
from pathlib import Path

import pytest
from pack.wheels import GLIBC, PackError, assemble, lay_out, tag

INFO = "edgelake-9.9.9.dist-info"
TAGS = "cp312-cp312-manylinux_2_28_aarch64"
ADDED = {
    "edgelake/_cython/rows.so": b"\x7fELF",
    f"{INFO}/licenses/OTHERS.txt": b"MIT\n",
    f"{INFO}/sboms/x.json": b"{}\n",
}


@pytest.fixture
def base(tmp_path: Path) -> Path:
    path = tmp_path / "base.whl"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("edgelake/__init__.py", "x = 1\n")
        archive.writestr(f"{INFO}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: false\nTag: cp311-abi3-linux_aarch64\n")
        archive.writestr(
            f"{INFO}/METADATA", "Metadata-Version: 2.4\nName: edgelake\nLicense-File: LICENSE\n\n# Text: it\n"
        )
        archive.writestr(f"{INFO}/RECORD", "stale,,\n")
    return path


def test_a_wheel_gets_its_tags_files_and_a_record_that_is_right(base: Path, tmp_path: Path) -> None:
    made = assemble(base, tmp_path / "dist", TAGS, ADDED, licence="OTHERS.txt")
    assert made.name == f"edgelake-9.9.9-{TAGS}.whl"
    with zipfile.ZipFile(made) as archive:
        content = {name: archive.read(name) for name in archive.namelist()}
        modes = {entry.filename: entry.external_attr >> 16 for entry in archive.infolist()}
    assert content[f"{INFO}/WHEEL"].decode().splitlines()[-1] == f"Tag: {TAGS}"
    assert b"abi3" not in content[f"{INFO}/WHEEL"]
    head, _, text = content[f"{INFO}/METADATA"].decode().partition("\n\n")
    assert head.splitlines()[-2:] == ["License-File: LICENSE", "License-File: OTHERS.txt"]
    assert text == "# Text: it\n"
    assert modes["edgelake/_cython/rows.so"] == 0o755
    record = {
        name: (digest, size) for name, digest, size in csv.reader(io.StringIO(content[f"{INFO}/RECORD"].decode()))
    }
    assert record.keys() == content.keys()
    for name, data in content.items():
        digest = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).decode().rstrip("=")
        assert record[name] == (("", "") if name.endswith("/RECORD") else (f"sha256={digest}", str(len(data))))


def test_the_same_parts_make_the_same_wheel(base: Path, tmp_path: Path) -> None:
    made = [assemble(base, tmp_path / name, TAGS, ADDED, licence="OTHERS.txt").read_bytes() for name in "ab"]
    assert made[0] == made[1]


def test_the_tag_names_version_and_oldest_system() -> None:
    assert tag("3.14", "aarch64") == f"cp314-cp314-manylinux_{GLIBC[0]}_{GLIBC[1]}_aarch64"


def _packed(folder: Path, files: dict[str, str]) -> Path:
    path = folder / "edgelake-9.9.9.tar.gz"
    with tarfile.open(path, "w:gz") as archive:
        for name, text in files.items():
            entry = tarfile.TarInfo(name)
            entry.size, entry.mtime = len(text), 1_000_000_000
            archive.addfile(entry, io.BytesIO(text.encode()))
    return path


def test_sources_that_did_not_change_keep_their_time(tmp_path: Path) -> None:
    """Cargo builds what is newer than what it built; the times in the archive say nothing."""
    top = "edgelake-9.9.9"
    folder = tmp_path / "source"
    lay_out(_packed(tmp_path, {f"{top}/same.rs": "a", f"{top}/new.rs": "b", f"{top}/gone.rs": "c"}), folder)
    for path in folder.iterdir():
        os.utime(path, (1_700_000_000, 1_700_000_000))
    lay_out(_packed(tmp_path, {f"{top}/same.rs": "a", f"{top}/new.rs": "B"}), folder)
    assert (folder / "same.rs").stat().st_mtime == 1_700_000_000
    assert (folder / "new.rs").stat().st_mtime > 1_700_000_000
    assert (folder / "new.rs").read_text() == "B"
    assert not (folder / "gone.rs").exists()


def test_an_archive_that_leads_out_of_its_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(PackError, match="leads out"):
        lay_out(_packed(tmp_path, {"edgelake-9.9.9/../../evil.rs": "x"}), tmp_path / "source")
