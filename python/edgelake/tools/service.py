"""``edgelake service show|install``: the node as a service of systemd, with its rights cut down to what it needs."""

from __future__ import annotations

import argparse
import getpass
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from edgelake.command.console import write
from edgelake.command.faults import failure_text
from edgelake.errors import CommandError, EdgeLakeError
from edgelake.tools.configuration import NAME, read

FOLDER: Final = "/etc/systemd/system"
_UNIT: Final = """\
[Unit]
Description=EdgeLake data node
Wants=network-online.target
After=network-online.target

[Service]
Type=notify
ExecStart={python} -m edgelake start {file}
Environment=EDGELAKE_LOG=warning
User={user}
StandardInput=null
Restart=on-failure
RestartSec=2
TimeoutStopSec=20
WatchdogSec=30
LimitNOFILE=65536

# Rights: its own folder, the network, nothing else.
ReadWritePaths={home}
ProtectSystem=strict
ProtectHome={protect_home}
PrivateTmp=true
PrivateDevices=true
NoNewPrivileges=true
CapabilityBoundingSet=
ProtectKernelTunables=true
ProtectKernelModules=true
ProtectKernelLogs=true
ProtectControlGroups=true
ProtectClock=true
ProtectHostname=true
RestrictNamespaces=true
RestrictRealtime=true
RestrictSUIDSGID=true
RestrictAddressFamilies=AF_INET AF_INET6 AF_UNIX AF_NETLINK
LockPersonality=true
SystemCallArchitectures=native
SystemCallFilter=@system-service
SystemCallErrorNumber=EPERM
MemoryDenyWriteExecute=true
ProtectProc=invisible
RemoveIPC=true
UMask=0027

[Install]
WantedBy=multi-user.target
"""


def parser() -> argparse.ArgumentParser:
    """Its options."""
    made = argparse.ArgumentParser("edgelake service", description=__doc__)
    made.add_argument("what", choices=("show", "install"), help="show: print the unit; install: write it (as root)")
    made.add_argument("file", nargs="?", default=NAME, help=f"the node's configuration; default: {NAME}")
    made.add_argument("--user", default=getpass.getuser(), help="that the node runs as")
    made.add_argument("--folder", default=FOLDER, help=f"of units; default: {FOLDER}")
    made.add_argument("--name", default="edgelake", help="of the service")
    return made


def main(arguments: Sequence[str]) -> int:
    """Returns the exit code."""
    options = parser().parse_args(arguments)
    try:
        unit = unit_of(Path(options.file).absolute(), options.user)
        if options.what == "show":
            write(unit)
        else:
            _install(unit, Path(options.folder) / f"{options.name}.service", options.name)
    except EdgeLakeError as problem:
        write(failure_text(problem), sys.stderr)
        return 1
    return 0


def unit_of(path: Path, user: str) -> str:
    """The unit for a configuration. Raises ConfigurationError, CommandError."""
    found = read(path, os.environ)
    home = found.home or path.parent
    for text in (str(path), str(home), sys.executable):
        if any(c in "%\"'\\" or c.isspace() for c in text):
            raise CommandError(f"'{text}' cannot stand in a unit", hint="use a path without blanks, quotes and %")
    in_home = home.is_relative_to("/home") or home.is_relative_to("/root")
    return _UNIT.format(
        python=sys.executable, file=path, user=user, home=home, protect_home="false" if in_home else "true"
    )


def _install(unit: str, path: Path, name: str) -> None:
    try:
        path.write_text(unit)
    except OSError as problem:
        raise CommandError(
            f"cannot write {path}: {problem.strerror}", hint="run it as root, or: service show"
        ) from None
    write(f"{path} is written.")
    if shutil.which("systemctl") and path.parent == Path(FOLDER):
        subprocess.run(["systemctl", "daemon-reload"], check=False)
    write(f"Start it, now and at boot:  systemctl enable --now {name}")
