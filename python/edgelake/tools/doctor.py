"""``edgelake doctor``: looks for what keeps a node from running well, and says what to do about it."""

from __future__ import annotations

import argparse
import contextlib
import importlib.util
import os
import socket
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Final

import apsw

from edgelake.command.console import write
from edgelake.command.health import Finding, looks
from edgelake.errors import EdgeLakeError
from edgelake.tools.configuration import NAME, SECTIONS, Configuration, commands, read
from edgelake.tools.socket import home_of, short, socket_of

EXTRAS: Final = {
    "kafka": "aiokafka",
    "grpc": "grpc",
    "postgres": "psycopg",
    "blobs": "obstore",
    "ethereum": "web3",
    "arrow": "pyarrow",
    "numpy": "numpy",
    "tui": "textual",
}


def parser() -> argparse.ArgumentParser:
    """Its options."""
    made = argparse.ArgumentParser("edgelake doctor", description=__doc__)
    made.add_argument("file", nargs="?", default="", help=f"a configuration; default: {NAME}, when it is there")
    made.add_argument("--home", default="", help="the node's folder (the configuration's, EDGELAKE_HOME, here)")
    return made


def main(arguments: Sequence[str]) -> int:
    """Returns the exit code: 1 when something has to be done."""
    options = parser().parse_args(arguments)
    found: Configuration | None = None
    findings: list[Finding] = []
    path = Path(options.file or NAME)
    if options.file or path.exists():
        try:
            found = read(path.absolute(), os.environ)
            findings.append(Finding("ok", f"{path}: {len(commands(found))} commands"))
        except EdgeLakeError as problem:
            findings.append(Finding("fail", str(problem)))
    home = found.home if found is not None and found.home is not None and not options.home else home_of(options.home)
    is_running = _is_running(home)
    checks: tuple[Callable[[], Iterator[Finding]], ...] = (
        lambda: _running(home, is_running),
        lambda: looks(home),
        lambda: _databases(home),
        lambda: _ports(found, is_running),
        lambda: _extras(),
    )
    for check in checks:
        findings += check()
    for finding in findings:
        write(f"{finding.verdict:<5} {finding.what}" + (f"\n      {finding.advice}" if finding.advice else ""))
    failed = sum(finding.verdict == "fail" for finding in findings)
    write(f"\n{failed} to be done." if failed else "\nNothing has to be done.")
    return 1 if failed else 0


def _is_running(home: Path) -> bool:
    try:
        with short(socket_of(home)) as name, socket.socket(socket.AF_UNIX) as link:
            return link.connect_ex(name) == 0
    except OSError:
        return False


def _running(home: Path, is_running: bool) -> Iterator[Finding]:
    yield Finding("ok" if is_running else "note", f"{home}: a node {'runs' if is_running else 'does not run'} there")


def _databases(home: Path) -> Iterator[Finding]:
    for path in sorted((home / "EdgeLake" / "data" / "dbms").glob("*.dbms")):
        try:
            flags = apsw.SQLITE_OPEN_READONLY | apsw.SQLITE_OPEN_URI
            with contextlib.closing(apsw.Connection(str(path), flags=flags)) as database:
                database.set_busy_timeout(5000)
                (said,) = (str(row[0]) for row in database.execute("PRAGMA quick_check(1)"))
        except apsw.Error as problem:
            said = str(problem)
        size = path.stat().st_size / 1e6
        if said == "ok":
            yield Finding("ok", f"{path.name}, {size:,.0f} MB, is whole")
        else:
            yield Finding(
                "fail", f"{path} is damaged: {said}", "stop the node, keep the file, edgelake restore a backup"
            )


def _ports(found: Configuration | None, is_running: bool) -> Iterator[Finding]:
    """Whether the addresses of a configuration can be listened on."""
    if found is None or is_running:
        return
    for section in SECTIONS:
        values = found.values.get(section, {})
        port = values.get("internal_port") or values.get("external_port")
        if not isinstance(port, int):
            continue
        host = str(values.get("internal_ip") or values.get("external_ip") or "127.0.0.1") if values.get("bind") else ""
        try:
            with socket.create_server((host, port)):
                yield Finding("ok", f"[{section}] port {port} is free")
        except OSError as problem:
            yield Finding("fail", f"[{section}] {host}:{port}: {problem.strerror}", "choose another port or address")


def _extras() -> Iterator[Finding]:
    there = [extra for extra, module in EXTRAS.items() if importlib.util.find_spec(module)]
    missing = [extra for extra in EXTRAS if extra not in there]
    if missing:
        named = ", ".join(missing)
        yield Finding(
            "note", f"not installed: {named}", f"pip install 'edgelake[{','.join(missing)}]', where they are used"
        )
    yield Finding("ok", f"Python {sys.version.split()[0]}, SQLite {apsw.sqlite_lib_version()}")
