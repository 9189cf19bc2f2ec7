"""The program ``edgelake`` as data: its parts and their options, for shell completion and the manual page."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal

Takes = Literal["nothing", "value", "file", "folder"]
_FOLDERS: Final = frozenset({"home", "folder", "output", "directory"})
_FILES: Final = frozenset({"file", "ca", "token_file", "script"})


@dataclass(frozen=True, slots=True)
class Option:
    """``--home FOLDER``, or an operand (no flags)."""

    flags: tuple[str, ...]
    about: str
    takes: Takes
    shown: str = ""
    choices: tuple[str, ...] = ()
    is_needed: bool = False

    @property
    def long(self) -> str:
        """The flag that explains itself."""
        return max(self.flags, key=len, default="")


@dataclass(frozen=True, slots=True)
class Part:
    """``edgelake <name>``."""

    name: str
    about: str
    options: tuple[Option, ...] = ()
    more: str = ""

    @property
    def operands(self) -> tuple[Option, ...]:
        """Words without a flag, in their order."""
        return tuple(option for option in self.options if not option.flags)

    @property
    def flags(self) -> tuple[Option, ...]:
        """What has one."""
        return tuple(option for option in self.options if option.flags)


def parts(parsers: Mapping[str, argparse.ArgumentParser]) -> list[Part]:
    """By name."""
    return [part(name, parsers[name]) for name in sorted(parsers)]


def part(name: str, parser: argparse.ArgumentParser) -> Part:
    """What a parser of arguments knows."""
    options = tuple(_option(action) for action in parser._actions)
    about = " ".join((parser.description or "").replace("``", "").split())
    head, colon, rest = about.partition(": ")
    if colon and head.startswith("edgelake "):
        about = rest[:1].upper() + rest[1:]
    return Part(name, about, options, parser.epilog or "")


def _option(action: argparse.Action) -> Option:
    takes: Takes = "nothing" if action.nargs == 0 else "value"
    if takes == "value" and not action.choices:
        takes = "folder" if action.dest in _FOLDERS else "file" if action.dest in _FILES else "value"
    metavar = action.metavar if isinstance(action.metavar, str) else action.dest.upper()
    if action.help == "show this help message and exit":
        return Option(tuple(action.option_strings), "show the options, and leave", takes)
    return Option(
        tuple(action.option_strings),
        " ".join((action.help or "").replace("%%", "%").split()),
        takes,
        "" if takes == "nothing" else metavar,
        tuple(str(choice) for choice in action.choices or ()),
        action.required if action.option_strings else action.nargs not in ("?", "*"),
    )


def flags_of(options: Sequence[Option]) -> list[str]:
    """All flags, in the order in which they were declared."""
    return [flag for option in options for flag in option.flags]
