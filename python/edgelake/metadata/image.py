"""The memory image: an immutable, indexed list of policies in ledger order (spec: metadata, sections 6 and 9.4).

Readers take the image that stands and keep it as long as they like; a change makes a new one.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from edgelake.metadata.ids import Policy, body_of, id_of, type_of

_INDEXED = (("id",), ("name",), ("parent",), ("cluster",), ("ip", "port"), ("dbms", "table"))


def _fold(value: Any) -> str:
    return str(value).lower()


def _keys(policy: Policy) -> list[tuple[str, ...]]:
    """The index entries of a policy."""
    body = body_of(policy)
    keys: list[tuple[str, ...]] = [("type", type_of(policy))]
    for names in _INDEXED:
        values = [body.get(name) for name in names]
        if all(isinstance(v, str | int | float) for v in values):
            keys.append((*names, *map(_fold, values)))
        elif len(names) == 1 and isinstance(values[0], list):
            keys.append(("list", names[0]))
    return keys


def apply_changes(policies: Sequence[Policy]) -> list[Policy]:
    """The policies with the attributes that ``anmp`` policies set, in date order (section 9.4).

    A changed policy is a copy; under ``anmp`` it remembers the date of each changed attribute, so that an older
    change never overwrites a newer one.
    """
    changes = [p for p in policies if type_of(p) == "anmp"]
    if not changes:
        return list(policies)
    changed: dict[str, dict[str, Any]] = {}
    known = {id_of(p): body_of(p) for p in reversed(policies) if type_of(p) != "anmp"}
    for change in sorted(changes, key=lambda p: str(body_of(p).get("date", ""))):
        date = str(body_of(change).get("date", ""))
        for target, attributes in body_of(change).items():
            if target not in known or not isinstance(attributes, dict):
                continue
            body = changed.setdefault(target, {**known[target], "anmp": dict(known[target].get("anmp", {}))})
            for key, value in attributes.items():
                if str(body["anmp"].get(key, "")) <= date:
                    body[key] = value
                    body["anmp"][key] = date
    return [{type_of(p): changed.get(id_of(p), body_of(p))} if type_of(p) != "anmp" else p for p in policies]


@dataclass(frozen=True, slots=True)
class Image:
    """Policies in ledger order, with hash indexes. Never changed after it is built."""

    policies: tuple[Policy, ...]
    index: dict[tuple[str, ...], tuple[Policy, ...]]

    @classmethod
    def of(cls, policies: Iterable[Policy]) -> Image:
        """Build from policies in ledger order; changes by ``anmp`` policies are applied."""
        kept = apply_changes(list(policies))
        lists: dict[tuple[str, ...], list[Policy]] = {}
        for policy in kept:
            for key in _keys(policy):
                lists.setdefault(key, []).append(policy)
        return cls(tuple(kept), {key: tuple(found) for key, found in lists.items()})

    def added(self, policy: Policy) -> Image:
        """An image with one more policy at the end."""
        if type_of(policy) == "anmp":
            return Image.of([*self.policies, policy])
        index = dict(self.index)
        for key in _keys(policy):
            index[key] = (*index.get(key, ()), policy)
        return Image((*self.policies, policy), index)

    def removed(self, policy_id: str) -> Image:
        """An image without the policy of that id."""
        return Image.of(p for p in self.policies if id_of(p) != policy_id)

    def get(self, policy_id: str) -> Policy | None:
        """The policy with exactly this id."""
        return next((p for p in self.find("id", value=policy_id) if id_of(p) == policy_id), None)

    def of_type(self, *types: str) -> Sequence[Policy]:
        """Policies of some types in ledger order; of all types when ``*`` is one of them."""
        if "*" in types:
            return self.policies
        if len(types) == 1:
            return self.index.get(("type", types[0]), ())
        wanted = set(types)
        return [p for p in self.policies if type_of(p) in wanted]

    def find(self, *names: str, value: Any = None, values: Sequence[Any] = ()) -> Sequence[Policy]:
        """Policies of any type by an indexed attribute (or pair of them), compared without case."""
        return self.index.get((*names, *map(_fold, values or (value,))), ())

    def has_index(self, name: str) -> bool:
        """Whether :meth:`find` knows this single attribute."""
        return (name,) in _INDEXED

    def knows_all(self, name: str) -> bool:
        """Whether :meth:`find` gives every policy that equals a text: none holds a list, or ``*`` for any text."""
        return (name,) in _INDEXED and ("list", name) not in self.index and (name, "*") not in self.index


EMPTY = Image((), {})
