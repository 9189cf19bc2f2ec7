"""What may stand at a place of a command line: for the prompt's Tab and for the console in a browser.

Source: spec "Command language", section 13.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from typing import Final

from msgspec import Struct

from edgelake.command.context import Context
from edgelake.command.grammar import Grammar, Param
from edgelake.command.names import Names
from edgelake.command.registry import Command
from edgelake.command.sql_words import sql_words
from edgelake.command.tokenizer import Word, tokenise
from edgelake.model import CommandClass

MOST: Final = 1000
SHOWN: Final = 200
_LAST: Final = re.compile(r"[^\s=(,\"]*$")
_TOPIC_KEYS: Final = ("name", "dbms", "table", "policy", "qos", "dynamic", "persist", "flush")
_DESTINATION_KEYS: Final = ("dbms", "table", "subset", "timeout")
_NODE_TYPES: Final = ("operator", "query", "publisher", "master")
_FLAGS: Final = frozenset({"dynamic", "persist", "subset"})
_CONDITION_WORDS: Final = ("and", "or", "bring", "bring.unique", "bring.ip_port", "bring.count", "join", "merge")

# Which policies a key of a command names; under "" for all other commands.
_POLICIES: Final[dict[str, dict[str, tuple[str, ...]]]] = {
    "run operator": {"policy": ("operator",)},
    "run publisher": {"policy": ("publisher",)},
    "config from policy": {"id": ("config",)},
    "blockchain delete policy": {"id": ("*",)},
    "blockchain drop policy": {"id": ("*",)},
    "blockchain wait": {"id": ("*",)},
    "blockchain test id": {"id": ("*",)},
    "": {"policy": ("mapping", "transform"), "cluster": ("cluster",), "instructions": ("mapping", "transform")},
}
_JSON_VARIABLES: Final = frozenset({"blockchain insert", "blockchain update to", "blockchain submit"})
_TABLE_NAMES: Final = ("get table ", "test network table", "set table")


class Offered(Struct, frozen=True):
    """What may stand at a place.

    Attributes:
        typed: characters in front of the place that a word takes the place of.
        words: each with a remark, which may be empty.
        more: words that were left out.
    """

    typed: int = 0
    words: tuple[tuple[str, str], ...] = ()
    more: int = 0


class Suggestions:
    """Key words of commands, keys and values of ``where`` pairs, names of databases, tables, columns and policies,
    and variables."""

    def __init__(self, ctx: Context) -> None:
        self._ctx = ctx
        self._names = Names(ctx)

    def at(self, text: str, after: str = "") -> tuple[str, list[str]]:
        """The last word of a line as far as it is typed, and what may stand there.

        Args:
            after: the rest of the line, behind the place.
        """
        found = _LAST.search(text)
        last = found[0] if found else ""
        return last, self.words(text[: len(text) - len(last)], last, after)

    def offered(self, text: str, after: str = "") -> Offered:
        """The same with remarks, for one who looks."""
        last, words = self.at(text, after)
        before = text[: len(text) - len(last)]
        shown = tuple((word, self.explained(before, word)) for word in words[:SHOWN])
        return Offered(len(last), shown, len(words) - len(shown))

    def words(self, before: str, last: str, after: str = "") -> list[str]:
        """What may stand where the last word is typed.

        Args:
            before: the line in front of that word.
            last: what is typed of it.
            after: the line behind it.
        """
        marks = last[: len(last) - len(last.lstrip("!"))]
        if marks:
            return [f"{marks}{name}" for name in self._ctx.visible if name.startswith(last[len(marks) :])]
        if last[:1] == "$":
            if not self._ctx.may(CommandClass.ADMIN):
                return []
            return sorted(f"${name}" for name in self._ctx.variables.environ if name.startswith(last[1:]))
        begun = last.lower()
        fitting = [word for word in self._found(before, after) if word.lower().startswith(begun) and word != last]
        return list(dict.fromkeys(fitting))[:MOST]

    def explained(self, before: str, word: str) -> str:
        """The first line of a command's help, beside its last key word; type and name of a policy beside its id."""
        if described := self._names.described(word):
            return described
        entry = self._ctx.registry.get(" ".join([*_texts(_command_text(before)), word]))
        return entry.help.splitlines()[0] if entry is not None and entry.help else ""

    # ---- places

    def _found(self, before: str, after: str) -> Iterable[str]:
        text = _command_text(before)
        destination = _DESTINATION.match(text)
        if destination is not None:
            return self._found(text[destination.end() :], after)
        if _OPEN_DESTINATION.match(text):
            inside = text[text.rindex("(") + 1 :]
            types = _NODE_TYPES if inside.rstrip()[-1:] in ("", ",") else ()
            return [*self._nested(inside, "", _DESTINATION_KEYS), *types]
        words = tokenise(text).words
        next_words = self._ctx.registry.next_words([word.text for word in words])
        match = self._ctx.registry.match(words)
        if match is None:
            return next_words
        rest = text[words[match.used - 1].end :]
        phrase = match.command.phrase
        if phrase in ("sql", "query explain"):
            return [*next_words, *sql_words(self._names, rest, after)]
        if phrase in ("blockchain get", "blockchain read"):
            return [*next_words, *self._policy_words(words[match.used :])]
        if (opened := _inside(rest)) is not None:
            return self._nested(opened, phrase, _TOPIC_KEYS)
        return sorted([*next_words, *self._arguments(match.command, words[match.used :])])

    def _arguments(self, command: Command, given: Sequence[Word]) -> list[str]:
        """Values of words behind the phrase, keys, values of keys, or the word ``where``."""
        grammar, words = command.grammar, [word.text for word in given]
        if len(words) >= 2 and words[-1] == "=":
            return self._values(command.phrase, words[-2], _pairs_of(words), grammar)
        if grammar.where and grammar.where not in words:
            found = self._positional(command, words)
            is_ready = len(words) >= sum(param.required for param in _plain(grammar))
            return [*found, *([grammar.where] if grammar.pairs and is_ready else [])]
        if words and words[-1] not in (grammar.where, "and"):
            return ["and"]
        used = {words[index - 1] for index in range(1, len(words)) if words[index] == "="}
        return [f"{param.key} =" for param in grammar.pairs if param.key not in used or param.many]

    def _positional(self, command: Command, words: list[str]) -> list[str]:
        """What the next word behind the phrase may be: allowed values, and names by what the parameter is called."""
        plain, found = _plain(command.grammar), list[str]()
        known = dict(zip((one.name for one in plain), words, strict=False))
        for param in plain[len(words) :]:
            found += [str(choice) for choice in param.choices] or self._named(command.phrase, param.name, known)
            if param.required:
                break
        for param in (one for one in command.grammar.positional if one.after):
            if words[-1:] == [param.after]:
                return [str(choice) for choice in param.choices] or self._named(command.phrase, param.name, known)
            if param.after not in words and len(words) >= sum(one.required for one in plain):
                found.append(param.after)
        return found

    def _named(self, phrase: str, name: str, known: dict[str, str]) -> list[str]:
        """Names for a parameter that is a word of the command."""
        if name == "name":
            name = next((kind for kind in ("dbms", "table") if phrase.endswith(f" {kind}")), name)
        if types := _POLICIES.get(phrase, {}).get(name):
            return self._names.ids(types)
        look = _NAMES.get(name)
        return look(self, self._translated(known)) if look is not None else []

    def _values(self, phrase: str, key: str, pairs: dict[str, str], grammar: Grammar | None) -> list[str]:
        """What may be the value of a key."""
        param = grammar.keys.get(key) if grammar is not None else None
        if param is not None and param.choices:
            return [str(choice) for choice in param.choices]
        if key in _FLAGS or (param is not None and param.kind.name == "true/false"):
            return ["true", "false"]
        if key == "qos":
            return ["0", "1", "2"]
        if phrase in _JSON_VARIABLES and key == "policy":
            return [f"!{name}" for name, value in self._ctx.visible.items() if value[:1] in ("{", "[")]
        if types := _POLICIES.get(phrase, {}).get(key) or _POLICIES[""].get(key):
            return self._names.ids(types)
        look = _NAMES.get(key)
        if look is None and key == "name" and phrase.startswith(_TABLE_NAMES):
            look = _NAMES["table"]
        return look(self, self._translated(pairs)) if look is not None else []

    def _translated(self, pairs: dict[str, str]) -> dict[str, str]:
        return {key: str(self._ctx.visible.translate(value)).lower() for key, value in pairs.items()}

    def _databases(self, _pairs: dict[str, str]) -> list[str]:
        return sorted(self._names.databases())

    def _tables(self, pairs: dict[str, str]) -> list[str]:
        return sorted(self._names.tables(pairs.get("dbms", "")))

    def _target_tables(self, pairs: dict[str, str]) -> list[str]:
        return sorted(self._names.tables(pairs.get("target_dbms") or pairs.get("dbms", "")))

    def _columns(self, pairs: dict[str, str]) -> list[str]:
        return self._names.columns(pairs.get("dbms", ""), pairs.get("table", ""))

    def _nested(self, inside: str, phrase: str, keys: Sequence[str]) -> list[str]:
        """Inside ``(key = value and ...)`` as topics and destinations are written."""
        words = [word.text for word in tokenise(inside).words]
        pairs = _pairs_of(words)
        if len(words) >= 2 and words[-1] == "=":
            return self._values(phrase, words[-2], pairs, None)
        if words and words[-1] not in ("and", ","):
            return ["and"]
        return [f"{key} =" for key in keys if key not in pairs]

    # ---- policies

    def _policy_words(self, given: Sequence[Word]) -> list[str]:
        """``blockchain get types where conditions bring items``."""
        words = [word.text for word in given]
        if not words or (len(words) == 1 and words[0].startswith("(") and not words[0].endswith(")")):
            return ["*", *self._names.types()]
        types = tuple(re.findall(r"[\w*]+", words[0]))
        bring = next((index for index, word in enumerate(words) if word.startswith("bring")), None)
        if bring is not None:
            root = types[0] if len(types) == 1 else "*"
            return [f"[{root}][{name}]" for name in sorted(self._names.attributes(types))]
        if "where" not in words:
            return ["where", *_CONDITION_WORDS[2:]]
        last = words[-1]
        if last in ("where", "and", "or"):
            return [f"{name} =" for name in sorted(self._names.attributes(types))]
        if last in ("=", "==", "!="):
            return sorted(self._names.values(types, words[-2].strip("[]")))
        return list(_CONDITION_WORDS)


_NAMES: Final[dict[str, Callable[[Suggestions, dict[str, str]], list[str]]]] = {
    "dbms": Suggestions._databases,
    "target_dbms": Suggestions._databases,
    "table": Suggestions._tables,
    "target_table": Suggestions._target_tables,
    "column": Suggestions._columns,
    "time_column": Suggestions._columns,
    "value_column": Suggestions._columns,
}
_DESTINATION: Final = re.compile(r"run\s+client\s+(?:\((?:[^()]|\([^()]*\))*\)|[^\s(]+)\s+(?=\S|$)", re.IGNORECASE)
_OPEN_DESTINATION: Final = re.compile(r"run\s+client\s+\([^)]*$", re.IGNORECASE)


def _inside(text: str) -> str | None:
    """What follows the last parenthesis that is open; None = none is."""
    opened: list[int] = []
    quoted = False
    for index, char in enumerate(text):
        if char == '"':
            quoted = not quoted
        elif quoted:
            continue
        elif char == "(":
            opened.append(index)
        elif char == ")" and opened:
            opened.pop()
    return text[opened[-1] + 1 :] if opened else None


def _plain(grammar: Grammar) -> list[Param]:
    """Parameters that are single words, by their places."""
    return [param for param in grammar.positional if not param.tail and not param.after]


def _pairs_of(words: Sequence[str]) -> dict[str, str]:
    """The pairs that are whole."""
    return {words[i - 1]: words[i + 1] for i in range(1, len(words) - 1) if words[i] == "="}


def _texts(text: str) -> list[str]:
    return [word.text for word in tokenise(text).words]


def _command_text(text: str) -> str:
    """The command that a line holds, behind ``name =``, ``help``, ``then``, ``do`` and the like."""
    words = tokenise(text).words
    start = 0
    for index in range(len(words) - 1, 0, -1):
        if words[index].text in ("then", "task"):
            start = index + 1
            break
    while start < len(words) and words[start].text in ("help", "do", "else"):
        start += 1
    if len(words) >= start + 2 and words[start + 1].text == "=":
        start += 2
    return text[words[start].start :] if start < len(words) else ""
