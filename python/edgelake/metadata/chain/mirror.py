"""What was read of a contract, and what of it counts. No chain library here.

Source: spec metadata, sections 4 (``discard``), 8 (``checkout``) and 12.
"""

from __future__ import annotations

import logging
import secrets
from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

from edgelake.errors import EdgeLakeError
from edgelake.metadata.ids import Policy, body_of, id_of, type_of
from edgelake.metadata.platforms import Pulled
from edgelake.metadata.policy import parse_policy

log = logging.getLogger(__name__)

_REVISIONS = 256


@dataclass(frozen=True, slots=True)
class Entry:
    """One policy of a contract.

    Attributes:
        key: the id under which the contract keeps it.
        policy: None when the text is no policy with an id.
        owner: address of the account that added it; empty when the contract doesn't tell.
    """

    key: str
    policy: Policy | None
    owner: str = ""

    @classmethod
    def of(cls, key: str, text: str, owner: str = "") -> Entry:
        """From the text that the contract holds. Anybody may have put it there."""
        try:
            policy = parse_policy(text)
            if not id_of(policy):
                raise EdgeLakeError("no id")
        except EdgeLakeError as problem:
            log.warning("an entry of the contract is passed over: id %.80r: %.200s", key, problem)
            return cls(key, None, owner)
        return cls(key, policy, owner)


@dataclass(frozen=True, slots=True)
class Change:
    """An event of a contract."""

    kind: Literal["inserted", "updated", "deleted"]
    entry: Entry


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A contract at one block.

    Attributes:
        block, block_hash: where it was read; another hash at that number means that the chain was reorganised.
        counter: transactions of the contract up to there.
        entries: by the contract's id, in any order.
        deployer: account that made the contract; empty when the contract doesn't tell.
    """

    block: int
    block_hash: str
    counter: int
    entries: Mapping[str, Entry]
    deployer: str = ""

    def after(self, changes: Iterable[Change]) -> dict[str, Entry]:
        """The entries behind some events."""
        entries = dict(self.entries)
        for change in changes:
            key = change.entry.key
            if change.kind == "deleted":
                entries.pop(key, None)
            elif change.kind == "inserted" or key not in entries:
                entries[key] = change.entry
            else:  # an update names no owner: it is the one who inserted
                entries[key] = Entry(key, change.entry.policy, entries[key].owner)
        return entries


def counted(snapshot: Snapshot) -> dict[str, Policy]:
    """The policies that count, by id, in the order of their dates: every reader gets the same ledger.

    Of several entries with one policy id the latest date wins; an entry under its own id wins over others, so that
    nobody replaces a policy by adding its like under another key. A ``discard`` policy hides another one, when it
    comes from the same account or from the deployer (where the contract tells), and is itself not part of the ledger.
    """
    best: dict[str, tuple[tuple[bool, str], Entry]] = {}
    discards: list[Entry] = []
    for entry in snapshot.entries.values():
        if entry.policy is None:
            continue
        if type_of(entry.policy) == "discard":
            discards.append(entry)
            continue
        policy_id = id_of(entry.policy)
        rank = (entry.key == policy_id, _date(entry.policy))
        known = best.get(policy_id)
        if known is None or rank > known[0]:
            best[policy_id] = (rank, entry)
    hidden: dict[str, bool] = {}
    for entry in sorted(discards, key=lambda e: (_date(e.policy), e.key)):
        body = body_of(entry.policy or {})
        target = str(body.get("policy", ""))
        if target in best and _may_discard(entry, best[target][1], snapshot.deployer):
            hidden[target] = str(body.get("status", "active")).lower() == "active"
    order = sorted((rank[1], policy_id) for policy_id, (rank, _) in best.items() if not hidden.get(policy_id))
    found = ((policy_id, best[policy_id][1].policy) for _, policy_id in order)
    return {policy_id: policy for policy_id, policy in found if policy is not None}


def _date(policy: Policy | None) -> str:
    return str(body_of(policy).get("date", "")) if policy else ""


def _may_discard(discard: Entry, target: Entry, deployer: str) -> bool:
    return not discard.owner or discard.owner in (target.owner, deployer)


class Mirror:
    """The policies that count, and what changed from one reading to the next."""

    def __init__(self) -> None:
        self._name = secrets.token_hex(4)  # a cursor of another mirror means nothing here
        self._revision = 0
        self._changes: deque[tuple[int, frozenset[str]]] = deque(maxlen=_REVISIONS)
        self._policies: dict[str, Policy] = {}
        self._counter = 0

    def take(self, policies: dict[str, Policy], counter: int) -> None:
        """Keep what was read, and remember how it differs from what was read before."""
        before = self._policies
        changed = {i for i, p in policies.items() if (known := before.get(i)) is not p and known != p}
        changed.update(i for i in before if i not in policies)
        if changed or not self._revision:
            self._revision += 1
            self._changes.append((self._revision, frozenset(changed)))
        self._policies, self._counter = policies, counter

    def since(self, cursor: str) -> Pulled:
        """All policies, or what changed since a cursor."""
        here = f"{self._name}-{self._revision}"
        name, _, number = cursor.partition("-")
        oldest = self._changes[0][0] if self._changes else 0
        if name != self._name or not number.isdigit() or int(number) + 1 < oldest:
            return Pulled(here, self._counter, True, tuple(self._policies.values()))
        changed = {i for revision, ids in self._changes if revision > int(number) for i in ids}
        return Pulled(
            here,
            self._counter,
            False,
            tuple(p for i, p in self._policies.items() if i in changed) if changed else (),
            tuple(sorted(changed - self._policies.keys())),
        )
