"""A copy of the shared ledger arrives at a node that has made changes of its own (spec: metadata, section 9.3)."""

from __future__ import annotations

import bisect
from collections.abc import Collection, Sequence

from msgspec import Struct, field

from edgelake.errors import EdgeLakeError
from edgelake.metadata.checks import check_unique
from edgelake.metadata.ids import Policy, body_of, id_of, type_of
from edgelake.metadata.image import Image
from edgelake.metadata.ledger import TOMBSTONE, Contents, is_local, lines, parse, uncollected


class Merged(Struct):
    """What becomes of the local copy.

    Attributes:
        data: the new active file: the shared lines as they came, then what only this node knows.
        missing: local policies that the shared ledger lacks, to be sent (again).
        undeleted: ids that were deleted here and are still in the shared ledger: the drop is to be sent again.
        refused: local policies that contradict the shared ledger, with the reason; they are dropped.
        gone: how many shared policies there were before that are not there now.
    """

    data: bytes
    image: Image
    missing: list[Policy] = field(default_factory=list)
    undeleted: list[str] = field(default_factory=list)
    refused: list[tuple[Policy, str]] = field(default_factory=list)
    gone: int = 0


def merge(active: Contents, new: Contents, removed: Collection[str] | None = None) -> Merged:
    """Put the changes of this node that are not in the new copy behind it; what is in it counts as confirmed.

    ``removed``: ids that are gone since the last copy, when ``new`` was made of ``active`` (``with_changes``). Then
    what a tombstone hides is not in it, and stays hidden until it is among them.
    """
    if removed is None:
        undeleted = [one for one in active.tombstones if one in new.entries]
    else:
        undeleted = [one for one in active.tombstones if one not in removed or one in new.entries]
    hidden = set(undeleted)
    kept = [(p, line) for key, (p, line) in new.entries.items() if key not in hidden]
    with uncollected():
        merged = Merged(b"", Image.of(policy for policy, _ in kept), undeleted=undeleted)
    for policy_id, (policy, _) in active.entries.items():
        if policy_id in new.entries:
            continue
        if not is_local(policy):
            merged.gone += policy_id not in active.tombstones
            continue
        try:
            check_unique(policy, merged.image)
        except EdgeLakeError as problem:
            merged.refused.append((policy, problem.detail or problem.text))
            continue
        merged.missing.append(policy)
        merged.image = merged.image.added(policy)
    own = [*merged.missing, *(tombstone(one) for one in undeleted)]
    shared = b"".join(line + b"\n" for _, line in kept)
    merged.data = shared + (lines(own) if own else b"") or b"\n"
    return merged


def with_changes(active: Contents, added: Sequence[str], removed: Sequence[str]) -> Contents:
    """The shared ledger after some changes: in the order of a master, by date; a later one of the same date behind."""
    new = parse("".join(line + "\n" for line in added).encode())
    going = {*removed, *new.entries}
    shared = {key: e for key, e in active.entries.items() if key not in going and not is_local(e[0])}
    ordered = list(shared.items())
    dates = [_date(policy) for _, (policy, _) in ordered]
    for key, entry in new.entries.items():
        at = bisect.bisect(dates, _date(entry[0]))
        ordered.insert(at, (key, entry))
        dates.insert(at, _date(entry[0]))
    return Contents(dict(ordered), problems=new.problems)


def tombstone(policy_id: str) -> Policy:
    """The line that says: deleted here."""
    return {TOMBSTONE: {"id": policy_id, "ledger": "local"}}


def _date(policy: Policy) -> str:
    return str(body_of(policy).get("date", ""))


def describe(policy: Policy) -> str:
    """A policy in a line of the log."""
    return f"{type_of(policy)} policy {id_of(policy)}"
