"""Terminals of the owner at a running node: ``edgelake attach`` is the other end."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import pwd
import socket
import struct
from pathlib import Path
from typing import Any, Final

import msgspec

from edgelake.command.api.completion import LONGEST_LINE
from edgelake.command.api.views import VIEWS
from edgelake.command.console import execute, prompt_text
from edgelake.command.context import Context
from edgelake.command.flow import Flow
from edgelake.command.progress import followed
from edgelake.command.suggestions import Suggestions
from edgelake.model import Caller
from edgelake.tools.socket import LONGEST_BYTES, Asked, Said, short, socket_of

log = logging.getLogger(__name__)
MOST: Final = 16
_CREDENTIALS: Final = struct.Struct("3i")  # pid, uid, gid


class Attached:
    """Listens in the node's folder, for the user that runs it (and root)."""

    def __init__(self, ctx: Context) -> None:
        self._ctx = ctx
        self._path = socket_of(ctx.directories.home)
        self._server: asyncio.Server | None = None
        self._clients: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """Listen. A node that cannot (no room for a file, a file system without sockets) goes on without."""
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            if _answers(self._path):
                log.warning("attach: another node listens at %s", self._path)
                return
            self._path.unlink(missing_ok=True)  # of a node that was killed
            with short(self._path) as name:
                before = os.umask(0o177)
                try:
                    self._server = await asyncio.start_unix_server(self._come, name, limit=LONGEST_BYTES)
                finally:
                    os.umask(before)
        except OSError as problem:
            log.warning("attach: cannot listen at %s: %s", self._path, problem.strerror)

    async def stop(self) -> None:
        """Close, and end what clients have running."""
        if self._server is None:
            return
        self._server.close()
        self._server = None
        for client in list(self._clients):
            client.cancel()
        await asyncio.gather(*self._clients, return_exceptions=True)
        self._path.unlink(missing_ok=True)

    async def _come(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        user = _user_of(writer)
        try:
            if user is None or len(self._clients) >= MOST:
                why = "only the user of the node may attach" if user is None else f"{MOST} terminals are attached"
                writer.write(_line(Said(error=why, stopping=True)))
                await writer.drain()
                return
            self._clients.add(task)
            await _Terminal(self._ctx, reader, writer, user).serve()
        except (ConnectionError, asyncio.CancelledError):
            pass  # the client, or the node, has gone
        finally:
            self._clients.discard(task)
            writer.close()


class _Terminal:
    """One client. Its if-chains are its own."""

    def __init__(self, ctx: Context, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, user: str) -> None:
        self._ctx = ctx.at(caller=Caller("prompt", address="attached", user=user), flow=Flow(), console=self._show)
        self._reader, self._writer = reader, writer
        self._running: asyncio.Task[None] | None = None
        self._following: asyncio.Task[None] | None = None

    async def serve(self) -> None:
        self._tell(Said(prompt=prompt_text(self._ctx)))
        stopping = asyncio.create_task(self._ctx.node.stopping.wait())
        try:
            while True:
                reading = asyncio.create_task(self._read())
                await asyncio.wait({reading, stopping}, return_when=asyncio.FIRST_COMPLETED)
                if not reading.done():
                    reading.cancel()
                    break
                asked = reading.result()
                if asked is None:
                    return
                self._take(asked)
        finally:
            stopping.cancel()
            for task in (self._running, self._following):
                if task is not None:
                    task.cancel()
        if self._running is not None:  # "exit node" itself: its end is told
            await asyncio.wait({self._running}, timeout=1)
        self._tell(Said(stopping=True))
        await self._writer.drain()

    async def _read(self) -> Asked | None:
        """The next message; None at the end, or for what is none."""
        try:
            line = await self._reader.readline()
            return msgspec.json.decode(line, type=Asked) if line else None
        except (ValueError, msgspec.DecodeError):
            self._tell(Said(error="attach: that is no message of this protocol"))
            return None

    def _take(self, asked: Asked) -> None:
        is_running = self._running is not None and not self._running.done()
        if asked.interrupt:
            if self._running is not None:
                self._running.cancel()
        elif asked.complete is not None or asked.look:
            self._answer(asked)
        elif is_running:
            self._tell(Said(error="attach: a command is running"))
        else:
            self._running = asyncio.create_task(self._run(asked.run))
            self._following = asyncio.create_task(followed(self._running, self._jobs(), self._tell_progress))

    async def _run(self, line: str) -> None:
        worked = False
        try:
            worked = await execute(line, self._ctx, self._show, self._fail, self._writer.drain)
        except asyncio.CancelledError:
            self._tell(Said(error=f"Interrupted: {line[:60]}"))
        self._tell(Said(done=worked, prompt=prompt_text(self._ctx)))

    def _jobs(self) -> Any:
        return getattr(self._ctx.queries, "jobs", None)

    def _tell_progress(self, text: str) -> None:
        self._tell(Said(progress=text or "-"))

    def _show(self, text: str, *, end: str = "\n") -> None:
        self._tell(Said(out=text.replace("\r\n", "\n").rstrip("\n") + end if end else text))

    def _fail(self, text: str) -> None:
        self._tell(Said(error=text))

    def _tell(self, said: Said) -> None:
        self._writer.write(_line(said))

    def _answer(self, asked: Asked) -> None:
        """What is asked beside the command that runs."""
        if asked.complete is not None:
            found = Suggestions(self._ctx).offered(asked.complete[:LONGEST_LINE], asked.after[:LONGEST_LINE])
            self._tell(Said(number=asked.number, typed=found.typed, words=found.words))
        elif (view := VIEWS.get(asked.look)) is not None:
            self._tell(Said(number=asked.number, view=msgspec.Raw(msgspec.json.encode(view(self._ctx), enc_hook=str))))
        else:
            self._tell(Said(number=asked.number, error=f"attach: there is no view '{asked.look[:100]}'"))


def _line(said: Said) -> bytes:
    return msgspec.json.encode(said) + b"\n"


def _user_of(writer: asyncio.StreamWriter) -> str | None:
    """Name of the client's user, when it is the node's or root."""
    link = writer.get_extra_info("socket")
    _, uid, _ = _CREDENTIALS.unpack(link.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size))
    if uid not in (0, os.getuid()):
        return None
    with contextlib.suppress(KeyError):
        return pwd.getpwuid(uid).pw_name
    return str(uid)


def _answers(path: Path) -> bool:
    with short(path) as name, socket.socket(socket.AF_UNIX) as link:
        return link.connect_ex(name) == 0
