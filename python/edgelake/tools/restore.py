"""``edgelake restore FOLDER``: a node's folder out of a backup, whose files are checked first."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from edgelake.command.console import write
from edgelake.command.faults import failure_text
from edgelake.errors import EdgeLakeError
from edgelake.tools.archive import check, read, restore
from edgelake.tools.backup import progress
from edgelake.tools.socket import home_of


def parser() -> argparse.ArgumentParser:
    """Its options."""
    made = argparse.ArgumentParser("edgelake restore", description=__doc__)
    made.add_argument("folder", help="the backup")
    made.add_argument("--home", default="", help="where the node is to be (EDGELAKE_HOME, the current directory)")
    made.add_argument("--check", action="store_true", help="look whether the backup is whole, and no more")
    return made


def main(arguments: Sequence[str]) -> int:
    """Returns the exit code."""
    options = parser().parse_args(arguments)
    source = Path(options.folder).absolute()
    try:
        if options.check:
            made = read(source)
            check(source, made, progress("checked"))
            write(f"{source} is whole: {len(made.files)} files, made at {made.created} by version {made.version}")
            return 0
        root = home_of(options.home) / "EdgeLake"
        made = restore(source, root, progress("checked"))
    except EdgeLakeError as problem:
        write(failure_text(problem), sys.stderr)
        return 1
    write(f"{root}: {len(made.files)} files, as they were at {made.created}")
    return 0
