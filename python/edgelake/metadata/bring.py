"""``bring``: what is taken out of JSON objects, and how it prints (spec: metadata, section 7)."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Sequence
from typing import Any

from msgspec import Struct

from edgelake.errors import error
from edgelake.metadata.path import ABSENT, EACH, Path, element_text, find, scan, to_text
from edgelake.metadata.policy import dumps
from edgelake.model import Table

WORDS = frozenset(
    ("first", "last", "recent", "unique", "count", "json", "null", "list", "table", "sort", "ip_port", "min", "max")
) | {"children"}
_HEAD = re.compile(r"bring((?:\.\w+(?:\([^)]*\))?)*)(?=\s|$)")
_WORD = re.compile(r"\.(\w+)(?:\(([^)]*)\))?")
_SEPARATOR = re.compile(r"(?:^|\s)separator\s*=\s*(\"[^\"]*\"|\S+)\s*$")
_ESCAPES = {"\\n": "\n", "\\t": "\t", "\\r": "\r"}


class Part(Struct, frozen=True):
    """One item: alternatives of a path (the first that is present counts), or a literal."""

    paths: tuple[Path, ...] = ()
    literal: str = ""

    def value(self, root: Any) -> Any:
        for path in self.paths:
            found = find(root, path)
            if found is not ABSENT:
                return found
        return ABSENT

    def text(self, root: Any) -> str | None:
        """Printed value; None when nothing is found."""
        if not self.paths:
            return self.literal
        value = self.value(root)
        if value is ABSENT:
            return None
        if isinstance(value, list) and any(EACH in p.steps[:-1] for p in self.paths):
            return element_text(value)
        return to_text(value)


class Answer(Struct, frozen=True):
    """What a bring gives: text, and JSON data or a table where the words ask for it."""

    text: str
    data: Any = None
    has_data: bool = False
    table: Table | None = None


class Bring(Struct, frozen=True):
    """A parsed bring: words after the dots, items, separator."""

    words: frozenset[str]
    parts: tuple[Part, ...]
    separator: str = ""
    sort: tuple[int, ...] = ()

    @classmethod
    def parse(cls, text: str) -> Bring:
        """From ``bring[.words] items [separator = x]``. Raises EdgeLakeError (2)."""
        return _parse(text.strip())

    def run(
        self,
        roots: Sequence[Any],
        *,
        children: Callable[[Any], Sequence[Any]] | None = None,
        address: Callable[[Any], str] | None = None,
    ) -> Answer:
        """Apply to objects.

        Args:
            children: policies below one policy, for the word ``children``.
            address: ``ip:port`` of a node policy, for the word ``ip_port``; empty when it has none.
        Raises: EdgeLakeError (6) when ``[]`` meets something that is no list.
        """
        if "children" in self.words and children is not None:
            roots = [child for root in roots for child in children(root)]
        if roots and self.words & {"first", "last", "recent"}:
            roots = [_by_date(roots, first="first" in self.words)]
        if "ip_port" in self.words:
            found = [a for a in (address(r) if address else "" for r in roots) if a]
            return Answer(",".join(dict.fromkeys(found) if "unique" in self.words else found))
        if not self.parts:
            return self._whole(roots)
        if "table" in self.words:
            return self._table(roots)
        if "json" in self.words or "count" in self.words:
            return self._objects(roots)
        return self._texts(roots)

    def _whole(self, roots: Sequence[Any]) -> Answer:
        if "count" in self.words:
            return Answer(str(len(roots)), len(roots), has_data=True)
        data = list(roots)
        return Answer("[" + ",".join(dumps(r) for r in data) + "]", data, has_data=True)

    def _items(self) -> list[tuple[str, Part]]:
        """The paths with the names under which their values are returned; a repeated name gets its type."""
        named: list[tuple[str, Part]] = []
        for part in self.parts:
            if part.paths:
                name = part.paths[0].name
                if any(name == taken for taken, _ in named):
                    name = f"{part.paths[0].steps[0]}_{name}"
                named.append((name, part))
        return named

    def _objects(self, roots: Sequence[Any]) -> Answer:
        units: list[dict[str, Any]] = []
        for root in roots:
            found = [(name, part.value(root)) for name, part in self._items()]
            if all(value is ABSENT for _, value in found):
                continue
            unit = {n: ("" if v is ABSENT else v) for n, v in found if v is not ABSENT or "null" in self.words}
            if "unique" not in self.words or unit not in units:
                units.append(unit)
        if "count" in self.words:
            return Answer(f'[{{"count" : {len(units)} }}]', [{"count": len(units)}], has_data=True)
        return Answer("[" + ",".join(dumps(u) for u in units) + "]", units, has_data=True)

    def _table(self, roots: Sequence[Any]) -> Answer:
        items = self._items()
        rows = [tuple(part.text(root) or "" for _, part in items) for root in roots]
        if "unique" in self.words:
            rows = list(dict.fromkeys(rows))
        if "sort" in self.words:
            width = len(items)
            columns = [c for c in self.sort if c < width] or list(range(width))
            keys = [_column_key([row[c] for row in rows]) for c in columns]
            rows.sort(key=lambda row: tuple(key(row[c]) for key, c in zip(keys, columns, strict=True)))
        titles = [name[:1].upper() + name[1:] for name, _ in items]
        return Answer("", table=Table(titles, rows))

    def _texts(self, roots: Sequence[Any]) -> Answer:
        units = []
        for root in roots:
            texts = [part.text(root) for part in self.parts]
            unit = "".join(t for t in texts if t is not None)
            if unit or any(t is not None for t in texts):
                units.append(unit)
        if "unique" in self.words:
            units = list(dict.fromkeys(units))
        if self.words & {"min", "max"}:
            pick = min if "min" in self.words else max
            return Answer(pick(units, key=_column_key(units)) if units else "")
        if "list" in self.words:
            return Answer("[" + ",".join(units) + "]")
        return Answer(self.separator.join(units))


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def _column_key(texts: Sequence[str]) -> Callable[[str], Any]:
    """Sort key of a column: numeric when every value is a number."""
    if texts and all(_number(t) is not None for t in texts):
        return float
    return str


def _by_date(roots: Sequence[Any], *, first: bool) -> Any:
    """Earliest or latest by the body's date; without dates, or among equals, first or last in order."""

    def date(root: Any) -> str:
        body = next(iter(root.values()), None) if isinstance(root, dict) else None
        return str(body.get("date", "")) if isinstance(body, dict) else ""

    dated = [r for r in roots if date(r)]
    if not dated:
        return roots[0] if first else roots[-1]
    return min(dated, key=date) if first else max(reversed(dated), key=date)


@functools.lru_cache(maxsize=512)
def _parse(text: str) -> Bring:
    head = _HEAD.match(text)
    if head is None:
        raise error(2, f"'{text.split(' ', 1)[0]}': bring is followed by words after dots, then a blank")
    words: set[str] = set()
    sort: tuple[int, ...] = ()
    for word, argument in _WORD.findall(head.group(1)):
        if word not in WORDS:
            raise error(2, f"unknown word '{word}' after bring", hint="one of " + ", ".join(sorted(WORDS)))
        words.add(word)
        if word == "sort" and argument:
            numbers = [n.strip() for n in argument.split(",")]
            if not all(n.isdigit() for n in numbers):
                raise error(2, f"sort({argument}): column numbers from 0, with commas between")
            sort = tuple(int(n) for n in numbers)
    rest = text[head.end() :]
    separator = ""
    tail = _SEPARATOR.search(rest)
    if tail:
        separator = _literal(tail.group(1))
        rest = rest[: tail.start()]
    parts = tuple(_scan_parts(rest))
    if not parts and not words:
        raise error(2, "bring without anything to bring")
    return Bring(frozenset(words), parts, separator, sort)


def _literal(text: str) -> str:
    if len(text) >= 2 and text[0] == text[-1] == '"':
        text = text[1:-1]
    for escape, char in _ESCAPES.items():
        text = text.replace(escape, char)
    return text


def _scan_parts(text: str) -> list[Part]:
    parts: list[Part] = []
    at = 0
    while at < len(text):
        char = text[at]
        if char.isspace():
            at += 1
        elif char == "[":
            paths = []
            while True:
                path, at = scan(text, at)
                paths.append(path)
                if not text.startswith(":[", at):
                    break
                at += 1
            parts.append(Part(tuple(paths)))
        elif char in "\"'" and (close := text.find(char, at + 1)) > 0:
            quoted = text[at : close + 1]
            parts.append(Part(literal=_literal(quoted)))
            at = close + 1
        else:
            end = next((i for i in range(at, len(text)) if text[i].isspace()), len(text))
            word = text[at:end]
            if "=" in word:
                raise error(2, f"'{word}' in bring: only 'separator = ...' at the end takes '='")
            parts.append(Part(literal=_literal(word)))
            at = end
    return parts
