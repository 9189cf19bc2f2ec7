"""Replies as text: tables as the reference prints them, JSON on one line or pretty.

Source: spec "Services and status", section 6.
"""

from __future__ import annotations

import json
import textwrap
from collections.abc import Sequence
from typing import Any

from edgelake.model import Reply, Table

MAX_WIDTH = 100
_BREAK = "\r\n"
_NUMBER_TEXT = frozenset("0123456789,.-")


def to_json(data: Any, *, pretty: bool = False) -> str:
    """JSON text: one line with ``", "`` and ``": "``; ``pretty`` with indents, for the command line."""
    if pretty:
        return json.dumps(data, ensure_ascii=False, indent=4, default=str)
    return json.dumps(data, ensure_ascii=False, separators=(", ", ": "), default=str)


def reply_text(reply: Reply, *, pretty: bool = False, width: int = MAX_WIDTH) -> str:
    """A reply as text: JSON when it was asked for, else its text, its tables, or its data as JSON.

    A streamed body is the caller's to read.
    """
    if reply.json_wanted and reply.has_data:
        return to_json(reply.data, pretty=pretty)
    if reply.text is not None:
        return reply.text
    if reply.tables:
        return "".join(table_text(table, width=width) for table in reply.tables)
    if reply.has_data:
        return reply.data if isinstance(reply.data, str) else to_json(reply.data, pretty=pretty)
    return reply.value or ""


def reply_value(reply: Reply) -> str:
    """What ``name = command`` stores."""
    if reply.value is not None:
        return reply.value
    if reply.json_wanted and reply.has_data:
        return to_json(reply.data)
    if reply.text is not None:
        return reply.text
    if reply.has_data and not reply.tables:
        return reply.data if isinstance(reply.data, str) else to_json(reply.data)
    return reply_text(reply)


def table_text(table: Table, *, width: int = MAX_WIDTH) -> str:
    """A table as the reference prints it: a line break, the header, titles, dashes that close each column, rows."""
    titles = [str(title).split("\n") for title in table.titles]
    rows = [[_cell(value, width) for value in row] for row in table.rows]
    rows = [row + [[""]] * (len(titles) - len(row)) for row in rows]
    widths = [
        max([_title_width(title), *(len(line) for row in rows for line in row[index])])
        for index, title in enumerate(titles)
    ]
    margin = " " * table.indent
    lines = [""]
    if table.header:
        lines.append(table.header)
    for at in range(max((len(title) for title in titles), default=0)):
        parts = [(title[at] if at < len(title) else "").ljust(w) for title, w in zip(titles, widths, strict=True)]
        lines.append(margin + " ".join(parts) + " ")
    lines.append(margin + "".join("-" * w + "|" for w in widths))
    for source, row in zip(table.rows, rows, strict=True):
        right = [_is_number(value) for value in source] + [False] * (len(titles) - len(source))
        for at in range(max(len(cell) for cell in row)):
            lines.append(margin + _row_line(row, at, widths, right))
    return _BREAK.join(lines) + _BREAK


def _title_width(title: Sequence[str]) -> int:
    """The reference counts a blank behind the second line of a title."""
    return max(len(line) + (1 if at else 0) for at, line in enumerate(title))


def _row_line(row: Sequence[Sequence[str]], at: int, widths: Sequence[int], right: Sequence[bool]) -> str:
    parts = []
    for cell, width, to_right in zip(row, widths, right, strict=True):
        text = cell[at] if at < len(cell) else ""
        parts.append((text.rjust(width) if to_right else text.ljust(width)) + "|")
    return "".join(parts)


def _cell(value: object, width: int) -> list[str]:
    """A cell's text in lines of at most ``width``."""
    if value is None:
        return [""]
    text = f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)
    lines: list[str] = []
    for line in text.splitlines() or [""]:
        lines += textwrap.wrap(line, width, drop_whitespace=False) if len(line) > width else [line]
    return lines


def _is_number(value: object) -> bool:
    """Numbers, and text under 20 characters that reads as one, stand at the right."""
    if isinstance(value, bool):
        return False
    if isinstance(value, int | float):
        return True
    return isinstance(value, str) and 0 < len(value) < 20 and _NUMBER_TEXT.issuperset(value) and value[-1].isdigit()
