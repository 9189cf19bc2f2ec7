"""``edgelake restore BACKUP``: a node's folder out of a backup, whose files are checked first."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence

from edgelake.command.console import write
from edgelake.command.faults import failure_text
from edgelake.errors import EdgeLakeError
from edgelake.tools.archive import check, read, restore
from edgelake.tools.backup import progress
from edgelake.tools.places import place
from edgelake.tools.socket import home_of


def parser() -> argparse.ArgumentParser:
    """Its options."""
    made = argparse.ArgumentParser("edgelake restore", description=__doc__)
    made.add_argument("folder", metavar="BACKUP", help="a folder, or s3://, az://, gs://, file://")
    made.add_argument("--home", default="", help="where the node is to be (EDGELAKE_HOME, the current directory)")
    made.add_argument(
        "--verify", "--check", dest="check", action="store_true", help="read all of it: is it whole? and no more"
    )
    return made


def main(arguments: Sequence[str]) -> int:
    """Returns the exit code."""
    options = parser().parse_args(arguments)
    try:
        source = place(options.folder, os.environ)
        if options.check:
            made = read(source)
            check(source, made, progress("checked"))
            write(f"{source.shown} is whole: {len(made.files)} files, made at {made.created} by version {made.version}")
            return 0
        root = home_of(options.home) / "EdgeLake"
        made = restore(source, root, progress("checked"))
    except EdgeLakeError as problem:
        write(failure_text(problem), sys.stderr)
        return 1
    write(f"{root}: {len(made.files)} files, as they were at {made.created}")
    return 0
