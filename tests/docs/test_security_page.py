"""The lines of docs/security.md, one after another on one node."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

from tests.docs.test_pages import ADDRESS, blocks
from tests.system.program import AGENT, STANDALONE, Program

PAGE = "docs/security.md"


def test_the_lines_of_the_page_work_in_their_order(tmp_path: Path) -> None:
    lines = blocks(PAGE, "sh")
    assert len(lines) >= 6
    with Program(tmp_path, STANDALONE) as node:
        for text in lines:
            here = text.replace(ADDRESS, f"127.0.0.1:{node.port}").replace("curl ", "curl -sS --fail-with-body ")
            done = subprocess.run(["bash", "-ec", here], capture_output=True, text=True, timeout=30)
            assert done.returncode == 0, f"{text}\n{done.stdout}{done.stderr}"
        assert "eva" in done.stdout
        status, body = node.request("GET", {**AGENT, "command": "get status"})
        assert (status, json.loads(body)["code"]) == (401, "credentials")
