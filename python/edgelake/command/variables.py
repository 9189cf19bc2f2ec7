"""The dictionary of a node: names to text, and every form in which a word refers to it.

Source: spec "Command language", section 5.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator, Mapping, MutableMapping
from typing import Any

_NAME = re.compile(r"[^.\[\]/\\!$]+")
_SUFFIX = re.compile(r"\.([A-Za-z_]\w*)|\[([^\[\]]*)\]")
_PIECE = re.compile(r"[!$][^!$./\\]*|[./\\]|[^!$./\\]+")
_SLICE = re.compile(r"\s*(-?\d*)\s*:\s*(-?\d*)\s*")
_PLAIN_SLICE = re.compile(r"([^\[\]{}()]+)(\[-?\d*:-?\d*\])")
_INNER_PATH = re.compile(r"[/\\][!$]\w")
_CASTS = frozenset({"int", "float", "str", "bool", "name", "len", "replies", "diff"})
_FILL = re.compile(r'(?<=[\s:\[{,])([!$](?:\[[^\[\]]*\]|[^\s,\[\]}"\'])+)')
SECRETS = re.compile(r"passw|passwd|secret|private|token|access_key|credential", re.IGNORECASE)


class Variables:
    """Names and their values, always text. Shared by everything that runs in one node.

    Args:
        environ: the environment that ``$NAME`` reads and ``set $NAME = v`` changes.
    """

    def __init__(self, environ: MutableMapping[str, str] | None = None) -> None:
        self._values: dict[str, str] = {}
        self.environ: MutableMapping[str, str] = os.environ if environ is None else environ

    def get(self, name: str, default: str = "") -> str:
        """Value of a name, without ``!``; ``default`` when it isn't set."""
        return self._values.get(name, default)

    def set(self, name: str, value: object) -> None:
        """Set a name; an empty value removes it."""
        text = value if isinstance(value, str) else _text(value)
        if text in ("", "''", '""'):
            self._values.pop(name, None)
        else:
            self._values[name] = text

    def delete(self, name: str) -> None:
        self._values.pop(name, None)

    def set_environment(self, name: str, value: str) -> None:
        """Set a variable of the environment; an empty value removes it."""
        try:
            if value:
                self.environ[name] = value
            else:
                self.environ.pop(name, None)
        except (ValueError, OSError) as cause:
            raise ValueError(f"'{name}' is no name of the environment: {cause}") from None

    def __contains__(self, name: str) -> bool:
        return name in self._values

    def __iter__(self) -> Iterator[str]:
        return iter(sorted(self._values))

    def items(self) -> list[tuple[str, str]]:
        """All names with their values, sorted by name."""
        return sorted(self._values.items())

    def environment(self, name: str) -> str:
        """Value of ``$name``; a value that begins with ``!`` is looked up again."""
        value = self.environ.get(name, "")
        return self.get(value[1:]) if value[:1] == "!" else value

    def view(self, *, secrets: bool) -> Variables | RestrictedVariables:
        """The dictionary as a caller may see it: without ``secrets``, passwords and the environment are empty."""
        return self if secrets else RestrictedVariables(self)

    def translate(self, word: str) -> Any:
        """The value of a word: references replaced, a cast (``!p.int``) gives a typed value; text without references
        is returned as it is, unset references are empty text."""
        first = word[:1]
        if first == "!":
            if word[1:2] == "!":
                return word[1:]
            return self._reference(word)
        if first == "$" and len(word) > 1:
            return self._environment_word(word)
        if _INNER_PATH.search(word):
            return self._path(word)
        sliced = _PLAIN_SLICE.fullmatch(word)
        return _slice(sliced[1], sliced[2][1:-1]) if sliced else word

    def fill(self, text: str) -> str:
        """A JSON template with its references filled in: text is quoted, typed values and JSON go in raw. References
        inside quotes stay; a text in single quotes becomes one of JSON."""
        parts = re.split(r'("(?:[^"\\]|\\.)*"|\'[^\']*\')', text)
        for index in range(0, len(parts), 2):
            parts[index] = _FILL.sub(lambda found: self._json_value(found[1]), parts[index])
        for index in range(1, len(parts), 2):
            if parts[index][0] == "'":
                parts[index] = json.dumps(parts[index][1:-1], ensure_ascii=False)
        return "".join(parts)

    def _json_value(self, reference: str) -> str:
        value = self.translate(reference)
        if not isinstance(value, str):
            return json.dumps(value)
        stripped = value.strip()
        if stripped[:1] in ("{", "["):
            return stripped
        return json.dumps(value)

    def _reference(self, word: str) -> Any:
        whole = word[1:]
        if whole in self:
            return self.get(whole)
        name = _NAME.match(whole)
        if name is None:
            return word
        suffix = whole[name.end() :]
        base = self.get(name[0])
        if not suffix:
            return base
        steps = _SUFFIX.findall(suffix)
        if "".join(f".{a}" if a else f"[{b}]" for a, b in steps) != suffix:
            return self._path(word)
        if steps[0][0] and steps[0][0] not in _CASTS and not base.lstrip().startswith(("[", "{")):
            return self._path(word)
        return _apply(base, steps)

    def _environment_word(self, word: str) -> Any:
        name = _NAME.match(word[1:])
        if name is None:
            return word
        suffix = word[1 + name.end() :]
        value = self.environment(name[0])
        if not suffix:
            return value
        steps = _SUFFIX.findall(suffix)
        if "".join(f".{a}" if a else f"[{b}]" for a, b in steps) == suffix and (
            not steps[0][0] or steps[0][0] in _CASTS
        ):
            return _apply(value, steps)
        return self._path(word)

    def _path(self, word: str) -> str:
        """``!dir/sub/file.al``: every reference replaced; one without a value empties the whole."""
        parts: list[str] = []
        for piece in _PIECE.findall(word):
            if piece[0] in "!$" and len(piece) > 1:
                value = self.get(piece[1:]) if piece[0] == "!" else self.environment(piece[1:])
                if not value:
                    return ""
                if parts and parts[-1] == "/" and value.startswith("/") and len(parts) > 1:
                    value = value[1:]
                parts.append(value.rstrip("/") if value.endswith("/") and value != "/" else value)
            else:
                parts.append(piece)
        return "".join(parts)


class RestrictedVariables(Variables):
    """A view for callers who may not see secrets: no environment, no names that look like passwords or keys."""

    def __init__(self, base: Variables) -> None:
        super().__init__({})
        self._values = base._values

    def get(self, name: str, default: str = "") -> str:
        return default if SECRETS.search(name) else super().get(name, default)

    def __contains__(self, name: str) -> bool:
        return super().__contains__(name) and not SECRETS.search(name)

    def items(self) -> list[tuple[str, str]]:
        return [(name, value) for name, value in super().items() if not SECRETS.search(name)]


class RowVariables(Variables):
    """The dictionary, with the values of a row before its own. What is set goes to the dictionary."""

    def __init__(self, base: Variables, row: Mapping[str, object]) -> None:
        super().__init__(base.environ)
        self._values = base._values
        self._row = {name: value if isinstance(value, str) else _text(value) for name, value in row.items()}

    def get(self, name: str, default: str = "") -> str:
        return self._row.get(name) or super().get(name, default)

    def __contains__(self, name: str) -> bool:
        return name in self._row or super().__contains__(name)


def _apply(value: str, steps: list[tuple[str, str]]) -> Any:
    """Casts, slices and JSON elements, one after another."""
    result: Any = value
    for index, (attribute, inside) in enumerate(steps):
        listed = isinstance(result, str) and result.lstrip()[:1] in ("[", "{")
        if attribute in _CASTS and not (attribute == "name" and listed):
            result = cast(result, attribute)
        elif attribute:
            result = _element(result, attribute, followed=index + 1 < len(steps))
        elif _SLICE.fullmatch(inside):
            result = _slice(result if isinstance(result, str) else _text(result), inside)
        else:
            result = _element(result, inside.strip(), followed=True)
        if result is None or result == "":
            return ""
    return result if isinstance(result, str | int | float | bool) else _text(result)


def cast(value: Any, kind: str) -> Any:
    """A cast of the language. A failed one gives empty text; ``bool`` is false only for ``false`` and empty."""
    text = value if isinstance(value, str) else _text(value)
    try:
        match kind:
            case "int":
                return int(text) if len(text) < 400 else ""
            case "float":
                return float(text)
            case "bool":
                return text.strip().lower() not in ("", "false")
            case "name":
                return text.strip().lower().replace(" ", "_")
            case "len":
                return _length(text)
            case "replies":
                return sum(1 for reply in _replies(text) if reply not in ("", None))
            case "diff":
                return sum(1 for reply in _replies(text) if reply in ("", None))
    except ValueError:
        return ""
    return text


def _length(text: str) -> int:
    if text.lstrip()[:1] in ("[", "{"):
        try:
            return len(json.loads(text))
        except (ValueError, RecursionError):
            return len(text)
    return len(text)


def _replies(text: str) -> list[Any]:
    """The replies of a collection: ``[[node, reply], ...]`` or ``{node: reply}``."""
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return []
    if isinstance(found, dict):
        return list(found.values())
    if isinstance(found, list):
        return [item[1] if isinstance(item, list) and len(item) > 1 else item for item in found]
    return []


def _slice(text: str, inside: str) -> str:
    found = _SLICE.fullmatch(inside)
    if not found:
        return text
    first = int(found[1]) if found[1] not in ("", "-") else None
    last = int(found[2]) if found[2] not in ("", "-") else None
    return text[first:last]


def _element(value: Any, key: str, *, followed: bool) -> Any:
    """An element of a JSON list or object; an attribute of a list is that attribute of every element."""
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except (ValueError, RecursionError):
            return ""
    if isinstance(value, dict):
        return value.get(key, "")
    if isinstance(value, list):
        if key.lstrip("-").isdigit():
            index = int(key)
            return value[index] if -len(value) <= index < len(value) else ""
        found = [item[key] for item in value if isinstance(item, dict) and key in item]
        return found if followed or len(found) != 1 else found[0]
    return ""


def _text(value: object) -> str:
    """A value as the dictionary keeps it: text as is, everything else as JSON."""
    if isinstance(value, str):
        return value
    return json.dumps(value, ensure_ascii=False, default=str)
