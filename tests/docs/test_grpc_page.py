"""docs/grpc.md: its definition, its server and its script make rows."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from tests.docs.test_docs import ROOT, with_free_ports
from tests.system.program import Program

PAGE = (ROOT / "docs" / "grpc.md").read_text()


def shown(kind: str) -> str:
    """The only block of a kind."""
    (found,) = re.findall(rf"^```{kind}\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    return str(found)


def test_the_server_of_the_page_makes_rows(tmp_path: Path) -> None:
    ports: dict[str, str] = {}
    folder = tmp_path / "plant"
    folder.mkdir()
    (folder / "plant.proto").write_text(shown("proto"))
    (folder / "server.py").write_text(with_free_ports(shown("python"), ports))
    server = subprocess.Popen([sys.executable, "server.py"], cwd=folder, stdout=subprocess.PIPE)
    try:
        assert server.stdout is not None
        assert server.stdout.readline() == b"ready\n"
        start = "run rest server where internal_ip = 127.0.0.1 and internal_port = {port} and bind = true\n"
        script = start + with_free_ports(shown("script"), ports).replace("/tmp/plant", str(folder))
        with Program(tmp_path / "node", script) as node:
            node.until(lambda: [one["Rows"] for one in node.data("get grpc clients")] == [3])
            node.post("flush buffers")
            assert node.count("motor") == 3
    finally:
        server.kill()
        server.communicate()
