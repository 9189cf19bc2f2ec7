"""The ``where`` of ``blockchain get``: pairs or an expression (spec: metadata, section 7)."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

from msgspec import Struct

from edgelake.errors import error
from edgelake.metadata.ids import Policy, body_of, type_of
from edgelake.metadata.index import Steps, number_of
from edgelake.metadata.path import ABSENT, Path, find, scan, to_text

Test = Callable[[Policy], bool]

_OPERATORS = ("==", "!=", "<=", ">=", "=", "<", ">")
_WORD_OPERATORS = frozenset(("contains", "startswith", "endswith", "childfrom"))
_NUMBER = re.compile(r"^[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?$")


class Token(Struct, frozen=True):
    """``kind``: path, text (quoted), word, op, open, close."""

    kind: str
    text: str
    start: int
    end: int


def tokens(text: str) -> list[Token]:
    """Split a condition. Raises EdgeLakeError (2, 11)."""
    found: list[Token] = []
    at = 0
    while at < len(text):
        char = text[at]
        if char.isspace():
            at += 1
            continue
        start = at
        operator = next((o for o in _OPERATORS if text.startswith(o, at)), "")
        if operator:
            at += len(operator)
            found.append(Token("op", operator, start, at))
        elif char == "[":
            at = _after_brackets(text, at)
            found.append(Token("path", text[start:at], start, at))
        elif char in "\"'":
            close = text.find(char, at + 1)
            if close < 0:
                raise error(2, f"missing quotation after offset {at} of '{text}'")
            at = close + 1
            found.append(Token("text", text[start + 1 : close], start, at))
        elif char in "()":
            at += 1
            found.append(Token("open" if char == "(" else "close", char, start, at))
        else:
            at = _after_word(text, at)
            found.append(Token("word", text[start:at], start, at))
    return found


def _after_brackets(text: str, at: int) -> int:
    while at < len(text) and text[at] == "[":
        depth, start = 0, at
        while at < len(text):
            depth += (text[at] == "[") - (text[at] == "]")
            at += 1
            if depth == 0:
                break
        if depth:
            raise error(11, f"no ']' closes '{text[start:]}'")
    return at


def _after_word(text: str, at: int) -> int:
    while at < len(text) and not text[at].isspace() and text[at] not in "()" and not _operator_at(text, at):
        at = _after_brackets(text, at) if text[at] == "[" else at + 1
    return at


def _operator_at(text: str, at: int) -> bool:
    return any(text.startswith(o, at) for o in _OPERATORS)


class Where(Struct, frozen=True):
    """A condition: its pairs, or the test of an expression and the equalities without which it is not satisfied."""

    pairs: tuple[Pair, ...] = ()
    test: Test | None = None
    equal: tuple[tuple[Steps, str], ...] = ()


def compile_where(text: str) -> Where:
    """Parse a condition. Raises EdgeLakeError (2)."""
    words = tokens(text)
    if not words:
        raise error(2, "'where' without a condition")
    pairs = _pairs(words, text)
    if pairs is not None:
        return Where(tuple(pairs))
    expression = _Expression(words, text)
    return Where(test=expression.parse(), equal=tuple(expression.equal))


# ---- pairs


class Pair(Struct, frozen=True):
    """``path = value`` or ``path with value``; ``reference`` is the path when the value is one of a joined policy."""

    steps: tuple[str, ...]
    operator: str
    value: str
    reference: Path | None = None

    def holds(self, given: Any) -> bool:
        """Whether the value in a policy satisfies the pair."""
        if self.operator == "with":
            return any(_equal(entry, v) for v in _listed(self.value) for entry in _entries(given))
        return any(_equal(entry, self.value) for entry in _entries(given))


def _pairs(words: list[Token], text: str) -> list[Pair] | None:
    """All clauses as pairs, or None when one of them is none."""
    clauses: list[list[Token]] = [[]]
    for word in words:
        if word.kind == "word" and word.text.lower() == "and":
            clauses.append([])
        else:
            clauses[-1].append(word)
    if not clauses[-1]:
        clauses.pop()  # a trailing "and" is accepted
    pairs = [_pair(clause, text) for clause in clauses]
    return [p for p in pairs if p is not None] if all(pairs) and pairs else None


def _pair(clause: list[Token], text: str) -> Pair | None:
    if len(clause) < 3 or clause[0].kind not in ("path", "word", "text"):
        return None
    operator = clause[1].text.lower()
    if not (clause[1].kind == "op" and operator == "=") and not (clause[1].kind == "word" and operator == "with"):
        return None
    rest = clause[2:]
    if any(t.kind in ("op", "open", "close") or (t.kind == "word" and t.text.lower() == "or") for t in rest):
        return None
    reference = None
    if operator == "=" and len(rest) == 1 and rest[0].kind == "path":
        reference = scan(rest[0].text, 0)[0]
    value = " ".join(t.text for t in rest)
    return Pair(_steps(clause[0].text), operator, value, reference)


def _steps(text: str) -> tuple[str, ...]:
    """``key``, ``[key]``, ``key[sub][sub]`` as steps."""
    if text.startswith("["):
        return scan(text, 0)[0].steps
    key, bracket, _ = text.partition("[")
    return (key, *scan(text, len(key))[0].steps) if bracket else (key,)


def pairs_hold(body: dict[str, Any], kind: str, pairs: list[Pair]) -> bool:
    """Whether a body satisfies all pairs. Pairs on one list must hold for one and the same entry of it."""
    rooted = [
        (p, p.steps[1:] if len(p.steps) > 1 and p.steps[0] in (kind, "*") and p.steps[0] not in body else p.steps)
        for p in pairs
    ]
    return _hold(body, rooted)


def _hold(value: Any, pairs: list[tuple[Pair, tuple[str, ...]]]) -> bool:
    if isinstance(value, list):
        return any(_hold(entry, pairs) for entry in value)
    if not isinstance(value, dict):
        return False
    groups: dict[str, list[tuple[Pair, tuple[str, ...]]]] = {}
    for pair, steps in pairs:
        if steps[0] not in value:
            return False
        groups.setdefault(steps[0], []).append((pair, steps[1:]))
    for key, group in groups.items():
        deeper = [(pair, steps) for pair, steps in group if steps]
        if not all(pair.holds(value[key]) for pair, steps in group if not steps):
            return False
        if deeper and not _hold(value[key], deeper):
            return False
    return True


def _entries(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def _listed(text: str) -> list[str]:
    if text.startswith("["):
        try:
            return [str(v) for v in json.loads(text)]
        except ValueError:
            return [v.strip().strip("\"'") for v in text.strip("[]").split(",")]
    return [text]


def _equal(given: Any, wanted: str) -> bool:
    if isinstance(given, bool):
        return wanted.lower() == str(given).lower()
    if isinstance(given, int | float):
        return given == number_of(wanted)
    if isinstance(given, str):
        return given == "*" or given.lower() == wanted.lower()
    return False


# ---- expressions


class _Expression:
    """Recursive descent: ``or`` binds weakest, then ``and``, then ``not``."""

    def __init__(self, words: list[Token], text: str) -> None:
        self.words = words
        self.text = text
        self.at = 0
        self.depth = 0
        self.equal: list[tuple[Steps, str]] = []

    def parse(self) -> Test:
        test = self._or()
        if self.at < len(self.words):
            raise self._wrong("unexpected")
        return test

    def _wrong(self, what: str) -> Exception:
        here = self.words[self.at].text if self.at < len(self.words) else "the end"
        return error(2, f"{what} '{here}' in condition '{self.text}'")

    def _keyword(self, word: str) -> bool:
        if self.at < len(self.words):
            token = self.words[self.at]
            if token.kind == "word" and token.text.lower() == word:
                self.at += 1
                return True
        return False

    def _or(self) -> Test:
        needed = len(self.equal)
        tests = [self._and()]
        while self._keyword("or"):
            tests.append(self._and())
        if len(tests) > 1:
            del self.equal[needed:]  # neither side alone is needed
        return tests[0] if len(tests) == 1 else lambda p: any(t(p) for t in tests)

    def _and(self) -> Test:
        tests = [self._not()]
        while self._keyword("and"):
            tests.append(self._not())
        return tests[0] if len(tests) == 1 else lambda p: all(t(p) for t in tests)

    def _not(self) -> Test:
        self.depth += 1
        if self.depth > 100:
            raise error(2, "condition is nested too deeply")
        try:
            if self._keyword("not"):
                needed = len(self.equal)
                inner = self._not()
                del self.equal[needed:]
                return lambda p: not inner(p)
            if self.at < len(self.words) and self.words[self.at].kind == "open":
                self.at += 1
                inner = self._or()
                if self.at >= len(self.words) or self.words[self.at].kind != "close":
                    raise error(11, f"missing ')' in condition '{self.text}'")
                self.at += 1
                return inner
            return self._comparison()
        finally:
            self.depth -= 1

    def _comparison(self) -> Test:
        if self.at >= len(self.words) or self.words[self.at].kind not in ("path", "word"):
            raise self._wrong("expected a path, found")
        steps = _steps(self.words[self.at].text)
        self.at += 1
        operator = ""
        if self.at < len(self.words):
            token = self.words[self.at]
            if token.kind == "op" or (token.kind == "word" and token.text.lower() in _WORD_OPERATORS):
                operator = token.text.lower()
                self.at += 1
        if not operator:
            return lambda p: _value(p, steps) not in (ABSENT, [], {})
        value, quoted = self._value_text()
        if operator in ("==", "="):
            self.equal.append((steps, value))
        return lambda p: _compare(_value(p, steps), operator, value, quoted)

    def _value_text(self) -> tuple[str, bool]:
        start = self.at
        while self.at < len(self.words):
            token = self.words[self.at]
            if token.kind == "close" or (token.kind == "word" and token.text.lower() in ("and", "or")):
                break
            if token.kind in ("op", "open"):
                raise self._wrong("unexpected")
            self.at += 1
        taken = self.words[start : self.at]
        if not taken:
            raise self._wrong("expected a value, found")
        return " ".join(t.text for t in taken), taken[0].kind == "text"


def _value(policy: Policy, steps: tuple[str, ...]) -> Any:
    kind, body = type_of(policy), body_of(policy)
    if len(steps) > 1 and steps[0] in (kind, "*"):
        found = _any_depth(body, steps[1:])
        if found is not ABSENT:
            return found
    return _any_depth(body, steps)


def _any_depth(value: Any, steps: tuple[str, ...]) -> Any:
    """As ``find``; a list of objects on the way gives the values of all its entries."""
    if not steps:
        return ABSENT if value is None or value == "" else value
    if isinstance(value, list) and not steps[0].isdigit() and steps[0] != "[]":
        found = [v for v in (_any_depth(entry, steps) for entry in value) if v is not ABSENT]
        return found or ABSENT
    if isinstance(value, dict):
        return _any_depth(value[steps[0]], steps[1:]) if steps[0] in value else ABSENT
    return find(value, Path(steps))


def _compare(given: Any, operator: str, wanted: str, quoted: bool) -> bool:
    """A comparison with a missing attribute is false; a list holds when one of its entries does."""
    if given is ABSENT:
        return False
    if operator == "!=":
        return not _compare(given, "==", wanted, quoted)
    if isinstance(given, list):
        return any(_compare(entry, "==" if operator == "contains" else operator, wanted, quoted) for entry in given)
    if operator in ("==", "="):
        return _equal(given, wanted)
    if operator in _WORD_OPERATORS:
        return _compare_text(to_text(given), operator, wanted)
    left: Any = to_text(given)
    right: Any = wanted
    if not quoted and _NUMBER.match(left) and _NUMBER.match(wanted):
        left, right = float(left), float(wanted)
    elif isinstance(given, int | float) and not isinstance(given, bool):
        return False  # a number is neither below nor above a word
    return bool({"<": left < right, "<=": left <= right, ">": left > right, ">=": left >= right}[operator])


def _compare_text(given: str, operator: str, wanted: str) -> bool:
    if operator == "contains":
        return wanted in given
    if operator == "startswith":
        return given.startswith(wanted)
    if operator == "endswith":
        return given.endswith(wanted)
    # childfrom: directly below the path whose last character is the separator
    rest = given[len(wanted) :]
    return bool(wanted) and given.startswith(wanted) and bool(rest) and wanted[-1] not in rest
