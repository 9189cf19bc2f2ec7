"""A chain of its own for tests: anvil, as a process on a free port."""

from __future__ import annotations

import json
import subprocess
import time
import urllib.request
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from edgelake.bench.processes import free_port
from tests.mqtt.brokers import accepts

JS = Path(__file__).parent / "js"
START_SECONDS = 20.0

# Accounts that anvil makes from its well-known test phrase, with ether: (address, private key).
ANN = (
    "0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266",
    "0xac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80",
)
BOB = (
    "0x70997970C51812dc3A010C7d01b50e0d17dc79C8",
    "0x59c6995e998f97a5a0044966f0945389dc9e86dae88c7a8412f4603b6b78690d",
)


class Anvil:
    """A chain that makes a block for each transaction. ``stop`` and ``start`` keep the port and, with it, the state."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._state = folder / "state.json"
        self._log = folder / "anvil.log"
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Returns when it answers."""
        found = list(JS.glob("node_modules/@foundry-rs/anvil-*/bin/anvil*"))
        assert found, f"anvil is missing: make {JS.relative_to(Path.cwd())}/node_modules/.installed"
        line = [found[0], "--host", "127.0.0.1", "--port", str(self.port), "--state", self._state]
        with self._log.open("ab") as log:
            self.process = subprocess.Popen(line, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        ends = time.monotonic() + START_SECONDS
        while not accepts(self.port):
            alive = self.process.poll() is None and time.monotonic() < ends
            assert alive, self._log.read_text()
            time.sleep(0.02)  # nothing tells another process that a port is open

    def stop(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(10)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait(10)

    def rpc(self, method: str, *params: Any) -> Any:
        """A request of the test itself."""
        body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": method, "params": params}).encode()
        request = urllib.request.Request(self.url, body, {"Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=20) as answer:
            found = json.load(answer)
        assert "error" not in found, found["error"]
        return found["result"]

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
