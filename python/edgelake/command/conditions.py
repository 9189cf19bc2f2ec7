"""Conditions of ``if`` and ``wait``: parsed from words, evaluated from left to right.

Source: spec "Command language", section 8.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

from edgelake.command.grammar import Resolver, translate_word
from edgelake.command.tokenizer import Word, tokenise
from edgelake.errors import CommandError

_SYMBOLS = frozenset({"==", "!=", "<", "<=", ">", ">=", "="})
_WORDS = frozenset({"contains", "startswith", "endswith", "childfrom", "includes"})
_TYPED = (".int", ".float", ".bool")


@dataclass(frozen=True)
class Test:
    """One test: a value alone, or two values with an operator."""

    left: tuple[Word, ...]
    operator: str = ""
    right: tuple[Word, ...] = ()
    negated: bool = False


@dataclass(frozen=True)
class Fault:
    """A test that can't be read. It is an error when its turn comes: a false term before ``and`` saves the line, as in
    the reference, and an official script has such a line."""

    error: CommandError


@dataclass(frozen=True)
class Condition:
    """Tests and groups, with the connectives between them (``and``/``or``)."""

    terms: tuple[Test | Condition | Fault, ...]
    connectives: tuple[str, ...] = ()

    def holds(self, variables: Resolver) -> bool:
        """The truth, left to right without precedence, as the reference does: a false term before ``and`` ends with
        False even if an ``or`` follows, a true term before ``or`` ends with True.

        Raises CommandError when a typed comparison has a side that doesn't convert, or a test can't be read.
        """
        result = False
        for index, term in enumerate(self.terms):
            if isinstance(term, Fault):
                raise term.error
            result = term.holds(variables) if isinstance(term, Condition) else _test(term, variables)
            if index < len(self.connectives) and result == (self.connectives[index] == "or"):
                break
        return result


def parse_condition(words: Sequence[Word]) -> Condition:
    """Words as a condition. Raises CommandError when there are none."""
    if not words:
        raise CommandError("Missing condition after 'if'")
    terms: list[Test | Condition | Fault] = []
    connectives: list[str] = []
    start = 0
    for index in range(len(words) + 1):
        if index < len(words) and not (words[index].is_("and") or words[index].is_("or")):
            continue
        try:
            terms.append(_term(words[start:index]))
        except CommandError as error:
            terms.append(Fault(error))
        if index < len(words):
            connectives.append(words[index].text)
        start = index + 1
    return Condition(tuple(terms), tuple(connectives))


def _term(words: Sequence[Word]) -> Test | Condition:
    if not words:
        raise CommandError("A test is missing beside 'and' or 'or'")
    if len(words) == 1 and words[0].bare and words[0].text.startswith("(") and words[0].text.endswith(")"):
        inner = tokenise(words[0].text[1:-1])
        if inner.fault is None and len(inner.words) > 0:
            if any(word.text.startswith("(") and word.bare for word in inner.words):
                raise CommandError("Conditions in parentheses are not nested")
            return parse_condition(inner.words)
    if words[0].is_("not"):
        rest = words[1:]
        if len(rest) == 2 and rest[1].is_("declared"):  # not declared !v reads either way round
            rest = rest[:1]
        if len(rest) == 2 and rest[0].is_("declared"):
            rest = rest[1:]
        if not rest:
            raise CommandError("A value is missing after 'not'")
        found = _term(rest)
        if isinstance(found, Condition):
            return found
        return Test(found.left, found.operator, found.right, negated=not found.negated)
    if len(words) >= 3 and words[-1].is_("declared") and words[-2].is_("is"):
        return Test(tuple(words[:-2]))
    if len(words) >= 4 and words[-1].is_("declared") and words[-2].is_("not") and words[-3].is_("is"):
        return Test(tuple(words[:-3]), negated=True)
    if len(words) >= 3 and words[-1].is_("declared") and words[-2].is_("not"):
        return Test(tuple(words[:-2]), negated=True)
    for index, word in enumerate(words):
        if not word.bare or (word.text not in _SYMBOLS and word.text not in _WORDS):
            continue
        if index == 0 or index == len(words) - 1:
            raise CommandError(f"A value is missing beside '{word.text}'")
        return Test(tuple(words[:index]), word.text, tuple(words[index + 1 :]))
    if len(words) > 1:
        raise CommandError(f"'{words[1].text}' is no comparison", hint=f"use one of: {', '.join(sorted(_SYMBOLS))}")
    return Test(tuple(words))


def _test(test: Test, variables: Resolver) -> bool:
    left = _value(test.left, variables)
    if not test.operator:
        result = left is not False and left != ""
    else:
        result = _compare(left, test, _value(test.right, variables))
    return result != test.negated


def _value(words: tuple[Word, ...], variables: Resolver) -> Any:
    if len(words) == 1:
        value = translate_word(words[0], variables)
    else:
        value = " ".join(str(translate_word(word, variables)) for word in words)
    return _unquoted(value) if isinstance(value, str) else value


def _unquoted(text: str) -> str:
    return text[1:-1] if len(text) >= 2 and text[0] == text[-1] == "'" else text


def _compare(left: Any, test: Test, right: Any) -> bool:
    operator = test.operator
    typed = next((type(side) for side in (left, right) if isinstance(side, bool | int | float)), None)
    if typed is not None and operator in _SYMBOLS:
        if left == "" or right == "":  # the cast of an unset value is empty text: it compares as text
            return _order(_text(left), operator, _text(right))
        return _order(_as(typed, left), operator, _as(typed, right))
    first, second = _text(left), _text(right)
    match operator:
        case "contains":
            return second in first
        case "includes":
            return second in first
        case "startswith":
            return first.startswith(second)
        case "endswith":
            return first.endswith(second)
        case "childfrom":
            return PurePosixPath(second) in PurePosixPath(first).parents
    return _order(first, operator, second)


def _text(value: Any) -> str:
    return str(value).lower()


def _as(typed: type, value: Any) -> Any:
    """A side as the other side's type; numbers compare as numbers. Raises CommandError."""
    try:
        if typed is bool:
            if isinstance(value, str):
                if value.lower() not in ("true", "false"):
                    raise ValueError(value)
                return value.lower() == "true"
            return bool(value)
        if isinstance(value, bool):
            return int(value)
        return float(value) if isinstance(value, str | float) else value
    except ValueError:
        raise CommandError(f"'{value}' cannot be compared as {typed.__name__}") from None


def _order(left: Any, operator: str, right: Any) -> bool:
    match operator:
        case "==" | "=":
            return bool(left == right)
        case "!=":
            return bool(left != right)
        case "<":
            return bool(left < right)
        case "<=":
            return bool(left <= right)
        case ">":
            return bool(left > right)
    return bool(left >= right)
