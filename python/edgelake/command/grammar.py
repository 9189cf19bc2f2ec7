"""A handler's signature as the grammar of its command.

Positional parameters are words after the phrase (``After("using")``: behind a connecting word); keyword-only ones are
``where key = value and ...`` pairs; no default means required; ``list[T]`` means the key may be repeated.

Source: style, "A command"; spec "Command language", section 4.
"""

from __future__ import annotations

import difflib
import inspect
import types
import typing
from collections.abc import Callable, Sequence
from typing import Annotated, Any, Literal, Protocol

from msgspec import Struct, field
from msgspec.structs import replace

from edgelake.command.kinds import (
    KINDS,
    STR,
    Bytes,
    Directory,
    Frequency,
    IpPort,
    Json,
    Kind,
    Pairs,
    Seconds,
    Timestamp,
    Untranslated,
    When,
    convert,
)
from edgelake.command.tokenizer import Line, Word, join, tokenise
from edgelake.errors import CommandError

__all__ = [
    "After",
    "Bytes",
    "Directory",
    "Frequency",
    "Grammar",
    "IpPort",
    "Json",
    "Key",
    "Pairs",
    "Seconds",
    "Tail",
    "Timestamp",
    "Untranslated",
    "When",
    "parse_pairs",
    "signature_grammar",
]


class After(Struct, frozen=True):
    """The parameter stands behind this connecting word (``partition d t using col by 1 day``)."""

    word: str


class Key(Struct, frozen=True):
    """The name of a pair where it isn't the parameter's (``type``, ``user-agent``)."""

    name: str


class Tail(Struct, frozen=True):
    """The parameter takes the rest of the line as one text.

    Attributes:
        after: word that begins the tail (``task``, ``then``); empty: everything that is left.
        raw: the source text, quotes and ``!key`` as written; else words are translated and joined.
    """

    after: str = ""
    raw: bool = True


class Resolver(Protocol):
    """What the grammar needs of the dictionary."""

    def translate(self, word: str) -> Any: ...

    def fill(self, text: str) -> str: ...


class Param(Struct, frozen=True):
    """One parameter of a command.

    Attributes:
        name: of the Python parameter.
        key: what the user writes.
        nested: the values are lists of pairs.
        many: repeatable key, or all words that are left.
        choices: allowed values in the case that the handler gets; empty: any.
    """

    name: str
    key: str
    kind: Kind
    required: bool
    many: bool = False
    nested: bool = False
    choices: tuple[Any, ...] = ()
    after: str = ""
    tail: Tail | None = None
    rest: bool = False  # a ``*words`` parameter

    @property
    def shown(self) -> str:
        """The value in a usage line."""
        if self.choices:
            return "|".join(str(choice) for choice in self.choices)
        return "(pairs)" if self.nested else f"[{self.kind.name}]"


class Grammar(Struct, frozen=True):
    """Parameters of a command, and how they are read."""

    positional: tuple[Param, ...] = ()
    pairs: tuple[Param, ...] = ()
    where: str = "where"
    open_keys: str = ""
    keys: dict[str, Param] = field(default_factory=dict)

    def usage(self) -> str:
        """The part of a usage line behind the phrase."""
        parts = [_usage_word(param) for param in self.positional]
        shown = []
        for param in self.pairs:
            text = f"{param.key} = {param.shown}"
            shown.append(text if param.required else f"[{text}]")
        if self.open_keys:
            shown.append("[key = value]")
        if shown:
            parts.append(" ".join([self.where, " and ".join(shown)]).strip())
        tails = [f"{p.tail.after} [{p.name}]".strip() for p in self.positional if p.tail]
        return " ".join([*(p for p in parts if p), *tails])

    def parse(self, line: Line, first: int, variables: Resolver) -> tuple[list[Any], dict[str, Any]]:
        """Arguments of the handler from the words behind the phrase.

        Args:
            first: index of the first word behind the phrase.
        Returns: positional and keyword arguments.
        Raises: CommandError naming the word or key that is wrong.
        """
        return _Reader(self, line, first, variables).run()


def signature_grammar(handler: Callable[..., Any], *, where: str = "where") -> Grammar:
    """The grammar that a handler's signature declares. Its first parameter is the context.

    Raises TypeError for a signature that is no grammar.
    """
    hints = typing.get_type_hints(handler, include_extras=True)
    positional: list[Param] = []
    pairs: list[Param] = []
    open_keys = ""
    for index, item in enumerate(inspect.signature(handler).parameters.values()):
        if index == 0:
            continue
        hint = hints.get(item.name, str)
        if item.kind is item.VAR_KEYWORD:
            open_keys = item.name
        elif item.kind is item.KEYWORD_ONLY:
            param = _param(item.name, hint, item.default is item.empty)
            (positional if param.tail else pairs).append(param)
        else:
            param = _param(item.name, hint, item.default is item.empty and item.kind is not item.VAR_POSITIONAL)
            if item.kind is item.VAR_POSITIONAL:
                param = replace(param, many=True, rest=True)
            positional.append(param)
    return Grammar(tuple(positional), tuple(pairs), where, open_keys, {param.key: param for param in pairs})


def _param(name: str, hint: Any, required: bool) -> Param:
    kind, many, nested, choices = STR, False, False, ()
    key, after, tail = name, "", None
    pending = [hint]
    while pending:
        hint = pending.pop()
        origin = typing.get_origin(hint)
        if origin is Annotated:
            hint, *notes = typing.get_args(hint)
            pending.append(hint)
            for note in notes:
                if isinstance(note, Kind):
                    kind, pending = note, []
                elif isinstance(note, Key):
                    key = note.name
                elif isinstance(note, After):
                    after = note.word
                elif isinstance(note, Tail):
                    tail = note
        elif origin in (types.UnionType, typing.Union):
            pending += [part for part in typing.get_args(hint) if part is not type(None)][:1]
        elif origin is list:
            many = True
            pending.append(typing.get_args(hint)[0])
        elif origin is Literal:
            choices = typing.get_args(hint)
        elif hint is Pairs:
            nested = True
        elif hint in KINDS:
            kind = KINDS[hint]
        elif hint is not Any:
            raise TypeError(f"parameter {name}: {hint} is no type of the command language")
    return Param(name, key, kind, required, many, nested, choices, after, tail)


def _usage_word(param: Param) -> str:
    if param.tail:
        return ""
    text = f"{param.shown}{'...' if param.many else ''}"
    if not param.choices and not param.nested:
        text = f"[{param.name}]{'...' if param.many else ''}"
    text = f"{param.after} {text}".strip()
    return text if param.required else f"({text})"


class _Reader:
    """State of reading one line."""

    def __init__(self, grammar: Grammar, line: Line, first: int, variables: Resolver) -> None:
        self.grammar = grammar
        self.line = line
        self.at = first
        self.variables = variables
        self.words = line.words
        self.names = {param.name for param in (*grammar.positional, *grammar.pairs)}

    def run(self) -> tuple[list[Any], dict[str, Any]]:
        args: list[Any] = []
        kwargs: dict[str, Any] = {}
        end = self._marked_tails(kwargs)
        for param in self.grammar.positional:
            if param.tail:
                if not param.tail.after:
                    self._open_tail(param, end, kwargs)
            elif self.at < end and self._begins(param):
                self._take(param, end, args, kwargs)
            elif param.required:
                raise self._missing(f"'{param.after or param.name}' in the command")
        self._pairs(end, kwargs)
        if self.at < end:
            raise placed(
                CommandError(f"'{self.line.source(self.at, end)[:60]}' is not part of the command"),
                self.words[self.at : end],
            )
        return args, kwargs

    def _missing(self, what: str) -> CommandError:
        """Something should stand at the word that is next, or at the end."""
        failure = CommandError(f"Missing {what}")
        at = self.words[self.at].start if self.at < len(self.words) else len(self.line.text.rstrip()) + 1
        failure.place = (at, at)
        return failure

    def _marked_tails(self, kwargs: dict[str, Any]) -> int:
        """Take the tails that a word begins; returns the index where the words before them end."""
        end = len(self.words)
        for param in self.grammar.positional:
            if param.tail is None or not param.tail.after:
                continue
            starts = (index for index in range(self.at, end) if self.words[index].is_(param.tail.after))
            start = next(starts, None)
            if start is not None and start + 1 < end:
                kwargs[param.name] = self._text(param.tail, start + 1, end)
                end = start
            elif param.required:
                self.at = end
                raise self._missing(f"'{param.tail.after}' in the command")
        return end

    def _open_tail(self, param: Param, end: int, kwargs: dict[str, Any]) -> None:
        assert param.tail is not None
        if self.at < end:
            kwargs[param.name] = self._text(param.tail, self.at, end)
            self.at = end
        elif param.required:
            raise self._missing(f"'{param.name}' in the command")

    def _text(self, tail: Tail, first: int, last: int) -> str:
        if tail.raw:
            return self.line.source(first, last)
        texts = [str(translate_word(word, self.variables)) for word in self.words[first:last]]
        return " ".join(text for text in texts if text)

    def _begins(self, param: Param) -> bool:
        """Whether the next word is this positional parameter."""
        word = self.words[self.at]
        if param.after:
            return word.is_(param.after)
        pairs_follow = self.grammar.pairs or self.grammar.open_keys
        if pairs_follow and self.grammar.where and word.is_(self.grammar.where):
            return False
        if param.choices and not param.required:
            return str(self._value(word)).lower() in {str(choice).lower() for choice in param.choices}
        return True

    def _take(self, param: Param, end: int, args: list[Any], kwargs: dict[str, Any]) -> None:
        if param.after:
            self.at += 1
            if self.at >= end:
                raise self._missing(f"a value after '{param.after}'")
        if param.many:
            taken: list[Any] = []
            while self.at < end and self._begins(param):
                word = self.words[self.at]
                try:
                    taken.append(self._checked(param, self._value(word), f"'{param.name}'"))
                except CommandError as failure:
                    raise placed(failure, [word]) from None
                self.at += 1
            if param.rest:
                args.extend(taken)
            else:
                kwargs[param.name] = taken
            return
        word = self.words[self.at]
        try:
            value = word.text if param.kind.raw else self._value(word)
            self.at += 1
            if param.kind.units and self.at < end and self.words[self.at].text.lower() in param.kind.units:
                value = f"{value} {self.words[self.at].text}"
                self.at += 1
            kwargs[param.name] = self._checked(param, value, f"'{param.name}'")
        except CommandError as failure:
            raise placed(failure, [word]) from None

    def _value(self, word: Word) -> Any:
        """A word of the line, translated; an unset reference is an error."""
        value = translate_word(word, self.variables)
        if value == "" and word.bare and word.text[:1] in "!$":
            raise CommandError(f"Missing dictionary definition for: '{word.text}'")
        return value

    def _checked(self, param: Param, value: Any, label: str) -> Any:
        if param.nested:
            return parse_pairs(str(value), self.variables)
        if param.choices:
            wanted = str(value).lower()
            for choice in param.choices:
                if str(choice).lower() == wanted:
                    return choice
            allowed = ", ".join(str(choice) for choice in param.choices)
            raise CommandError(f"Value '{value}' (for {label}) is not one of: {allowed}")
        if param.kind.name == "json" and isinstance(value, str):
            value = self.variables.fill(value)
        return convert(param.kind, value, label)

    def _pairs(self, end: int, kwargs: dict[str, Any]) -> None:
        grammar = self.grammar
        given: dict[str, list[Any]] = {}
        if grammar.pairs or grammar.open_keys:
            if self.at < end and (not grammar.where or self.words[self.at].is_(grammar.where)):
                self.at += 1 if grammar.where else 0
                given = self._read_pairs(end)
                self.at = end
            elif self.at < end:
                raise self._missing(f"'{grammar.where}' before '{self.words[self.at].text}'")
        for key, values in given.items():
            param = grammar.keys.get(key)
            if param is not None:
                kwargs[param.name] = values if param.many else values[0]
            elif len(values) > 1:
                raise CommandError(f"Multiple values to key: '{key}'")
            else:
                kwargs[key] = values[0]
        for param in grammar.pairs:
            if param.required and param.name not in kwargs:
                raise self._missing(f"'{param.key}' in command variables")

    def _read_pairs(self, end: int) -> dict[str, list[Any]]:
        given: dict[str, list[Any]] = {}
        for key, words in split_pairs(self.words[self.at : end]):
            try:
                self._read_pair(key, words, given)
            except CommandError as failure:
                raise placed(failure, words) from None
        return given

    def _read_pair(self, key: str, words: Sequence[Word], given: dict[str, list[Any]]) -> None:
        param = self.grammar.keys.get(key)
        if param is None:
            if not self.grammar.open_keys or key in self.names:
                unknown = CommandError(f"Unknown key in EdgeLake command: {key}", hint=self._allowed(key))
                raise placed(unknown, [self._key_of(words)])
            given.setdefault(key, []).append(pair_value(key, words, self.variables))
            return
        values = given.setdefault(key, [])
        for value in self._pair_values(param, words):
            if value in values:
                raise CommandError(f"Duplicate key value pair: '{key}' = '{value}'")
            values.append(value)
        if len(values) > 1 and not param.many:
            raise placed(CommandError(f"Multiple values to key: '{key}'"), [self._key_of(words)])

    def _key_of(self, value: Sequence[Word]) -> Word:
        """The word of the key that a value stands behind."""
        return self.words[next(at for at, word in enumerate(self.words) if word is value[0]) - 2]

    def _pair_values(self, param: Param, words: Sequence[Word]) -> list[Any]:
        label = f"key '{param.key}'"
        if param.kind.raw:
            return [convert(param.kind, join(list(words)), label)]
        value = pair_value(param.key, words, self.variables)
        if param.many and not param.nested and isinstance(value, str) and _is_list(value):
            return [self._checked(param, item, label) for item in split_list(value, self.variables)]
        return [self._checked(param, value, label)]

    def _allowed(self, key: str) -> str:
        keys = list(self.grammar.keys)
        near = difflib.get_close_matches(key, keys, n=1)
        return (f"did you mean '{near[0]}'? " if near else "") + "allowed keys: " + ", ".join(keys)


def placed(failure: CommandError, words: Sequence[Word]) -> CommandError:
    """The failure with the span of the words that are wrong, when it has none that is closer."""
    if failure.place is None and words:
        failure.place = (words[0].start, words[-1].end)
    return failure


def translate_word(word: Word, variables: Resolver) -> Any:
    """The value of a word: references replaced, except in single and back quotes and in JSON."""
    if word.quote in ("'", "`"):
        return word.text
    if word.quote == '\\"':
        return f'"{variables.translate(word.text)}"'
    if word.text[:1] == "{":
        return word.text
    return variables.translate(word.text)


def split_pairs(words: Sequence[Word]) -> list[tuple[str, Sequence[Word]]]:
    """``key = value words and ...`` as pairs; a trailing ``and`` is accepted.

    Raises CommandError for a pair without ``=`` or value.
    """
    pairs: list[tuple[str, Sequence[Word]]] = []
    start = 0
    for index in range(len(words) + 1):
        if index < len(words) and not words[index].is_("and"):
            continue
        part = words[start:index]
        start = index + 1
        if not part:
            if index < len(words):
                raise placed(CommandError("Nothing stands before 'and'"), [words[index]])
            continue
        if len(part) < 2 or not part[1].is_("="):
            raise placed(CommandError(f"Missing '=' sign for key: '{part[0].text}'"), part)
        if len(part) < 3:
            raise placed(CommandError(f"Missing value for key: '{part[0].text}'"), part)
        pairs.append((part[0].text, part[2:]))
    return pairs


def pair_value(key: str, words: Sequence[Word], variables: Resolver) -> Any:
    """The words of a value, translated and joined; one typed reference keeps its type.

    Raises CommandError for a reference that has no value.
    """
    values = []
    for word in words:
        value = translate_word(word, variables)
        if value == "" and word.bare:
            raise CommandError(f"Missing dictionary definition for: '{word.text}'", hint=f"value of the key '{key}'")
        values.append(value)
    if len(values) == 1:
        return values[0]
    glued = [Word(str(value), word.start, word.end, word.quote) for value, word in zip(values, words, strict=True)]
    return join(glued)


def parse_pairs(text: str, variables: Resolver) -> Pairs:
    """A nested pair list, with or without its parentheses. Values are translated.

    Raises CommandError for text that is no pair list.
    """
    inner = text.strip()
    if _is_list(inner):
        inner = inner[1:-1]
    line = tokenise(inner)
    if line.fault:
        raise CommandError(line.fault[1])
    if not line.words:
        raise CommandError(f"'{text}' holds no pairs", hint="write (key = value and key = value)")
    try:
        return Pairs([(key, str(pair_value(key, words, variables))) for key, words in split_pairs(line.words)])
    except CommandError as failure:
        failure.place = None  # of the inner text, which is no place in the line
        raise


def split_list(text: str, variables: Resolver) -> list[str]:
    """``(a, b, !c)`` as its items, translated."""
    items: list[str] = []
    depth, start, quoted = 0, 1, False
    for index in range(1, len(text)):
        char = text[index]
        if char == '"':
            quoted = not quoted
        elif quoted:
            continue
        elif (char == "," and depth == 0) or index == len(text) - 1:
            item = text[start:index].strip()
            if item:
                items.append(item)
            start = index + 1
        elif char in "([{":
            depth += 1
        elif char in ")]}":
            depth -= 1
    found = []
    for item in items:
        line = tokenise(item)
        value = pair_value(item, line.words, variables) if line.words else ""
        found.append(str(value))
    return found


def _is_list(text: str) -> bool:
    return text.startswith("(") and text.endswith(")")
