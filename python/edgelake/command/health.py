"""What lies around a node: its folder, limits, clock, users and certificates. ``edgelake doctor`` looks at them, and a
running node does for its page of problems."""

from __future__ import annotations

import asyncio
import os
import resource
import shutil
import ssl
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Final, Literal

from msgspec import Struct

from edgelake.command.context import Context
from edgelake.errors import ServiceError
from edgelake.identity.identities import FILE, Identities
from edgelake.ingest import comparison

Verdict = Literal["ok", "note", "fail"]
LOW_BYTES: Final = 1 << 30
FEW_FILES: Final = 4096
SOON_S: Final = 30 * 24 * 3600
EARLIEST_S: Final = 1_750_000_000
EVERY_S: Final = 30.0
MOST_CERTIFICATES: Final = 100
MOST_PARTITIONS: Final = 20
PART: Final = "health"


class Finding(Struct, frozen=True):
    """One look.

    Attributes:
        advice: what to do.
        where: the part of the node, as its page of problems names it.
        command: of the node's own language, that shows more or helps; "" = its page does not show the finding.
    """

    verdict: Verdict
    what: str
    advice: str = ""
    where: str = ""
    command: str = ""


def looks(home: Path) -> Iterator[Finding]:
    """All of it; reads files. ``home``: the node's folder."""
    for look in (folder, room, limits, clock, identities, certificates, contents):
        yield from look(home)


def folder(home: Path) -> Iterator[Finding]:
    """Whether the node can write."""
    there = _existing(home)
    if not os.access(there, os.W_OK):
        advice = "give it to the user of the node, or choose another --home"
        yield Finding("fail", f"{there} cannot be written", advice, "Folder", f"get access {there}")


def room(home: Path) -> Iterator[Finding]:
    """Of the disk; the page of problems has it from the numbers of the node."""
    there = _existing(home)
    free = shutil.disk_usage(there).free
    if free < LOW_BYTES:
        yield Finding("fail", f"{free / 1e6:,.0f} MB are free at {there}", "make room, or: help delete rows")
    else:
        yield Finding("ok", f"{free / 1e9:,.1f} GB are free at {there}")


def limits(_home: Path) -> Iterator[Finding]:
    """Of the process."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < FEW_FILES:
        advice = f"ulimit -n {16 * FEW_FILES}, for many clients"
        yield Finding("note", f"{soft} files and connections may be open", advice, "Limits", "get connections")


def clock(_home: Path) -> Iterator[Finding]:
    """Whether it was ever set."""
    if time.time() < EARLIEST_S:
        advice = "set it: readings without a time get it"
        said = f"the clock says {time.strftime('%Y-%m-%d')}"
        yield Finding("fail", said, advice, "Clock", "get datetime utc now()")


def identities(home: Path) -> Iterator[Finding]:
    """The file of users and tokens."""
    path = home / "EdgeLake" / "anylog" / FILE
    kept = Identities(lambda: path)
    try:
        kept.load()
    except ServiceError as problem:
        yield Finding("fail", str(problem), "restore it from a backup", "Users", "get users")
        return
    content = kept.content
    if not kept.has_any:
        advice = "other machines need no name, where a service listens there"
        yield Finding("note", "there are no users or tokens", advice)
        return
    if path.stat().st_mode & 0o077:
        yield Finding("fail", f"others can read {path}", f"chmod 600 {path}", "Users", f"system chmod 600 {path}")
    named = f"{len(content.users)} users, {len(content.tokens)} tokens"
    yield Finding("ok", f"{named}; user authentication is {'on' if content.enforced else 'off'}")


def certificates(home: Path) -> Iterator[Finding]:
    """Those of the node's folder."""
    for path in sorted((home / "EdgeLake" / "data" / "pem").glob("*.crt"))[:MOST_CERTIFICATES]:
        try:
            ends_s = ssl.cert_time_to_seconds(str(_decoded(path)["notAfter"]))
        except (OSError, KeyError, ValueError) as problem:
            yield _certificate("fail", f"{path} cannot be read: {problem}", "replace it")
            continue
        day = time.strftime("%Y-%m-%d", time.gmtime(ends_s))
        if ends_s < time.time():
            advice = "replace it, then: reload certificates"
            yield _certificate("fail", f"{path.name} has expired on {day}", advice)
        elif ends_s < time.time() + SOON_S:
            yield _certificate("note", f"{path.name} expires on {day}", "replace it before")
        else:
            yield Finding("ok", f"{path.name} is valid until {day}")


def _certificate(verdict: Verdict, what: str, advice: str) -> Finding:
    return Finding(verdict, what, advice, "Certificates", "reload certificates")


def contents(home: Path) -> Iterator[Finding]:
    """What the members of the node's cluster hold, as they compared it in the background."""
    report = comparison.read(home / "EdgeLake" / "data" / comparison.FILE)
    differing = list(report.told())
    for look in differing[:MOST_PARTITIONS]:
        odd = f"{look.odd[0]} differs from the other members" if len(look.odd) == 1 else f"{', '.join(look.odd)} differ"
        said = f"{look.place}: {odd}: {'; '.join(map(str, look.differing))}"
        since = time.strftime("%Y-%m-%d %H:%M", time.gmtime(look.since_s))
        advice = f"seen since {since} UTC; which files: {look.place.command}"
        yield Finding("fail", said, advice, "Cluster", look.place.command)
    if len(differing) > MOST_PARTITIONS:
        said = f"{len(differing) - MOST_PARTITIONS} more partitions differ between the members"
        yield Finding("fail", said, "get cluster comparison", "Cluster", "get cluster comparison")
    if report.looks and not differing:
        yield Finding("ok", f"the members of the cluster hold the same rows, in {len(report.looks):,} partitions")


def _decoded(path: Path) -> dict[str, object]:
    """What Python's TLS reads out of a certificate file. Only this of its readers takes a file by itself."""
    reader: Callable[[str], dict[str, object]] = ssl._ssl._test_decode_cert  # type: ignore[attr-defined]
    return reader(str(path))


def _existing(home: Path) -> Path:
    return next(place for place in (home, *home.parents) if place.exists())


class Health:
    """What a running node knows of it: looked at beside the loop, at most twice a minute, and when somebody asks."""

    def __init__(self, home: Callable[[], Path]) -> None:
        self._home = home
        self._looked_at = -EVERY_S
        self._looking: asyncio.Task[None] | None = None
        self.findings: Sequence[Finding] = ()

    def refresh(self) -> asyncio.Task[None] | None:
        """Look again if that is due; what to wait for, where somebody wants to."""
        if self._looking is None and time.monotonic() - self._looked_at >= EVERY_S:
            self._looking = asyncio.create_task(self._look(), name="health")
        return self._looking

    async def _look(self) -> None:
        try:
            home = self._home()
            self.findings = await asyncio.to_thread(lambda: tuple(looks(home)))
        except OSError as problem:
            said = f"the node's folder cannot be looked at: {problem.strerror}"
            self.findings = (Finding("fail", said, str(problem.filename or ""), "Folder", "get dictionary home"),)
        finally:
            self._looked_at, self._looking = time.monotonic(), None


def health_of(ctx: Context) -> Health:
    """The node's."""
    found: Health | None = ctx.parts.get(PART)
    if found is None:
        found = ctx.parts[PART] = Health(lambda: ctx.directories.home)
    return found
