"""A TCP relay between two nodes that a test can cut."""

from __future__ import annotations

import asyncio
import contextlib

from edgelake.bench.processes import free_port

QUIET_S = 0.2
"""No event tells that a node has read all of it."""


class Relay:
    """Passes bytes to ``127.0.0.1:to`` and back.

    Attributes:
        is_cut: connections are refused, and those that are open end.
        drop_answers_of: when these bytes have gone to the node, nothing comes back any more: the connection is cut when
            the node has answered and says nothing more.
        swallow: a connection over which these bytes come is cut before they go on.
        cut: set when that has happened.
    """

    def __init__(self, to: int = 0) -> None:
        self.port, self.to = free_port(), to
        self.is_cut = False
        self.drop_answers_of = b""
        self.swallow = b""
        self.cut = asyncio.Event()
        self._server: asyncio.Server | None = None
        self._open: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", self.port)

    async def stop(self) -> None:
        assert self._server is not None
        self._server.close()
        self.break_all()
        await asyncio.gather(*self._open, return_exceptions=True)

    def break_all(self) -> None:
        for task in self._open:
            task.cancel()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._open.add(task)
        task.add_done_callback(self._open.discard)
        try:
            if not self.is_cut:
                await self._pass(reader, writer)
        except (OSError, asyncio.CancelledError):
            pass
        finally:
            writer.transport.abort()

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_connection("127.0.0.1", self.to)
        was_seen = asyncio.Event()

        async def forth() -> None:
            while data := await reader.read(1 << 16):
                if self.swallow and self.swallow in data:
                    self.cut.set()
                    return
                if self.drop_answers_of and self.drop_answers_of in data:
                    was_seen.set()
                back.write(data)
                await back.drain()

        async def answers() -> None:
            while data := await there.read(1 << 16):
                if was_seen.is_set():
                    with contextlib.suppress(TimeoutError):  # what is on its way to the node gets there
                        while await asyncio.wait_for(there.read(1 << 16), QUIET_S):
                            pass
                    self.cut.set()
                    return
                writer.write(data)
                await writer.drain()

        tasks = [asyncio.ensure_future(forth()), asyncio.ensure_future(answers())]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.gather(*tasks, return_exceptions=True)
            back.transport.abort()
