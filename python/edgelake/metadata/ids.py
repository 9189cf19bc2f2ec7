"""Id and automatic fields of a policy (spec: metadata, sections 2 and 3)."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime
from typing import Any

Policy = dict[str, Any]
"""A policy as parsed from JSON: root keys (normally one, the type) to bodies."""

AUTOMATIC = ("id", "date", "ledger")
_HASHED_KEYS = {
    "table": ("company", "name", "dbms"),
    "cluster": ("company", "name", "parent", "table"),
}


def type_of(policy: Policy) -> str:
    """The first root key."""
    return next(iter(policy))


def body_of(policy: Policy) -> dict[str, Any]:
    """The attributes below the first root key."""
    body: dict[str, Any] = next(iter(policy.values()))
    return body


def id_of(policy: Policy) -> str:
    """The id as text; empty when the policy has none."""
    value = body_of(policy).get("id")
    return "" if value is None else str(value)


def hashed_text(policy: Policy) -> str:
    """The text whose md5 is the id.

    Python's own literal form is the definition (spec: metadata, section 3), so ``repr`` prints it.
    """
    kind, body = type_of(policy), body_of(policy)
    keys = _HASHED_KEYS.get(kind)
    if keys:
        return f"{kind}:" + "".join(f"{key}:{body[key]}:" for key in keys if key in body)
    return repr({kind: {key: value for key, value in body.items() if key not in AUTOMATIC}})


def make_id(policy: Policy) -> str:
    """Lower-case hex md5 of :func:`hashed_text`."""
    # A lone surrogate (possible in JSON escapes) has no UTF-8 form; its escaped form keeps the id defined.
    return hashlib.md5(hashed_text(policy).encode("utf-8", "backslashreplace"), usedforsecurity=False).hexdigest()


def utc_text(now: datetime | None = None) -> str:
    """``YYYY-MM-DDTHH:MM:SS.ffffffZ``, always six digits."""
    return (now or datetime.now(UTC)).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def complete(policy: Policy, *, date: str = "") -> Policy:
    """A copy with id and date, in the order that the reference writes.

    Given keys first, then id, date, ledger; a given date or ledger moves to the end. With id and date both given
    nothing moves.
    """
    kind, body = type_of(policy), body_of(policy)
    if body.get("id") and body.get("date"):
        return {**policy, kind: dict(body)}
    moved = AUTOMATIC if not body.get("id") else ("date", "ledger")
    ordered = {key: value for key, value in body.items() if key not in moved}
    if not body.get("id"):
        ordered["id"] = make_id(policy)
    ordered["date"] = body.get("date") or date or utc_text()
    if "ledger" in body:
        ordered["ledger"] = body["ledger"]
    return {**policy, kind: ordered}


def with_ledger(policy: Policy, ledger: str) -> Policy:
    """A copy whose last attribute is ``ledger``."""
    kind, body = type_of(policy), body_of(policy)
    return {**policy, kind: {**{k: v for k, v in body.items() if k != "ledger"}, "ledger": ledger}}
