"""What the prompt offers at Tab, and the colours of a line.

Imported only when a person sits at the terminal. Source: spec "Command language", section 13.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Iterator

from prompt_toolkit.completion import CompleteEvent, Completer, Completion
from prompt_toolkit.document import Document
from prompt_toolkit.formatted_text import StyleAndTextTuples
from prompt_toolkit.lexers import Lexer

from edgelake.command import assignment
from edgelake.command.context import Context
from edgelake.command.registry import Registry
from edgelake.command.suggestions import Offered, Suggestions
from edgelake.command.tokenizer import tokenise

_CONNECTING = frozenset({"where", "and", "or", "not", "then", "task", "="})
_COMMAND, _VARIABLE, _TEXT, _COMMENT = "bold", "ansiyellow", "ansigreen", "ansibrightblack"


Offer = Callable[[str, str], Awaitable[Offered]]
"""What may stand between two parts of a line."""


class LanguageCompleter(Completer):
    """Offers what ``Suggestions`` finds."""

    def __init__(self, ctx: Context) -> None:
        self._suggestions = Suggestions(ctx)

    def get_completions(self, document: Document, complete_event: CompleteEvent) -> Iterable[Completion]:
        yield from completions(self._suggestions.offered(document.text_before_cursor, document.text_after_cursor))


class OfferedCompleter(Completer):
    """Offers what another node says."""

    def __init__(self, offer: Offer) -> None:
        self._offer = offer

    def get_completions(self, document: Document, complete_event: CompleteEvent) -> Iterable[Completion]:
        return ()  # the answer takes waiting

    async def get_completions_async(
        self, document: Document, complete_event: CompleteEvent
    ) -> AsyncGenerator[Completion, None]:
        for one in completions(await self._offer(document.text_before_cursor, document.text_after_cursor)):
            yield one


def completions(offered: Offered) -> Iterator[Completion]:
    """As the terminal shows them. A blank follows what is a whole word."""
    for word, about in offered.words:
        follows = "" if word[0] in "!$" or word[-1] in "(." else " "
        yield Completion(f"{word}{follows}", -offered.typed, display=word, display_meta=about)


class LanguageLexer(Lexer):
    """Colours of a line: the command's key words, variables, texts, comments."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry

    def lex_document(self, document: Document) -> Callable[[int], StyleAndTextTuples]:
        lines = document.lines
        return lambda number: self._coloured(lines[number]) if number < len(lines) else []

    def _coloured(self, text: str) -> StyleAndTextTuples:
        line = tokenise(text)
        target = assignment.target(line)
        first = target.used if target else 0
        match = self._registry.match(line.words[first:])
        keys = range(first, first + match.used) if match else range(0)
        parts: StyleAndTextTuples = []
        at = 0
        for index, word in enumerate(line.words):
            style = ""
            if index in keys or (word.bare and word.text in _CONNECTING):
                style = _COMMAND
            elif word.quote:
                style = _TEXT
            elif word.text[:1] in "!$":
                style = _VARIABLE
            parts += [("", text[at : word.start]), (style, text[word.start : word.end])]
            at = word.end
        rest = text[at:]
        parts.append((_COMMENT if rest.lstrip().startswith("#") else "", rest))
        return parts
