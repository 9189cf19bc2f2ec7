"""``name = ...``: what stands on the left, and what is stored.

Source: spec "Command language", section 5.
"""

from __future__ import annotations

import asyncio
import json
import re
from dataclasses import dataclass
from typing import Any

from edgelake import errors
from edgelake.command import transfer
from edgelake.command.context import Context
from edgelake.command.grammar import translate_word
from edgelake.command.tokenizer import Line, Word, balance
from edgelake.command.variables import Variables
from edgelake.errors import CommandError
from edgelake.model import Reply

_NAME = re.compile(r"([!$]?[^\s=+\[\]{}!$\"'()]+)((?:\[[^\[\]]*\])*)(\{\}|\[\])?")
_KEYS = re.compile(r"\[([^\[\]]*)\]")
_FILE = re.compile(r"\[[^\[\]]*=[^\[\]]*\]")


@dataclass(frozen=True)
class Target:
    """The left side of an assignment.

    Attributes:
        name: variable, without ``!``; begins with ``$`` for the environment.
        keys: of a nested value (``a[x][y]``).
        collect: ``[]`` or ``{}``: replies of peers are collected.
        used: words up to and with the ``=``.
        may_run: the right side may be a command (``set k = v`` is always a value).
    """

    name: str
    keys: tuple[str, ...]
    collect: str
    used: int
    may_run: bool

    def prepare(self, ctx: Context) -> None:
        """Remove the old value before a command fills it, except where the command may read it."""
        first = ctx.line.split("=", 1)[-1]
        if not self.keys and not self.name.startswith("$") and f"!{self.name}" not in first:
            ctx.variables.delete(self.name)

    def store(self, ctx: Context, value: str) -> None:
        """Store a value as it is."""
        if self.name.startswith("$"):
            try:
                ctx.variables.set_environment(self.name[1:], value)
            except ValueError as cause:
                raise CommandError(str(cause)) from None
        elif self.keys:
            ctx.variables.set(self.name, _nested(ctx.variables.get(self.name), self.name, self.keys, value))
        else:
            ctx.variables.set(self.name, value)

    def assign(self, ctx: Context, line: Line, first: int) -> None:
        """Store the value that the words from ``first`` on make."""
        words = line.words[first:]
        if not words:
            self.store(ctx, "")
        elif self.keys:
            self.store_value(ctx, _typed(words, ctx.visible, line))
        else:
            self.store(ctx, value_text(line, first, ctx.visible))

    def store_value(self, ctx: Context, value: Any) -> None:
        ctx.variables.set(self.name, _nested(ctx.variables.get(self.name), self.name, self.keys, value))


@dataclass(frozen=True)
class FileTarget:
    """The left side ``[file = f, key = k, show = true]``: the reply of a command, or one key of it, goes to a file.

    Source: spec REST API, section 16.

    Attributes:
        options: text between the brackets.
        used: words up to and with the ``=``.
    """

    options: str
    used: int

    async def write(self, ctx: Context, value: str) -> Reply:
        """Write the file, whole or not at all. Raises EdgeLakeError (6, 63, 78), CommandError, NotPermittedError."""
        options = {}
        for part in self.options.split(","):
            name, found, text = (piece.strip() for piece in part.partition("="))
            if name not in ("file", "key", "show") or not found or not text:
                raise CommandError(f"'[{self.options}]'", hint="write [file = path, key = name, show = true] = ...")
            options[name] = str(ctx.visible.translate(text.strip('"')))
        if not options.get("file"):
            raise CommandError(f"'[{self.options}]' names no file", hint="write [file = path] = ...")
        content = value.encode()
        if "key" in options:
            content = await asyncio.to_thread(_value_of, value, options["key"])
        path = transfer.usable(ctx, options["file"])
        if path.is_dir():
            raise errors.error(78, f"'{path}' is a directory", hint="name the file")
        await transfer.write(transfer.whole(content), path.parent, path.name)
        return Reply.of_text(f"{len(content)} bytes in {path}" if options.get("show", "").lower() == "true" else "")


def _value_of(text: str, key: str) -> bytes:
    """The value of a key of a JSON object: a text as it is, all else as JSON. Raises 6."""
    try:
        found = json.loads(text)
    except (ValueError, RecursionError) as cause:
        raise errors.error(6, f"the reply is no JSON: {cause}", hint="leave out key") from None
    if not isinstance(found, dict) or key not in found:
        has = ", ".join(list(found)[:20]) if isinstance(found, dict) else f"a {type(found).__name__}"
        raise errors.error(6, f"the reply has no key '{key}'", hint=f"it has: {has}")
    value = found[key]
    return (value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)).encode()


def target(line: Line) -> Target | FileTarget | None:
    """The assignment that a line is; None when it isn't one."""
    words = line.words
    if len(words) > 2 and words[1].is_("=") and words[0].bare and _FILE.fullmatch(words[0].text):
        return FileTarget(words[0].text[1:-1], 2)
    first = 0
    may_run = True
    if len(words) > 2 and words[0].is_("set") and words[2].is_("=") and not words[1].text.startswith("!"):
        first, may_run = 1, False
    if len(words) < first + 2 or not words[first + 1].is_("=") or not words[first].bare:
        return None
    found = _NAME.fullmatch(words[first].text)
    if found is None or found[1] in ("!", "$"):
        return None
    keys = tuple(key.strip().strip("\"'") for key in _KEYS.findall(found[2]))
    collect = found[3] or ""
    if keys and keys[-1] == "":
        keys, collect = keys[:-1], "[]"
    return Target(found[1].removeprefix("!"), keys, collect, first + 2, may_run)


def is_value(line: Line) -> bool:
    """Whether a line is a value to print: a reference, quoted text, or a concatenation."""
    word = line.words[0]
    return (
        word.bare and word.text[0] in "!$" and len(word.text) > 1 and (len(line.words) == 1 or _concatenated(line, 0))
    ) or (len(line.words) > 2 and _concatenated(line, 0))


def value_text(line: Line, first: int, variables: Variables) -> str:
    """The text that words make: JSON stays as written, ``+`` concatenates, else one blank between words.

    Raises 302 when ``+`` does not alternate with values, 6 or 11 for JSON that isn't balanced.
    """
    words = line.words[first:]
    if words and words[0].text[:1] in "{[" and words[0].bare:
        source = line.source(first)
        if balance(source) == 0:
            return " ".join(source.split("\n")).replace("\t", " ")
    if any(word.is_("+") for word in words):
        if not _concatenated(line, first):
            raise errors.error(302, f"'{line.source(first)[:60]}'", hint="values and + take turns: a = !b + c")
        return "".join(_plain(word, variables) for word in words[::2])
    if len(words) == 1:
        return _plain(words[0], variables)
    return glue(words, variables)


def glue(words: tuple[Word, ...], variables: Variables) -> str:
    """Words translated, one blank where the source had any, empty ones left out."""
    text = ""
    end = -1
    for word in words:
        value = _plain(word, variables)
        if value:
            text += (" " if text and word.start > end else "") + value
        end = word.end
    return text


def _concatenated(line: Line, first: int) -> bool:
    words = line.words[first:]
    return len(words) % 2 == 1 and all(word.is_("+") == bool(index % 2) for index, word in enumerate(words))


def _plain(word: Word, variables: Variables) -> str:
    value = translate_word(word, variables)
    if isinstance(value, bool):
        return "true" if value else "false"
    return value if isinstance(value, str) else str(value)


def _typed(words: tuple[Word, ...], variables: Variables, line: Line) -> Any:
    """A value inside a JSON object: typed references keep their type, ``{}`` and ``[]`` are JSON."""
    if len(words) == 1:
        value = translate_word(words[0], variables)
        if isinstance(value, str) and words[0].bare and value.strip()[:1] in ("{", "["):
            return json_value(value, variables)
    else:
        value = value_text(line, line.words.index(words[0]), variables)
    # Single quotes are no part of it here, as in the reference; those of a plain variable stay.
    return value[1:-1] if isinstance(value, str) and re.fullmatch(r"'[^']*'", value) else value


def json_value(text: str, variables: Variables) -> Any:
    """JSON text with its references filled in. Raises 6."""
    try:
        return json.loads(variables.fill(text))
    except (ValueError, RecursionError) as cause:
        raise errors.error(6, f"{cause}: {text[:80]}") from None


def _nested(old: str, name: str, keys: tuple[str, ...], value: Any) -> str:
    """The JSON text of ``name`` with the value at ``keys`` set; objects on the way are made.

    Raises 6 when ``name`` holds something that is no JSON object.
    """
    base: Any = {}
    if old:
        try:
            base = json.loads(old)
        except (ValueError, RecursionError) as cause:
            raise errors.error(6, f"!{name} is no JSON: {cause}") from None
    put(base, keys, value, name)
    return json.dumps(base, ensure_ascii=False)


def put(base: Any, keys: tuple[str, ...], value: Any, name: str, *, append: bool = False) -> None:
    """Set ``base[k1][k2]...``, or append to the list there; missing objects and lists are made. Raises 6."""
    node = base
    for index, key in enumerate(keys):
        last = index == len(keys) - 1
        if isinstance(node, list) and key.lstrip("-").isdigit() and -len(node) <= int(key) < len(node):
            slot: Any = int(key)
        elif isinstance(node, dict):
            slot = key
        else:
            raise errors.error(6, f"[{key}] of '{name}': its parent is no JSON object")
        if not last:
            if isinstance(slot, str):
                node.setdefault(slot, {})
            node = node[slot]
        elif append:
            held = node.setdefault(slot, []) if isinstance(node, dict) else node[slot]
            if not isinstance(held, list):
                raise errors.error(6, f"[{key}] of '{name}' is no list")
            held.append(value)
        else:
            node[slot] = value
