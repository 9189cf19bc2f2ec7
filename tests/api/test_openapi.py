"""The document of the API, and a node that is asked by it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sysconfig
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.docs.test_docs import ROOT
from tests.system.program import Program

OUTSIDE = ("http://", "https://", "//cdn", "<script", "<link", "@import", "src=")


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Program]:
    with Program(tmp_path_factory.mktemp("node")) as running:
        running.put(b'{"timestamp": "2026-01-01T00:00:00Z", "value": 1.5}', table="motor")
        running.post("flush buffers")
        yield running


def test_every_route_is_in_the_page_and_in_the_docs(node: Program) -> None:
    status, body = node.request("GET", {}, path="/openapi.json")
    found = json.loads(body)
    assert (status, found["openapi"]) == (200, "3.1.0")
    page = node.request("GET", {}, path="/docs")[1].decode()
    text = (ROOT / "docs/api.md").read_text()
    for path, operations in found["paths"].items():
        assert path in page
        assert path in text
        for operation in operations.values():
            assert operation["summary"]
    assert not [word for word in OUTSIDE if word in page]


def test_what_the_document_promises_holds(node: Program, tmp_path: Path) -> None:
    """schemathesis asks what the document allows, and what it does not."""
    program = shutil.which("schemathesis") or str(Path(sysconfig.get_path("scripts")) / "schemathesis")
    told = [
        *(program, "run", f"http://127.0.0.1:{node.port}/openapi.json"),
        *("--max-examples", "12", "--generation-deterministic", "--no-color", "--request-timeout", "30"),
        *("--phases", "examples,coverage,fuzzing"),
        *("--exclude-path", "/v1/events"),  # has no end; test_events.py listens
        *("--exclude-checks", "positive_data_acceptance"),  # not every text is a select
    ]
    environment = {**os.environ, "HOME": str(tmp_path)}
    done = subprocess.run(told, cwd=tmp_path, capture_output=True, text=True, timeout=110, env=environment)
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
