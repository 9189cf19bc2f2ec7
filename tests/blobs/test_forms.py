"""Readings that name files: those of the form in which they come, and those of ``blobs_dir``."""

from __future__ import annotations

import http.client
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from edgelake.ingest.names import running_hash
from tests.blobs.camera import Camera, camera, id_of
from tests.system.program import AGENT, Program

ONE, TWO, LONG = os.urandom(300_000), os.urandom(10), os.urandom(9 << 20)
POLICY = {
    "mapping": {
        "id": "films",
        "dbms": "plant",
        "table": "photo",
        "schema": {
            "device": {"type": "varchar", "bring": "[device]"},
            "file": {"type": "varchar", "blob": True, "bring": "[film]", "apply": "file"},
        },
    }
}
CLIENT = "run msg client where broker = rest and user-agent = curl and topic = (name = films and policy = films)"


def form(*parts: tuple[str, str | None, bytes], end: str = "--") -> tuple[bytes, str]:
    """A form of (field, file name, content), and its Content-Type."""
    body = b""
    for field, name, content in parts:
        named = f'; filename="{name}"' if name is not None else ""
        body += f'--cut\r\nContent-Disposition: form-data; name="{field}"{named}\r\n\r\n'.encode() + content + b"\r\n"
    return body + f"--cut{end}\r\n".encode(), "multipart/form-data; boundary=cut"


async def films(node: Camera) -> None:
    await node.execute(f"blockchain insert where policy = {json.dumps(POLICY)} and local = true")
    await node.execute(CLIENT)


async def send(node: Camera, *parts: tuple[str, str | None, bytes], end: str = "--") -> tuple[int, Any]:
    body, kind = form(*parts, end=end)
    status, _, said = await node.request("POST", "data", body, topic="films", User_Agent="curl/8", Content_Type=kind)
    return status, json.loads(said) if said else None


async def rows(node: Camera) -> list[dict[str, str]]:
    await node.execute("flush buffers")
    _, _, said = await node.request("GET", "sql plant format = json and stat = false select device, file from photo")
    found: list[dict[str, str]] = json.loads(said)["Query"]
    return found


async def test_readings_bring_their_files_in_a_form(tmp_path: Path) -> None:
    async with camera(tmp_path, "run blobs archiver") as node:
        await films(node)
        readings = [
            {"device": "c1", "film": "cid:first"},
            {"device": "cid:", "film": "cid:second"},
            {"device": "c3", "film": "cid:first"},
        ]
        readings[1]["device"] = 'c2 \\"cid:nobody\\"'  # within another text
        status, said = await send(
            node,
            ("first", "Day.MP4", LONG),
            ("data", None, json.dumps(readings).encode()),
            ("second", "a.b/c", TWO),
        )
        assert (status, said) == (200, None)
        first, second = id_of(LONG, "mp4", coded=False), id_of(TWO, coded=False).removesuffix(".png")
        assert [row["file"] for row in await rows(node)] == [first, second, first]
        await node.until_blobs(2)
        assert (await node.get(first))[2] == LONG
        assert (await node.get(second))[2] == TWO
        assert (await node.get(first, Range="bytes=-9"))[2] == LONG[-9:]
        assert list((node.folder("blobs_dir") / ".uploads").iterdir()) == []


READING = b'{"device": "c1", "film": "cid:a"}'


@pytest.mark.parametrize(
    ("parts", "end", "text"),
    [
        ([("a", "a.png", ONE)], "--", "no field 'data'"),
        ([("data", None, READING)], "--", 'no field for "cid:a"'),
        ([("data", None, READING), ("a", "a", ONE), ("a", "b", ONE)], "--", "more than one field 'a'"),
        ([("data", None, READING), ("data", None, READING)], "--", "more than one field 'data'"),
        ([("data", None, READING), ("a", "a.png", ONE)], "", "ends early"),
        ([("data", None, b"no rows"), ("a", "a.png", ONE)], "--", ""),
    ],
)
async def test_nothing_stays_of_a_form_that_is_wrong(tmp_path: Path, parts: Any, end: str, text: str) -> None:
    async with camera(tmp_path) as node:
        await films(node)
        status, said = await send(node, *parts, end=end)
        assert (status, text in json.dumps(said).replace('\\"', '"')) == (400, True)
        assert [path for path in node.folder("blobs_dir").rglob("*") if path.is_file()] == []


async def test_a_message_names_a_file_of_the_folder(tmp_path: Path) -> None:
    """It stays there: its writer removes it."""
    own = running_hash("plant", "photo")
    own.update(ONE)
    async with camera(tmp_path, "run blobs archiver") as node:
        await films(node)
        (node.folder("blobs_dir") / "shot 1.JPG").write_bytes(ONE)
        (node.folder("blobs_dir") / ".secret").write_bytes(ONE)
        readings = [
            {"device": "c", "film": film} for film in ("shot 1.JPG", "gone.jpg", "../blobs/shot 1.JPG", ".secret")
        ]
        body = json.dumps(readings).encode()
        status, _, said = await node.request("POST", "data", body, topic="films", User_Agent="curl/8")
        assert (status, json.loads(said)["stored"], json.loads(said)["rejected"]) == (200, 1, 3)
        assert "gone.jpg" in json.loads(said)["error"]
        assert await rows(node) == [{"device": "c", "file": f"{own.hexdigest()}.jpg"}]
        await node.until_blobs(1)
        assert (await node.get(f"{own.hexdigest()}.jpg"))[2] == ONE
        assert (node.folder("blobs_dir") / "shot 1.JPG").read_bytes() == ONE


MANY = 256 << 20
SCRIPT = """\
create work directories
connect dbms plant where type = sqlite
connect dbms blobs_mine where type = sqlite
run blobs archiver
run rest server where external_ip = 127.0.0.1 and external_port = {port} and bind = true
"""


def peak_bytes(node: Program) -> int:
    assert node.process is not None
    status = Path(f"/proc/{node.process.pid}/status").read_text()
    return int(next(line.split()[1] for line in status.splitlines() if line.startswith("VmHWM"))) << 10


@pytest.mark.slow
@pytest.mark.parametrize("dbms", ["plant", "mine"], ids=["folder", "database"])
def test_a_large_file_needs_little_memory_in_and_out(tmp_path: Path, dbms: str) -> None:
    block = os.urandom(1 << 20)
    head, kind = form(("file", "a.mp4", b"@"))
    before, after = head.split(b"@")

    def body() -> Iterator[bytes]:
        yield before
        for _ in range(MANY >> 20):
            yield block
        yield after

    with Program(tmp_path, SCRIPT) as node:
        node.get("get status")
        begin = peak_bytes(node)
        link = http.client.HTTPConnection("127.0.0.1", node.port, timeout=60)
        size = str(MANY + len(before) + len(after))
        sent = {
            "command": f"file store where dbms = {dbms} and table = t",
            "Content-Type": kind,
            "Content-Length": size,
        }
        link.request("POST", "/", body=body(), headers={**AGENT, **sent})
        reply = link.getresponse()
        blob_id = reply.read().decode()
        assert reply.status == 200, blob_id
        node.until(lambda: node.data("get blobs archiver")["blobs"] == 1, limit_s=60)
        command = f"file retrieve where dbms = {dbms} and table = t and id = {blob_id} and dest = stdout"
        link.request("GET", "/", headers={**AGENT, "command": command})
        reply = link.getresponse()
        received = 0
        while piece := reply.read(1 << 20):
            assert piece == block
            received += len(piece)
        assert (reply.status, received) == (200, MANY)
        link.close()
        assert peak_bytes(node) - begin < 64 << 20
