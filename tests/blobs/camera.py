"""A node whose readings bring pictures, on a real REST server."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import http.client
import json
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from edgelake.bench.processes import free_port
from edgelake.model import Reply
from edgelake.node import Node

AGENT = {"User-Agent": "AnyLog/1.23"}
Answered = tuple[int, dict[str, str], bytes]


def id_of(content: bytes, kind: str = "png", *, coded: bool = True) -> str:
    """What the row of a content holds."""
    named = base64.b64encode(content) if coded else content
    return f"{hashlib.md5(b'plant.photo' + named).hexdigest()}.{kind}"


class Camera:
    """Database ``plant``, table ``photo``, blob column ``file``."""

    def __init__(self, node: Node, port: int) -> None:
        self.node = node
        self.port = port

    def folder(self, name: str) -> Path:
        return self.node.ctx.directories.path(name)

    @property
    def day(self) -> Path:
        """Folder of the blobs of today."""
        return self.folder("blobs_dir") / time.strftime("%y/%m/%d", time.gmtime())

    async def execute(self, line: str) -> Reply:
        return await self.node.execute(line)

    async def request(self, method: str, command: str, body: bytes | None = None, **headers: str) -> Answered:
        return await asyncio.to_thread(self._request, method, command, body, headers)

    def _request(self, method: str, command: str, body: bytes | None, headers: dict[str, str]) -> Answered:
        link = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        link.request(method, "/", body=body, headers={**AGENT, "command": command, **sent})
        reply = link.getresponse()
        answer = reply.status, {k.lower(): v for k, v in reply.getheaders()}, reply.read()
        link.close()
        return answer

    async def take(self, *contents: bytes) -> None:
        """Readings with contents, acknowledged."""
        rows = [{"image": base64.b64encode(content).decode()} for content in contents]
        body = json.dumps(rows).encode()
        status, _, said = await self.request("POST", "data", body, topic="camera", Content_Type="text/plain")
        assert status == 200, said

    async def get(self, blob_id: str, **headers: str) -> Answered:
        command = f"file retrieve where dbms = plant and table = photo and id = {blob_id} and dest = stdout"
        return await self.request("GET", command, **headers)

    async def archived(self) -> dict[str, Any]:
        """``get blobs archiver`` as JSON; the rows of its table by their first column."""
        data: dict[str, Any] = (await self.execute("get blobs archiver")).data
        return {**data, **{row["table/file"]: row for row in data["files"]}}

    async def until(self, fits: Callable[[dict[str, Any]], Any]) -> dict[str, Any]:
        """``archived`` as soon as it fits."""
        while not fits(found := await self.archived()):  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        return found

    async def until_blobs(self, number: int) -> dict[str, Any]:
        return await self.until(lambda found: found["blobs"] >= number)


@asynccontextmanager
async def camera(home: Path, *commands: str) -> AsyncIterator[Camera]:
    """A running one; ``commands`` before the rest of it is started."""
    port = free_port()
    schema = {
        "file": {"blob": True, "bring": "[image]", "extension": "png", "apply": "base64decoding", "type": "varchar"}
    }
    policy = {"mapping": {"id": "camera", "dbms": "plant", "table": "photo", "schema": schema}}
    async with Node(home) as node:
        for line in (
            "create work directories",
            "connect dbms plant where type = sqlite",
            *commands,
            f"run rest server where internal_ip = 127.0.0.1 and internal_port = {port}",
        ):
            await node.execute(line)
        if not node.ctx.policies.of_type("mapping"):
            await node.execute(f"blockchain insert where policy = {json.dumps(policy)} and local = true")
        await node.execute(
            "run msg client where broker = rest and user-agent = anylog and topic = (name = camera and policy = camera)"
        )
        yield Camera(node, port)
