"""What docs/mqtt.md tells clients to do: the programs run."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from tests.docs.test_docs import ROOT, with_free_ports
from tests.mqtt.brokers import accepts
from tests.system.program import STANDALONE, Program

PAGE = (ROOT / "docs" / "mqtt.md").read_text()
PORT = 32450


def shown(client: str) -> str:
    """The block behind the line that names a client."""
    found = re.search(rf"^{client}:.*?^```(?:\w*)\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    assert found, client
    return found[1]


def test_the_paho_program_makes_a_row(tmp_path: Path) -> None:
    ports: dict[str, str] = {}
    users = tmp_path / "users"
    script = STANDALONE + with_free_ports(
        f"mqtt password where user = sensor-7 and password = s3cret and file = {users}\n"
        'run msg client where broker = local and topic = (name = "line/+/motor" and dbms = plant and table = motor and '
        'column.device.str = "bring [device]" and column.speed.float = "bring [speed]")\n'
        f"run message broker where external_ip = 127.0.0.1 and external_port = {PORT} and bind = true"
        f" and users = {users} and anonymous = false\n",
        ports,
    )
    with Program(tmp_path / "node", script) as node:
        node.until(lambda: accepts(int(ports[str(PORT)])))
        program = with_free_ports(shown("paho"), ports)
        done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=30)
        assert done.returncode == 0, done.stderr
        node.post("flush buffers")
        assert node.count("motor") == 1
