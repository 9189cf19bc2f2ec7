"""Paths in square brackets over JSON values: ``[a][b]``, ``[list][0]``, ``[list][][key]``, ``[*][name]``.

Source: spec "Metadata", section 7; "Brokers and mapping", section 7. A path is data: it is parsed once and walked,
never run as code.
"""

from __future__ import annotations

import json
import re
from typing import Any, Final

from msgspec import Struct

from edgelake.errors import error

_FUNCTION = re.compile(r"^(.*)\((prefix|suffix|find|rfind)\((.*)\)\)$", re.DOTALL)
EACH: Final = "[]"


class Absent:
    """Marks a value that a path does not find."""

    def __bool__(self) -> bool:
        return False

    def __repr__(self) -> str:
        return "ABSENT"


ABSENT: Final = Absent()


class Path(Struct, frozen=True):
    """Steps from the root of an object, and a text function applied to what is found."""

    steps: tuple[str, ...]
    function: str = ""
    argument: str = ""

    @property
    def is_type(self) -> bool:
        """``[]`` or ``[*]`` alone: the type of the policy."""
        return self.steps in ((EACH,), ("*",))

    @property
    def name(self) -> str:
        """Last key of the path: the attribute's name in JSON and table results."""
        if self.is_type:
            return "policy"
        return next((s for s in reversed(self.steps) if s != EACH and not s.isdigit()), self.steps[-1])


def scan(text: str, start: int) -> tuple[Path, int]:
    """The path that begins with the bracket at ``start``, and the offset behind it. Raises EdgeLakeError (2)."""
    steps: list[str] = []
    at = start
    function = argument = ""
    while at < len(text) and text[at] == "[":
        end = _closing(text, at)
        key = text[at + 1 : end].strip()
        match = _FUNCTION.match(text[at + 1 : end])
        if match and (end + 1 >= len(text) or text[end + 1] != "["):
            key, function, argument = match.group(1).strip(), match.group(2), match.group(3)
            if function in ("prefix", "suffix") and not argument.strip().isdigit():
                raise error(2, f"{function}({argument}): a number of characters is needed")
        steps.append(_unquoted(key) if key else EACH)
        at = end + 1
    return Path(tuple(steps), function, argument), at


def _closing(text: str, start: int) -> int:
    at = start + 1
    quote = text[at] if at < len(text) and text[at] in "'\"" else ""
    if quote:
        close = text.find(quote, at + 1)
        at = close if close >= 0 else at
    end = text.find("]", at)
    if end < 0:
        raise error(2, f"no ']' closes '{text[start:]}'")
    return end


def _unquoted(key: str) -> str:
    return key[1:-1] if len(key) >= 2 and key[0] == key[-1] and key[0] in "'\"" else key


def find(root: Any, path: Path) -> Any:
    """The value at ``path``, or ABSENT. Null and the empty text count as absent (zero and false do not).

    A ``[]`` step gives the list of what its elements hold; elements that lack the key are left out.
    Raises EdgeLakeError (6) when ``[]`` meets something that is no list.
    """
    if path.is_type:
        return next(iter(root)) if isinstance(root, dict) and root else ABSENT
    value = _walk(root, path.steps)
    if value is None or (isinstance(value, str) and not value):
        return ABSENT
    if value is not ABSENT and path.function:
        return apply(path.function, path.argument, to_text(value)) or ABSENT
    return value


def _walk(value: Any, steps: tuple[str, ...]) -> Any:
    for number, step in enumerate(steps):
        if step == EACH:
            if not isinstance(value, list):
                raise error(6, "'[]' needs a list", path="".join(f"[{s}]" for s in steps))
            rest = steps[number + 1 :]
            if not rest:
                return value
            found = [_walk(entry, rest) for entry in value]
            kept = [v for v in found if v is not ABSENT and v is not None and v != ""]
            return [v for one in kept for v in one] if EACH in rest else kept
        if isinstance(value, dict):
            if step == "*" and "*" not in value and number == 0 and value:
                value = next(iter(value.values()))
            elif step in value:
                value = value[step]
            else:
                return ABSENT
        elif isinstance(value, list) and step.isdigit() and int(step) < len(value):
            value = value[int(step)]
        else:
            return ABSENT
    return value


def apply(function: str, argument: str, text: str) -> str:
    """Part of a text. ``find``/``rfind`` give the whole text when the argument is not in it."""
    if function == "prefix":
        return text[: int(argument)]
    if function == "suffix":
        count = int(argument)
        return text[-count:] if count else ""
    if function == "find":
        return text.partition(argument)[0] if argument else text
    return text.rpartition(argument)[2] if argument else text


def to_text(value: Any) -> str:
    """A value in a text context: ``True``/``False``, numbers as printed, objects as JSON.

    A list of plain values prints as the reference prints it (Python's form), since scripts compare that text.
    """
    if isinstance(value, str):
        return value
    if isinstance(value, dict) or (isinstance(value, list) and any(isinstance(v, dict | list) for v in value)):
        return json.dumps(value, ensure_ascii=False)
    return str(value)


def element_text(values: list[Any]) -> str:
    """What an iterated path (``[list][][key]``) prints: a JSON list without blanks."""
    return json.dumps(values, ensure_ascii=False, separators=(",", ":"))
