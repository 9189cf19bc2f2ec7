"""The files of the web console as the node serves them."""

from __future__ import annotations

import filecmp
import gzip
import http.client
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.docs.test_docs import ROOT
from tests.system.program import Program

SOURCE = ROOT / "python" / "edgelake" / "console"
DIST = SOURCE / "dist"
FILES = sorted(path.name for path in DIST.iterdir())
BROWSER = {"Accept": "text/html,application/xhtml+xml", "User-Agent": "Mozilla/5.0"}


def got(node: Program, path: str, **headers: str) -> tuple[int, http.client.HTTPMessage, bytes]:
    link = http.client.HTTPConnection("127.0.0.1", node.port, timeout=20)
    try:
        link.request("GET", path, headers=headers)
        reply = link.getresponse()
        return reply.status, reply.headers, reply.read()
    finally:
        link.close()


def test_a_browser_that_opens_the_node_gets_the_console(node: Program) -> None:
    status, headers, _ = got(node, "/", **BROWSER)
    assert (status, headers["Location"]) == (303, "/ui")


@pytest.mark.parametrize(
    ("headers", "answer"),
    [
        ({"User-Agent": "AnyLog/1.23", "command": "get status"}, b"running"),
        ({**BROWSER, "command": "get status"}, b"running"),
        ({"User-Agent": "grafana/11", "Accept": "text/html"}, b"OK"),
        ({"User-Agent": "curl/8", "Accept": "text/html"}, b"running"),
        ({"User-Agent": "probe/1", "Accept": "*/*"}, b""),
        ({}, b""),
    ],
    ids=["command", "command of a browser", "grafana", "curl", "ping", "nothing"],
)
def test_others_see_no_change(node: Program, headers: dict[str, str], answer: bytes) -> None:
    status, _, body = got(node, "/", **headers)
    assert status == 200
    assert answer in body
    assert bool(answer) == bool(body)


def test_a_command_in_the_address_stays_a_command(node: Program) -> None:
    status, _, body = got(node, "/?User-Agent=AnyLog/1.23?command=get%20status", **BROWSER)
    assert (status, b"running" in body) == (200, True)


@pytest.mark.parametrize("path", ["/ui", "/ui/", *(f"/ui/{name}" for name in FILES)])
def test_every_file_is_guarded(node: Program, path: str) -> None:
    status, headers, body = got(node, path)
    assert status == 200
    policy = headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "frame-ancestors 'none'" in policy
    assert "unsafe" not in policy
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Referrer-Policy"] == "no-referrer"
    assert body == (DIST / (path.removeprefix("/ui").strip("/") or "index.html")).read_bytes()


def test_the_page_is_asked_for_again_and_the_others_are_kept(node: Program) -> None:
    for name in FILES:
        _, headers, _ = got(node, f"/ui/{name}")
        is_page = name == "index.html"
        assert headers["Cache-Control"] == ("no-cache" if is_page else "public, max-age=31536000, immutable")
        status, _, body = got(node, f"/ui/{name}", **{"If-None-Match": f'"x", W/{headers["ETag"]}'})
        assert (status, body) == (304, b"")


def test_files_come_compressed_and_are_small(node: Program) -> None:
    total = 0
    for name in FILES:
        _, headers, body = got(node, f"/ui/{name}", **{"Accept-Encoding": "gzip"})
        assert headers["Content-Encoding"] == "gzip"
        assert gzip.decompress(body) == (DIST / name).read_bytes()
        total += len(body)
    assert total < 200_000


@pytest.mark.parametrize("name", ["x.js", "..%2findex.html", "%2e%2e", "index.html%00", "package.json", "a/b"])
def test_nothing_else_is_served(node: Program, name: str) -> None:
    status, _, body = got(node, f"/ui/{name}")
    assert status in {400, 404}
    assert b"EdgeLake</title>" not in body


def test_nothing_stands_inline_or_comes_from_elsewhere() -> None:
    page = (DIST / "index.html").read_text()
    assert not re.search(r"<style|<script(?![^>]*src=)|\bon\w+=|style=", page)
    addresses = re.findall(r'(?:src|href)="([^"]*)"', page)
    assert all(address.startswith(("/ui/", "data:image/svg+xml")) for address in addresses)
    for name in FILES:
        text = (DIST / name).read_text()
        found = set(re.findall(r"https?://[\w.]+", text)) - {"http://www.w3.org"}
        assert not found, name


def test_a_rebuild_gives_what_is_in_the_repository(tmp_path: Path) -> None:
    """Vite takes its own folder for the root, so it builds where the sources are, into another folder."""
    program = SOURCE / "node_modules" / ".bin" / "vite"
    assert program.exists(), "make console"
    out = tmp_path / "dist"
    told = [shutil.which("node") or "node", str(program), "build", "--outDir", str(out), "--logLevel", "warn"]
    done = subprocess.run([*told, "--emptyOutDir"], cwd=SOURCE, capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stderr
    assert sorted(path.name for path in out.iterdir()) == FILES, "make console"
    assert filecmp.cmpfiles(DIST, out, FILES, shallow=False)[0] == FILES, "make console"


def test_the_parts_that_need_no_page_do_what_they_should() -> None:
    program = SOURCE / "node_modules" / ".bin" / "vitest"
    told = [shutil.which("node") or "node", str(program), "run", "--reporter", "dot"]
    done = subprocess.run(told, cwd=SOURCE, capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_sources_render_no_markup_of_their_own() -> None:
    for path in (SOURCE / "src").rglob("*.ts*"):
        text = path.read_text()
        assert "dangerouslySetInnerHTML" not in text, path
        assert "innerHTML" not in text, path
        assert "eval(" not in text, path
