"""Errors as a terminal shows them: what is wrong, the line with a mark under the place, the usage.

Source: spec "Command language", sections 14 and 16.
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Sequence
from typing import Final

from edgelake.command.logs import mask
from edgelake.command.registry import Registry
from edgelake.command.tokenizer import Line, Word
from edgelake.errors import EdgeLakeError, QueryError

_WIDTH: Final = 74
_INDENT: Final = "    "
_BEFORE: Final = 40
"""Characters of a long line that are shown in front of the place."""

_OFFSET: Final = re.compile(r"(?:at|after) offset (\d+)")
_QUOTED: Final = re.compile(r"'([^']{1,80})'")
_COLUMN: Final = re.compile(r"found: (?P<found>.*?)(?: at Line: 1, Column: (?P<column>\d+))?$")


def failure_text(failure: EdgeLakeError) -> str:
    """An error as the terminal shows it."""
    if failure.usage and failure.hint == f"usage: {failure.usage}":  # it has a line of its own
        first = f"{failure.text}: {failure.detail}" if failure.detail else failure.text
    else:
        first = str(failure)
    lines = [f"Error {failure.number}: {first}"]
    if failure.place is not None:
        if failure.where.get("file"):
            lines.append(f"{_INDENT}{failure.where['file']}, line {failure.where['line']}:")
        lines += [f"{_INDENT}{line}" for line in marked(failure.source, *failure.place)]
    if failure.usage:
        usage = textwrap.wrap(f"usage: {failure.usage}", _WIDTH, subsequent_indent=" " * 7, break_long_words=False)
        lines += [f"{_INDENT}{line}" for line in usage]
    return "\n".join(lines)


def marked(source: str, start: int, end: int) -> tuple[str, str]:
    """The line, without its secrets and cut to the width, and the marks under a span of it."""
    shown = mask(source)
    if shown != source:
        start, end = len(mask(source[:start])), len(mask(source[:end]))
    shown = "".join(char if char.isprintable() else " " for char in shown)
    first = 0
    if len(shown) > _WIDTH and start > _BEFORE:
        first = min(start - _BEFORE, len(shown) - _WIDTH) if end < len(shown) else max(len(shown) - _WIDTH, 0)
        first = min(first, start)
    line = shown[first : first + _WIDTH]
    if first:
        line = f"...{line[3:]}"
    if first + _WIDTH < len(shown):
        line = f"{line[:-3]}..."
    at = min(start - first, _WIDTH)
    return line, " " * at + "^" * max(min(end - first, len(line)) - at, 1)


def locate(failure: EdgeLakeError, line: Line) -> None:
    """Note in an error the place in the line that it speaks of, where that can be told."""
    if failure.source:
        return
    if failure.place is None:
        failure.place = _of_the_scanner(failure, line) or _of_the_statement(failure, line) or _named(failure, line)
    if failure.place is not None:
        failure.source = line.text


def unknown_place(registry: Registry, words: Sequence[Word]) -> tuple[int, int] | None:
    """Of the first word that no command has there."""
    for count in range(1, len(words) + 1):
        if not words[count - 1].bare or not registry.begins([word.text for word in words[:count]]):
            return words[count - 1].start, words[count - 1].end
    return (words[-1].end + 1, words[-1].end + 1) if words else None


def _of_the_scanner(failure: EdgeLakeError, line: Line) -> tuple[int, int] | None:
    found = _OFFSET.search(failure.detail) if line.fault is not None and failure.detail == line.fault[1] else None
    return (int(found[1]), int(found[1]) + 1) if found else None


def _named(failure: EdgeLakeError, line: Line) -> tuple[int, int] | None:
    """Of the text that the error quotes, when the line has it in one place."""
    for name in _QUOTED.findall(failure.detail):
        found = [one.span() for one in re.finditer(rf"(?<![\w.]){re.escape(name)}(?![\w.])", line.text)]
        if len(found) == 1:
            return found[0]
    return None


def _of_the_statement(failure: EdgeLakeError, line: Line) -> tuple[int, int] | None:
    """Where the parser of SQL found what it did not expect: it counts from the first word of the statement."""
    found = _COLUMN.search(failure.detail) if isinstance(failure, QueryError) else None
    begin = re.search(r"\b(?:select|with)\b", line.text, re.IGNORECASE)
    if found is None or begin is None:
        return None
    if found["column"] is None:
        end = len(line.text.rstrip().rstrip("\"'"))
        return (end, end) if found["found"] == "EOF" else None
    start = begin.start() + int(found["column"]) - 1
    end = start + len(found["found"])
    return (start, end) if line.text[start:end] == found["found"] else None  # else the statement was rewritten before
