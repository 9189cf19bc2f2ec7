"""What the benches write, and what the program says about them."""

from __future__ import annotations

import json
from pathlib import Path
from xml.etree import ElementTree

import pytest

from edgelake import _rust, bench
from edgelake.bench import catalogue, machine
from edgelake.bench.results import LONGEST, Page, Result


def result(figure: float = 2.0, **changes: object) -> Result:
    values = {"name": "rows", "unit": "rows/s", "bar": 1.5, "better": "higher", "baseline": 1.0, "baseline_name": "b"}
    return Result(figure=figure, **{**values, **changes})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("found", "met"),
    [
        (result(1.5), True),
        (result(1.4), False),
        (result(1.5, better="lower"), True),
        (result(1.6, better="lower"), False),
        (result(60.0, bar=60.0, better="lower", baseline=None), True),
        (result(61.0, bar=60.0, better="lower", baseline=None), False),
        (result(0.0, bar=0.0, better="lower", baseline=None), True),
        (result(3.0, bar=0.0, better="lower", baseline=None), False),
        (result(9.0, failure="the node ended"), False),
    ],
)
def test_a_bar_is_met_or_not(found: Result, met: bool) -> None:
    assert found.met is met
    assert (found.times_the_bar >= 1) is met
    assert 0 <= found.times_the_bar <= LONGEST


def test_a_page_is_a_table_with_the_machine_its_json_and_a_plot(tmp_path: Path) -> None:
    found = [result(), result(1.0, name="pipes | too"), result(0.0, failure="no answer")]
    about = machine.describe(tmp_path)
    files = Page("try", "A try", found, about, "Only a try.").write(tmp_path)
    assert [file.name for file in files] == ["try.json", "try.md", "try.svg"]

    content = json.loads(files[0].read_text())
    assert content["machine"] == about
    assert [r["met"] for r in content["results"]] == [True, False, False]
    assert content["results"][0]["ratio"] == 2.0

    lines = files[1].read_text().splitlines()
    assert lines[2] == "| what | figure | baseline | ratio | bar | met |"
    assert lines[4] == "| rows | 2 rows/s | 1 rows/s (b) | 2.00x | >= 1.5x | yes |"
    assert all(line.count("|") == 7 for line in lines[2:7])
    assert "failed: no answer" in lines[6]
    assert "1 of 3 bars met. Only a try." in lines
    assert any(about["processor"] in line for line in lines)

    assert ElementTree.parse(files[2]).getroot().tag.endswith("svg")


@pytest.mark.parametrize(("load", "busy"), [(0.1, False), (3.0, True)])
def test_a_run_beside_other_work_is_marked(tmp_path: Path, load: float, busy: bool) -> None:
    about = {**machine.describe(tmp_path), "load_before": load, "cores": 2}
    assert ("provisional" in machine.text(about)) is busy


def test_the_help_names_each_measure_and_its_bar() -> None:
    said = bench.parser().format_help()
    for name, one in catalogue.BENCHES.items():
        assert f"{name}: {one.about}" in said
        for key, measure in one.measures.items():
            assert f"{key}: {measure.what}, {measure.bar_text}" in said


def test_a_development_build_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(_rust, "BUILD_PROFILE", "dev")
    assert bench.main(["all", "--output", str(tmp_path / "out")]) == 2
    said = capsys.readouterr()
    assert "make release" in said.out + said.err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("arguments", [["rest", "--only", "idle"], ["all", "--rows", "5"], ["nothing"]])
def test_wrong_arguments_are_said(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        bench.main(arguments, any_build=True)
    assert "error" in capsys.readouterr().err


def test_a_bench_that_fails_hides_no_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in catalogue.BENCHES:
        module = __import__(f"edgelake.bench.{name}", fromlist=["run"])
        monkeypatch.setattr(module, "run", _fails if name == "rest" else _nothing)
    output = tmp_path / "out"
    assert bench.main(["all", "--quiet", "--output", str(output)], any_build=True) == 1
    content = json.loads((output / "summary.json").read_text())
    failures = {r["key"]: r["failure"] for r in content["results"]}
    assert {failures[key] for key in catalogue.BENCHES["rest"].measures} == {"OSError: no disk"}
    assert failures["idle"] == "the bench gave no figure"


def test_a_part_that_fails_hides_no_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module = __import__("edgelake.bench.rest", fromlist=["run"])
    for part in ("stream", "memory"):
        monkeypatch.setattr(module, part, _fails)
    monkeypatch.setattr(module, "single", lambda settings: [catalogue.measured("rest", "single", 2.0, 3.0)])
    found = bench.run_one("rest", bench.Settings(tmp_path, quiet=True))
    assert [r.key for r in found] == list(catalogue.BENCHES["rest"].measures)
    assert [r.key for r in found if not r.failure] == ["single"]
    assert found[0].failure == "OSError: no disk; OSError: no disk"


def _fails(settings: bench.Settings) -> list[Result]:
    raise OSError("no disk")


def _nothing(settings: bench.Settings) -> list[Result]:
    return []
