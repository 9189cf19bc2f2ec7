"""Commands: how they are declared, and the trie that finds one by the longest phrase.

Source: design, section 4; spec "Command language", section 3.
"""

from __future__ import annotations

import difflib
import importlib
import inspect
import pkgutil
from collections.abc import Awaitable, Callable, Iterator, Sequence
from types import ModuleType
from typing import Any, TypeVar

from msgspec import Struct, field

from edgelake.command.grammar import Grammar, signature_grammar
from edgelake.command.tokenizer import Word
from edgelake.model import CommandClass, Reply

Handler = Callable[..., Awaitable[Reply] | Reply]
H = TypeVar("H", bound=Handler)
_MARK = "__commands__"
_LONGEST_PHRASE = 6


class Command(Struct, frozen=True):
    """One command: its phrase, grammar, help and handler.

    Attributes:
        phrase: the key words it begins with.
        handler: ``async def f(ctx, ...) -> Reply``; its signature is the grammar. A plain function waits for nothing:
            a peer gets its reply without a task.
        waits: whether the handler is to be awaited.
        cls: the class a caller needs.
        topics: words of the help index.
        examples: lines that parse; a test parses each.
        later: what brings the service, for a command that isn't available yet; empty for a real one.
    """

    phrase: str
    handler: Handler
    cls: CommandClass
    grammar: Grammar
    topics: tuple[str, ...] = ()
    examples: tuple[str, ...] = ()
    help: str = ""
    link: str = ""
    later: str = ""
    waits: bool = True

    @property
    def usage(self) -> str:
        """One line that shows the grammar."""
        return f"{self.phrase} {self.grammar.usage()}".strip()


def command(
    phrase: str,
    *aliases: str,
    cls: CommandClass,
    topics: Sequence[str] = (),
    examples: Sequence[str] = (),
    where: str = "where",
    link: str = "",
) -> Callable[[H], H]:
    """Declare a command. The function's signature is its grammar, its docstring the help text.

    Args:
        phrase, aliases: key words; every alias runs the same handler (``ctx.phrase`` says which one was used).
        cls: the command class a caller needs.
        where: the word before the pairs; empty for a command whose pairs follow at once.
    """

    def declare(handler: H) -> H:
        text = inspect.getdoc(handler) or ""
        grammar = signature_grammar(handler, where=where)
        waits = inspect.iscoroutinefunction(handler)
        made = [
            Command(name, handler, cls, grammar, tuple(topics), tuple(examples), text, link, waits=waits)
            for name in (phrase, *aliases)
        ]
        setattr(handler, _MARK, [*getattr(handler, _MARK, []), *made])
        return handler

    return declare


class _Node(Struct):
    children: dict[str, _Node] = field(default_factory=dict)
    command: Command | None = None


class Match(Struct, frozen=True):
    """A command and the number of words its phrase took."""

    command: Command
    used: int


class Registry:
    """All commands of a node, found by the longest phrase that the words begin with."""

    def __init__(self) -> None:
        self._root = _Node()
        self._commands: dict[str, Command] = {}

    def add(self, entry: Command) -> None:
        """Register a command. A real one replaces a row of the table of later commands, never the other way.

        Raises ValueError when two real commands have the same phrase.
        """
        known = self._commands.get(entry.phrase)
        if known is not None and not known.later:
            if entry.later:
                return
            if known.handler is not entry.handler:
                raise ValueError(f"two commands are called '{entry.phrase}'")
        node = self._root
        for word in entry.phrase.lower().split():
            node = node.children.setdefault(word, _Node())
        node.command = entry
        self._commands[entry.phrase] = entry

    def add_module(self, module: ModuleType) -> None:
        """Register every command that ``module`` declares."""
        for value in list(vars(module).values()):
            if getattr(value, "__module__", None) == module.__name__:
                for entry in getattr(value, _MARK, ()):
                    self.add(entry)

    @classmethod
    def discover(cls) -> Registry:
        """A registry of every handler module in ``edgelake.command.handlers``."""
        from edgelake.command import handlers
        from edgelake.command.handlers.later import later_commands

        registry = cls()
        for info in pkgutil.iter_modules(handlers.__path__):
            registry.add_module(importlib.import_module(f"{handlers.__name__}.{info.name}"))
        for entry in later_commands():
            registry.add(entry)
        return registry

    def match(self, words: Sequence[Word], resolve: Callable[[str], Any] | None = None) -> Match | None:
        """The command with the longest phrase that ``words`` begin with; key words are bare, in any case.

        ``resolve`` replaces a word written ``!key``.
        """
        node, best = self._root, None
        for index, word in enumerate(words):
            if not word.bare:
                break
            text = word.text
            if resolve is not None and text[:1] == "!" and len(text) > 1:
                text = str(resolve(text))
            found = node.children.get(text.lower())
            if found is None:
                break
            node = found
            if node.command is not None:
                best = Match(node.command, index + 1)
        return best

    def next_words(self, words: Sequence[str]) -> list[str]:
        """Key words that may follow ``words``; empty when they begin no command."""
        node = self._root
        for word in words:
            found = node.children.get(word.lower())
            if found is None:
                return []
            node = found
        return sorted(node.children)

    def begins(self, words: Sequence[str]) -> bool:
        """Whether a command begins with these words, or is they."""
        node = self._root
        for word in words:
            found = node.children.get(word.lower())
            if found is None:
                return False
            node = found
        return True

    def similar(self, text: str, limit: int = 3) -> list[str]:
        """Names of commands that look like ``text``, which may have arguments behind a command's words."""
        names = list(self._commands)
        close = difflib.get_close_matches(text.lower(), names, n=limit, cutoff=0.6)
        words = text.lower().split()[:_LONGEST_PHRASE]
        for count in range(len(words), 0, -1):
            if close:
                break
            heads = {" ".join(name.split()[:count]): name for name in reversed(names)}
            cutoff = 0.6 if count == len(words) else 0.75
            near = difflib.get_close_matches(" ".join(words[:count]), list(heads), n=limit, cutoff=cutoff)
            close = [heads[key] for key in near]
        return close

    def get(self, phrase: str) -> Command | None:
        return self._commands.get(phrase)

    def __iter__(self) -> Iterator[Command]:
        return iter(sorted(self._commands.values(), key=lambda entry: entry.phrase))

    def __len__(self) -> int:
        return len(self._commands)
