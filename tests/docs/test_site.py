"""The documentation as a site: every page is in it, no link is dead, and nothing is fetched from elsewhere."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

from tests.docs.test_docs import ROOT

_FETCHED = re.compile(r"""<(?:script|img|iframe|link)\b[^>]*?\b(?:src|href)=["']?((?:https?:)?//[^"' >]+)""")


def test_it_builds_without_a_warning_and_asks_nobody(tmp_path: Path) -> None:
    told = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(tmp_path)]
    environment = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    done = subprocess.run(told, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=100)
    assert (done.returncode, done.stderr) == (0, ""), done.stdout + done.stderr
    pages = {path.stem for path in tmp_path.glob("*.html")}
    assert {path.stem for path in (ROOT / "docs").glob("*.md")} <= pages
    for page in tmp_path.glob("*.html"):
        assert not _FETCHED.findall(page.read_text()), page.name
    figures = (tmp_path / "figures.html").read_text()
    for plot in (ROOT / "bench" / "results").glob("*.svg"):
        assert (tmp_path / "images" / "bench" / plot.name).read_bytes() == plot.read_bytes()
        assert f'src="images/bench/{plot.name}"' in figures
