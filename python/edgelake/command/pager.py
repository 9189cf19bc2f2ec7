"""Replies that are longer than the screen go to a pager: ``$PAGER``, or less, or more.

Imported only when a person sits at the terminal.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shlex
import shutil
from asyncio.subprocess import PIPE, Process
from collections.abc import Callable, Mapping
from typing import Final

_FIRST_CHARS: Final = 1 << 20
LIVE_S: Final = 0.3
_CHOICES: Final = ("less", "more")


class Left(Exception):
    """The reader has seen enough."""


def pager_command(environ: Mapping[str, str]) -> list[str]:
    """The pager to start; none on a terminal that cannot move its cursor, or with ``PAGER=cat`` or ``PAGER=``."""
    chosen = environ.get("EDGELAKE_PAGER", environ.get("PAGER"))
    if environ.get("TERM", "") in ("", "dumb") or (chosen is not None and chosen.strip() in ("", "cat")):
        return []
    if chosen is not None:
        try:
            return shlex.split(chosen)
        except ValueError:
            return []
    return next(([name] for name in _CHOICES if shutil.which(name)), [])


class Pager:
    """Takes the text of one reply. What fits on the screen is written; anything longer is given to the pager.

    A reply that goes on for longer than ``LIVE_S`` and has not filled the screen by then is written as it comes.
    """

    def __init__(self, command: list[str], write: Callable[..., None]) -> None:
        self._command, self._write = command, write
        self._text: list[str] = []
        self.is_wanted = True
        self._is_live = False
        self._timer: asyncio.TimerHandle | None = None
        self._process: Process | None = None
        self._has_begun = False
        self._has_ended = False

    @property
    def is_open(self) -> bool:
        """Whether the terminal is the pager's."""
        return self._has_begun and not self._has_ended

    def show(self, text: str, *, end: str = "\n") -> None:
        """Take a text (``console.Show``)."""
        if self._is_live:
            self._write(text, end=end)
            return
        self._text.append(text.replace("\r\n", "\n").rstrip("\n") + end if end else text)
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(LIVE_S, self.go_live)

    def go_live(self) -> None:
        """Write from now on what comes, unless the pager has it."""
        if self._process is None and not (self.is_wanted and self._is_long()):
            self._is_live = True
            self._flush()

    def _flush(self) -> None:
        if text := "".join(self._text):
            self._write(text, end="")
        self._text.clear()

    async def drain(self) -> None:
        """Wait until the pager has taken what it was given. Raises Left when the reader has left it."""
        if self._has_ended:
            raise Left
        if self._process is None and self._is_long():
            await self._open()
        if self._process is not None:
            await self._feed()

    async def finish(self) -> None:
        """The reply is whole: wait until the reader is through with it."""
        if self._process is None and self._is_long():
            await self._open()
        if self._timer is not None:
            self._timer.cancel()
        if self._process is None:
            self._flush()
            return
        with contextlib.suppress(Left):
            await self._feed()
        assert self._process.stdin is not None
        self._process.stdin.close()
        await self._process.wait()
        self._has_ended = True

    def _is_long(self) -> bool:
        """Whether the text does not fit on the screen."""
        if not self._command or not self.is_wanted or self._is_live:
            return False
        columns, rows = shutil.get_terminal_size()
        room = rows - 2
        for piece in self._text:
            if len(piece) > _FIRST_CHARS:
                return True
            for line in piece.splitlines():
                room -= 1 + max(len(line) - 1, 0) // columns
            if room < 0:
                return True
        return False

    async def _open(self) -> None:
        environment = {**os.environ, "LESS": os.environ.get("LESS", "FRX")}
        self._has_begun = True  # from here on it may have the terminal, before we are told of its process
        try:
            self._process = await asyncio.create_subprocess_exec(*self._command, stdin=PIPE, env=environment)
        except OSError:
            self._has_begun = False
            self._command = []  # it cannot be run: the text is written as it is

    async def _feed(self) -> None:
        assert self._process is not None
        stdin = self._process.stdin
        assert stdin is not None
        text, self._text = "".join(self._text), []
        try:
            stdin.write(text.encode(errors="replace"))
            await stdin.drain()
        except (BrokenPipeError, ConnectionResetError):
            pass
        if self._process.returncode is not None or stdin.is_closing():
            self._has_ended = True
            await self._process.wait()
            raise Left
