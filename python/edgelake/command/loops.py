"""Loops of a script: ``for loop start where list = !l`` ... ``for loop end``.

Source: spec "Command language", section 9. In the body ``!l[+]`` is the element of this round, ``!l.attr[+]`` one of
its attributes.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from edgelake.command.tokenizer import Line

_ELEMENT = re.compile(r"!([^\s.\[\]!$/\\\"'(){},=+]+)((?:\.\w+|\[[^\[\]+]+\])*)\[\+\]")
_STEP = re.compile(r"\.(\w+)|\[([^\[\]]+)\]")


@dataclass
class Loop:
    """A loop that runs.

    Attributes:
        name: variable that holds the list.
        size: elements when the loop began.
        start, end: statements that hold ``for loop start`` and ``for loop end``.
        depth: calls that were open when it began.
        index: element of this round.
    """

    name: str
    size: int
    start: int
    end: int
    depth: int
    index: int = 0

    def holds(self, position: int, depth: int) -> bool:
        """Whether a statement belongs to the loop; what a ``call`` inside it reaches does too."""
        return depth > self.depth or (depth == self.depth and self.start < position <= self.end)


def loop_end(lines: Sequence[Line], start: int) -> int | None:
    """Index of the ``for loop end`` that closes the loop begun at ``start``; None when nothing does."""
    open_loops = 0
    for index in range(start, len(lines)):
        words = [word.text for word in lines[index].words if not word.is_("do")][:3]
        if words == ["for", "loop", "start"]:
            open_loops += 1
        elif words == ["for", "loop", "end"]:
            open_loops -= 1
            if open_loops == 0:
                return index
    return None


def bind(text: str, loops: Sequence[Loop]) -> str:
    """A line of the body with ``[+]`` of each list replaced by the element of this round."""
    if "[+]" not in text:
        return text
    indices = {loop.name: loop.index for loop in loops}

    def element(found: re.Match[str]) -> str:
        index = indices.get(found[1])
        if index is None:
            return found[0]
        return f"!{found[1]}[{index}]" + "".join(f"[{a or b}]" for a, b in _STEP.findall(found[2]))

    return _ELEMENT.sub(element, text)
