"""Policies as text: parsing, printing, and ``!name`` references inside JSON (spec: metadata, section 5)."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

from edgelake.errors import EdgeLakeError, error
from edgelake.metadata.ids import Policy

Lookup = Callable[[str], str]
"""Value of a dictionary name; empty when it has none."""

_REFERENCE = re.compile(r"!([A-Za-z_][\w-]*)(?:\.(int|float|bool|str))?(?=[\s,:\]}]|$)")
_MAX_DEPTH = 64  # references inside values of references


def dumps(value: Any) -> str:
    """One line of JSON as the ledger holds it: ``", "`` and ``": "``, text unescaped, key order kept."""
    return json.dumps(value, ensure_ascii=False)


def _cast(name: str, text: str, cast: str) -> str:
    try:
        if cast == "int":
            return str(int(text))
        if cast == "float":
            return repr(float(text))
    except ValueError:
        raise error(40, f"'!{name}.{cast}' is '{text}', not a number", hint="set the variable to a number") from None
    if cast == "bool":
        return "true" if text.lower() not in ("", "false") else "false"
    if cast == "str":
        return json.dumps(text, ensure_ascii=False)
    return text if text[:1] in ("{", "[") else json.dumps(text, ensure_ascii=False)


def resolve(text: str, lookup: Lookup, depth: int = 0) -> str:
    """Replace ``!name`` and ``!name.cast`` outside quotes by values from the dictionary.

    A text gets quotes; numbers, booleans and JSON values go in raw. Inside quotes nothing is replaced.
    Raises EdgeLakeError (40) for a name without a value or a value that the cast refuses.
    """
    if depth > _MAX_DEPTH:
        raise error(40, "variables of the policy refer to each other without end")
    parts: list[str] = []
    at = 0
    while at < len(text):
        char = text[at]
        if char == '"':
            end = _end_of_string(text, at)
            parts.append(text[at:end])
            at = end
            continue
        match = _REFERENCE.match(text, at) if char == "!" else None
        if match is None:
            parts.append(char)
            at += 1
            continue
        name, cast = match.group(1), match.group(2) or ""
        value = lookup(name)
        if not value and cast != "bool":
            raise error(40, f"Missing dictionary definition for: '!{name}'", hint=f"set {name} first")
        replaced = _cast(name, value, cast)
        parts.append(resolve(replaced, lookup, depth + 1) if replaced[:1] in ("{", "[") else replaced)
        at = match.end()
    return "".join(parts)


def _end_of_string(text: str, start: int) -> int:
    at = start + 1
    while at < len(text):
        if text[at] == "\\":
            at += 2
        elif text[at] == '"':
            return at + 1
        else:
            at += 1
    return len(text)


def parse_json(text: str, lookup: Lookup | None = None) -> Any:
    """JSON text (with references when ``lookup`` is given) as data. Raises EdgeLakeError (6)."""
    if lookup is not None:
        text = resolve(text, lookup)
    try:
        return json.loads(text, strict=False, parse_constant=_no_constant)
    except (ValueError, RecursionError) as problem:
        raise error(6, f"not JSON: {problem}") from None


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is no JSON value")


def check_structure(value: Any) -> Policy:
    """The value itself if it has the form of a policy: one root key, an object below. Raises EdgeLakeError (87)."""
    if not isinstance(value, dict) or len(value) != 1 or not isinstance(next(iter(value.values())), dict):
        raise error(87, 'a policy is {"type": {...}}: one root key with an object below it')
    return value


def parse_policy(text: str, lookup: Lookup | None = None) -> Policy:
    """A policy from text. Raises EdgeLakeError (6 not JSON, 87 not a policy)."""
    return check_structure(parse_json(text, lookup))


def is_policy(value: Any) -> bool:
    """Whether the value has the form of a policy."""
    try:
        check_structure(value)
    except EdgeLakeError:
        return False
    return True
