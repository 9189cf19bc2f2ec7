"""Settings of the node that belong to the language: home, prompt, policies in the dictionary.

Source: spec "Command language", sections 5, 6 and 13.
"""

from __future__ import annotations

import asyncio
import json
import re
from pathlib import Path
from typing import Annotated, Any, Literal

from edgelake import errors
from edgelake.command.assignment import json_value, put
from edgelake.command.context import Context
from edgelake.command.grammar import Tail, translate_word
from edgelake.command.handlers.identity import gate_of
from edgelake.command.registry import command
from edgelake.command.tokenizer import Word, tokenise
from edgelake.errors import CommandError
from edgelake.model import CommandClass, Reply, Table

_KEYS = re.compile(r"\[([^\[\]]*)\]")


@command(
    "set anylog home",
    "set edgelake home",
    cls=CommandClass.ADMIN,
    topics=("configuration",),
    examples=("set edgelake home !edgelake_path",),
)
async def set_home(ctx: Context, path: str) -> Reply:
    """Put all directories of the node below another folder, which must exist."""
    ctx.directories.set_home(Path(path).expanduser())
    if ctx.policies is not None:
        await ctx.policies.load(ctx.directories.path("blockchain_file"))
    await asyncio.to_thread(gate_of(ctx).identities.load)
    return Reply.done()


@command(
    "create work directories",
    cls=CommandClass.ADMIN,
    topics=("configuration",),
    examples=("create work directories",),
)
async def create_work_directories(ctx: Context) -> Reply:
    """Create the node's directories with their parents. What fails is shown and logged."""
    failed = ctx.directories.create()
    for text in failed:
        ctx.logs.error(f"create work directories: {text}")
    return Reply.of_text("\r\n".join(failed)) if failed else Reply.done()


@command("set cli", cls=CommandClass.ADMIN, topics=("configuration",), examples=("set cli off",))
async def set_cli(ctx: Context, mode: Literal["on", "off"]) -> Reply:
    """Switch the prompt off: the node runs until ``exit node``."""
    ctx.node.settings["cli"] = mode == "on"
    return Reply.of_text("EdgeLake CLI disabled") if mode == "off" else Reply.done()


@command(
    "set exception traceback",
    cls=CommandClass.ADMIN,
    topics=("configuration",),
    examples=("set exception traceback on",),
)
async def set_traceback(ctx: Context, mode: Literal["on", "off"]) -> Reply:
    """Whether a fault of the node shows its trace at the prompt; the log has it in any case."""
    ctx.node.settings["traceback"] = mode == "on"
    return Reply.done()


@command(
    "trace level",
    cls=CommandClass.ADMIN,
    topics=("configuration",),
    examples=("trace level", "trace level = 1 run client", "trace level = 0"),
)
async def trace_level(ctx: Context, what: Annotated[str, Tail()] = "") -> Reply:
    """Show the trace levels that are not zero, or set one: ``trace level = n [command]``."""
    levels: dict[str, int] = ctx.node.settings.setdefault("trace", {})
    words = tokenise(what).words
    if not words or not words[0].is_("="):
        rows = [(name or "*", level) for name, level in sorted(levels.items()) if level and what in ("", name)]
        return Reply.of_table(Table(("Command", "Level"), rows), data=dict(rows))
    level = str(translate_word(words[1], ctx.visible)) if len(words) > 1 else ""
    if not level.isdigit():
        raise CommandError(f"trace level '{level}' is not numeric", hint="trace level = 1")
    name = " ".join(word.text for word in words[2:])
    if int(level):
        levels[name] = int(level)
    else:
        levels.pop(name, None)
    return Reply.done()


@command(
    "set policy",
    cls=CommandClass.ADMIN,
    topics=("metadata", "script"),
    examples=("set policy p [operator] = {} and [operator][port] = !port.int and [operator][script] + 'get status'",),
)
async def set_policy(ctx: Context, changes: Annotated[str, Tail()]) -> Reply:
    """Change a JSON object that is kept in a variable: ``[k][k] = v`` sets, ``[k][k] + v`` appends to a list."""
    line = tokenise(changes)
    if line.fault:
        raise errors.error(line.fault[0], line.fault[1])
    name = line.words[0].text.removeprefix("!")
    base = _policy_base(ctx, name)
    words = list(line.words[1:])
    if not words:
        raise CommandError(f"Nothing to set in '{name}'", hint="set policy p [key] = value")
    for part in _split(words):
        keys = tuple(_policy_key(key.strip(), ctx) for key in _KEYS.findall(part[0].text))
        if not keys or "".join(f"[{key}]" for key in _KEYS.findall(part[0].text)) != part[0].text:
            raise CommandError(f"'{part[0].text}' is no key", hint="write [key] or [key][key]")
        if len(part) < 3 or not (part[1].is_("=") or part[1].is_("+")):
            raise CommandError(f"Missing '=' sign for key: '{part[0].text}'")
        put(base, keys, _policy_value(part[2:], ctx), name, append=part[1].is_("+"))
    ctx.variables.set(name, json.dumps(base, ensure_ascii=False))
    return Reply.done()


def _policy_key(key: str, ctx: Context) -> str:
    """A key as written, or the value of ``!name``."""
    if not key.startswith("!"):
        return key.strip("\"'")
    value = str(ctx.visible.translate(key))
    if not value:
        raise CommandError(f"Missing dictionary definition for: '{key}'")
    return value


def _policy_base(ctx: Context, name: str) -> Any:
    """The object that a variable holds, the references of a template filled in; a new one when it holds nothing."""
    text = ctx.variables.get(name)
    if not text:
        return {}
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return json_value(text, ctx.visible)


def _split(words: list[Word]) -> list[list[Word]]:
    """Changes between ``and`` words; an ``and`` inside a value stays: only one before a key divides."""
    parts: list[list[Word]] = [[]]
    for index, word in enumerate(words):
        follows = words[index + 1] if index + 1 < len(words) else None
        if word.is_("and") and (follows is None or (follows.bare and follows.text.startswith("["))):
            parts.append([])
        else:
            parts[-1].append(word)
    return [part for part in parts if part]


def _policy_value(words: list[Word], ctx: Context) -> Any:
    if len(words) > 1:
        return " ".join(str(translate_word(word, ctx.visible)) for word in words)
    word = words[0]
    if word.quote == "'":  # as it is: a reference stays for who applies the policy
        return word.text[1:-1]
    value = translate_word(word, ctx.visible)
    if isinstance(value, str) and word.bare:
        if value.strip()[:1] in ("{", "["):
            return json_value(value, ctx.visible)
        if value == "" and word.text[:1] in "!$":
            raise CommandError(f"Missing dictionary definition for: '{word.text}'")
        if value in ("true", "false") and word.text == value:
            return value == "true"
    return value
