"""Bodies far longer than what the node holds of them."""

from __future__ import annotations

import gzip
import hashlib
import http.client
import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.system.program import AGENT, STANDALONE, Program

ROW = b'{"timestamp": "2026-01-01T00:00:00Z", "number": %d, "text": "%s"}'
TEXT = b"0123456789abcdef" * 512
PER_PIECE = 128
PIECES = 200
ROWS = PER_PIECE * PIECES
LIMIT_BYTES = 190 << 20  # of 211 MB


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


def put(node: Program, mode: str, body: Iterator[bytes] | None = None, **more: str) -> str:
    """PUT a body, the list when none is given; the hash that the reply has."""
    link = http.client.HTTPConnection("127.0.0.1", node.port, timeout=60)
    headers = {**AGENT, "dbms": "plant", "table": "t", "mode": mode, **more}
    link.request("PUT", "/", body or list_body(), headers, encode_chunked="Content-Length" not in more)
    reply = link.getresponse()
    body = reply.read()
    link.close()
    assert reply.status == 200, body
    return str(json.loads(body)["AnyLog.hash"])


def test_a_long_list_is_taken_in_bounded_memory(tmp_path: Path) -> None:
    with Program(tmp_path, STANDALONE) as node:
        assert node.put(ROW % (1, TEXT), table="warm")[0] == 200
        before = peak_bytes(node)
        put(node, "streaming")
        node.post("flush buffers")
        assert node.count("t") == ROWS
        assert peak_bytes(node) - before < LIMIT_BYTES


def test_a_long_list_becomes_a_file_in_bounded_memory(tmp_path: Path) -> None:
    with Program(tmp_path, STANDALONE) as node:
        assert node.put(ROW % (1, TEXT), table="warm", mode="file")[0] == 200
        before = peak_bytes(node)
        found = put(node, "file")
        assert peak_bytes(node) - before < LIMIT_BYTES // 2
        (path,) = (tmp_path / "EdgeLake" / "data" / "watch").glob("plant.t.*")
        content = hashlib.md5(b"plant.t")
        for piece in list_body():
            content.update(piece)
        assert path.name == f"plant.t.0.{content.hexdigest()}.0.json"
        assert found == content.hexdigest()
        assert path.stat().st_size == sum(map(len, list_body()))


# The longest body that is taken: few long rows, since it is the length that this is about.
LONGEST_BYTES = 1 << 30
LONG_ROW = b'{"timestamp": "2026-01-01T00:00:00Z", "number": %7d, "text": "%s"}\n'
LONG_TEXT = TEXT * 8
LONG_ROWS, LEFT_BYTES = divmod(LONGEST_BYTES, len(LONG_ROW % (0, LONG_TEXT)))
WHOLE_LIMIT_BYTES = 256 << 20


def longest_body() -> Iterator[bytes]:
    """Exactly as many bytes as a body may have."""
    for number in range(LONG_ROWS):
        yield LONG_ROW % (number, LONG_TEXT)
    yield b" " * LEFT_BYTES


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Path]:
    """A home that is removed at once: it grows by gigabytes."""
    yield tmp_path / "home"
    shutil.rmtree(tmp_path / "home")


@pytest.mark.slow
def test_a_body_of_1_gib_is_taken_in_bounded_memory(home: Path) -> None:
    with Program(home, STANDALONE) as node:
        put(node, "streaming", longest_body(), **{"Content-Length": str(LONGEST_BYTES)})
        node.post("flush buffers")
        found = json.loads(node.get('sql plant stat = false "select count(*), min(number), max(number) from t"'))
        assert list(found["Query"][0].values()) == [LONG_ROWS, 0, LONG_ROWS - 1]
        assert peak_bytes(node) < WHOLE_LIMIT_BYTES


@pytest.mark.slow
def test_a_body_that_becomes_1_gib_is_taken_in_bounded_memory(home: Path) -> None:
    part = gzip.compress(LONG_ROW % (1, LONG_TEXT) * 256)
    parts = LONG_ROWS // 256
    with Program(home, STANDALONE) as node:
        put(node, "streaming", iter([part] * parts), **{"Content-Encoding": "gzip"})
        node.post("flush buffers")
        assert node.count("t") == parts * 256
        assert peak_bytes(node) < WHOLE_LIMIT_BYTES
