"""The fenced blocks of the pages."""

from __future__ import annotations

import re
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

from tests.docs.test_docs import ROOT

_FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Block:
    """Attributes: page: from the root of the repository; kind: the word behind the fence."""

    page: str
    kind: str
    text: str

    @property
    def lines(self) -> list[str]:
        return self.text.splitlines()

    def __str__(self) -> str:
        return f"{self.page}: ```{self.kind} {self.lines[0].strip()[:70]}"


def pages() -> list[str]:
    """All pages with blocks but the command reference, which is generated from what tests parse."""
    found = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
    return [str(path.relative_to(ROOT)) for path in found if path.name != "commands.md"]


def blocks(page: str) -> list[Block]:
    return [Block(page, kind, text) for kind, text in _FENCE.findall((ROOT / page).read_text())]


def block(page: str, beginning: str) -> str:
    """The text of the only block of a page that begins so."""
    (found,) = [one.text for one in blocks(page) if one.text.lstrip().startswith(beginning)]
    return found


def put_edgelake(folder: Path) -> str:
    """Make a program ``edgelake`` in a folder, which runs this source; the search path that begins with it."""
    folder.mkdir(parents=True, exist_ok=True)
    program = folder / "edgelake"
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -m edgelake "$@"\n')
    program.chmod(0o755)
    return f"{folder}:{Path(shutil.which('sh') or '/bin/sh').parent}:/usr/local/bin:/usr/bin:/bin"
