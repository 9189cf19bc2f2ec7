"""State of if / else / do chains, and the signals of a script line.

Source: spec "Command language", sections 7 and 8.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from msgspec import Struct

from edgelake.errors import CommandError

Handling = Literal["ignore", "goto", "call", "end"]


class Chain(Struct):
    """One if ... else if ... else at one depth.

    Attributes:
        matched: a branch of it was taken.
        active: the branch that is open now is the one taken.
    """

    matched: bool
    active: bool


class Signal(Struct):
    """What a line asks of its script: ``goto``, ``call``, ``return``, ``end`` (this script), ``exit`` (all), ``loop``
    (begin one over ``count`` elements of the list ``label``) or ``next`` (its next round)."""

    kind: Literal["goto", "call", "return", "end", "exit", "loop", "next"]
    label: str = ""
    count: int = 0


@dataclass
class Frame:
    """One running script, as its lines see it.

    Attributes:
        file: name for messages.
        number: line that runs.
        on_error: what ``on error`` chose: none, or a handling and its label.
        signal: left by the line that ran.
        debug: every line is shown with its result.
    """

    file: str
    number: int = 0
    on_error: tuple[Handling, str] | None = None
    signal: Signal | None = None
    debug: bool = False


@dataclass
class Flow:
    """If-chains by depth (depth = number of leading ``do``), and the script that runs, if one does."""

    chains: list[Chain] = field(default_factory=list)
    depth: int = 0
    frame: Frame | None = None
    nesting: int = 0

    def open_if(self, result: bool) -> None:
        """An ``if`` at the present depth: a new chain; deeper ones end."""
        while len(self.chains) < self.depth:
            self.chains.append(Chain(False, False))
        del self.chains[self.depth :]
        self.chains.append(Chain(result, result))

    def may_else(self) -> bool:
        """Whether no branch of the chain was taken so far; closes the branch that is open."""
        if len(self.chains) <= self.depth:
            return False
        chain = self.chains[self.depth]
        del self.chains[self.depth + 1 :]
        if chain.matched:
            chain.active = False
        return not chain.matched

    def else_if(self, result: bool) -> None:
        """The condition of an ``else if`` whose chain had no branch taken."""
        self.chains[self.depth] = Chain(result, result)

    def open_else(self) -> None:
        """A bare ``else``: the ``do`` lines behind it belong to it."""
        self.chains[self.depth].active = True

    def may_do(self) -> bool:
        """Whether a ``do`` at the present depth runs."""
        return len(self.chains) > self.depth and self.chains[self.depth].active

    def script(self, words: str) -> Frame:
        """The script that runs. Raises CommandError outside one."""
        if self.frame is None:
            raise CommandError(f"'{words}' is a command of scripts", hint="use it in a script file")
        return self.frame
