"""Policies as text: parsing, printing, structure (spec: metadata, sections 2 and 6)."""

from __future__ import annotations

import json
from typing import Any

from edgelake.errors import EdgeLakeError, error
from edgelake.metadata.ids import Policy


def dumps(value: Any) -> str:
    """One line of JSON as the ledger holds it: ``", "`` and ``": "``, text unescaped, key order kept."""
    return json.dumps(value, ensure_ascii=False)


def wire(policy: Policy) -> str:
    """A policy as it travels and as a master keeps it: one line of ASCII."""
    return json.dumps(policy)


def parse_json(text: str) -> Any:
    """JSON text as data; control characters in texts are taken. Raises EdgeLakeError (6)."""
    try:
        return _DECODER.decode(text)
    except (ValueError, RecursionError) as problem:
        raise error(6, f"not JSON: {problem}") from None


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is no JSON value")


_DECODER = json.JSONDecoder(strict=False, parse_constant=_no_constant)


def check_structure(value: Any) -> Policy:
    """The value itself if it has the form of a policy: one root key, an object below. Raises EdgeLakeError (87)."""
    if not isinstance(value, dict) or len(value) != 1 or not isinstance(next(iter(value.values())), dict):
        raise error(87, 'a policy is {"type": {...}}: one root key with an object below it')
    return value


def parse_policy(text: str) -> Policy:
    """A policy from text. Raises EdgeLakeError (6 not JSON, 87 not a policy)."""
    return check_structure(parse_json(text))


def is_policy(value: Any) -> bool:
    """Whether the value has the form of a policy."""
    try:
        check_structure(value)
    except EdgeLakeError:
        return False
    return True
