"""The memory image: an indexed list of policies in ledger order (spec: metadata, sections 6 and 9.4).

Readers take the image that stands and keep it as long as they like: it never changes. Images of one line share what
they have in common, so that one more policy or one less costs the same however many there are: policies and index
entries are only ever added to, and an image sees what was there when it was made.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from typing import Any

from edgelake.metadata.ids import Policy, body_of, id_of, type_of
from edgelake.metadata.index import Hits, Index, Steps, enter, entered

_PREPARED: tuple[tuple[Steps, ...], ...] = (
    (("name",),),
    (("parent",),),
    (("cluster",),),
    (("ip",), ("port",)),
    (("dbms",), ("table",)),
    (("dbms",), ("name",)),
)
"""Indexes that every image has from the start; others are made when a condition first asks for them."""

MAX_INDEXES = 32
"""A condition that would need one more reads all policies of its types."""

_FEW = 64
"""So many candidates are tested one by one; for more, another index is looked at."""

_serials = itertools.count(1)


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


class _Line:
    """What the images of one line share. Only the newest of them may be added to.

    Attributes:
        gone: slot -> the change that took its policy away.
    """

    def __init__(self, policies: Iterable[Policy]) -> None:
        self.serial = next(_serials)
        self.policies: list[Policy] = []
        self.gone: dict[int, int] = {}
        self.changes = 0
        self.by_type: dict[str, list[int]] = {}
        self.by_id: Hits = {}
        self.type_changes: dict[str, int] = {}
        self.changed_by_others: set[str] = set()
        self.indexes: dict[tuple[Steps, ...], Index] = {}
        self._fill(policies)
        self.indexes = {paths: Index(paths, self.policies) for paths in _PREPARED}

    def _fill(self, policies: Iterable[Policy]) -> None:
        """What ``add`` does, in a loop for the many policies of a load."""
        self.policies.extend(policies)
        by_type, by_id = self.by_type, self.by_id
        for slot, policy in enumerate(self.policies):
            kind = type_of(policy)
            slots = by_type.get(kind)
            if slots is None:
                slots = by_type[kind] = []
            slots.append(slot)
            if policy_id := id_of(policy):
                enter(by_id, policy_id, slot)
        self.changes = len(self.policies)
        self.type_changes = {kind: len(slots) for kind, slots in by_type.items()}
        for policy in (self.policies[slot] for slot in by_type.get("anmp", ())):
            self._note_changed(policy)

    def add(self, policy: Policy) -> None:
        slot, kind = len(self.policies), type_of(policy)
        self.policies.append(policy)
        self.by_type.setdefault(kind, []).append(slot)
        if policy_id := id_of(policy):
            enter(self.by_id, policy_id, slot)
        for index in self.indexes.values():
            index.add(slot, policy)
        if kind == "anmp":
            self._note_changed(policy)
        self._count(kind)

    def _note_changed(self, anmp: Policy) -> None:
        self.changed_by_others.update(k for k, v in body_of(anmp).items() if isinstance(v, dict))

    def remove(self, slot: int) -> None:
        self._count(type_of(self.policies[slot]))
        self.gone[slot] = self.changes

    def _count(self, kind: str) -> None:
        self.changes += 1
        self.type_changes[kind] = self.type_changes.get(kind, 0) + 1

    def index(self, paths: tuple[Steps, ...]) -> Index | None:
        """The index over these paths, made now if need be; None when there are too many."""
        found = self.indexes.get(paths)
        if found is None and len(self.indexes) < MAX_INDEXES:
            found = self.indexes[paths] = Index(paths, self.policies)
        return found


class Image:
    """Policies in ledger order, with hash indexes. Never changes."""

    __slots__ = ("_count", "_line", "_policies", "_version")

    def __init__(self, line: _Line) -> None:
        self._line = line
        self._version = line.changes
        self._count = len(line.policies)
        self._policies: tuple[Policy, ...] | None = None

    @classmethod
    def of(cls, policies: Iterable[Policy]) -> Image:
        """Build from policies in ledger order; changes by ``anmp`` policies are applied."""
        return cls(_Line(apply_changes(list(policies))))

    @property
    def policies(self) -> tuple[Policy, ...]:
        """All, in ledger order."""
        if self._policies is None:
            self._policies = tuple(self._take(range(self._count)))
        return self._policies

    def __len__(self) -> int:
        gone = self._line.gone
        if self._version == self._line.changes:
            return self._count - len(gone)
        return self._count - sum(change <= self._version for change in gone.values())

    def rebuilds_for(self, policy: Policy) -> bool:
        """Whether one more policy changes others, or is changed by one: then the image is built anew."""
        return type_of(policy) == "anmp" or id_of(policy) in self._line.changed_by_others

    @property
    def is_wasteful(self) -> bool:
        """Whether it drags along more removed policies than it is worth: better built anew."""
        return len(self._line.gone) > 1000 + len(self._line.policies) // 2

    def added(self, *policies: Policy) -> Image:
        """An image with more policies at the end."""
        line = self._line
        if self._version != line.changes or any(map(self.rebuilds_for, policies)):
            return Image.of([*self.policies, *policies])
        for policy in policies:
            line.add(policy)
        return Image(line)

    def removed(self, *policy_ids: str) -> Image:
        """An image without the policies of these ids."""
        line, wanted = self._line, set(policy_ids)
        if self._version != line.changes or "anmp" in line.by_type:
            return Image.of(p for p in self.policies if id_of(p) not in wanted)
        for policy_id in wanted:
            for slot in self._visible(entered(line.by_id, policy_id)):
                line.remove(slot)
        return Image(line)

    def stamp(self, *types: str) -> tuple[int, ...]:
        """Differs between two images when a policy of one of the types has come or gone in between."""
        return self._line.serial, *(self._line.type_changes.get(kind, 0) for kind in types)

    # ---- finding

    def get(self, policy_id: str) -> Policy | None:
        """The policy with exactly this id."""
        found = self._take(entered(self._line.by_id, policy_id))
        return found[0] if found else None

    def of_type(self, *types: str) -> Sequence[Policy]:
        """Policies of some types in ledger order; of all types when ``*`` is one of them."""
        if "*" in types:
            return self.policies
        lists = [self._line.by_type.get(kind, []) for kind in dict.fromkeys(types)]
        return self._take(lists[0] if len(lists) == 1 else sorted(itertools.chain.from_iterable(lists)))

    def find(self, *names: str, value: Any = None, values: Sequence[Any] = ()) -> Sequence[Policy]:
        """Policies of any type that may have these attributes (texts without case): candidates, to be tested."""
        wanted = values or (value,)
        if names == ("id",) and isinstance(wanted[0], str):
            # Ids are looked for without case, as all texts; they are in lower case unless a user gave them.
            found = self._take(entered(self._line.by_id, wanted[0]))
            if found:
                return found
        plain = all(isinstance(one, str | int | float) for one in wanted)
        index = self._line.index(tuple((name,) for name in names)) if plain else None
        return self.policies if index is None else self._take(index.slots(wanted))

    def candidates(self, types: Sequence[str], equal: Sequence[tuple[Steps, str]]) -> Sequence[Policy]:
        """Policies of some types that may have a value at each path; all of the types when no index helps."""
        best: list[int] | None = None
        for steps, value in equal:
            index = self._line.index((steps,))
            slots = None if index is None else index.slots((value,))
            if slots is not None and (best is None or len(slots) < len(best)):
                best = slots
            if best is not None and len(best) <= _FEW:
                break
        if best is None:
            return self.of_type(*types)
        if len(best) > _FEW and 1 < len(equal) <= 4:
            both = self._line.index(tuple(steps for steps, _ in equal))
            best = best if both is None else both.slots([value for _, value in equal])
        kinds = set(types)
        return [p for p in self._take(best) if "*" in kinds or type_of(p) in kinds]

    def _visible(self, slots: Iterable[int]) -> list[int]:
        gone, newest = self._line.gone, self._version
        if not gone:
            return [s for s in slots if s < self._count]
        return [s for s in slots if s < self._count and gone.get(s, newest + 1) > newest]

    def _take(self, slots: Iterable[int]) -> list[Policy]:
        policies = self._line.policies
        return [policies[s] for s in self._visible(slots)]
