"""One command line to words. One pass from left to right; every word keeps its span in the source.

Source: spec "Command language", section 2.
"""

from __future__ import annotations

import re

from msgspec import Struct

BARE = ""
DOUBLE = '"'
ESCAPED = '\\"'
_OPERATORS = ("==", "!=", "<=", ">=", "->", "=", "+", "<", ">")
_BLANK = " \t\n"
_PLAIN = re.compile(r"[^\s=+<>!\-(\[{\]}&#\"'`\\]+")


class Word(Struct, frozen=True):
    """One word of a command.

    Attributes:
        text: the word; double quotes are removed, single and back quotes are kept.
        start, end: span in the line, quotes included.
        quote: how it was quoted: empty, ``"``, ``'``, a back quote, or ``\\"``.
    """

    text: str
    start: int
    end: int
    quote: str = BARE

    @property
    def bare(self) -> bool:
        """Written without quotes, so it may be a key word."""
        return not self.quote

    def is_(self, text: str) -> bool:
        """The bare word ``text``."""
        return not self.quote and self.text == text


class Line(Struct, frozen=True):
    """A tokenised command.

    Attributes:
        text: the source.
        words: its words up to a comment, a ``&`` or the end.
        fault: number and text of what is wrong with the line, raised only when it is run.
        rest: what follows a ``&``; empty when nothing does.
    """

    text: str
    words: tuple[Word, ...]
    fault: tuple[int, str] | None = None
    rest: str = ""

    def source(self, first: int, last: int | None = None) -> str:
        """The source text of ``words[first:last]``, quotes included."""
        part = self.words[first:last]
        return self.text[part[0].start : part[-1].end] if part else ""


def tokenise(text: str) -> Line:
    """Split a command line into words. Never raises: what is wrong is in ``Line.fault``."""
    return _Scanner(text).run()


def balance(text: str) -> int:
    """Braces and brackets that ``text`` opens and doesn't close (negative: closes too many), outside double quotes."""
    depth = 0
    quoted = False
    for char in text:
        if char == '"':
            quoted = not quoted
        elif not quoted:
            if char in "{[":
                depth += 1
            elif char in "}]":
                depth -= 1
    return depth


class _Scanner:
    """State of one pass over one line."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.words: list[Word] = []
        self.fault: tuple[int, str] | None = None

    def run(self) -> Line:
        text, at, size = self.text, 0, len(self.text)
        rest = ""
        while at < size:
            char = text[at]
            if char in _BLANK:
                at += 1
            elif char == "#":
                break
            elif char == "\r":
                tail = text[at + 1 :]
                if tail.strip():
                    self.words.append(Word(tail, at + 1, size))
                break
            elif char == "&":
                rest = text[at + 1 :]
                break
            else:
                at = self._word(at)
        return Line(text, tuple(self.words), self.fault, rest)

    def _fail(self, number: int, text: str) -> None:
        if self.fault is None:
            self.fault = (number, text)

    def _word(self, at: int) -> int:
        """Read the word that begins at ``at``; returns the offset behind it."""
        text = self.text
        char = text[at]
        if char == '"':
            return self._quoted(at, 1, '"', DOUBLE)
        if char in "'`":
            return self._quoted(at, 1, char, char)
        if text.startswith(ESCAPED, at):
            return self._quoted(at, 2, ESCAPED, ESCAPED)
        operator = self._operator(at)
        if operator:
            self.words.append(Word(operator, at, at + len(operator)))
            return at + len(operator)
        if char in "({":
            end = self._group(at)
            self.words.append(Word(self._clean(at, end), at, end))
            return end
        return self._plain(at)

    def _operator(self, at: int) -> str:
        for operator in _OPERATORS:
            if self.text.startswith(operator, at):
                return operator
        return ""

    def _quoted(self, at: int, skip: int, closing: str, quote: str) -> int:
        close = self.text.find(closing, at + skip)
        if close < 0:
            kind = "double quotations" if '"' in quote else "quotations"
            self._fail(2, f"Missing {kind} after offset {at}")
            self.words.append(Word(self.text[at + skip :], at, len(self.text), quote))
            return len(self.text)
        end = close + len(closing)
        inner = self.text[at + skip : close]
        keep = quote in ("'", "`")
        self.words.append(Word(f"{quote}{inner}{quote}" if keep else inner, at, end, quote))
        return end

    def _plain(self, at: int) -> int:
        """A bare word; glued brackets, braces behind a name and parentheses belong to it."""
        text, size, start = self.text, len(self.text), at
        while at < size:
            found = _PLAIN.match(text, at)
            if found:
                at = found.end()
                continue
            char = text[at]
            if char in _BLANK or char == "\r":
                break
            if char == "{":
                if text.startswith("{}", at) and not self.words:
                    at += 2
                break
            if char in "([":
                at = self._group(at)
                continue
            if char in "]}":
                self._fail(6, f"'{char}' at offset {at} closes nothing")
                at += 1
                continue
            if at > start and self._operator(at):
                break
            if char == "&" and at + 1 < size and text[at + 1] in _BLANK:
                break
            at += 1
        self.words.append(Word(self._clean(start, at), start, at))
        return at

    def _group(self, at: int) -> int:
        """End of the group that opens at ``at``: parentheses, braces or brackets, nested; text in double quotes is
        passed over. An open group takes the rest of the line."""
        text, size = self.text, len(self.text)
        closers = {"(": ")", "{": "}", "[": "]"}
        stack = [closers[text[at]]]
        position = at + 1
        while position < size:
            char = text[position]
            if char == '"':
                close = text.find('"', position + 1)
                while close > 0 and text[close - 1] == "\\" and text[close - 2] != "\\":
                    close = text.find('"', close + 1)
                if close > 0:
                    position = close
            elif char == stack[-1]:
                stack.pop()
                if not stack:
                    return position + 1
            elif char in closers and (char != "(" or stack[-1] == ")"):
                stack.append(closers[char])
            position += 1
        if text[at] == "(":
            self._fail(2, f"Missing closing parenthesis after offset {at}")
        else:
            self._fail(11, f"'{text[at]}' at offset {at} is not closed")
        return size

    def _clean(self, start: int, end: int) -> str:
        word = self.text[start:end]
        if "{" in word or "[" in word:
            return word.replace("\t", " ").replace("\n", " ")
        return word


def join(words: tuple[Word, ...] | list[Word]) -> str:
    """Words as one text: a blank where the source had a gap, nothing where words touched (``http://h/x?y=1``)."""
    parts: list[str] = []
    for index, word in enumerate(words):
        if index and word.start > words[index - 1].end:
            parts.append(" ")
        parts.append(word.text)
    return "".join(parts)
