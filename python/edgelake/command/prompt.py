"""The interactive prompt: completion, history, colours, blocks over several lines.

Imported only when a person sits at the terminal. Source: spec "Command language", section 13.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import sys
import textwrap
from collections.abc import Awaitable, Callable
from pathlib import Path

from prompt_toolkit import PromptSession
from prompt_toolkit.auto_suggest import AutoSuggestFromHistory
from prompt_toolkit.completion import Completer
from prompt_toolkit.formatted_text import FormattedText
from prompt_toolkit.history import FileHistory, History, InMemoryHistory
from prompt_toolkit.patch_stdout import patch_stdout

from edgelake.command.completion import LanguageCompleter, LanguageLexer
from edgelake.command.console import PAGING, execute, prompt_text, write
from edgelake.command.context import Context
from edgelake.command.handlers.repeat import ENTER
from edgelake.command.logs import mask
from edgelake.command.pager import Left, Pager, pager_command
from edgelake.command.progress import followed
from edgelake.command.tokenizer import balance

_LEAVE = "Press Ctrl-C again to leave the node, or write: exit node"


class MaskedHistory(FileHistory):
    """Lines of earlier prompts, without the passwords and keys in them."""

    def store_string(self, string: str) -> None:
        super().store_string(mask(string))


def new_session(ctx: Context, completer: Completer | None = None) -> PromptSession[str]:
    """Line editing with history, completion and colours; ``ctx`` knows commands, and what may be completed without
    another ``completer``."""
    plain = _is_plain()
    return PromptSession(
        history=_history(),
        completer=completer or LanguageCompleter(ctx),
        complete_while_typing=False,
        enable_history_search=True,  # arrow up: earlier lines that begin as this one does; Ctrl-R searches in any case
        lexer=None if plain else LanguageLexer(ctx.registry),
        auto_suggest=None if plain else AutoSuggestFromHistory(),
    )


def styled(text: str) -> FormattedText:
    """A prompt in its colour."""
    return FormattedText([("" if _is_plain() else "ansicyan", text)])


def _is_plain() -> bool:
    return bool(os.environ.get("NO_COLOR"))


def _history() -> History:
    state = Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state") / "edgelake"
    try:
        state.mkdir(parents=True, exist_ok=True)
        path = state / "history"
        path.touch(mode=0o600)
    except OSError:
        return InMemoryHistory()
    return MaskedHistory(str(path))


class Prompt:
    """Reads commands from the terminal and shows their replies, until ``exit node`` or a second Ctrl-C."""

    def __init__(self, ctx: Context) -> None:
        self._ctx = ctx
        self._session = new_session(ctx)
        self._late_interrupt = False  # Ctrl-C came when a command was over, but no prompt there again
        self._pager: Pager | None = None
        ctx.parts[ENTER] = self._enter

    async def run(self) -> None:
        """Serve the terminal."""
        try:
            await self._serve()
        finally:
            # Reading a line took the signal away from the node.
            _on_interrupt(self._ctx.node.stopping.set)
            if self._late_interrupt:
                self._ctx.node.stopping.set()

    async def _serve(self) -> None:
        leaving = False
        with patch_stdout(raw=True):
            while not self._ctx.node.stopping.is_set() and self._ctx.node.settings.get("cli", True):
                try:
                    line = await self._read()
                    leaving = False
                except KeyboardInterrupt:
                    if leaving:
                        write("Terminating node processes")
                        self._ctx.node.stopping.set()
                        return
                    leaving = True
                    write(_LEAVE)
                    continue
                except EOFError:
                    self._ctx.node.stopping.set()
                    return
                if line.strip():
                    await self._execute(line)

    async def _read(self) -> str:
        """One command; a line that begins with ``<`` goes on to one that ends in ``>``, an open brace to its end."""
        line = await self._session.prompt_async(styled(prompt_text(self._ctx)))
        if line.lstrip().startswith("<"):
            parts = [line.lstrip()[1:]]
            while not parts[-1].rstrip().endswith(">"):
                parts.append(await self._session.prompt_async(styled("... ")))
            parts[-1] = parts[-1].rstrip()[:-1]
            return " ".join(part.strip() for part in parts)
        while balance(line) > 0:
            line += " " + await self._session.prompt_async(styled("... "))
        return line

    async def _execute(self, line: str) -> None:
        """Run a command; Ctrl-C ends it, not the node."""
        pager = self._pager = new_pager(is_on=self._ctx.node.settings.get(PAGING, True))
        work = asyncio.create_task(run_paged(pager, lambda: self._run(line, pager)))
        self._late_interrupt = False

        def interrupt() -> None:
            if pager is None or not pager.is_open:  # the pager has its own use for it
                self._late_interrupt = not work.cancel()

        _on_interrupt(interrupt)
        try:
            await followed(work, getattr(self._ctx.queries, "jobs", None), lambda text: show_progress(text, pager))
        finally:
            work.cancel()
        if work.cancelled():
            write_error(f"Interrupted: {line[:60]}")
        else:
            work.result()

    async def _enter(self) -> None:
        """Until Enter is pressed: what goes on until then is to be seen as it comes."""
        if self._pager is not None:
            self._pager.is_wanted = False
        await _enter()

    async def _run(self, line: str, pager: Pager | None) -> None:
        if pager is None:
            await execute(line, self._ctx, write, write_error)
            return
        failed: list[str] = []
        await execute(line, self._ctx, pager.show, failed.append, pager.drain)
        await pager.finish()
        for text in failed:
            write_error(text)


def new_pager(*, is_on: bool = True) -> Pager | None:
    """For a reply that a person reads; None where texts are written as they come."""
    command = pager_command(os.environ) if is_on and sys.__stdout__ is not None and sys.__stdout__.isatty() else []
    return Pager(command, write) if command else None


async def run_paged(pager: Pager | None, work: Callable[[], Awaitable[None]]) -> None:
    """Run a command whose reply the pager takes, to the end of the reply, or until the reader leaves."""
    try:
        await work()
    except Left:
        pass
    except asyncio.CancelledError:
        if pager is not None:  # what came until then
            await pager.finish()
        raise


def show_progress(text: str, pager: Pager | None = None) -> None:
    """A line of its own on the terminal, which the next one replaces; "" = none any more."""
    if sys.__stderr__ is not None and sys.__stderr__.isatty() and (pager is None or not pager.is_open):
        sys.__stderr__.write(f"\r\x1b[K{text}")
        sys.__stderr__.flush()


def write_error(text: str) -> None:
    """An error in its colour, broken at words. Lines that point at a place fit in any case."""
    columns = max(shutil.get_terminal_size().columns - 1, 40)
    lines = [textwrap.fill(line, columns, break_long_words=False) for line in text.splitlines()]
    shown = "\n".join(lines)
    write(shown if _is_plain() else f"\x1b[31m{shown}\x1b[0m")


def _on_interrupt(action: Callable[[], object]) -> None:
    """What SIGINT does from now on. Elsewhere than on the main thread it stays with the program."""
    with contextlib.suppress(NotImplementedError, ValueError, RuntimeError):
        asyncio.get_running_loop().add_signal_handler(signal.SIGINT, action)


async def _enter() -> None:
    """Until Enter is pressed, while a command runs."""
    loop, pressed = asyncio.get_running_loop(), asyncio.Event()
    terminal = sys.stdin.fileno()

    def read() -> None:
        os.read(terminal, 1024)  # the terminal hands over whole lines
        pressed.set()

    loop.add_reader(terminal, read)
    try:
        await pressed.wait()
    finally:
        loop.remove_reader(terminal)
