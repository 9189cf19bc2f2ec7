"""A hook of mkdocs: the page of figures, made of bench/results whenever the site is built."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

RESULTS = Path(__file__).parent / "results"
PAGE = "figures.md"
_HEAD = """\
# Figures

Made of `bench/results` when this site was built; every figure is from a run in which its baseline was measured, too.
[Benchmarks](benchmarks.md) says how each is taken, and how to run them again:

```
make release
.venv/bin/edgelake bench all
make site
```
"""


def page(results: Path = RESULTS) -> str:
    """The tables and plots of all benches, one section each."""
    parts = [_HEAD]
    for table in sorted(results.glob("*.md"), key=lambda one: (one.stem != "summary", one.stem)):
        text = re.sub(r"^# .*$", f"## {table.stem}", table.read_text(), count=1, flags=re.MULTILINE)
        parts.append(re.sub(r"\]\((\w+\.svg)\)", r"](images/bench/\1)", text))
    return "\n".join(parts)


def on_files(files: Files, *, config: Any) -> Files:
    """Add the page and its plots to the site."""
    files.append(File.generated(config, PAGE, content=page()))
    for plot in sorted(RESULTS.glob("*.svg")):
        files.append(File.generated(config, f"images/bench/{plot.name}", abs_src_path=str(plot)))
    return files
