"""SIGKILL at random moments: the blob of each acknowledged row, and of each acknowledged upload, is there, whole."""

from __future__ import annotations

import base64
import http.client
import json
import os
import random
import threading
import time
from pathlib import Path

import pytest

from tests.blobs.camera import id_of
from tests.system.program import AGENT, OPERATOR, Program

KILLS = 8
LONGEST_S = 0.5

SCRIPT = """\
create work directories
connect dbms plant where type = sqlite
p = blockchain get mapping bring.first [mapping][id]
column = {{"type": "varchar", "blob": true, "bring": "[image]", "apply": "base64decoding", "extension": "bin"}}
policy = {{"mapping": {{"id": "camera", "dbms": "plant", "table": "photo", "schema": {{"file": !column}}}}}}
if not !p then blockchain insert where policy = !policy and local = true
ARCHIVER
run msg client where broker = rest and user-agent = anylog and topic = (name = camera and policy = camera)
run rest server where external_ip = 127.0.0.1 and external_port = {port} and bind = true
"""


class Sender:
    """Sends contents over one kept connection, in readings or by themselves; the acknowledged ones by their id."""

    def __init__(self, port: int, *, in_rows: bool) -> None:
        self._port = port
        self._in_rows = in_rows
        self.acknowledged: dict[str, bytes] = {}
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    def _run(self) -> None:
        link = http.client.HTTPConnection("127.0.0.1", self._port, timeout=10)
        try:
            while True:
                contents = [os.urandom(random.choice((10, 5_000, 300_000))) for _ in range(4 if self._in_rows else 1)]
                if self._in_rows:
                    rows = [{"image": base64.b64encode(content).decode()} for content in contents]
                    sent = {"command": "data", "topic": "camera", "Content-Type": "text/plain"}
                    link.request("POST", "/", body=json.dumps(rows).encode(), headers={**AGENT, **sent})
                else:
                    sent = {"command": "file store where dbms = plant and table = photo and dest = a.bin"}
                    kind = {"Content-Type": "application/octet-stream"}
                    link.request("POST", "/", body=contents[0], headers={**AGENT, **sent, **kind})
                reply = link.getresponse()
                reply.read()
                assert reply.status == 200
                self.acknowledged |= {id_of(content, "bin", coded=self._in_rows): content for content in contents}
        except (OSError, http.client.HTTPException):
            return  # the node was killed
        finally:
            link.close()


ARCHIVERS = {
    "plain": "run blobs archiver",
    "compressed": "run blobs archiver where compress = true",
    "database": "connect dbms blobs_plant where type = sqlite\nrun blobs archiver where dbms = true",
}


@pytest.mark.parametrize("archiver", ARCHIVERS.values(), ids=ARCHIVERS)
def test_blobs_that_were_acknowledged_are_there_after_kills(tmp_path: Path, archiver: str) -> None:
    acknowledged: dict[str, bytes] = {}
    node = Program(tmp_path, SCRIPT.replace("ARCHIVER", archiver))
    for _ in range(KILLS):
        node.start()
        senders = [Sender(node.port, in_rows=in_rows) for in_rows in (True, True, False)]
        time.sleep(random.uniform(0.05, LONGEST_S))  # the moment of the kill is what varies
        node.kill()
        for sender in senders:
            sender.thread.join(15)
            acknowledged |= sender.acknowledged
    assert acknowledged
    with node:
        node.until(lambda: node.data("get blobs archiver")["waiting"] == 0)
        node.post("flush buffers")
        rows = node.get("sql plant format = json and stat = false select file from photo")
        held = {row["file"] for row in json.loads(rows)["Query"]}
        for blob_id in held | set(acknowledged):
            command = f"file retrieve where dbms = plant and table = photo and id = {blob_id} and dest = stdout"
            status, body = node.request("GET", {**AGENT, "command": command})
            assert status == 200, body
            assert body == acknowledged.get(blob_id, body)
        assert node.data("get blobs archiver")["errors"] == 0


def test_row_files_are_stored_once_with_their_blobs_after_kills(tmp_path: Path) -> None:
    node = Program(tmp_path, OPERATOR.replace("run rest server", "run blobs archiver\nrun rest server"))
    data = tmp_path / "EdgeLake" / "data"
    contents: dict[int, bytes] = {}
    for _ in range(KILLS):
        node.start()
        for _ in range(random.randrange(1, 8)):
            number = len(contents)
            contents[number] = os.urandom(1000)
            (data / "blobs" / f"shot-{number}.bin").write_bytes(contents[number])
            working = data / "prep" / "rows"
            working.write_text(json.dumps({"n": number, "file": f"shot-{number}.bin"}))
            working.rename(data / "bwatch" / f"plant.photo.{number}.0.0.json")
        time.sleep(random.uniform(0.0, 0.3))  # the moment of the kill is what varies
        node.kill()

    with node:

        def idle() -> bool:
            waits = [p for name in ("bwatch", "watch") for p in (data / name).iterdir() if not p.name.endswith("_tmp")]
            return not waits and node.data("get blobs archiver")["waiting"] == 0

        node.until(idle, limit_s=60)
        node.post("flush buffers")
        found = json.loads(node.get("sql plant format = json and stat = false select n, file from photo"))["Query"]
        assert sorted(row["n"] for row in found) == list(contents)
        for row in found:
            command = f"file retrieve where dbms = plant and table = photo and id = {row['file']} and dest = stdout"
            assert node.request("GET", {**AGENT, "command": command}) == (200, contents[row["n"]])
        assert list((data / "error").iterdir()) == []
