"""``blockchain get``: which policies, joined with which, and what is brought of them (spec: metadata, section 7)."""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Sequence
from typing import Any

from msgspec import Struct
from msgspec.structs import replace

from edgelake.errors import error
from edgelake.metadata.address import Addresses
from edgelake.metadata.bring import Answer, Bring
from edgelake.metadata.condition import Pair, Test, compile_where, pairs_hold
from edgelake.metadata.ids import Policy, body_of, id_of, type_of
from edgelake.metadata.image import Image
from edgelake.metadata.index import Steps
from edgelake.metadata.path import ABSENT, find, to_text
from edgelake.metadata.policy import dumps

_COMMAND = re.compile(r"^\s*blockchain\s+(get|read)(?:\s+|$)", re.IGNORECASE)
_CLAUSES = frozenset(("where", "join", "merge"))
_ROOT = re.compile(r"^root\s+policies?(?:\s+|$)(?:(include|exclude)\s+)?")


class Select(Struct, frozen=True):
    """A parsed ``blockchain get``, ready to run on any image."""

    types: tuple[str, ...]
    pairs: tuple[Pair, ...] = ()
    test: Test | None = None
    equal: tuple[tuple[Steps, str], ...] = ()  # what the test needs to be equal
    combine: str = ""  # "join" or "merge"
    right: Select | None = None
    bring: Bring | None = None
    root_only: bool = False
    excluded: frozenset[str] = frozenset()
    read: bool = False

    @classmethod
    def parse(cls, text: str) -> Select:
        """From the whole command or what follows ``blockchain get``. Raises EdgeLakeError (2, 6, 11)."""
        return _parse(text)

    def policies(self, image: Image) -> list[Policy]:
        """The policies that satisfy types, conditions and join, in ledger order."""
        return self._matching(image, list(self.pairs))

    def run(self, image: Image, addresses: Addresses | None = None) -> Answer:
        """The answer: policies as data when nothing is brought, else what the bring gives."""
        found = self.policies(image)
        if self.bring is None:
            return Answer(dumps(found), found, has_data=True)
        own = addresses or Addresses()
        return self.bring.run(
            found,
            children=lambda policy: image.find("parent", value=id_of(policy)),
            address=lambda policy: own.of(body_of(policy)),
        )

    def _matching(self, image: Image, pairs: list[Pair]) -> list[Policy]:
        found = [
            policy
            for policy in self._candidates(image, pairs)
            if (not pairs or pairs_hold(body_of(policy), type_of(policy), pairs))
            and (self.test is None or self.test(policy))
            and (not self.root_only or self._is_root(image, policy))
        ]
        if self.right is None:
            return found
        combined: list[Policy] = []
        for left in found:
            hits = self.right._for_left(image, left)
            if self.combine == "join":
                combined.extend({**left, **hit} for hit in hits)
            else:
                combined.append(_merged(left, hits))
        return combined

    def _candidates(self, image: Image, pairs: Sequence[Pair]) -> Sequence[Policy]:
        """The policies to look at: those that an index gives, else all of the types."""
        equal = [(pair.steps, pair.value) for pair in pairs if pair.operator == "=" and pair.reference is None]
        if not equal and not self.equal:
            return image.of_type(*self.types)
        return image.candidates(self.types, [*equal, *self.equal])

    def _for_left(self, image: Image, left: Policy) -> list[Policy]:
        """What joins with a left policy: references in the values are taken from it; a missing one is no hit."""
        pairs = []
        for pair in self.pairs:
            if pair.reference is not None:
                value = find(left, pair.reference)
                if value is ABSENT:
                    return []
                pair = replace(pair, value=to_text(value), reference=None)
            pairs.append(pair)
        return self._matching(image, pairs)

    def _is_root(self, image: Image, policy: Policy) -> bool:
        """A root policy has no parent and is the parent of another."""
        kind = type_of(policy)
        if kind in self.excluded or body_of(policy).get("parent"):
            return False
        # Cluster policies use `parent` for their tables; the tree of root policies is the one of `uns` and alike.
        return any(type_of(p) == kind for p in image.find("parent", value=id_of(policy))) and (
            kind != "cluster" or "cluster" in self.types
        )


def _merged(left: Policy, hits: Sequence[Policy]) -> Policy:
    body = dict(body_of(left))
    for hit in hits:
        for key, value in body_of(hit).items():
            body.setdefault(key, value)
    return {type_of(left): body}


@functools.lru_cache(maxsize=512)
def _parse(text: str) -> Select:
    head = _COMMAND.match(text)
    read = bool(head) and head is not None and head.group(1).lower() == "read"
    rest = text[head.end() :] if head else text
    rest = rest.strip()
    if not rest:
        raise error(2, "blockchain get: which policies?", hint="name a type, or * for all")
    clauses, bring_text = _split(rest)
    bring = Bring.parse(bring_text) if bring_text else None
    root = _ROOT.match(clauses[0][1])
    if root:
        listed = frozenset(_types(clauses[0][1][root.end() :])) if root.group(1) else frozenset()
        types = tuple(listed) if root.group(1) == "include" else ("*",)
        return Select(
            types,
            bring=bring,
            root_only=True,
            excluded=listed if root.group(1) == "exclude" else frozenset(),
            read=read,
        )
    select = Select(_head_types(clauses[0][1]), pairs=_json_pairs(clauses[0][1]), bring=bring, read=read)
    for word, body in clauses[1:]:
        select = _with_clause(select, word, body)
    return select


def _with_clause(select: Select, word: str, body: str) -> Select:
    if word == "where":
        if body.startswith("{"):
            return replace(select, pairs=select.pairs + _json_pairs("* " + body))
        found = compile_where(body)
        return replace(select, pairs=select.pairs + found.pairs, test=found.test, equal=found.equal)
    if select.right is not None:
        raise error(2, f"a second '{word}': one join or merge for each get", hint="nest it in the parentheses")
    if not (body.startswith("(") and body.endswith(")")) or not _COMMAND.match(body[1:-1]):
        raise error(2, f"{word} is followed by (blockchain get ...)")
    right = Select.parse(body[1:-1])
    if right.bring is not None:
        raise error(2, f"no bring inside the {word}; it follows the parentheses")
    return replace(select, combine=word, right=right)


def _split(text: str) -> tuple[list[tuple[str, str]], str]:
    """Clauses at ``where``, ``join`` and ``merge`` outside quotes and brackets, and the text from ``bring`` on."""
    clauses: list[tuple[str, str]] = []
    word, start, at = "", 0, 0
    while at < len(text):
        begins = at == 0 or text[at - 1].isspace() or text[at - 1] in ")]}"
        if begins and re.match(r"bring(?=[.\s]|$)", text[at:]):
            clauses.append((word, text[start:at].strip()))
            return clauses, text[at:]
        match = re.match(r"(\w+)(?=[\s({]|$)", text[at:]) if begins else None
        if match and match.group(1).lower() in _CLAUSES:
            clauses.append((word, text[start:at].strip()))
            word, at = match.group(1).lower(), at + match.end()
            start = at
        else:
            at = _skip(text, at)
    clauses.append((word, text[start:].strip()))
    return clauses, ""


def _skip(text: str, at: int) -> int:
    """Behind one character, quoted text or bracketed group."""
    char = text[at]
    if char in "\"'" and (close := text.find(char, at + 1)) > 0:
        return close + 1
    if char not in "([{":
        return at + 1
    depth, start = 0, at
    while at < len(text):
        char = text[at]
        if char in "\"'" and (close := text.find(char, at + 1)) > 0:
            at = close
        depth += (char in "([{") - (char in ")]}")
        at += 1
        if depth == 0:
            return at
    raise error(11, f"missing parenthesis in '{text[start:]}'")


def _types(text: str) -> tuple[str, ...]:
    names = tuple(t for t in re.split(r"[,\s]+", text.strip("() ")) if t)
    if not names or not all(re.fullmatch(r"\*|[^\s()\[\]{}=]+", t) for t in names):
        raise error(2, f"'{text}' names no policy types", hint="a type, *, or (type, type)")
    return names


def _head_types(text: str) -> tuple[str, ...]:
    head = text.partition("{")[0].strip()
    if not head.startswith("(") and len(re.split(r"[,\s]+", head)) > 1:
        raise error(2, f"unexpected words in '{text}'", hint="several types stand in parentheses")
    return _types(head)


def _json_pairs(text: str) -> tuple[Pair, ...]:
    """Conditions given as a JSON object behind the type."""
    _, brace, body = text.partition("{")
    if not brace:
        return ()
    try:
        wanted: dict[str, Any] = json.loads(brace + body)
    except ValueError as problem:
        raise error(6, f"conditions are no JSON object: {problem}") from None
    return tuple(Pair((key,), "=", to_text(value)) for key, value in wanted.items())
