"""Files up and down over REST, against a whole node. Spec: "REST API", section 12."""

from __future__ import annotations

import base64
import gzip
import hashlib
import http.client
import json
import os
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from edgelake.bench.processes import free_port
from edgelake.errors import EdgeLakeError
from edgelake.model import Caller, CommandClass, Reply
from edgelake.node import Node
from tests.net.helpers import Loop, read_all

CONTENT = os.urandom(3 << 20)
AGENT = {"User-Agent": "AnyLog/1.23"}
Answered = tuple[int, dict[str, str], bytes]


class Files:
    """A node with a REST server, its loop in a thread of its own."""

    def __init__(self, loop: Loop, node: Node, port: int) -> None:
        self.loop = loop
        self.node = node
        self.port = port
        self.tmp = node.ctx.directories.path("tmp_dir")

    def execute(self, line: str) -> Reply:
        return self.loop.run(self.node.execute(line))

    def request(self, method: str, command: str, body: bytes | None = None, **headers: str) -> Answered:
        link = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        link.request(method, "/", body=body, headers={**AGENT, "command": command, **sent})
        reply = link.getresponse()
        answer = reply.status, {k.lower(): v for k, v in reply.getheaders()}, reply.read()
        link.close()
        return answer

    @property
    def names(self) -> list[str]:
        return sorted(path.name for path in self.tmp.iterdir())

    def everything(self) -> list[Path]:
        """In the node's folder, but for the log of what was refused."""
        found = self.node.ctx.directories.root.rglob("*")
        return sorted(path for path in found if path.name != "audit.jsonl")


@pytest.fixture
def files(tmp_path: Path, loop: Loop) -> Iterator[Files]:
    port = free_port()

    async def started() -> Node:
        node = Node(tmp_path)
        await node.start()
        await node.execute("create work directories")
        await node.execute("connect dbms plant where type = sqlite")
        await node.execute(f"run rest server where internal_ip = 127.0.0.1 and internal_port = {port}")
        return node

    node = loop.run(started())
    yield Files(loop, node, port)
    loop.run(node.stop())


def form(*parts: tuple[str, str], boundary: str = "X-cut-here") -> tuple[bytes, str]:
    """A form of (disposition, content), and its Content-Type."""
    body = "".join(
        f"--{boundary}\r\nContent-Disposition: form-data; {head}\r\nContent-Type: text/csv\r\n\r\n{content}\r\n"
        for head, content in parts
    )
    return f"{body}--{boundary}--\r\n".encode(), f"multipart/form-data; boundary={boundary}"


def test_a_file_goes_up_and_comes_down_again(files: Files) -> None:
    status, _, body = files.request("POST", "file to !tmp_dir/a.bin", CONTENT)
    assert (status, body) == (200, b"")
    assert files.names == ["a.bin"]
    status, headers, body = files.request("GET", "file from !tmp_dir/a.bin")
    assert (status, body) == (200, CONTENT)
    assert headers["content-disposition"] == 'attachment; filename="a.bin"'
    assert headers["content-length"] == str(len(CONTENT))
    status, headers, body = files.request("HEAD", "file from !tmp_dir/a.bin")
    assert (status, headers["content-length"], body) == (200, str(len(CONTENT)), b"")


def test_what_a_killed_node_left_of_an_upload_goes_with_the_next(files: Files) -> None:
    for name, age_s in ((".old.part", 2 * 86400), (".new.part", 60), ("old.txt", 2 * 86400)):
        (files.tmp / name).write_bytes(b"x")
        os.utime(files.tmp / name, (time.time() - age_s,) * 2)
    assert files.request("POST", "file to !tmp_dir/a.bin", b"x")[0] == 200
    assert files.names == [".new.part", "a.bin", "old.txt"]


def test_a_second_upload_replaces_the_first(files: Files) -> None:
    for content in (b"one", gzip.compress(b"two"), b""):
        coded = {"Content_Encoding": "gzip"} if content[:2] == b"\x1f\x8b" else {}
        plain = gzip.decompress(content) if coded else content
        body, kind = (content, "application/octet-stream") if content else form(('name="file"; filename="x"', ""))
        status, _, _ = files.request("POST", "file to !tmp_dir/a.txt", body, Content_Type=kind, **coded)
        assert (status, (files.tmp / "a.txt").read_bytes()) == (200, plain)
    assert files.names == ["a.txt"]


@pytest.mark.parametrize(
    ("wanted", "status", "part", "span"),
    [
        ("bytes=0-0", 206, slice(0, 1), "bytes 0-0/3145728"),
        ("bytes=100-299999", 206, slice(100, 300000), "bytes 100-299999/3145728"),
        ("bytes=3145720-", 206, slice(3145720, None), "bytes 3145720-3145727/3145728"),
        ("bytes=-8", 206, slice(-8, None), "bytes 3145720-3145727/3145728"),
        ("bytes=10-99999999", 206, slice(10, None), "bytes 10-3145727/3145728"),
        ("bytes=3145728-", 416, slice(0, 0), "bytes */3145728"),
        ("bytes=9-3", 416, slice(0, 0), "bytes */3145728"),
        ("bytes=0-1,5-6", 200, slice(None), None),
        ("pages=1-2", 200, slice(None), None),
    ],
)
def test_parts_of_a_file(files: Files, wanted: str, status: int, part: slice, span: str | None) -> None:
    (files.tmp / "a.bin").write_bytes(CONTENT)
    got, headers, body = files.request("GET", "file from !tmp_dir/a.bin", Range=wanted)
    assert (got, headers.get("content-range")) == (status, span)
    assert body == CONTENT[part]


def test_a_form_brings_its_file_and_its_name(files: Files) -> None:
    body, kind = form(
        ('name="note"', "x" * 100_000), ('name="file"; filename="../../day 1.csv"', "a,b\r\n--X-cut\r\n" * 90_000)
    )
    status, _, said = files.request("POST", "file to where dest = !tmp_dir", body, Content_Type=kind)
    assert (status, said) == (200, b"")
    assert files.names == ["day 1.csv"]
    assert (files.tmp / "day 1.csv").read_bytes() == b"a,b\r\n--X-cut\r\n" * 90_000


def test_curl_sends_a_form(files: Files, tmp_path: Path) -> None:
    source = tmp_path / "report.csv"
    source.write_bytes(CONTENT)
    line = ["curl", "-sS", "-f", "-H", "User-Agent: AnyLog/1.23", "-H", "command: file to !tmp_dir"]
    subprocess.run([*line, "-F", f"file=@{source}", f"http://127.0.0.1:{files.port}"], check=True, timeout=60)
    assert (files.tmp / "report.csv").read_bytes() == CONTENT


GOOD, KIND = form(('name="file"; filename="a.csv"', "x" * 200_000))


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (GOOD[:-10], KIND),
        (GOOD[:300], KIND),
        (b"no form", KIND),
        (GOOD, "multipart/form-data"),
        (GOOD, "multipart/form-data; boundary=another"),
        form(('name="other"; filename="a.csv"', "x")),
        form(('name="file"; filename="a.csv"', "x"), ('name="file"; filename="b.csv"', "y")),
        form(('name="file"; filename=".hidden"', "x")),
        form(('name="file"; filename=""', "x")),
        (GOOD.replace(b"Content-Type: text/csv", b"Content-Transfer-Encoding: base64"), KIND),
        (GOOD.replace(b"text/csv", b"x" * 100_000), KIND),
    ],
)
def test_a_damaged_form_leaves_nothing(files: Files, body: bytes, kind: str) -> None:
    status, _, said = files.request("POST", "file to !tmp_dir", body, Content_Type=kind)
    assert status == 400, said
    assert files.names == []


def until(state: Callable[[], bool]) -> None:
    limit = time.monotonic() + 20
    while not state():
        assert time.monotonic() < limit
        time.sleep(0.01)


@pytest.mark.parametrize("ends", [True, False])
def test_a_file_is_not_there_before_all_of_it_is(files: Files, ends: bool) -> None:
    link = socket.create_connection(("127.0.0.1", files.port), 20)
    half = len(CONTENT) // 2
    head = f"POST / HTTP/1.1\r\nHost: localhost\r\nUser-Agent: anylog\r\nContent-Length: {len(CONTENT)}\r\n"
    head += "Connection: close\r\ncommand: file to !tmp_dir/a.bin\r\n\r\n"
    link.sendall(head.encode() + CONTENT[:half])
    until(lambda: len(files.names) == 1)
    assert "a.bin" not in files.names[0]
    assert files.names[0].endswith(".part")
    if ends:
        link.sendall(CONTENT[half:])
        assert read_all(link).startswith(b"HTTP/1.1 200")
        assert (files.tmp / "a.bin").read_bytes() == CONTENT
    link.close()
    until(lambda: files.names == (["a.bin"] if ends else []))


@pytest.mark.parametrize(
    ("command", "status"),
    [
        ("file from /etc/hostname", 400),
        ("file from !tmp_dir/../../../outside", 400),
        ("file from !tmp_dir/link", 400),
        ("file from !tmp_dir/missing", 400),
        ("file from !tmp_dir", 400),
        ("file from !dbms_dir/plant.dbms", 403),
        ("file from !dbms_dir/plant.dbms-wal", 403),
        ("file from !pem_dir/node.key", 403),
        ("file from !blockchain_file", 403),
        ("file from !tmp_dir/\\0", 400),
    ],
)
def test_what_may_not_be_read(files: Files, command: str, status: int) -> None:
    (files.tmp / "link").symlink_to("/etc/hostname")
    got, _, body = files.request("GET", command)
    assert got == status, body
    assert json.loads(body)["code"] in {"path", "command.not_permitted"}


@pytest.mark.parametrize(
    ("place", "status"),
    [
        ("/tmp/edgelake-nothing", 400),
        ("!tmp_dir/../../../outside", 400),
        ("!tmp_dir/none/a.txt", 400),
        ("!dbms_dir/new.dbms", 403),
        ("!dbms_dir", 403),
        ("!pem_dir/a.key", 403),
    ],
)
def test_what_may_not_be_written(files: Files, place: str, status: int) -> None:
    before = files.everything()
    body, kind = form(('name="file"; filename="a.txt"', "x"))
    got, _, said = files.request("POST", f"file to {place}", body, Content_Type=kind)
    assert got == status, said
    assert files.everything() == before


def test_a_page_of_another_site_gets_and_puts_no_file(files: Files) -> None:
    (files.tmp / "a.txt").write_text("x")
    for method, command, body in (("GET", "file from !tmp_dir/a.txt", None), ("POST", "file to !tmp_dir/b.txt", b"x")):
        status, _, _ = files.request(method, command, body, Origin="http://elsewhere.example")
        assert status == 403
    assert files.names == ["a.txt"]


def test_the_same_commands_at_the_prompt(files: Files) -> None:
    (files.tmp / "a.txt").write_text("one\n")
    files.execute("file to !tmp_dir/b.txt where source = !tmp_dir/a.txt")
    files.execute("content = file from !tmp_dir/b.txt")
    assert files.execute("!content").text == "one\n"
    with pytest.raises(EdgeLakeError, match="no file came along"):
        files.execute("file to !tmp_dir/c.txt")
    with pytest.raises(EdgeLakeError, match="database"):
        files.execute("file from !dbms_dir/plant.dbms")
    outside = Caller("rest", frozenset({CommandClass.DATA, CommandClass.METADATA}))
    with pytest.raises(EdgeLakeError, match="class 'files'"):
        files.loop.run(files.node.ctx.for_caller(outside).execute("file from !tmp_dir/a.txt"))


async def _count(files: Files) -> object:
    return (await files.node.execute("get files count")).data


def test_files_of_a_table_are_kept_found_and_removed(files: Files) -> None:
    body, kind = form(('name="file"; filename="Day.PNG"', "picture"))
    store = "file store where dbms = plant and table = motor"
    status, _, said = files.request(
        "POST", f"{store} and hash = 0AB1", CONTENT, Content_Type="application/octet-stream"
    )
    assert (status, said) == (200, b"0ab1")
    status, _, said = files.request("POST", store, body, Content_Type=kind)
    own = hashlib.md5(b"plant.motorpicture").hexdigest() + ".png"
    assert (status, said.decode()) == (200, own)
    assert files.loop.run(_count(files)) == [{"dbms": "plant", "table": "motor", "count": 2}]

    found = "file retrieve where dbms = plant and table = motor"
    status, headers, said = files.request("GET", f"{found} and id = {own} and dest = stdout")
    assert (status, headers["content-type"], said) == (200, "image/png", b"picture")
    assert headers["content-disposition"].startswith("attachment")
    status, headers, said = files.request(
        "GET", f"{found} and hash = 0ab1 and dest = stdout and stream = true", Range="bytes=1-3"
    )
    assert (status, headers["content-type"], said) == (206, "video/mp4", CONTENT[1:4])
    assert "content-disposition" not in headers
    assert files.request("GET", f"{found} and dest = stdout")[0] == 400  # two of them
    day = time.strftime("%y%m%d", time.gmtime())
    assert files.request("GET", f"{found} and date = {day} and dest = !tmp_dir")[0] == 200
    assert files.names == ["plant.motor.0ab1", f"plant.motor.{own}"]
    assert files.request("GET", f"{found} and id = {own} and dest = !tmp_dir/one.png")[0] == 200
    assert (files.tmp / "one.png").read_bytes() == b"picture"

    assert files.request("POST", f"file remove where dbms = plant and table = motor and id = {own}")[0] == 200
    assert files.request("GET", f"{found} and id = {own} and dest = stdout")[0] == 400
    files.execute("file store where source = !tmp_dir/plant.motor.0ab1 and hash = 0c")
    assert files.loop.run(_count(files)) == [{"dbms": "plant", "table": "motor", "count": 2}]


def test_contents_of_blob_columns_are_found_by_what_their_row_holds(files: Files) -> None:
    schema = {
        "file": {"blob": True, "bring": "[image]", "extension": "png", "apply": "base64decoding", "type": "varchar"}
    }
    policy = json.dumps({"mapping": {"id": "camera", "dbms": "plant", "table": "photo", "schema": schema}})
    files.execute(f"blockchain insert where policy = {policy} and local = true")
    files.execute(
        "run msg client where broker = rest and user-agent = anylog and topic = (name = camera and policy = camera)"
    )
    coded = base64.b64encode(CONTENT).decode()
    body = json.dumps({"image": coded}).encode()
    for _ in range(2):
        assert files.request("POST", "data", body, topic="camera", Content_Type="text/plain")[0] == 200
    held = hashlib.md5(f"plant.photo{coded}".encode()).hexdigest() + ".png"
    files.execute("flush buffers")
    status, _, said = files.request("GET", "sql plant format = json and stat = false select file from photo")
    assert (status, json.loads(said)) == (200, {"Query": [{"file": held}] * 2})
    (files.node.ctx.directories.path("blobs_dir") / f"plant.photo.{held}.7_tmp").write_bytes(CONTENT[:9])

    assert files.loop.run(_count(files)) == [{"dbms": "plant", "table": "photo", "count": 1}]
    found = f"file retrieve where dbms = plant and table = photo and id = {held}"
    status, headers, said = files.request("GET", f"{found} and dest = stdout")
    assert (status, headers["content-type"], said) == (200, "image/png", CONTENT)
    status, headers, said = files.request("GET", f"{found} and dest = stdout", Range="bytes=5-99")
    assert (status, headers["content-range"], said) == (206, f"bytes 5-99/{len(CONTENT)}", CONTENT[5:100])
    day = time.strftime("%y%m%d", time.gmtime())
    assert files.request("GET", f"{found} and date = {day} and dest = !tmp_dir")[0] == 200
    assert files.names == [f"plant.photo.{held}"]
    assert files.request("GET", f"{found} and date = 200101 and dest = !tmp_dir")[0] == 400
    assert files.request("POST", f"file remove where dbms = plant and table = photo and id = {held}")[0] == 200
    assert files.request("GET", f"{found} and dest = stdout")[0] == 400


@pytest.mark.parametrize(
    "command",
    [
        "file store where dbms = plant",
        "file store where dbms = ../x and table = t",
        "file store where dbms = plant and table = t and hash = ../../x",
        "file store where dbms = plant and table = t and dest = a.b*c",
        "file retrieve where dbms = * and table = * and dest = stdout",
        "file retrieve where dbms = plant and table = t and date = ../.. and dest = stdout",
    ],
)
def test_files_of_a_table_stay_in_their_folder(files: Files, command: str) -> None:
    before = files.everything()
    method = "POST" if "store" in command else "GET"
    assert files.request(method, command, b"x" if method == "POST" else None)[0] == 400
    assert files.everything() == before


def failure(files: Files, line: str) -> EdgeLakeError:
    with pytest.raises(EdgeLakeError) as caught:
        files.execute(line)
    return caught.value


def test_files_are_copied_and_deleted_on_the_node_itself(files: Files) -> None:
    (files.tmp / "a.bin").write_bytes(CONTENT)
    files.execute("file copy !tmp_dir/a.bin !tmp_dir/b.bin")
    files.execute("file get !tmp_dir/a.bin !archive_dir")
    assert (files.tmp / "b.bin").read_bytes() == CONTENT
    assert (files.node.ctx.directories.path("archive_dir") / "a.bin").read_bytes() == CONTENT
    files.execute("file delete !tmp_dir/a.bin")
    assert files.names == ["b.bin"]
    assert failure(files, "file delete !tmp_dir/a.bin").number == 12
    assert failure(files, "file delete !tmp_dir").number == 12
    assert failure(files, "file copy !tmp_dir/a.bin !tmp_dir/c.bin").number == 12
    assert "source and destination" in str(failure(files, "file copy !tmp_dir/b.bin !tmp_dir"))


def test_the_files_of_a_directory_are_copied_into_another(files: Files) -> None:
    for name in ("day1.csv", "day2.csv", "other.csv"):
        (files.tmp / name).write_text(name)
    archive = files.node.ctx.directories.path("archive_dir")
    reply = files.execute("file copy !tmp_dir/day* !archive_dir")
    assert reply.data == ["day1.csv", "day2.csv"]
    assert {path.name: path.read_text() for path in archive.iterdir()} == {n: n for n in ("day1.csv", "day2.csv")}
    assert failure(files, "file copy !tmp_dir/day* !archive_dir/day1.csv").number == 78
    assert failure(files, "file copy !tmp_dir/none* !archive_dir").number == 12


def test_a_blob_is_got_by_its_id(files: Files) -> None:
    (files.tmp / "p.png").write_bytes(CONTENT)
    kept = files.execute("file store where dbms = plant and table = t and source = !tmp_dir/p.png").data["id"]
    files.execute(f"file get (dbms = plant and table = t and id = {kept}) !archive_dir/q.png")
    assert (files.node.ctx.directories.path("archive_dir") / "q.png").read_bytes() == CONTENT
    assert failure(files, "file get (dbms = plant and table = t and id = 0a.png) !tmp_dir").number == 12


@pytest.mark.parametrize(
    "line",
    [
        "file delete !dbms_dir/plant.dbms",
        "file delete !blockchain_dir/x.json",
        "file copy !dbms_dir/plant.dbms !tmp_dir/x",
        "file copy !tmp_dir/a.txt !dbms_dir/plant.dbms",
        "file copy !tmp_dir/a.txt /etc/passwd2",
        "file delete /etc/hostname",
    ],
)
def test_nobody_copies_or_deletes_what_is_no_file_of_theirs(files: Files, line: str) -> None:
    (files.tmp / "a.txt").write_text("a")
    before = files.everything()
    status, _, _ = files.request("POST", line)
    assert status in (400, 403)
    assert files.everything() == before
