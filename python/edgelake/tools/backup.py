"""``edgelake backup TARGET``: a copy of a node, also while it runs."""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from edgelake.command.console import write
from edgelake.command.faults import failure_text
from edgelake.errors import EdgeLakeError
from edgelake.loop import run
from edgelake.node import version
from edgelake.tools.archive import Progress, make
from edgelake.tools.attach import NotRunningError, linked
from edgelake.tools.places import place
from edgelake.tools.socket import home_of

QUIET_S = 2.0


def parser() -> argparse.ArgumentParser:
    """Its options."""
    made = argparse.ArgumentParser("edgelake backup", description=__doc__)
    made.add_argument("folder", metavar="TARGET", help="new or empty: a folder, or s3://, az://, gs://, file://")
    made.add_argument("--home", default="", help="the node's folder (EDGELAKE_HOME, the current directory)")
    return made


def main(arguments: Sequence[str]) -> int:
    """Returns the exit code."""
    options = parser().parse_args(arguments)
    home = home_of(options.home)
    try:
        target = place(options.folder, os.environ)
        is_online = bool(run(_flushed(home)))
        made = make(
            home / "EdgeLake",
            target,
            version=version(),
            is_online=is_online,
            progress=progress("copied"),
        )
    except EdgeLakeError as problem:
        write(failure_text(problem), sys.stderr)
        return 1
    size = sum(file.size for file in made.files)
    write(f"{len(made.files)} files, {size:,} bytes; restore them by: edgelake restore {options.folder} --home FOLDER")
    return 0


async def _flushed(home: Path) -> int:
    """Have a running node put what it holds into its databases; whether one runs."""
    try:
        async with linked(home) as link:
            await link.execute("flush buffers")
            return 1
    except NotRunningError:
        return 0


def progress(done: str) -> Progress:
    """Says every other second how far it is, on a terminal."""
    told = time.monotonic()

    def tell(files: int, of: int, size: int) -> None:
        nonlocal told
        if sys.stderr.isatty() and time.monotonic() - told >= QUIET_S:
            told = time.monotonic()
            write(f"{files:,} of {of:,} files {done}, {size / 1e6:,.0f} MB", sys.stderr)

    return tell
