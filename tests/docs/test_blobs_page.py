"""docs/blobs.md: its uploads and its scripts, against a node, another node and a server of object storage."""

from __future__ import annotations

import asyncio
import json
import subprocess
from pathlib import Path

from edgelake import Node
from edgelake.ingest.blobs.content import Summed, note
from edgelake.model import PROMPT
from tests.blobs.servers import BUCKET, S3Server
from tests.docs.fences import block, blocks
from tests.docs.test_pages import ADDRESS
from tests.net.peer.nodes import node as peer_node
from tests.system.program import STANDALONE, Program

PAGE = "docs/blobs.md"
CAMERA = """\
schema = {{"device": {{"type": "varchar", "bring": "[device]"}},
"file": {{"type": "varchar", "blob": true, "bring": "[image]", "apply": "file"}}}}
""".replace("\n", " ")
SCRIPT = f"""\
{STANDALONE}{CAMERA}
policy = {{{{"mapping": {{{{"id": "camera", "dbms": "plant", "table": "photo", "schema": !schema}}}}}}}}
blockchain insert where policy = !policy and local = true
run msg client where broker = rest and user-agent = anylog and topic = (name = camera and policy = camera)
"""


def script(beginning: str) -> list[str]:
    return block(PAGE, beginning).splitlines()


def test_the_uploads_of_the_page_are_kept(tmp_path: Path) -> None:
    uploads = [one.text for one in blocks(PAGE) if one.kind == "sh"]
    film = bytes(range(256)) * 1000
    (tmp_path / "day.mp4").write_bytes(film)
    with Program(tmp_path / "node", SCRIPT) as node:
        for text in uploads:
            here = text.replace(ADDRESS, f"127.0.0.1:{node.port}").replace("curl ", "curl -sS --fail-with-body ")
            done = subprocess.run(["bash", "-ec", here], cwd=tmp_path, capture_output=True, text=True, timeout=30)
            assert done.returncode == 0, f"{text}\n{done.stdout}{done.stderr}"
        node.post("flush buffers")
        (name,) = set(done.stdout.replace("mp4", "mp4\n").split())
        rows = json.loads(node.get('sql plant format = json:list and stat = false "select device, file from photo"'))
        assert rows == [{"device": "c1", "file": name}]
        assert node.data("get files count") == [{"dbms": "plant", "table": "photo", "count": 1}]


async def test_the_archiver_and_retrieval(tmp_path: Path) -> None:
    async with Node(tmp_path, caller=PROMPT) as node:
        for line in ("create work directories", "connect dbms plant where type = sqlite"):
            await node.execute(line)

        async def run(lines: list[str]) -> list[str]:
            return [str((await node.execute(line)).data) for line in lines]

        await run(script("run blobs archiver where reuse_blobs"))
        await run(["exit archiver", *script("connect dbms blobs_plant where type = sqlite")])
        shown = await run(script("get blobs archiver"))
        assert "active" in shown[0]
        assert "Blobs Archiver" in shown[1]
        kept = Path(node.ctx.directories.path("blobs_dir")) / "26" / "01" / "31" / "plant.photo.0a1b.png"
        kept.parent.mkdir(parents=True)
        kept.write_bytes(b"a picture")
        summed = Summed()
        summed.update(b"a picture")
        note(kept, summed.content)
        first, by_day, remove = script("file retrieve where")
        reply = await node.execute(first)
        assert reply.stream is not None
        assert b"".join([piece async for piece in reply.stream]) == b"a picture"
        assert (await node.execute(by_day)).data == ["plant.photo.0a1b.png"]
        assert (Path(node.ctx.directories.path("tmp_dir")) / "plant.photo.0a1b.png").read_bytes() == b"a picture"
        dry, by_size, daily = script("delete blobs where")
        assert (await node.execute(dry)).data[0]["date"] == "260131"
        assert (await node.execute(by_size)).data == []
        assert (await node.execute(remove)).data == {"removed": 1}
        await node.execute(daily)
        assert "retention" in str((await node.execute("get scheduler")).data)


async def test_another_node_gets_a_blob(tmp_path: Path) -> None:
    async with peer_node(tmp_path / "a", "a") as (asks, _), peer_node(tmp_path / "b", "b") as (has, address):
        await has.execute("set peer files where read = !blobs_dir")
        source = tmp_path / "picture.png"
        source.write_bytes(b"a picture")
        reply = await has.execute(f"file store where dbms = plant and table = photo and source = {source}")
        (line,) = script("run client (10.0.0.78:7848) file get")
        await asks.execute(line.replace("10.0.0.78:7848", address).replace("0a1b.png", str(reply.text)))
        found = [path.read_bytes() for path in Path(asks.ctx.directories.path("tmp_dir")).glob("*.png")]
        assert found == [b"a picture"]


async def test_object_storage(tmp_path: Path) -> None:
    server = S3Server(tmp_path)
    await asyncio.to_thread(server.start)
    try:
        server.make_bucket()
        async with Node(tmp_path / "node", caller=PROMPT) as node:
            await node.execute("create work directories")
            for name, value in {"key": "a2V5", "secret": "s", "account": "site", "service_account": "{}"}.items():
                node.ctx.variables.set(name, value)
            amazon, own, azure, site, google, folder = script("connect dbms blobs_plant where type = bucket")
            own = own.replace("http://10.0.0.9:9000", server.address)
            assert f"connection = {BUCKET}" in own
            assert (await node.execute(own)).text is None  # it is there, and can be used
            folder = folder.replace("/mnt/nas/blobs", str(tmp_path / "nas"))
            assert (await node.execute(folder)).text is None
            elsewhere = {"region = eu-central-1": f"region = eu-central-1 and endpoint = {server.address}"}
            assert (await node.execute(amazon.replace(*elsewhere.popitem()))).text is None
            # No service of the other kinds answers here: they are connected, and it is said.
            nowhere = f"http://127.0.0.1:{server.port}/site"
            said = str((await node.execute(site.replace("http://10.0.0.9:10000/site", nowhere))).text)
            assert said.startswith("Connected, but")
            said = str((await node.execute(azure.replace("and access", f"and endpoint = {nowhere} and access"))).text)
            assert said.startswith("Connected, but")
            assert google.endswith("provider = gcs and connection = edge and secret_key = !service_account")
            shown = (await node.execute("get databases")).data
            assert {"blobs_plant", "blobs_mine", "blobs_port", "blobs_site", "blobs_home"} <= shown.keys()

            (Path(node.ctx.directories.path("tmp_dir")) / "day.csv").write_text("a,b\n1,2\n")
            for line in script("bucket provider connect"):
                await node.execute(line.replace("http://10.0.0.9:9000", server.address))
            again = Path(node.ctx.directories.path("tmp_dir")) / "again.csv"
            assert again.read_text() == "a,b\n1,2\n"
    finally:
        server.kill()
