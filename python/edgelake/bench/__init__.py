"""``edgelake bench``: what the node does a second, each figure beside its baseline of the same run.

A bench is a module ``edgelake.bench.<name>`` with ``run(settings) -> list[Result]``, and an entry in
``catalogue.BENCHES``.
"""

from __future__ import annotations

import argparse
import importlib
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from edgelake import _rust
from edgelake.bench import machine
from edgelake.bench.catalogue import BENCHES, failed
from edgelake.bench.results import Page, Result

FULL_ROWS = 1_000_000
QUICK = 0.1
"""Below this scale nothing is repeated."""


class Settings:
    """What a run was asked for.

    Args:
        directory: the disk that is measured.
        scale: factor on all row and request counts.
        only: keys of the measures that are wanted; empty = all.
    """

    def __init__(
        self, directory: Path, scale: float = 1.0, quiet: bool = False, only: frozenset[str] = frozenset()
    ) -> None:
        self.directory = directory
        self.scale = scale
        self.quiet = quiet
        self.only = only

    def rows(self, full: int) -> int:
        """A row count for this run: a multiple of 1,000."""
        return max(1000, int(full * self.scale) // 1000 * 1000)

    def rounds(self, full: int) -> int:
        """How often something is repeated; once when only a quick look is wanted."""
        return full if self.scale >= QUICK else 1

    def wants(self, *keys: str) -> bool:
        """Whether one of these measures is wanted."""
        return not self.only or bool(self.only & set(keys))

    def say(self, text: str) -> None:
        """A line of progress."""
        if not self.quiet:
            print(f"  {text}", file=sys.stderr, flush=True)

    def folder(self, prefix: str) -> tempfile.TemporaryDirectory[str]:
        """A fresh folder on the disk that is measured; removed after the bench."""
        return tempfile.TemporaryDirectory(prefix=f"edgelake-{prefix}-", dir=self.directory, ignore_cleanup_errors=True)


class UnfinishedError(Exception):
    """Some parts of a bench failed; ``found`` is what the others gave."""

    def __init__(self, found: list[Result], reason: str) -> None:
        super().__init__(reason)
        self.found = found


def gathered(settings: Settings, *parts: Callable[[Settings], Iterable[Result]]) -> list[Result]:
    """The results of a bench's parts. Raises UnfinishedError at the end when one failed."""
    found: list[Result] = []
    reasons: list[str] = []
    for part in parts:
        try:
            found += part(settings)
        except Exception as problem:  # noqa: BLE001 - a part that fails must not hide the figures of the others
            reasons.append(_reason(problem))
            settings.say(f"failed: {reasons[-1]}")
    if reasons:
        raise UnfinishedError(found, "; ".join(reasons))
    return found


def run_one(name: str, settings: Settings) -> list[Result]:
    """Run one bench. What it could not measure stands in its results with the reason."""
    # Imported here: benches cost memory that `edgelake` itself must not pay.
    module = importlib.import_module(f"edgelake.bench.{name}")
    reason = "the bench gave no figure"
    try:
        found: list[Result] = module.run(settings)
    except UnfinishedError as unfinished:
        found, reason = unfinished.found, str(unfinished)
    except Exception as problem:  # noqa: BLE001 - as above, of the other benches
        found, reason = [], _reason(problem)
    by_key = {result.key: result for result in found}
    return [by_key.get(key) or failed(name, key, reason) for key in BENCHES[name].measures if settings.wants(key)]


def _reason(problem: Exception) -> str:
    return f"{type(problem).__name__}: {problem}"


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(
        prog="edgelake bench",
        description="Measure the node against baselines in the same run, on a release build (make release).",
        epilog=_listed(),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    made.add_argument("bench", choices=[*BENCHES, "all"], help="which bench; all = each, with one summary page")
    made.add_argument(
        "--rows",
        type=int,
        default=FULL_ROWS,
        help=f"rows of workload W (default {FULL_ROWS:,}); "
        "other counts shrink alike. Below the default for a quick try: such figures meet no bar",
    )
    made.add_argument("--only", action="append", default=[], metavar="KEY", help="only this measure; may be repeated")
    made.add_argument("--output", type=Path, default=Path("bench/results"), help="where tables and plots go")
    made.add_argument("--directory", type=Path, default=Path(tempfile.gettempdir()), help="disk that is measured")
    made.add_argument("--quiet", action="store_true", help="no progress lines")
    return made


def _listed() -> str:
    """Every measure with its bar."""
    lines = [
        "benches, their measures (KEY: what, bar):",
    ]
    for name, bench in BENCHES.items():
        lines += ["", f"  {name}: {bench.about}"]
        lines += [f"    {key}: {measure.what}, {measure.bar_text}" for key, measure in bench.measures.items()]
    lines += ["", "Each bench writes NAME.json, NAME.md and NAME.svg into the output folder."]
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None, *, any_build: bool = False) -> int:
    """Run benches.

    Args:
        any_build: take a development build, too (tests of the benches; its figures mean nothing).

    Returns: 0 when they ran, whether or not the bars were met; 1 when one failed; 2 when they cannot be run.
    """
    made = parser()
    args = made.parse_args(arguments)
    names = list(BENCHES) if args.bench == "all" else [args.bench]
    keys = {key for name in names for key in BENCHES[name].measures}
    if unknown := set(args.only) - keys:
        made.error(f"no measure {', '.join(sorted(unknown))} in {args.bench}; there are {', '.join(sorted(keys))}")
    if args.rows < 1000:
        made.error("--rows is 1000 or more")
    if _rust.BUILD_PROFILE != "release" and not any_build:
        print("This is a development build, whose figures mean nothing. Make a release build: make release")
        return 2
    args.directory.mkdir(parents=True, exist_ok=True)
    settings = Settings(args.directory, args.rows / FULL_ROWS, args.quiet, frozenset(args.only))
    collected = _run_all(names, settings, args.output)
    return 1 if any(r.failure for r in collected) else 0


def _run_all(names: list[str], settings: Settings, output: Path) -> list[Result]:
    about = machine.describe(settings.directory)
    remark = "" if settings.scale >= 1 else f"Scaled down to {settings.scale:.1%} of the rows: a try, not a result."
    collected: list[Result] = []
    files: list[Path] = []
    for name in names:
        if not settings.wants(*BENCHES[name].measures):
            continue
        settings.say(f"{name}: {BENCHES[name].about}")
        begin = time.monotonic()
        found = run_one(name, settings)
        settings.say(f"{name}: done in {time.monotonic() - begin:.0f} s")
        page = Page(name, f"EdgeLake bench: {name}", found, about, remark)
        files += page.write(output)
        if len(names) == 1:
            print(page.text())
        collected += found
    if len(names) > 1:
        page = Page("summary", "EdgeLake benches", collected, about, remark)
        files += page.write(output)
        print(page.text())
    print("Written: " + ", ".join(str(file) for file in files))
    return collected
