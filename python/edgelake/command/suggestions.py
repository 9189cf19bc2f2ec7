"""What may stand at a place of a command line: for the prompt's Tab and for the console in a browser.

Source: spec "Command language", section 13.
"""

from __future__ import annotations

from edgelake.command.context import Context
from edgelake.command.grammar import Grammar
from edgelake.command.tokenizer import tokenise
from edgelake.model import CommandClass


class Suggestions:
    """Key words of commands, keys and allowed values of ``where`` pairs, and variables."""

    def __init__(self, ctx: Context) -> None:
        self._ctx = ctx

    def at(self, text: str) -> tuple[str, list[str]]:
        """The last word of a line as far as it is typed, and what may stand there."""
        last = "" if text[-1:].isspace() else text.split()[-1] if text.split() else ""
        return last, self.words(text[: len(text) - len(last)], last)

    def words(self, before: str, last: str) -> list[str]:
        """What may stand where the last word is typed.

        Args:
            before: the line in front of that word.
            last: what is typed of it.
        """
        if last[:1] == "!":
            return [f"!{name}" for name in self._ctx.visible if name.startswith(last[1:])]
        if last[:1] == "$":
            if not self._ctx.may(CommandClass.ADMIN):
                return []
            return sorted(f"${name}" for name in self._ctx.variables.environ if name.startswith(last[1:]))
        words = _command_words(before)
        found = self._ctx.registry.next_words(words)
        match = self._ctx.registry.match(tokenise(" ".join(words)).words)
        if match is not None:
            found += self._arguments(match.command.grammar, words[match.used :])
        return sorted({word for word in found if word.startswith(last) and word != last})

    def explained(self, before: str, word: str) -> str:
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
