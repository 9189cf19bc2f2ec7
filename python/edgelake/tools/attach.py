"""``edgelake attach``: a terminal at a node that runs, for its owner. Several may be attached at a time."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from pathlib import Path

import msgspec

from edgelake.command.console import Show, write
from edgelake.command.local import language_context
from edgelake.command.suggestions import Offered
from edgelake.loop import run
from edgelake.tools.socket import LONGEST_BYTES, Asked, Said, home_of, short, socket_of


class NotRunningError(Exception):
    """No node listens in that folder."""


class Link:
    """The connection to a node.

    Attributes:
        prompt: as the node said last.
        is_over: the node has gone.
    """

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer
        self.prompt = "EL > "
        self.is_over = False
        self._asking = asyncio.Lock()
        self._number = 0

    async def greeting(self) -> None:
        """What the node says first. Raises NotRunningError when it does not let us in."""
        said = await self._next()
        if said.stopping:
            raise NotRunningError(said.error or "the node is being stopped")

    async def execute(
        self,
        line: str,
        show: Show = write,
        fail: Callable[[str], None] = lambda text: write(text, sys.stderr),
        drain: Callable[[], Awaitable[None]] | None = None,
        progress: Callable[[str], None] = lambda _text: None,
    ) -> bool:
        """Have a line run, and show what it says; False when it failed, or the node has gone."""
        self._send(Asked(run=line))
        while True:
            said = await self._next()
            if said.progress:
                progress(said.progress.removeprefix("-"))
            if said.out:
                show(said.out, end="")
                if drain is not None:
                    await drain()
            if said.error:
                fail(said.error)
            if said.done is not None:
                return said.done
            if said.stopping:
                return False

    def interrupt(self) -> None:
        """End the command that runs."""
        self._send(Asked(interrupt=True))

    async def complete(self, before: str, after: str) -> Offered:
        """What may stand between two parts of a line. While no command runs."""
        said = await self._answer(Asked(complete=before, after=after))
        return Offered(said.typed, said.words)

    async def look(self, view: str) -> bytes:
        """A view of the node as JSON (``views.VIEWS``). While no command runs. Raises NotRunningError."""
        said = await self._answer(Asked(look=view))
        if self.is_over:
            raise NotRunningError("the node has ended")
        return bytes(said.view)

    async def _answer(self, asked: Asked) -> Said:
        """Of one question; answers to earlier ones that nobody waits for any more are passed over."""
        async with self._asking:
            self._number += 1
            self._send(msgspec.structs.replace(asked, number=self._number))
            while True:
                said = await self._next()
                if said.number == self._number or said.stopping:
                    return said

    def _send(self, asked: Asked) -> None:
        self._writer.write(msgspec.json.encode(asked) + b"\n")

    async def _next(self) -> Said:
        line = b""
        with contextlib.suppress(ConnectionError):
            line = await self._reader.readline()
        said = msgspec.json.decode(line, type=Said) if line else Said(stopping=True)
        self.prompt = said.prompt or self.prompt
        self.is_over = self.is_over or said.stopping
        return said


@contextlib.asynccontextmanager
async def linked(home: Path) -> AsyncIterator[Link]:
    """A connection to the node of a folder. Raises NotRunningError."""
    path = socket_of(home)
    try:
        with short(path) as name:
            reader, writer = await asyncio.open_unix_connection(name, limit=LONGEST_BYTES)
    except OSError as problem:
        raise NotRunningError(
            f"no node runs in {home} ({problem.strerror}); --home or EDGELAKE_HOME say where it is"
        ) from problem
    try:
        link = Link(reader, writer)
        await link.greeting()
        yield link
    finally:
        writer.close()


def parser() -> argparse.ArgumentParser:
    """Its options."""
    made = argparse.ArgumentParser("edgelake attach", description=__doc__)
    made.add_argument("--home", default="", help="the node's folder (EDGELAKE_HOME, the current directory)")
    made.add_argument("-c", dest="commands", action="append", default=[], metavar="COMMAND", help="run it and leave")
    made.add_argument("--no-pager", action="store_true", help="write replies that are longer than the screen, too")
    return made


def main(arguments: Sequence[str]) -> int:
    """``edgelake attach [--home FOLDER] [-c COMMAND ...]``; returns the exit code."""
    options = parser().parse_args(arguments)
    try:
        return run(_attached(home_of(options.home), options))
    except NotRunningError as problem:
        write(f"edgelake attach: {problem}", sys.stderr)
        return 1


async def _attached(home: Path, options: argparse.Namespace) -> int:
    commands: list[str] = options.commands
    async with linked(home) as link:
        if commands or not sys.stdin.isatty():
            return await _batch(link, commands or sys.stdin.read().splitlines())
        await _terminal(link, is_paged=not options.no_pager)
        return 0


async def _batch(link: Link, commands: list[str]) -> int:
    failed = False
    for line in filter(str.strip, commands):
        failed = not await link.execute(line) or failed
        if link.is_over:
            break
    return 1 if failed else 0


async def _terminal(link: Link, *, is_paged: bool) -> None:
    """The prompt, until Ctrl-D; Ctrl-C ends the command that runs. The node goes on in any case."""
    from edgelake.command.completion import OfferedCompleter
    from edgelake.command.prompt import new_session, styled, write_error

    session = new_session(language_context(), OfferedCompleter(link.complete))
    write("Attached. Ctrl-D leaves; 'exit node' ends the node.")
    while not link.is_over:
        try:
            line = await session.prompt_async(styled(link.prompt))
        except KeyboardInterrupt:
            continue
        except EOFError:
            return
        if line.strip():
            for text in await _paged(link, line, is_paged=is_paged):
                write_error(text)
    write("The node has ended.")


async def _paged(link: Link, line: str, *, is_paged: bool) -> list[str]:
    """Run a line; Ctrl-C, or who leaves the pager, ends the command. Returns its errors."""
    from edgelake.command.pager import Left
    from edgelake.command.prompt import new_pager, show_progress

    pager = new_pager(is_on=is_paged)
    failed: list[str] = []

    def interrupt() -> None:
        if pager is None or not pager.is_open:
            link.interrupt()

    def progress(text: str) -> None:
        show_progress(text, pager)

    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGINT, interrupt)
    try:
        if pager is None:
            await link.execute(line, write, failed.append, None, progress)
            return failed
        has_left = False

        async def drain() -> None:
            nonlocal has_left
            try:
                if not has_left:
                    await pager.drain()
            except Left:
                has_left = True
                link.interrupt()

        await link.execute(line, pager.show, failed.append, drain, progress)
        if not has_left:
            await pager.finish()
        return [] if has_left else failed
    finally:
        loop.remove_signal_handler(signal.SIGINT)
