"""``edgelake config check|show``: look at a configuration without starting a node."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from edgelake.command.console import write
from edgelake.command.faults import failure_text
from edgelake.command.logs import mask
from edgelake.command.registry import Registry
from edgelake.errors import EdgeLakeError
from edgelake.tools.configuration import NAME, PLAIN, Configuration, commands, defaults_of, read


def parser() -> argparse.ArgumentParser:
    """Its options."""
    made = argparse.ArgumentParser("edgelake config", description=__doc__)
    made.add_argument("what", choices=("check", "show"), help="check: is it right? show: what holds")
    made.add_argument("file", nargs="?", default=NAME, help=f"default: {NAME}")
    made.add_argument("--origin", action="store_true", help="show where each value comes from, defaults included")
    made.add_argument("--commands", action="store_true", help="show the commands that the node will run")
    return made


def main(arguments: Sequence[str]) -> int:
    """Returns the exit code: 1 for a file that a node would not start with."""
    options = parser().parse_args(arguments)
    try:
        found = read(Path(options.file).absolute(), os.environ)
        lines = commands(found)
    except EdgeLakeError as problem:
        write(failure_text(problem), sys.stderr)
        return 1
    if options.what == "check":
        write(f"{options.file} is right: {len(lines)} commands")
    elif options.commands:
        write("\n".join(mask(line) for line in lines))
    else:
        write("\n".join(_shown(found, with_origin=options.origin)))
    return 0


def _shown(found: Configuration, *, with_origin: bool) -> list[str]:
    """As TOML; secrets are stars."""
    registry, lines = Registry.discover(), []
    for section, values in found.values.items():
        lines.append(f"[{section}]")
        for key, value in values.items():
            origin = f"  # {found.origins[section, key].text}" if with_origin else ""
            lines.append(f"{mask(f'{key} = {_toml(value)}')}{origin}")
        if with_origin and section not in PLAIN:
            missing = ((key, value) for key, value in defaults_of(section, registry).items() if key not in values)
            lines += [f"# {key} = {_toml(value)}  # default" for key, value in missing if value not in (None, "")]
        lines.append("")
    return lines


def _toml(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return f'"{value}"'
    if isinstance(value, list):
        return f"[{', '.join(map(_toml, value))}]"
    if isinstance(value, dict):
        return f"{{ {', '.join(f'{key} = {_toml(one)}' for key, one in value.items())} }}"
    return str(value)
