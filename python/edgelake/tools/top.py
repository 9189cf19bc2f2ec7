"""``edgelake top``: what a running node does, on the whole screen."""

from __future__ import annotations

import argparse
import importlib.util
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from edgelake.command.console import write
from edgelake.loop import run
from edgelake.tools.attach import NotRunningError
from edgelake.tools.socket import home_of
from edgelake.tools.sources import LookError, source_of_home, source_of_url

MISSING = "edgelake top needs the package textual: pip install 'edgelake[tui]'"
NO_TERMINAL = "edgelake top needs a terminal; for a program: edgelake attach -c 'get processes', or GET /v1/overview"


def parser() -> argparse.ArgumentParser:
    """Its options."""
    made = argparse.ArgumentParser("edgelake top", description=__doc__, epilog="The key ? lists the keys.")
    made.add_argument("--home", default="", help="the node's folder (EDGELAKE_HOME, the current directory)")
    made.add_argument("--url", default="", help="of a node's REST server, such as https://10.0.0.5:32049")
    made.add_argument("--token-file", default="", help="a file with a token, for --url (else EDGELAKE_TOKEN)")
    made.add_argument("--ca", default="", help="the authority, or self-signed certificate, of an https URL; PEM")
    made.add_argument("--every", type=float, default=1.0, metavar="SECONDS", help="between two looks (1)")
    return made


def main(arguments: Sequence[str]) -> int:
    """Returns the exit code."""
    options = parser().parse_args(arguments)
    if importlib.util.find_spec("textual") is None:
        write(MISSING, sys.stderr)
        return 1
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        write(NO_TERMINAL, sys.stderr)
        return 1
    try:
        return run(_shown(options))
    except (NotRunningError, LookError, OSError, UnicodeDecodeError) as problem:
        write(f"edgelake top: {problem}", sys.stderr)
        return 1


async def _shown(options: argparse.Namespace) -> int:
    from edgelake.tools.top_screen import run_screen

    period_s = min(max(options.every, 0.1), 3600)
    if options.url:
        token = os.environ.get("EDGELAKE_TOKEN", "")
        if options.token_file:
            token = Path(options.token_file).read_text().strip()
        async with source_of_url(options.url, token, ca=options.ca) as source:
            return await run_screen(source, period_s)
    async with source_of_home(home_of(options.home)) as source:
        return await run_screen(source, period_s)
