"""Bodies and files far longer than what the node holds of them."""

from __future__ import annotations

import http.client
import json
from collections.abc import Iterator
from pathlib import Path

from tests.system.program import AGENT, OPERATOR, Program

ROW = b'{"timestamp": "2026-01-01T00:00:00Z", "number": %d, "text": "%s"}'
TEXT = b"0123456789abcdef" * 512
PER_PIECE = 128
PIECES = 200
ROWS = PER_PIECE * PIECES
LIMIT_BYTES = 160 << 20  # of 210 MB


def list_body() -> Iterator[bytes]:
    """One JSON list."""
    for piece in range(PIECES):
        rows = b", ".join(ROW % (piece * PER_PIECE + n, TEXT) for n in range(PER_PIECE))
        yield (b", " if piece else b"[") + rows
    yield b"]"


def peak_bytes(node: Program) -> int:
    assert node.process is not None
    status = Path(f"/proc/{node.process.pid}/status").read_text()
    (line,) = (line for line in status.splitlines() if line.startswith("VmHWM:"))
    return int(line.split()[1]) << 10


def put(node: Program, table: str, mode: str) -> None:
    link = http.client.HTTPConnection("127.0.0.1", node.port, timeout=60)
    headers = {**AGENT, "dbms": "plant", "table": table, "mode": mode}
    link.request("PUT", "/", list_body(), headers, encode_chunked=True)
    reply = link.getresponse()
    assert reply.status == 200, reply.read()
    assert json.loads(reply.read())["AnyLog.status"] == "Success"
    link.close()


def test_a_long_list_is_streamed_and_a_long_file_loaded_in_bounded_memory(tmp_path: Path) -> None:
    with Program(tmp_path, OPERATOR) as node:
        for mode in ("streaming", "file"):
            assert node.put(ROW % (1, TEXT), table="warm", mode=mode)[0] == 200
        before = peak_bytes(node)
        put(node, "streamed", "streaming")
        node.post("flush buffers")
        assert node.count("streamed") == ROWS
        streamed = peak_bytes(node) - before
        put(node, "filed", "file")
        while list((tmp_path / "EdgeLake" / "data" / "watch").iterdir()):
            node.get("get status")
        assert not list((tmp_path / "EdgeLake" / "data" / "error").iterdir())
        assert node.count("filed") == ROWS
        filed = peak_bytes(node) - before
        assert (streamed < LIMIT_BYTES, filed < LIMIT_BYTES) == (True, True), (streamed, filed)
