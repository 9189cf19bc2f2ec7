"""Rings of log entries and the echo queue.

Source: spec "Command language", section 12.
"""

from __future__ import annotations

import logging
import re
from collections import deque
from collections.abc import Iterable
from datetime import datetime
from typing import Any

from msgspec import Struct

from edgelake.model import Table

KINDS = ("event", "error", "query", "file", "streaming")
_SIZES = {"event": 100}
_DEFAULT_SIZE = 20
_TITLES = ("ID", "Count", "Thread", "Time", "Type", "Text")
# Lengths have bounds: a long command is looked through in one go. A misspelt password is one, too.
_SECRET = re.compile(
    r"""(?ix)
    \b( [\w.-]{0,64} (?: pas{1,2}w?o?w?r?d | passw | pwd | secret | private_key | access_key | token | credential )
    [\w.-]{0,64} )
    (\s*=\s*) ( "[^"]*" | '[^']*' | (?!\s*(?:and|=)\b) [^\s()=]+ )"""
)
_CHANGE_SECRET = re.compile(r"""(?i)(\b(?:old|new)\s*=\s*)("[^"]*"|'[^']*'|[^\s()=]+)""")
_HEADER_SECRET = re.compile(r"(?i)\b(authorization\s*[:=]\s*)(\S+(?:\s+\S+)?)")
_JSON_SECRET = re.compile(
    r"""(?ix)
    ( "[\w.-]* (?: authorization | cookie | api[_-]?key | passw(?:or)?d | secret | private_key | access_key | token
                  | credential ) [\w.-]*" \s*:\s* ) "(?:[^"\\]|\\.)*" """
)
_PROVIDER_SECRET = re.compile(r"""(?i)\b(provider\s*=\s*["']?https?://[^\s/"'?]+[/?])([^\s"']+)""")
_URL_SECRET = re.compile(r"(?i)\b(\w{1,32}://[^\s:/@]{1,256}:)([^\s@/]{1,1024})(@)")


def mask(text: str) -> str:
    """A command with the values of passwords, keys and tokens replaced by stars. A reference (``!password``) stays."""
    masked = text
    if "=" in text:
        masked = _SECRET.sub(lambda m: m[0] if m[3][:1] in "!$" else f"{m[1]}{m[2]}****", text)
        masked = _PROVIDER_SECRET.sub(r"\1****", masked)  # providers of chains take their access key in the path
        if "user password" in text:
            masked = _CHANGE_SECRET.sub(lambda m: m[0] if m[2][:1] in "!$" else f"{m[1]}****", masked)
    if "=" in text or ":" in text:
        masked = _HEADER_SECRET.sub(r"\1****", masked)
        masked = _JSON_SECRET.sub(r'\1"****"', masked)
    return _URL_SECRET.sub(r"\1****\3", masked) if "://" in text else masked


class Entry(Struct):
    """One log entry; a repeat of the last one only raises its count."""

    number: int
    thread: str
    time: datetime
    kind: str
    text: str
    count: int = 1

    def row(self) -> list[Any]:
        return [self.number, self.count, self.thread, str(self.time), self.kind, self.text]


class Ring:
    """The last entries of one log."""

    def __init__(self, name: str, size: int) -> None:
        self.name = name
        self._entries: deque[Entry] = deque(maxlen=size)
        self._next = 0

    def add(self, text: str, *, kind: str = "Event", thread: str = "main") -> None:
        now = datetime.now()
        if entries := self._entries:
            last = entries[-1]
            if last.text == text and last.kind == kind and last.thread == thread:
                last.count += 1
                last.time = now
                return
        entries.append(Entry(self._next, thread, now, kind, text))
        self._next += 1

    def reset(self) -> None:
        self._entries.clear()
        self._next = 0

    def select(self, keys: Iterable[str] = ()) -> list[Entry]:
        """Entries with any of ``keys`` in type or text, any case; all without keys."""
        wanted = [key.lower() for key in keys]
        return [
            entry
            for entry in self._entries
            if not wanted or any(key in entry.text.lower() or key in entry.kind.lower() for key in wanted)
        ]


class Logs:
    """Event, error, query, file and streaming logs. What goes to them goes to Python logging too."""

    def __init__(self) -> None:
        self._rings = {name: Ring(name, _SIZES.get(name, _DEFAULT_SIZE)) for name in KINDS}
        self._python = {name: logging.getLogger(f"edgelake.{name}") for name in KINDS}
        self.rest_all = False
        self.query_seconds: float | None = None

    def ring(self, name: str) -> Ring:
        """A log by name. Raises KeyError."""
        return self._rings[name]

    def event(self, text: str, *, kind: str = "Event", thread: str = "main") -> None:
        self._write("event", logging.INFO, text, kind, thread)

    def error(self, text: str, *, kind: str = "Error", thread: str = "main") -> None:
        self._write("error", logging.WARNING, text, kind, thread)

    def query(self, text: str, *, kind: str = "Query", thread: str = "main") -> None:
        self._write("query", logging.INFO, text, kind, thread)

    def file(self, text: str, *, kind: str = "File", thread: str = "main") -> None:
        self._write("file", logging.INFO, text, kind, thread)

    def streaming(self, text: str, *, kind: str = "Event", thread: str = "main") -> None:
        self._write("streaming", logging.INFO, text, kind, thread)

    def command(self, line: str, failure: str = "", *, entry: str = "prompt") -> None:
        """Every command that ran: an event, or an error with the reason."""
        shown, failure = mask(line)[:2000], mask(failure)[:2000]
        if failure:
            self.event(f"(Failed: {failure}) {shown}", kind="Error", thread=entry)
            self.error(f"(Failed: {failure}) {shown}", thread=entry)
        else:
            self.ran(shown, entry=entry)

    def ran(self, shown: str, *, entry: str) -> None:
        """As ``command``, of one that was masked and did not fail."""
        text = f"(ok) {shown[:2000]}"
        self._rings["event"].add(text, thread=entry)
        if (python := self._python["event"]).isEnabledFor(logging.INFO):
            python.info("%s", text)

    def table(self, name: str, keys: Iterable[str] = ()) -> tuple[Table, list[dict[str, Any]]]:
        """A log as a table and as data."""
        rows = [entry.row() for entry in self._rings[name].select(keys)]
        return Table(_TITLES, rows), [dict(zip(_TITLES, row, strict=True)) for row in rows]

    def _write(self, ring: str, level: int, text: str, kind: str, thread: str) -> None:
        self._rings[ring].add(text, kind=kind, thread=thread)
        self._python[ring].log(level, "%s", text)


class EchoQueue:
    """Messages kept until the user asks for them. It is off until ``set echo queue on``."""

    def __init__(self) -> None:
        self.on = False
        self.unread = False
        self._next = 1
        self._messages: deque[tuple[int, datetime, str]] = deque(maxlen=_DEFAULT_SIZE)

    def add(self, text: str) -> None:
        """Keep a message; nothing while the queue is off."""
        if self.on:
            self._messages.append((self._next, datetime.now(), mask(text)))
            self._next += 1
            self.unread = True

    def reset(self, size: int | None = None) -> None:
        """Forget all messages; ``size`` changes how many are kept."""
        self._messages = deque(maxlen=size or self._messages.maxlen)
        self._next = 1
        self.unread = False

    def read(self) -> Table:
        """The messages as a table; they count as read."""
        self.unread = False
        rows = [(number, at.strftime("%Y-%m-%d %H:%M:%S"), text) for number, at, text in self._messages]
        return Table(("Counter", "Time", "Message"), rows, header="Message Queue:")
