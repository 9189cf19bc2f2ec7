"""What is shipped and required: known, counted, and under licences that allow it."""

from __future__ import annotations

import json
from importlib import metadata
from pathlib import Path

import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from pack.components import ROOT, Component, crates, distributions, installed_for, scripts
from pack.licences import BESIDE, INSIDE, main, notices, permitted, refused
from pack.sbom import document, version


def test_an_installation_without_extras_is_small() -> None:
    """At most 15 packages. Their size and that of our wheel is measured where wheels are built (make wheels-check)."""
    names = installed_for()
    assert len(names) + 1 <= 15, sorted(names)
    beside = sum(_size(name) for name in names)
    assert beside + _size_of(ROOT / "python/edgelake") <= 70e6  # the rest of 90 MB is for the library


def _size(name: str) -> float:
    files = metadata.distribution(name).files or []
    return sum(path.stat().st_size for file in files if (path := Path(str(file.locate()))).is_file())


def _size_of(folder: Path) -> float:
    """Of the Python files and what lies with them; the library of a development build is several times its size."""
    left_out = {".so", ".pyc"}
    return sum(
        f.stat().st_size
        for f in folder.rglob("*")
        if f.is_file() and f.suffix not in left_out and "node_modules" not in f.parts
    )


def test_the_bill_of_materials_keeps_the_schema_and_names_everything() -> None:
    bill = document([*crates(), *scripts(), *distributions()])
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(bill) is None
    found = json.loads(bill)
    assert found["metadata"]["component"]["version"] == version() == metadata.version("edgelake")
    entries = {entry["purl"].partition("@")[0]: entry for entry in found["components"]}
    assert {
        "pkg:cargo/rusqlite",
        "pkg:cargo/pyo3",
        "pkg:npm/preact",
        "pkg:npm/uplot",
        "pkg:pypi/apsw",
    } <= entries.keys()
    assert "pkg:cargo/proptest" not in entries  # of tests
    assert "pkg:npm/vite" not in entries  # of the build
    assert (entries["pkg:pypi/apsw"]["scope"], entries["pkg:pypi/obstore"]["scope"]) == ("required", "optional")
    assert entries["pkg:cargo/serde"]["hashes"][0]["alg"] == "SHA-256"
    assert all(entry.get("licenses") for entry in found["components"])
    graph = {edge["ref"]: edge.get("dependsOn", []) for edge in found["dependencies"]}
    core = {ref.partition("@")[0] for ref in graph["edgelake"]}
    assert {"pkg:cargo/rusqlite", "pkg:npm/uplot", "pkg:pypi/apsw"} <= core


def test_the_same_parts_make_the_same_bill(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1790000000")
    parts = scripts()
    assert document(parts) == document(reversed(parts))
    assert '"timestamp": "2026-09-21T' in document(parts)


def test_every_licence_allows_what_we_do() -> None:
    assert main() == 0


@pytest.mark.parametrize(
    ("licence", "inside", "beside"),
    [
        ("MIT", True, True),
        ("GPL-3.0-only OR MIT", True, True),
        ("GPL-3.0-only AND MIT", False, False),
        ("Apache-2.0 WITH LLVM-exception", True, True),
        ("(MIT OR Apache-2.0) AND Unicode-3.0", True, True),
        ("MPL-2.0", False, True),
        ("AGPL-3.0-or-later", False, False),
        ("", False, False),
        ("see the website", False, False),
        ("MIT OR", False, False),
    ],
)
def test_an_expression_is_read_as_spdx_means_it(licence: str, inside: bool, beside: bool) -> None:
    assert (permitted(licence, INSIDE), permitted(licence, BESIDE)) == (inside, beside)


def test_what_is_refused_is_named_with_its_licence() -> None:
    found = refused([Component("cargo", "viral", "1.0.0", "GPL-3.0-only", inside=True)])
    assert found == ["pkg:cargo/viral@1.0.0: 'GPL-3.0-only' is not among the licences allowed"]


def test_the_notices_hold_each_text_once_with_all_who_ship_it(tmp_path: Path) -> None:
    folders = []
    for name in ("a", "b"):
        folder = tmp_path / name
        folder.mkdir()
        (folder / "LICENSE-MIT").write_text("Permission is granted\n")
        folders.append(folder)
    parts = [Component("cargo", f.name, "1.0.0", "MIT", inside=True, folder=f, needs=frozenset()) for f in folders]
    text = notices([*parts, Component("npm", "c", "2.0.0", "ISC", inside=True)])
    assert text.count("Permission is granted") == 1
    assert "a 1.0.0 (MIT)\nb 1.0.0 (MIT)\n" in text
    assert "c 2.0.0 (ISC)" in text


def test_every_crate_and_package_inside_ships_its_licence() -> None:
    assert all(part.folder for part in scripts()), "the console's packages are not installed: make console"
    assert [part.name for part in [*crates(), *scripts()] if not part.texts()] in ([], ["asn1-rs-impl"])
