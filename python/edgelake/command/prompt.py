"""The interactive prompt: completion, history, colours, blocks over several lines.

Imported only when a person sits at the terminal. Source: spec "Command language", section 13.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from prompt_toolkit import PromptSession
from prompt_toolkit.completion import CompleteEvent, Completer, Completion
from prompt_toolkit.document import Document
from prompt_toolkit.formatted_text import FormattedText
from prompt_toolkit.history import FileHistory, History, InMemoryHistory
from prompt_toolkit.patch_stdout import patch_stdout

from edgelake.command.console import execute, write
from edgelake.command.context import Context
from edgelake.command.grammar import Grammar
from edgelake.command.tokenizer import balance, tokenise

_LEAVE = "Press Ctrl-C again to leave the node, or write: exit node"


class LanguageCompleter(Completer):
    """Completes key words of commands, keys and allowed values of ``where`` pairs, and variables."""

    def __init__(self, ctx: Context) -> None:
        self._ctx = ctx

    def get_completions(self, document: Document, complete_event: CompleteEvent) -> Iterable[Completion]:
        text = document.text_before_cursor
        last = "" if text[-1:].isspace() else text.split()[-1] if text.split() else ""
        for word in self.words(text[: len(text) - len(last)], last):
            yield Completion(word, start_position=-len(last))

    def words(self, before: str, last: str) -> list[str]:
        """What may stand where the last word is typed.

        Args:
            before: the line in front of that word.
            last: what is typed of it.
        """
        if last[:1] == "!":
            return [f"!{name}" for name in self._ctx.variables if name.startswith(last[1:])]
        if last[:1] == "$":
            return sorted(f"${name}" for name in self._ctx.variables.environ if name.startswith(last[1:]))
        line = tokenise(before)
        words = [word.text for word in line.words]
        if len(words) >= 2 and words[1] == "=":
            words = words[2:]
        if words[:1] == ["help"]:
            words = words[1:]
        found = self._ctx.registry.next_words(words)
        match = self._ctx.registry.match(line.words[len(line.words) - len(words) :])
        if match is not None:
            found += self._arguments(match.command.grammar, words[match.used :])
        return sorted({word for word in found if word.startswith(last) and word != last})

    def _arguments(self, grammar: Grammar, words: list[str]) -> list[str]:
        """Keys, allowed values, or the word ``where``."""
        if len(words) >= 2 and words[-1] == "=":
            param = grammar.keys.get(words[-2])
            if param is None:
                return []
            if param.kind.name == "true/false":
                return ["true", "false"]
            return [str(choice) for choice in param.choices]
        in_pairs = grammar.where == "" or grammar.where in words
        if not in_pairs:
            choices = [str(choice) for param in grammar.positional for choice in param.choices]
            return [*choices, *([grammar.where] if grammar.pairs else [])]
        if words and words[-1] not in (grammar.where, "and"):
            return ["and"]
        used = {words[index - 1] for index in range(1, len(words)) if words[index] == "="}
        return [param.key for param in grammar.pairs if param.key not in used or param.many]


class Prompt:
    """Reads commands from the terminal and shows their replies, until ``exit node`` or a second Ctrl-C."""

    def __init__(self, ctx: Context) -> None:
        self._ctx = ctx
        self._plain = bool(os.environ.get("NO_COLOR"))
        self._session: PromptSession[str] = PromptSession(
            history=self._history(), completer=LanguageCompleter(ctx), complete_while_typing=False
        )

    def _history(self) -> History:
        state = Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state") / "edgelake"
        try:
            state.mkdir(parents=True, exist_ok=True)
            path = state / "history"
            path.touch(mode=0o600)
        except OSError:
            return InMemoryHistory()
        return FileHistory(str(path))

    def text(self) -> str:
        """The prompt: ``EL > ``, ``EL name > ``, ``EL name +> `` with unread messages."""
        name = f" {self._ctx.node.name}" if self._ctx.node.name else ""
        return f"EL{name} {'+' if self._ctx.echo.unread else ''}> "

    async def run(self) -> None:
        """Serve the terminal."""
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
        line = await self._session.prompt_async(self._styled(self.text()))
        if line.lstrip().startswith("<"):
            parts = [line.lstrip()[1:]]
            while not parts[-1].rstrip().endswith(">"):
                parts.append(await self._session.prompt_async(self._styled("... ")))
            parts[-1] = parts[-1].rstrip()[:-1]
            return " ".join(part.strip() for part in parts)
        while balance(line) > 0:
            line += " " + await self._session.prompt_async(self._styled("... "))
        return line

    async def _execute(self, line: str) -> None:
        await execute(line, self._ctx, write, lambda text: write(self._red(text)))

    def _styled(self, text: str) -> FormattedText:
        return FormattedText([("" if self._plain else "ansicyan", text)])

    def _red(self, text: str) -> str:
        return text if self._plain else f"\x1b[31m{text}\x1b[0m"
