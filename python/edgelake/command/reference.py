"""The command reference, made from the registry: ``python -m edgelake.command.reference docs/commands.md``."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

from edgelake.command.registry import Command, Registry

_HEAD = """\
# Commands

Made by `make docs` from the commands themselves; `help COMMAND` at the prompt shows the same. How lines, variables and
scripts work: [command-language.md](command-language.md).

`[word]` is a value, `(...)` may be left out, `[key = value]` too. Every command takes `where format = json`. The class
of a command says who may use it: [command-language.md](command-language.md#who-may-do-what).
"""


def reference(registry: Registry) -> str:
    """All commands as one Markdown page: by topic, then those that later versions bring."""
    ready = [entry for entry in registry if not entry.later]
    topics: dict[str, list[list[Command]]] = {}
    for entries in _by_handler(ready):
        topics.setdefault(entries[0].topics[0], []).append(entries)
    contents = [f"- [{topic}](#{topic.replace(' ', '-')}): {_listed(topics[topic])}" for topic in sorted(topics)]
    parts = [_HEAD, *contents, "- [not available yet](#not-available-yet)"]
    for topic in sorted(topics):
        parts.append(f"\n## {topic}")
        for entries in sorted(topics[topic], key=lambda same: same[0].phrase):
            parts += _section(entries)
    parts += _later([entry for entry in registry if entry.later])
    return "\n".join(parts) + "\n"


def _by_handler(entries: Iterable[Command]) -> list[list[Command]]:
    """Commands and their aliases together, in the order in which they were declared."""
    groups: dict[int, list[Command]] = {}
    for entry in entries:
        groups.setdefault(id(entry.handler), []).append(entry)
    for group in groups.values():
        declared = [made.phrase for made in group[0].handler.__commands__]  # type: ignore[attr-defined]
        group.sort(key=lambda entry: declared.index(entry.phrase))
    return list(groups.values())


def _listed(groups: Sequence[Sequence[Command]]) -> str:
    return ", ".join(sorted(f"`{group[0].phrase}`" for group in groups))


def _section(entries: Sequence[Command]) -> list[str]:
    first = entries[0]
    lines = [f"\n### {first.phrase}", "", "```", first.usage, "```", "", *first.help.splitlines(), ""]
    if len(entries) > 1:
        lines += ["Also: " + ", ".join(f"`{entry.phrase}`" for entry in entries[1:]) + ".", ""]
    lines += ["```", *first.examples, "```", "", f"Class: {first.cls}. Index: {', '.join(first.topics)}."]
    if first.link:
        lines.append(f"See: {first.link}")
    return lines


def _later(entries: Iterable[Command]) -> list[str]:
    parts: dict[str, list[str]] = {}
    for entry in entries:
        parts.setdefault(entry.later, []).append(entry.phrase)
    lines = ["\n## not available yet", "", "These parse, and answer that they are not available yet:", ""]
    return lines + [f"- {part}: {', '.join(f'`{phrase}`' for phrase in parts[part])}" for part in sorted(parts)]


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(reference(Registry.discover()))
