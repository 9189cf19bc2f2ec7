"""``edgelake init``: four questions, then a configuration, a certificate and an administrator's token."""

from __future__ import annotations

import argparse
import os
import socket
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from edgelake.command.console import write
from edgelake.command.faults import failure_text
from edgelake.durable import write_whole
from edgelake.errors import CommandError, EdgeLakeError
from edgelake.identity.identities import FILE, Identities
from edgelake.net.certificates import fingerprint, self_signed
from edgelake.tools.configuration import NAME, read

ADMIN: Final = "admin"

_FILE: Final = """\
# Configuration of an EdgeLake node: edgelake start {name}
# A section is a command of the language, its keys are the command's options: docs/configuration.md.
# edgelake config check looks at this file, edgelake config show --origin says what holds and why.

[node]
name = "{node}"
home = "{home}"

[databases.{database}]
type = "sqlite"

[scheduler]

# Readings and commands over HTTP{secure}.
[rest]
external_ip = "{ip}"
external_port = 32049
bind = true
ssl = {ssl}

# Readings over MQTT.
[broker]
external_ip = "{ip}"
external_port = 32050
bind = true
ssl = {ssl}

# Other nodes.
# [tcp]
# external_ip = "{ip}"
# external_port = 32048
"""


@dataclass(frozen=True, slots=True)
class Answers:
    """What was asked."""

    node: str
    home: str
    database: str
    is_open: bool


def parser() -> argparse.ArgumentParser:
    """Its options."""
    made = argparse.ArgumentParser("edgelake init", description=__doc__)
    made.add_argument("file", nargs="?", default=NAME, help=f"default: {NAME}")
    made.add_argument("--yes", action="store_true", help="ask nothing: defaults, and what the options say")
    made.add_argument("--name", help="of the node")
    made.add_argument("--home", help="folder of its data")
    made.add_argument("--database", help="name of the first database")
    made.add_argument("--open", action="store_true", default=None, help="listen for other machines, with TLS and names")
    return made


def main(arguments: Sequence[str]) -> int:
    """Returns the exit code."""
    options = parser().parse_args(arguments)
    path = Path(options.file).absolute()
    try:
        if path.exists():
            raise CommandError(f"{path} is there already", hint="edgelake start, or name another file")
        ask = _default if options.yes or not sys.stdin.isatty() else _ask
        answers = Answers(
            options.name or ask("Name of the node", socket.gethostname().partition(".")[0]),
            options.home or ask("Folder of its data", "."),
            options.database or ask("First database", "plant"),
            options.open or ask("May other machines reach it (y/n)", "n").lower().startswith("y"),
        )
        _make(path, answers)
    except (EdgeLakeError, OSError) as problem:
        write(failure_text(problem) if isinstance(problem, EdgeLakeError) else f"edgelake init: {problem}", sys.stderr)
        return 1
    except (EOFError, KeyboardInterrupt):
        write("\nNothing was written.", sys.stderr)
        return 1
    return 0


def _ask(question: str, default: str) -> str:
    return input(f"{question} [{default}]: ").strip() or default


def _default(question: str, default: str) -> str:
    return default


def _make(path: Path, answers: Answers) -> None:
    """Write all of it; the configuration at last. Raises EdgeLakeError, OSError."""
    ip = "0.0.0.0" if answers.is_open else "127.0.0.1"
    for what, value in (("name", answers.node), ("folder", answers.home), ("database", answers.database)):
        if not value or any(c in "\"'\\" or not c.isprintable() for c in value):
            raise CommandError(f"'{value}' cannot be the {what}")
    text = _FILE.format(
        name=path.name,
        node=answers.node,
        home=answers.home,
        database=answers.database,
        ip=ip,
        ssl=str(answers.is_open).lower(),
        secure=", with the certificate of the node" if answers.is_open else ", of this machine alone",
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    working = path.with_name(f".{path.name}.checked")
    try:
        working.write_text(text)
        home = read(working, os.environ).home
    finally:
        working.unlink(missing_ok=True)
    assert home is not None
    root = home / "EdgeLake"
    identities = Identities(lambda: root / "anylog" / FILE)
    identities.load()
    if ADMIN in identities.content.tokens:
        raise CommandError(f"{home} has the folder of a node already", hint="choose another folder, or: edgelake start")
    said = [f"{path.name}: the configuration"]
    if answers.is_open:
        names = ("localhost", "127.0.0.1", socket.gethostname())
        files = self_signed(root / "data" / "pem", names)
        said.append(f"{files.certificate}: the certificate, SHA-256 {fingerprint(files.certificate)}")
    token = identities.add_token(ADMIN, "admin", None)
    if answers.is_open:
        identities.enforce(True)
    write_whole(path, text.encode())
    scheme = "https" if answers.is_open else "http"
    write("\n".join(said))
    write(f"\nThe administrator's token is shown this once:\n  {token}\n")
    write(f"Start the node:  edgelake start {path.name}")
    own = " -k" if answers.is_open else ""
    write(f"Ask it:          curl{own} -H 'Authorization: Bearer {token[:8]}...' {scheme}://127.0.0.1:32049 \\")
    write("                      -H 'User-Agent: AnyLog/1.23' -H 'command: get status'")
