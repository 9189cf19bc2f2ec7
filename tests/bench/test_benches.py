"""Each bench at its smallest: it runs, checks its answers, and gives a figure for each of its measures."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from edgelake import bench
from edgelake.bench import baselines, catalogue


@pytest.mark.parametrize("name", catalogue.BENCHES)
def test_a_bench_measures_what_it_names(name: str, tmp_path: Path) -> None:
    output = tmp_path / "out"
    arguments = [name, "--rows", "1000", "--quiet", "--output", str(output), "--directory", str(tmp_path)]
    assert bench.main(arguments, any_build=True) == 0, (output / f"{name}.md").read_text()
    found = json.loads((output / f"{name}.json").read_text())["results"]
    wanted = catalogue.BENCHES[name].measures
    assert [r["key"] for r in found] == list(wanted)
    for r in found:
        assert bool(r["baseline"]) == bool(wanted[r["key"]].baseline)
    assert [path.name for path in tmp_path.iterdir()] == ["out"]  # nothing is left behind


def test_only_what_is_wanted_is_measured(tmp_path: Path) -> None:
    output = tmp_path / "out"
    arguments = ["all", "--only", "idle", "--rows", "1000", "--quiet", "--output", str(output)]
    assert bench.main(arguments, any_build=True) == 0
    assert sorted(path.name for path in output.glob("*.md")) == ["startup.md", "summary.md"]
    assert [r["key"] for r in json.loads((output / "summary.json").read_text())["results"]] == ["idle"]


def test_the_baselines_store_every_row(tmp_path: Path) -> None:
    assert baselines.native_seconds(tmp_path, 3000) > 0
    assert baselines.naive_seconds(tmp_path, 3000) > 0
