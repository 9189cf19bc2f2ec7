"""``help``: made from the registry.

Source: spec "Command language", section 13.
"""

from __future__ import annotations

import textwrap
from typing import Annotated, Any

from edgelake.command.context import Context
from edgelake.command.grammar import Tail
from edgelake.command.registry import Command, command
from edgelake.command.tokenizer import tokenise
from edgelake.errors import CommandError
from edgelake.model import CommandClass, Reply

_WIDTH = 87  # of a usage line, behind its title


@command(
    "help",
    cls=CommandClass.DATA,
    topics=("help",),
    examples=("help", "help connect dbms", "help index script", "help print where format = mcp"),
)
async def help_(ctx: Context, what: Annotated[str, Tail()] = "") -> Reply:
    """Explain a command, list the commands that begin with words, or those of an index word."""
    what, form = _split_format(what)
    words = what.split()
    if words[:1] == ["index"]:
        return _index(ctx, " ".join(words[1:]).lower())
    if form is not None and not words:
        return _described(list(ctx.registry), form)
    if not words:
        return _commands(list(ctx.registry))
    exact = ctx.registry.get(what.lower())
    starts = [entry for entry in ctx.registry if f"{entry.phrase} ".startswith(f"{what.lower()} ")]
    if exact is not None and (len(starts) == 1 or form is not None):
        return _described([exact], form) if form else Reply.of_data(describe(exact), text=help_text(exact))
    if starts:
        if form is not None:
            return _described(starts, form)
        text = (help_text(exact) + "\r\n\r\n" if exact else "") + "\r\n".join(entry.usage for entry in starts)
        return Reply.of_data([describe(entry) for entry in starts], text=text)
    match = ctx.registry.match(tokenise(what).words)
    if match is not None:
        return Reply.of_data(describe(match.command), text=help_text(match.command))
    near = ctx.registry.similar(what)
    raise CommandError(
        f"No command '{what}'", hint=f"similar: {', '.join(near)}" if near else "help index lists all topics"
    )


def help_text(entry: Command) -> str:
    """Usage, explanation, examples, index and link of a command."""
    state = "\r\n             Not available yet." if entry.later else ""
    usage = "\r\n             ".join(textwrap.wrap(entry.usage, _WIDTH, break_long_words=False))
    lines = [f"Usage:       {usage}{state}", f"Explanation: {entry.help.splitlines()[0] if entry.help else ''}"]
    lines += [f"             {line}" for line in entry.help.splitlines()[1:] if line]
    lines.append("Examples:    " + "\r\n             ".join(entry.examples))
    lines.append(f"Index:       {', '.join(entry.topics)}")
    lines.append(f"Class:       {entry.cls}")
    if entry.link:
        lines.append(f"Link:        {entry.link}")
    return "\r\n".join(lines)


def describe(entry: Command) -> dict[str, Any]:
    """A command as data."""
    return {
        "command": entry.phrase,
        "usage": entry.usage,
        "explanation": entry.help,
        "examples": list(entry.examples),
        "index": list(entry.topics),
        "class": str(entry.cls),
        "available": not entry.later,
        "keys": {
            param.key: {"type": param.kind.name, "required": param.required, "repeatable": param.many}
            for param in entry.grammar.pairs
        },
    }


def _described(entries: list[Command], form: str) -> Reply:
    if form == "json":
        return Reply(data=[describe(entry) for entry in entries], has_data=True, json_wanted=True)
    tools = [_tool(entry) for entry in entries if not entry.later]
    return Reply(data=tools, has_data=True, json_wanted=True)


def _tool(entry: Command) -> dict[str, Any]:
    """A command as the description of a tool, the form that MCP clients read."""
    kinds = {"number": "number", "true/false": "boolean", "json": "object"}
    properties: dict[str, Any] = {}
    for param in (*entry.grammar.positional, *entry.grammar.pairs):
        schema: dict[str, Any] = {"type": kinds.get(param.kind.name, "string")}
        if param.choices:
            schema["enum"] = list(param.choices)
        properties[param.key] = {"type": "array", "items": schema} if param.many else schema
    required = [p.key for p in (*entry.grammar.positional, *entry.grammar.pairs) if p.required]
    return {
        "name": entry.phrase.replace(" ", "_"),
        "description": entry.help,
        "usage": entry.usage,
        "inputSchema": {"type": "object", "properties": properties, "required": required},
    }


def _index(ctx: Context, word: str) -> Reply:
    """Topics with their commands; one topic, or those that begin with the word."""
    topics: dict[str, list[str]] = {}
    for entry in ctx.registry:
        for topic in entry.topics:
            if topic.lower().startswith(word):
                topics.setdefault(topic, []).append(entry.phrase)
    if not topics:
        raise CommandError(f"No topic '{word}'", hint="help index lists all topics")
    if not word:
        text = "\r\n".join(f"{topic:<16} {len(phrases)} commands" for topic, phrases in sorted(topics.items()))
    else:
        text = "\r\n".join(
            "\r\n".join([f"{topic}:", *(f"    {phrase}" for phrase in phrases)])
            for topic, phrases in sorted(topics.items())
        )
    return Reply.of_data({topic: topics[topic] for topic in sorted(topics)}, text=text)


def _commands(entries: list[Command]) -> Reply:
    """All commands, grouped by their first word."""
    groups: dict[str, list[str]] = {}
    for entry in entries:
        groups.setdefault(entry.phrase.split()[0], []).append(entry.phrase)
    lines = []
    for first, phrases in groups.items():
        rest = [phrase.removeprefix(first).strip() for phrase in phrases]
        lines.append(f"{first:<12} {', '.join(part for part in rest if part)}".rstrip())
    lines.append("")
    lines.append("help <command> explains one; help index lists the topics.")
    return Reply.of_data([entry.phrase for entry in entries], text="\r\n".join(lines))


def _split_format(text: str) -> tuple[str, str | None]:
    """The words and the format of ``... where format = json|mcp``."""
    line = tokenise(text)
    words = line.words
    if len(words) >= 4 and words[-4].is_("where") and words[-3].is_("format") and words[-2].is_("="):
        form = words[-1].text.lower()
        if form not in ("json", "mcp", "table", "text"):
            raise CommandError(f"format = '{form}' is not one of: json, mcp, text")
        return text[: words[-4].start].strip(), form if form in ("json", "mcp") else None
    return text.strip(), None
