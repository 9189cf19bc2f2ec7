"""Hash indexes over attributes of policies (spec: metadata, section 15).

An index gives candidates: every policy that equals the wanted values is among them, and whoever asked tests them.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Iterator, Sequence
from operator import itemgetter
from typing import Any

from edgelake.metadata.ids import Policy, body_of, type_of

Steps = tuple[str, ...]
"""Path of an attribute, from the body or from the type."""

_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")
_ANY_TEXT = "*"


def number_of(text: str) -> int | float | None:
    """The number that a text reads as: ``021`` is 21."""
    if not _NUMBER.fullmatch(text):
        return None
    return int(text) if text.lstrip("+-").isdigit() and len(text) < 400 else float(text)


Hits = dict[Any, int | list[int]]
"""Slots by key. Most keys have one policy: no list for those."""


def enter(hits: Hits, key: Any, slot: int) -> None:
    """Add a slot to a key."""
    known = hits.setdefault(key, slot)
    if isinstance(known, list):
        known.append(slot)
    elif known != slot:
        hits[key] = [known, slot]


def entered(hits: Hits, key: Any) -> list[int]:
    """The slots of a key, in the order in which they came."""
    found = hits.get(key)
    if found is None:
        return []
    return [found] if isinstance(found, int) else found


class Index:
    """Slots of policies by the values at one or several paths. Slots are added in rising order and stay.

    Texts are kept in lower case, numbers as numbers, lists by each of their entries. What can't be kept so (``*``,
    which stands for any text; several lists at once) is loose: always a candidate.
    """

    def __init__(self, paths: tuple[Steps, ...], policies: Sequence[Policy] = ()) -> None:
        self._paths = paths
        self._names = tuple(steps[0] for steps in paths) if all(len(steps) == 1 for steps in paths) else ()
        self._hits: Hits = {}
        self._loose: list[int] = []
        if self._names:
            self._fill(policies)
        else:
            for slot, policy in enumerate(policies):
                self.add(slot, policy)

    def _fill(self, policies: Sequence[Policy]) -> None:
        """Enter the first policies, in a loop that is short for what nearly all have: plain values, or none."""
        hits, first, values_of = self._hits, self._names[0], itemgetter(*self._names)
        key_of: Callable[[Any], Any] = _plain if len(self._names) == 1 else _all_plain
        for slot, policy in enumerate(policies):
            body = body_of(policy)
            if first not in body:
                continue
            try:
                key = key_of(values_of(body))
            except KeyError:
                continue  # another name is missing
            if key is None:
                self.add(slot, policy)
            elif hits.setdefault(key, slot) != slot:
                enter(hits, key, slot)

    def add(self, slot: int, policy: Policy) -> None:
        """Enter a policy."""
        if self._names:
            body = body_of(policy)
            for name in self._names:
                if name not in body:
                    return
            values = [body[name] for name in self._names]
            key = _plain(values[0]) if len(values) == 1 else _all_plain(values)
            if key is not None:
                enter(self._hits, key, slot)
                return
            found = [list(_scalars(value)) for value in values]
        else:
            found = [values_at(policy, steps) for steps in self._paths]
        if any(_ANY_TEXT in values for values in found) or (len(found) > 1 and any(len(v) > 1 for v in found)):
            self._loose.append(slot)
        elif len(found) == 1:
            for key in dict.fromkeys(map(_key, found[0])):
                enter(self._hits, key, slot)
        elif all(found):
            enter(self._hits, tuple(_key(values[0]) for values in found), slot)

    def slots(self, values: Sequence[Any]) -> list[int]:
        """Candidates for a value at each path, in rising order."""
        wanted = [_alternatives(value) for value in values]
        keys = wanted[0] if len(wanted) == 1 else itertools.product(*wanted)
        lists = [found for key in keys if (found := entered(self._hits, key))]
        if self._loose:
            lists.append(self._loose)
        return lists[0] if len(lists) == 1 else sorted(set().union(*lists))


def _key(value: Any) -> Any:
    """What a value is kept under; 21 and 21.0 are one key, True and 1 are not."""
    if isinstance(value, bool):
        return str(value).lower()
    return value.lower() if isinstance(value, str) else value


def _plain(value: Any) -> Any:
    """The key of a value that is kept under one key; None for others."""
    kind = type(value)
    if kind is str:
        return None if value == _ANY_TEXT else value.lower()
    return value if kind is int or kind is float else None


def _all_plain(values: Sequence[Any]) -> tuple[Any, ...] | None:
    """The keys of several values; None when one of them has none of its own."""
    keys = tuple(map(_plain, values))
    return None if None in keys else keys


def _alternatives(value: Any) -> list[Any]:
    """Keys that a wanted value may stand under: a text that reads as a number also equals that number."""
    if not isinstance(value, str):
        key = _key(value)
        return [key, str(key)] if isinstance(key, int | float) else [key]
    number = number_of(value)
    return [value.lower()] if number is None else [value.lower(), number]


def _scalars(value: Any) -> Iterator[Any]:
    if isinstance(value, list):
        for entry in value:
            yield from _scalars(entry)
    elif isinstance(value, str | int | float):
        yield value


def values_at(policy: Policy, steps: Steps) -> list[Any]:
    """Every plain value that a condition may find at a path, whichever way it reads it: from the body, or from the
    type; through the entries of lists, or at an index of them."""
    body = body_of(policy)
    found = list(_walk(body, steps))
    if len(steps) > 1 and steps[0] in (type_of(policy), "*"):
        found += _walk(body, steps[1:])
    return found


def _walk(value: Any, steps: Steps) -> Iterator[Any]:
    if not steps:
        yield from _scalars(value)
        return
    if isinstance(value, dict):
        if steps[0] in value:
            yield from _walk(value[steps[0]], steps[1:])
    elif isinstance(value, list):
        if steps[0].isdigit() and int(steps[0]) < len(value):
            yield from _walk(value[int(steps[0])], steps[1:])
        for entry in value:
            yield from _walk(entry, steps[1:] if steps[0] == "[]" else steps)
