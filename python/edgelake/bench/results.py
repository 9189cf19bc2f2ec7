"""Results of the benches: tables as JSON and Markdown, and plots of how each figure stands to its bar."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from edgelake.bench import machine

Better = Literal["higher", "lower"]

LONGEST = 4.0
"""Where bars of a plot are cut off, in times the bar."""


@dataclass(slots=True)
class Result:
    """One measured figure beside its baseline of the same run.

    ``ratio`` = figure / baseline. ``bar`` bounds the ratio (or the figure itself when there is no baseline):
    from below when ``better`` is "higher", from above when "lower". ``failure`` = why there is no figure.
    """

    name: str
    figure: float
    unit: str
    bar: float
    better: Better
    baseline: float | None = None
    baseline_name: str = ""
    notes: dict[str, Any] = field(default_factory=dict)
    bench: str = ""
    key: str = ""
    failure: str = ""

    @property
    def ratio(self) -> float | None:
        return self.figure / self.baseline if self.baseline else None

    @property
    def met(self) -> bool:
        if self.failure:
            return False
        value = self.figure if self.ratio is None else self.ratio
        return value >= self.bar if self.better == "higher" else value <= self.bar

    @property
    def times_the_bar(self) -> float:
        """1 = exactly the bar, more is better; LONGEST at most."""
        if self.failure:
            return 0.0
        value = self.figure if self.ratio is None else self.ratio
        above, below = (value, self.bar) if self.better == "higher" else (self.bar, value)
        if below <= 0:
            return 1.0 if self.met else 0.0
        return min(above / below, LONGEST)

    def as_dict(self) -> dict[str, Any]:
        return {**asdict(self), "ratio": self.ratio, "met": self.met}


def number(value: float) -> str:
    if value >= 1000:
        return f"{value:,.0f}"
    return f"{value:.1f}" if value >= 100 else f"{value:.3g}"


def _cells(r: Result) -> list[str]:
    sign = ">=" if r.better == "higher" else "<="
    bar = f"{sign} {r.bar:g}x" if r.baseline_name else f"{sign} {number(r.bar)} {r.unit}"
    if r.failure:
        return [r.name, f"failed: {r.failure}", r.baseline_name or "-", "-", bar, "no"]
    baseline = f"{number(r.baseline)} {r.unit} ({r.baseline_name})" if r.baseline else "-"
    ratio = f"{r.ratio:.2f}x" if r.ratio is not None else "-"
    return [r.name, f"{number(r.figure)} {r.unit}", baseline, ratio, bar, "yes" if r.met else "**no**"]


def markdown(title: str, results: Sequence[Result], about: dict[str, Any], remark: str = "") -> str:
    """A page: the table, a remark, the machine."""
    lines = [
        f"# {title}",
        "",
        "| what | figure | baseline | ratio | bar | met |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    lines += [f"| {' | '.join(cell.replace('|', '/') for cell in _cells(r))} |" for r in results]
    met = sum(r.met for r in results)
    lines += ["", f"{met} of {len(results)} bars met. {remark}".strip(), "", machine.text(about), ""]
    return "\n".join(lines)


@dataclass(frozen=True, slots=True)
class Page:
    """One page of results: ``name.json``, ``name.md`` and ``name.svg``."""

    name: str
    title: str
    results: Sequence[Result]
    machine: dict[str, Any]
    remark: str = ""

    def text(self) -> str:
        return markdown(self.title, self.results, self.machine, self.remark)

    def write(self, folder: Path) -> list[Path]:
        """Returns what was written."""
        folder.mkdir(parents=True, exist_ok=True)
        files = [folder / f"{self.name}.json", folder / f"{self.name}.md"]
        content = {
            "title": self.title,
            "remark": self.remark,
            "machine": self.machine,
            "results": [r.as_dict() for r in self.results],
        }
        files[0].write_text(json.dumps(content, indent=1) + "\n")
        shown = self.text()
        if plot(folder / f"{self.name}.svg", self.title, self.results):
            files.append(folder / f"{self.name}.svg")
            shown += f"\n![times better than the bar]({self.name}.svg)\n"
        files[1].write_text(shown)
        return files


def plot(path: Path, title: str, results: Sequence[Result]) -> bool:
    """Bars of how each figure stands to its bar (1 = exactly the bar; longer is better).

    False when matplotlib (extra ``bench``) is not installed.
    """
    try:
        import matplotlib
        from matplotlib.figure import Figure
    except ImportError:
        return False
    with matplotlib.rc_context({"svg.hashsalt": "edgelake", "svg.fonttype": "none"}):
        figure = Figure(figsize=(9, 1.2 + 0.5 * len(results)), layout="constrained")
        axes = figure.subplots()
        places = range(len(results))
        lengths = [r.times_the_bar for r in results]
        axes.barh(places, lengths, color=["#2a7f62" if r.met else "#b5472f" for r in results], height=0.6)
        for at, r in zip(places, results, strict=True):
            axes.text(lengths[at] + 0.03, at, _label(r), va="center", fontsize=8)
        axes.set_yticks(places, [_name(r) for r in results], fontsize=8)
        axes.axvline(1, color="#444444", linewidth=1, linestyle="--")
        axes.set_xlim(0, LONGEST * 1.25)
        axes.invert_yaxis()
        axes.set_xlabel("times better than the bar (dashed line)")
        axes.set_title(title)
        figure.savefig(path, metadata={"Date": None})
    return True


def _name(r: Result) -> str:
    return f"{r.name}\nagainst {r.baseline_name}" if r.baseline_name else r.name


def _label(r: Result) -> str:
    if r.failure:
        return "failed"
    return f"{number(r.figure)} {r.unit}" + (f", {r.ratio:.2f}x" if r.ratio is not None else "")
