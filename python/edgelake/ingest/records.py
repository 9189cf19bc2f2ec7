"""Single rows out of a payload as text: for the few that are kept out and have to be shown."""

from __future__ import annotations

import json
from collections.abc import Iterator


def pick_rows(content: bytes, numbers: set[int]) -> Iterator[bytes]:
    """The rows of a payload with these numbers (from 0), one JSON text each.

    The payload was parsed once already, so it is valid; its rows are objects in lists, or one after another.
    """
    for number, row in enumerate(_rows(content.decode("utf-8", "replace"))):
        if number in numbers:
            yield json.dumps(row, ensure_ascii=False).encode()


def _rows(text: str) -> Iterator[object]:
    decoder = json.JSONDecoder(strict=False)
    at = _skip(text, 0)
    while at < len(text):
        try:
            value, at = decoder.raw_decode(text, at)
        except ValueError:
            return
        yield from value if isinstance(value, list) else (value,)
        at = _skip(text, at)


def _skip(text: str, at: int) -> int:
    """Behind blanks and commas."""
    while at < len(text) and (text[at].isspace() or text[at] == "," or text[at] < " "):
        at += 1
    return at
