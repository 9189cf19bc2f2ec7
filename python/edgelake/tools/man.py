"""``edgelake man``: the manual page edgelake(1), made of the parsers of the arguments and the registry of commands."""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from edgelake.command.console import write
from edgelake.command.registry import Command, Registry
from edgelake.tools.programs import Option, Part, parts

REVISED: Final = "2026-11-27"
_ESCAPES: Final = str.maketrans({"\\": "\\e", "-": "\\-", "'": "\\(aq", "`": "\\(ga", "^": "\\(ha", "~": "\\(ti"})
_ENVIRONMENT: Final = (
    ("EDGELAKE_HOME", "The node's folder; without it, the current directory."),
    ("EDGELAKE_LOG", "What the program logs on standard error: debug, info, warning, error, critical."),
    ("EDGELAKE_TOKEN", "Token for edgelake top --url."),
    ("EDGELAKE_<SECTION>_<OPTION>", "Stands above the option of that section of the configuration."),
    ("NO_COLOR", "Any value: nothing is coloured."),
    ("PAGER", "Program that long replies are shown with."),
)
_FILES: Final = (
    ("edgelake.toml", "A node's configuration, made by edgelake init."),
    ("EdgeLake/", "Below the node's folder: databases, journal, policies, scripts."),
    ("EdgeLake/attach.sock", "Where a running node listens for its owner's terminals."),
    ("~/.local/state/edgelake/history", "Earlier lines of the prompt, without passwords."),
)


def parser() -> argparse.ArgumentParser:
    """Its options."""
    made = argparse.ArgumentParser("edgelake man", description="Show the manual page.")
    made.add_argument("--page", action="store_true", help="write its source (roff) instead")
    made.add_argument("--install", default="", metavar="PREFIX", help="put page and completions there: /usr/local")
    return made


def main(arguments: Sequence[str], parsers: Mapping[str, argparse.ArgumentParser], version: str) -> int:
    """Returns the exit code."""
    options = parser().parse_args(arguments)
    if options.install:
        try:
            install(Path(options.install), parsers, version)
        except OSError as problem:
            write(f"edgelake man: {problem.filename}: {problem.strerror}", sys.stderr)
            return 1
        return 0
    text = page(parts(parsers), Registry.discover(), version)
    man = shutil.which("man")
    if options.page or man is None or not sys.stdout.isatty():
        write(text)
        return 0
    with tempfile.NamedTemporaryFile("w", suffix=".1") as file:
        file.write(text)
        file.flush()
        return subprocess.run([man, "-l", file.name], check=False, env=os.environ).returncode


def page(found: Sequence[Part], registry: Registry, version: str) -> str:
    """The source of the page."""
    lines = [
        '.\\" Made by: edgelake man --page',
        f'.TH EDGELAKE 1 "{REVISED}" "EdgeLake {_escaped(version)}" "User Commands"',
        ".SH NAME",
        "edgelake \\- a data node for the edge",
        ".SH SYNOPSIS",
        ".B edgelake",
        "[\\fIcommand\\fR [\\fBand\\fR \\fIcommand\\fR ...]]",
        ".br",
        ".B edgelake",
        "\\fB\\-c\\fR \\fIcommand\\fR [\\fB\\-c\\fR \\fIcommand\\fR ...]",
    ]
    for part in found:
        lines += [".br", ".B edgelake", _synopsis(part)]
    lines += [
        ".SH DESCRIPTION",
        "Readings come in by REST, MQTT, Kafka, gRPC and files, become rows in a local database,",
        "and are found again with SQL, over one node or a network of them.",
        "Without arguments, a node starts in the current directory, with a prompt when there is a terminal;",
        "with commands, it runs them first: \\fBand\\fR separates them, a quoted argument is one command,",
        "and \\fB#\\fR ends them.",
        "With \\fB\\-c\\fR, commands run one after another, and the program leaves.",
        ".SH PARTS",
    ]
    for part in found:
        lines += _part(part)
    lines += [
        ".SH COMMANDS",
        "In scripts, at the prompt, over REST and from other nodes; \\fBhelp\\fR \\fIcommand\\fR tells more.",
    ]
    for entry in registry:
        if not entry.later:
            lines += _command(entry)
    lines.append(".SH ENVIRONMENT")
    for name, about in _ENVIRONMENT:
        lines += [".TP", f".B {_escaped(name)}", _escaped(about)]
    lines.append(".SH FILES")
    for name, about in _FILES:
        lines += [".TP", f".I {_escaped(name)}", _escaped(about)]
    lines += [
        ".SH EXIT STATUS",
        "0 when all went well, 1 when something failed, 2 for arguments that are none.",
        ".SH EXAMPLES",
        ".nf",
        "edgelake init \\-\\-yes && edgelake start",
        "edgelake attach \\-c 'get processes'",
        "edgelake backup /media/backup/today",
        ".fi",
    ]
    return "\n".join(lines)


def _synopsis(part: Part) -> str:
    shown = [f"\\fB{_escaped(part.name)}\\fR"]
    shown += [_shown(option) for option in part.flags if "--help" not in option.flags]
    shown += [_operand(option) for option in part.operands]
    return " ".join(shown)


def _shown(option: Option) -> str:
    value = f" \\fI{_escaped(option.shown)}\\fR" if option.takes != "nothing" else ""
    text = f"\\fB{_escaped(option.long)}\\fR{value}"
    return text if option.is_needed else f"[{text}]"


def _operand(option: Option) -> str:
    text = "|".join(option.choices) if option.choices else option.shown
    text = f"\\fI{_escaped(text)}\\fR"
    return text if option.is_needed else f"[{text}]"


def _part(part: Part) -> list[str]:
    lines = [f".SS edgelake {_escaped(part.name)}", _line(part.about)]
    for option in part.options:
        flags = ", ".join(f"\\fB{_escaped(flag)}\\fR" for flag in option.flags)
        value = "" if option.takes == "nothing" else f"\\fI{_escaped('|'.join(option.choices) or option.shown)}\\fR"
        lines += [".TP", " ".join(filter(None, (flags, value))), _line(option.about or "see above")]
    if part.more:
        rows = [_line(line) if line.strip() else "." for line in part.more.strip("\n").splitlines()]
        lines += [".PP", ".nf", *rows, ".fi"]
    return lines


def _command(entry: Command) -> list[str]:
    return [".TP", f"\\fB{_escaped(entry.usage)}\\fR", _line(entry.help.splitlines()[0].replace("``", ""))]


def _line(text: str) -> str:
    """A line of text: what would be a request of roff at its beginning is none."""
    made = _escaped(text.rstrip())
    return f"\\&{made}" if made[:1] in (".", "'") else made


def _escaped(text: str) -> str:
    return text.translate(_ESCAPES)


def install(folder: Path, parsers: Mapping[str, argparse.ArgumentParser], version: str) -> None:
    """The page and the completions where an installation has them, below a prefix such as /usr/local."""
    from edgelake.tools.completion import SHELLS

    found = parts(parsers)
    texts = {
        "share/man/man1/edgelake.1": page(found, Registry.discover(), version),
        "share/bash-completion/completions/edgelake": SHELLS["bash"](found),
        "share/zsh/site-functions/_edgelake": SHELLS["zsh"](found),
        "share/fish/vendor_completions.d/edgelake.fish": SHELLS["fish"](found),
    }
    for name, text in texts.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text + "\n")
