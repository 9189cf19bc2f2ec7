"""A REST server on a real socket, with a node behind it that only remembers what it was given."""

from __future__ import annotations

import asyncio
import http.client
import socket
import threading
from collections.abc import AsyncIterator, Callable, Coroutine
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any, TypeVar

import uvloop

from edgelake.errors import EdgeLakeError, UnknownCommandError
from edgelake.model import Caller, Reply, Stored, Then
from edgelake.net.rest import RestConfig, RestServer

T = TypeVar("T")


@dataclass
class FakeNode:
    """Remembers rows, files and commands. ``commands`` maps a line to what it answers.

    Rows are refused at once by ``refuse``, after a while by ``refuse_late``; they wait for ``hold``.
    """

    rows: list[tuple[str, str, bytes, str, str]] = field(default_factory=list)
    files: list[tuple[str, str, bytes]] = field(default_factory=list)
    data: list[tuple[str, str, bytes]] = field(default_factory=list)
    ran: list[tuple[str, Caller]] = field(default_factory=list)
    commands: dict[str, Callable[[], Coroutine[Any, Any, Reply]]] = field(default_factory=dict)
    refuse: EdgeLakeError | None = None
    refuse_late: EdgeLakeError | None = None
    begun: asyncio.Event = field(default_factory=asyncio.Event)
    hold: asyncio.Event | None = None
    stored: Stored | None = None

    async def submit(
        self, dbms: str, table: str, payload: bytes, *, source: str = "0", instructions: str = "0"
    ) -> Stored:
        if self.refuse is not None:
            raise self.refuse
        self.begun.set()
        if self.hold is not None:
            await self.hold.wait()
        if self.refuse_late is not None:
            raise self.refuse_late
        self.rows.append((dbms, table, payload, source, instructions))
        return self.stored or Stored(payload.count(b"{"))

    def submit_then(self, dbms: str, table: str, payload: bytes, source: str, instructions: str, then: Then) -> None:
        """As submit, for small payloads; ``then`` is called in a later turn of the loop, as by a journal."""
        if self.refuse is not None:
            raise self.refuse

        def told(task: asyncio.Task[Stored]) -> None:
            failure = task.exception()
            then(None if failure else task.result(), failure)

        work = self.submit(dbms, table, payload, source=source, instructions=instructions)
        asyncio.get_running_loop().create_task(work).add_done_callback(told)

    async def put_file(
        self,
        dbms: str,
        table: str,
        pieces: AsyncIterator[bytes],
        *,
        file_type: str = "json",
        source: str = "0",
        instructions: str = "0",
    ) -> Stored:
        content = b"".join([piece async for piece in pieces])
        self.files.append((dbms, table, content))
        return Stored(0, file_hash="abc")

    async def post_data(self, agent: str, topic: str, payload: bytes) -> Stored:
        if self.refuse is not None:
            raise self.refuse
        self.data.append((agent, topic, payload))
        return self.stored or Stored(1)

    async def execute(self, line: str, caller: Caller) -> Reply:
        self.ran.append((line, caller))
        if line in self.commands:
            return await self.commands[line]()
        if line == "get status":
            return Reply.of_text("node running")
        if line == "get status where format = json":
            return Reply(text="node running", data={"status": "running"}, has_data=True, json_wanted=True)
        if " = " in line or line.startswith(("set ", "print ", "sql ")):
            return Reply.done()
        raise UnknownCommandError(line)


class Loop:
    """A uvloop in a thread of its own, so that tests use blocking sockets."""

    def __init__(self) -> None:
        self.loop = uvloop.new_event_loop()
        self._thread = threading.Thread(target=self.loop.run_forever, daemon=True)
        self._thread.start()

    def run(self, work: Coroutine[Any, Any, T], timeout: float = 30) -> T:
        return self.begin(work).result(timeout)

    def begin(self, work: Coroutine[Any, Any, T]) -> Future[T]:
        return asyncio.run_coroutine_threadsafe(work, self.loop)

    def event(self) -> asyncio.Event:
        return asyncio.Event()

    def close(self) -> None:
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join(10)
        self.loop.close()  # its descriptors are the process's: hundreds of tests would run out of them


class Site:
    """A running server, and ways to talk to it."""

    def __init__(self, loop: Loop, node: FakeNode, config: RestConfig) -> None:
        self.loop, self.node, self.config = loop, node, config
        self.server = new_server(node, config)
        loop.run(self.server.start())
        self.port = self.server.port

    def request(
        self, method: str, headers: dict[str, str] | None = None, body: bytes | None = None, path: str = "/"
    ) -> tuple[int, dict[str, str], bytes]:
        """One request over a new connection: status, headers in lower case, body."""
        link = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        try:
            link.request(method, path, body=body, headers=headers or {})
            reply = link.getresponse()
            return reply.status, {k.lower(): v for k, v in reply.getheaders()}, reply.read()
        finally:
            link.close()

    def command(self, line: str, **headers: str) -> tuple[int, dict[str, str], bytes]:
        return self.request("GET", {"User-Agent": "AnyLog/1.23", "command": line, **headers})

    def put(self, body: bytes, **headers: str) -> tuple[int, dict[str, str], bytes]:
        base = {"dbms": "d", "table": "t", "mode": "streaming", "User-Agent": "AnyLog/1.23"}
        return self.request("PUT", {**base, **headers}, body)

    def connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), timeout=20)

    def raw(self, data: bytes) -> bytes:
        """Everything the server answers to these bytes until it closes the connection."""
        with self.connect() as link:
            link.sendall(data)
            return read_all(link)


def new_server(node: FakeNode, config: RestConfig) -> RestServer:
    return RestServer(
        config,
        submit=node.submit,
        execute=node.execute,
        render=lambda reply: reply.text or "",
        put_file=node.put_file,
        post_data=node.post_data,
        submit_then=node.submit_then,
    )


def read_all(link: socket.socket) -> bytes:
    parts = []
    while piece := link.recv(1 << 16):
        parts.append(piece)
    return b"".join(parts)
