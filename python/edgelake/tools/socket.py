"""Where a running node listens for its owner's terminals: a Unix socket in the node's folder.

Messages are JSON objects, a line each. The client sends ``{"run": line}``, one at a time, or ``{"interrupt": true}``;
the node answers with pieces of text ``{"out": text}`` or ``{"error": text}``, and at the end with ``done``. What is
asked beside that has a number, which the answer has, too: ``{"complete": line}``, or ``{"look": view}``.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import msgspec

NAME: Final = "attach.sock"
LONGEST_BYTES: Final = 4 << 20
_LONGEST_PATH: Final = 100
"""The system's limit is 107."""


class Asked(msgspec.Struct, frozen=True, omit_defaults=True):
    """From the client.

    Attributes:
        complete, after: a line in front of and behind a place: what may stand there?
        look: a view of the node (``views.VIEWS``).
        number: of what ``complete`` or ``look`` ask.
    """

    run: str = ""
    interrupt: bool = False
    complete: str | None = None
    after: str = ""
    look: str = ""
    number: int = 0


class Said(msgspec.Struct, frozen=True, omit_defaults=True):
    """From the node.

    Attributes:
        done: the command is over, and whether it worked.
        prompt: as the node's own terminal shows it; comes at first, too.
        number: of the question that this answers; 0 = none.
        typed, words: what may stand at a place, as ``suggestions.Offered`` has it.
        view: a view of the node.
        progress: how far a long query is; "-" = it is over.
        stopping: the node ends.
    """

    out: str = ""
    error: str = ""
    done: bool | None = None
    prompt: str = ""
    number: int = 0
    typed: int = 0
    words: tuple[tuple[str, str], ...] = ()
    view: msgspec.Raw = msgspec.Raw()
    progress: str = ""
    stopping: bool = False


def socket_of(home: Path) -> Path:
    """Of the node whose folder that is."""
    return home / "EdgeLake" / NAME


def home_of(given: str) -> Path:
    """The folder that is meant: the given one, ``EDGELAKE_HOME``, or the current directory."""
    return Path(given or os.environ.get("EDGELAKE_HOME") or Path.cwd()).expanduser().absolute()


@contextlib.contextmanager
def short(path: Path) -> Iterator[str]:
    """The same place under a name that is short enough for the address of a socket."""
    if len(os.fsencode(path)) <= _LONGEST_PATH:
        yield str(path)
        return
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield f"/proc/self/fd/{folder}/{path.name}"
    finally:
        os.close(folder)
