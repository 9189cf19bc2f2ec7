"""The way of a new user: the scripts, curl lines and programs of the pages, run as they are written."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.docs.test_docs import ROOT
from tests.system.program import Program

_FENCE = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
ADDRESS = "127.0.0.1:32049"


def blocks(page: str, kind: str) -> list[str]:
    return [text for found, text in _FENCE.findall((ROOT / page).read_text()) if found == kind]


@pytest.mark.parametrize("page", ["README.md", "docs/rest.md", "docs/api.md", "docs/grafana.md", "docs/console.md"])
def test_curl_lines_of_a_page_work_on_the_node_of_the_readme(page: str, tmp_path: Path) -> None:
    script = blocks("README.md", "script")[0].replace("32049", "{port}")
    lines = blocks(page, "sh")
    assert lines
    with Program(tmp_path, script) as node:
        said = []
        for text in lines:
            here = text.replace(ADDRESS, f"127.0.0.1:{node.port}").replace("curl ", "curl -sS --fail-with-body ")
            node.post("flush buffers")
            done = subprocess.run(["bash", "-ec", here], capture_output=True, text=True, timeout=30)
            assert done.returncode == 0, f"{text}\n{done.stdout}{done.stderr}"
            said.append(done.stdout)
        node.post("flush buffers")
        if page != "docs/console.md":  # a preview stores nothing
            assert node.count("motor") >= 1
    assert all(said) or page != "README.md"
    assert not [one for one in said if one.startswith('{"message"')]  # how Grafana is told of failures


def test_the_program_of_the_readme_runs(tmp_path: Path) -> None:
    program = blocks("README.md", "python")[0].replace("/tmp/edge-2", str(tmp_path))
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == ["{'device': 'm-2', 'speed': 1475.0}", "{'device': 'm-1', 'speed': 1480.5}"]


def test_the_demo_shows_everything_and_leaves_nothing(tmp_path: Path) -> None:
    environment = {"DEMO_SECONDS": "0", "TMPDIR": str(tmp_path), "PATH": "/usr/bin:/bin", "HOME": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-m", "edgelake", "demo", "--rows", "8000"],
        capture_output=True,
        text=True,
        timeout=90,
        env=environment,
        stdin=subprocess.DEVNULL,
    )
    assert done.returncode == 0, done.stderr
    for text in (
        "8,000 readings are stored",
        "get processes",
        "OPERATOR INSERTS",
        "demo.readings",
        "machine-01",
        "start",
    ):
        assert text in done.stdout
    assert not [entry for entry in tmp_path.iterdir() if entry.name.startswith("edgelake")]
