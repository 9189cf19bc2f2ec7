"""What the prompt offers at Tab, and the colours of a line.

Imported only when a person sits at the terminal. Source: spec "Command language", section 13.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from prompt_toolkit.completion import CompleteEvent, Completer, Completion
from prompt_toolkit.document import Document
from prompt_toolkit.formatted_text import StyleAndTextTuples
from prompt_toolkit.lexers import Lexer

from edgelake.command import assignment
from edgelake.command.context import Context
from edgelake.command.grammar import Grammar
from edgelake.command.registry import Registry
from edgelake.command.tokenizer import tokenise

_CONNECTING = frozenset({"where", "and", "or", "not", "then", "task", "="})
_COMMAND, _VARIABLE, _TEXT, _COMMENT = "bold", "ansiyellow", "ansigreen", "ansibrightblack"


class LanguageCompleter(Completer):
    """Completes key words of commands, keys and allowed values of ``where`` pairs, and variables."""

    def __init__(self, ctx: Context) -> None:
        self._ctx = ctx

    def get_completions(self, document: Document, complete_event: CompleteEvent) -> Iterable[Completion]:
        text = document.text_before_cursor
        last = "" if text[-1:].isspace() else text.split()[-1] if text.split() else ""
        before = text[: len(text) - len(last)]
        for word in self.words(before, last):
            follows = "" if word[0] in "!$" else " "
            yield Completion(f"{word}{follows}", -len(last), display=word, display_meta=self._explained(before, word))

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
        words = _command_words(before)
        found = self._ctx.registry.next_words(words)
        match = self._ctx.registry.match(tokenise(" ".join(words)).words)
        if match is not None:
            found += self._arguments(match.command.grammar, words[match.used :])
        return sorted({word for word in found if word.startswith(last) and word != last})

    def _explained(self, before: str, word: str) -> str:
        """The first line of a command's help, beside its last key word."""
        entry = self._ctx.registry.get(" ".join([*_command_words(before), word]))
        return entry.help.splitlines()[0] if entry is not None and entry.help else ""

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
        return [f"{param.key} =" for param in grammar.pairs if param.key not in used or param.many]


def _command_words(text: str) -> list[str]:
    """The words of the command that a line holds, behind ``name =``, ``help``, ``then``, ``do`` and the like."""
    words = [word.text for word in tokenise(text).words]
    for index in range(len(words) - 1, 0, -1):
        if words[index] in ("then", "task"):
            words = words[index + 1 :]
            break
    while words[:1] in (["help"], ["do"], ["else"]):
        words = words[1:]
    return words[2:] if len(words) >= 2 and words[1] == "=" else words


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
