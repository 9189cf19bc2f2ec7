"""``edgelake demo``: nodes with example data, from start to first query in one go."""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from pathlib import Path

from edgelake.demo.network import network
from edgelake.demo.readings import BODY_ROWS
from edgelake.demo.stage import play
from edgelake.demo.standalone import standalone
from edgelake.loop import run


def main(args: Sequence[str]) -> int:
    """Run the demo. Returns the exit code."""
    options = parser().parse_args(args)
    show = network if options.network else standalone
    return run(play(show, rows=options.rows, seconds=options.seconds, home=options.home))


def parser() -> argparse.ArgumentParser:
    seconds = os.environ.get("DEMO_SECONDS")
    made = argparse.ArgumentParser(
        prog="edgelake demo",
        description="A node on this machine alone (loopback, SQLite) that takes sample readings by REST and files, "
        "shows its status and two queries, and stays with a prompt; or a network of four. Nothing is left behind.",
    )
    made.add_argument(
        "--network",
        action="store_true",
        help="a network instead: a master, two operators and a query node, each a process of its own",
    )
    made.add_argument("--rows", type=_positive, default=60_000, help="readings to send (default 60000)")
    made.add_argument(
        "--seconds",
        type=float,
        default=float(seconds) if seconds else None,
        help="stop by itself after so many seconds, without a prompt; also DEMO_SECONDS in the environment",
    )
    made.add_argument(
        "--home", type=Path, help="keep the node's files in this folder (default: a folder that is removed)"
    )
    return made


def _positive(text: str) -> int:
    number = int(text)
    if number < BODY_ROWS:
        raise argparse.ArgumentTypeError(f"at least {BODY_ROWS}")
    return number
