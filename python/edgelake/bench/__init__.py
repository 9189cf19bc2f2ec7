"""``edgelake bench``: what the node does a second, each figure beside its baseline of the same run."""

from __future__ import annotations

import argparse
import importlib
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from edgelake import _rust
from edgelake.bench import results

ABOUT = {
    "startup": "start to ready; memory of an idle node",
    "rows": "Python objects and numpy arrays to payloads and back",
}


class Settings:
    """What a run was asked for. ``scale`` shrinks the row counts for a quick look."""

    def __init__(self, directory: Path, scale: float, quiet: bool) -> None:
        self.directory = directory
        self.scale = scale
        self.quiet = quiet

    def rows(self, full: int) -> int:
        return max(1000, int(full * self.scale) // 1000 * 1000)

    def say(self, text: str) -> None:
        if not self.quiet:
            print(f"  {text}", file=sys.stderr, flush=True)

    def folder(self, prefix: str) -> tempfile.TemporaryDirectory[str]:
        """A fresh folder on the disk that is measured; removed after the bench."""
        return tempfile.TemporaryDirectory(prefix=f"edgelake-{prefix}-", dir=self.directory)


def run_one(name: str, settings: Settings) -> list[results.Result]:
    # Imported here: benches cost memory that `edgelake` itself must not pay.
    module = importlib.import_module(f"edgelake.bench.{name}")
    found: list[results.Result] = module.run(settings)
    return found


def parser() -> argparse.ArgumentParser:
    listed = "\n".join(f"  {name:8} {about}" for name, about in ABOUT.items())
    made = argparse.ArgumentParser(
        prog="edgelake bench",
        description="Measure the node against baselines in the same run.",
        epilog=f"benches:\n{listed}\n  all      all of them, with one summary page",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    made.add_argument("bench", choices=[*ABOUT, "all"])
    made.add_argument("--output", type=Path, default=Path("bench/results"), help="where tables and plots go")
    made.add_argument("--directory", type=Path, default=Path(tempfile.gettempdir()), help="disk that is measured")
    made.add_argument("--scale", type=float, default=1.0, help="factor on row counts; below 1 for a quick look")
    made.add_argument("--quiet", action="store_true", help="no progress lines")
    return made


def main(arguments: Sequence[str] | None = None) -> int:
    """Run benches; 0 when they ran (whether or not the bars were met), 2 when they cannot be run."""
    args = parser().parse_args(arguments)
    if _rust.BUILD_PROFILE != "release":
        print("This is a development build, whose figures mean nothing. Make a release build: make release")
        return 2
    settings = Settings(args.directory, args.scale, args.quiet)
    collected: list[results.Result] = []
    for name in ABOUT if args.bench == "all" else [args.bench]:
        settings.say(f"{name}: {ABOUT[name]}")
        found = run_one(name, settings)
        results.write(args.output, name, f"EdgeLake bench: {name}", found)
        print(results.markdown(f"EdgeLake bench: {name}", found))
        collected += found
    if args.bench == "all":
        files = results.write(args.output, "summary", "EdgeLake benches", collected)
        print(results.markdown("EdgeLake benches", collected))
        print("Written: " + ", ".join(str(f) for f in files))
    return 0
