"""Results of the benches: a table as JSON and Markdown, and a plot of ratios against their bars."""

from __future__ import annotations

import json
import os
import platform
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal


@dataclass(slots=True)
class Result:
    """One measured figure beside its baseline of the same run.

    ``ratio`` = figure / baseline. ``bar`` bounds the ratio (or the figure itself when there is no baseline):
    from below when ``better`` is "higher", from above when "lower".
    """

    name: str
    figure: float
    unit: str
    bar: float
    better: Literal["higher", "lower"]
    baseline: float | None = None
    baseline_name: str = ""
    notes: dict[str, Any] = field(default_factory=dict)

    @property
    def ratio(self) -> float | None:
        return self.figure / self.baseline if self.baseline else None

    @property
    def met(self) -> bool:
        value = self.figure if self.ratio is None else self.ratio
        return value >= self.bar if self.better == "higher" else value <= self.bar


def machine() -> dict[str, Any]:
    """What the figures were measured on."""
    return {
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "cores": os.cpu_count(),
        "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    }


def _number(value: float) -> str:
    if value >= 1000:
        return f"{value:,.0f}"
    return f"{value:.1f}" if value >= 100 else f"{value:.3g}"


def markdown(title: str, results: Sequence[Result]) -> str:
    head = "| what | ours | baseline | ratio | bar | met |"
    lines = [f"# {title}", "", head, "| --- | --- | --- | --- | --- | --- |"]
    for r in results:
        baseline = f"{_number(r.baseline)} {r.unit} ({r.baseline_name})" if r.baseline else "-"
        ratio = f"{r.ratio:.2f}x" if r.ratio is not None else "-"
        sign = ">=" if r.better == "higher" else "<="
        bar = f"{sign} {r.bar:g}x" if r.baseline else f"{sign} {_number(r.bar)} {r.unit}"
        met = "yes" if r.met else "no"
        lines.append(f"| {r.name} | {_number(r.figure)} {r.unit} | {baseline} | {ratio} | {bar} | {met} |")
    about = machine()
    lines += ["", f"{about['system']}, {about['cores']} cores, CPython {about['python']}, {about['time']}.", ""]
    return "\n".join(lines)


def write(folder: Path, name: str, title: str, results: Sequence[Result]) -> list[Path]:
    """Write ``name.json``, ``name.md`` and ``name.svg`` into the folder; returns what was written."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = [{**asdict(r), "ratio": r.ratio, "met": r.met} for r in results]
    files = [folder / f"{name}.json", folder / f"{name}.md"]
    files[0].write_text(json.dumps({"title": title, "machine": machine(), "results": rows}, indent=1) + "\n")
    files[1].write_text(markdown(title, results))
    if plot(folder / f"{name}.svg", title, results):
        files.append(folder / f"{name}.svg")
    return files


def plot(path: Path, title: str, results: Sequence[Result]) -> bool:
    """Bars of how each figure stands to its bar (1 = exactly the bar; longer is better).

    False when matplotlib (extra ``bench``) is not installed.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError:
        return False
    values = []
    for r in results:
        value = r.figure if r.ratio is None else r.ratio
        values.append(value / r.bar if r.better == "higher" else r.bar / max(value, 1e-9))
    figure = Figure(figsize=(8, 0.6 + 0.45 * len(results)), layout="constrained")
    axes = figure.subplots()
    colours = ["#2a7f62" if r.met else "#b5472f" for r in results]
    axes.barh([r.name for r in results], values, color=colours)
    axes.axvline(1, color="#444444", linewidth=1, linestyle="--")
    axes.invert_yaxis()
    axes.set_xlabel("times better than the bar (dashed line)")
    axes.set_title(title)
    figure.savefig(path, metadata={"Date": None})
    return True
