"""The local file: one policy a line, and its safe change (spec: metadata, section 6).

Two rules keep it whole through crashes: a line is acknowledged only after fsync, and a new copy replaces the active
one by rename, so that a reader sees the old file or the new one, nothing between.
"""

from __future__ import annotations

import contextlib
import gc
import hashlib
import os
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct, field

from edgelake.durable import sync_directory
from edgelake.errors import EdgeLakeError, error
from edgelake.metadata.ids import Policy, body_of, id_of
from edgelake.metadata.policy import check_structure, dumps, parse_json, wire

TOMBSTONE = "deleted"
NO_VERSION = "0"


class Contents(Struct, frozen=True):
    """What a ledger file holds.

    Attributes:
        entries: id -> (policy, its line without the end), in file order; the first of repeated ids counts, deleted
            ones are left out.
        tombstones: ids that are marked as deleted.
        problems: one text for each line that was left out.
        version: lower-case md5 of the bytes, "0" when there is no file.
    """

    entries: dict[str, tuple[Policy, bytes]] = field(default_factory=dict)
    tombstones: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    version: str = NO_VERSION

    @property
    def policies(self) -> list[Policy]:
        """In file order."""
        return [policy for policy, _ in self.entries.values()]

    @property
    def shared(self) -> bytes:
        """The lines that came from the master or the chain: without what only this node knows."""
        kept = [line for policy, line in self.entries.values() if not is_local(policy)]
        return b"".join(line + b"\n" for line in kept) or b"\n"


def is_local(policy: Policy) -> bool:
    """Whether a policy was made here and is not in the shared ledger yet."""
    return body_of(policy).get("ledger") == "local"


@contextlib.contextmanager
def uncollected() -> Iterator[None]:
    """While very many policies are made, none of which is garbage: no search for cycles among them."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def parse(data: bytes) -> Contents:
    """Policies from the bytes of a ledger file. Lines that can't be used are reported, never fatal."""
    found = Contents(version=md5(data).hexdigest())
    entries = found.entries
    tombstones: dict[str, None] = {}
    for number, line in enumerate(data.split(b"\n"), 1):
        if not line or line.isspace():
            continue
        try:
            policy = _policy(line)
        except (EdgeLakeError, UnicodeDecodeError) as problem:
            found.problems.append(f"line {number}: {problem}")
            continue
        ((kind, body),) = policy.items()
        policy_id = body.get("id")
        if type(policy_id) is not str:
            policy_id = id_of(policy)
        if not policy_id:
            found.problems.append(f"line {number}: a '{kind}' policy without id")
        elif kind == TOMBSTONE:
            entries.pop(policy_id, None)  # a line after the tombstone is a policy made anew
            tombstones[policy_id] = None
        elif policy_id in entries:
            found.problems.append(f"line {number}: the id {policy_id} is there already")
        else:
            entries[policy_id] = policy, line.rstrip(b"\r")
            if tombstones:
                tombstones.pop(policy_id, None)
    found.tombstones.extend(tombstones)
    return found


_decode = msgspec.json.Decoder(dict[str, dict[str, Any]]).decode
"""Takes less than ``parse_json`` (no control characters, no lone surrogates), and the same value comes out: at most
half the time of a load is left."""


def _policy(line: bytes) -> Policy:
    """The policy of a line. Raises EdgeLakeError (6, 87) and UnicodeDecodeError."""
    try:
        policy = _decode(line)
        if len(policy) == 1:
            return policy
    except (ValueError, RecursionError):
        pass  # rare, or wrong: what is at fault is said below
    return check_structure(parse_json(line.decode("utf-8")))


def md5(data: bytes = b"") -> hashlib._Hash:
    """The hash that tells one version of a ledger from another."""
    return hashlib.md5(data, usedforsecurity=False)


def lines(policies: Iterable[Policy]) -> bytes:
    """Policies as the bytes of a ledger file; an empty ledger is a single newline."""
    return b"".join(map(_line, policies)) or b"\n"


def _line(policy: Policy) -> bytes:
    try:
        return f"{dumps(policy)}\n".encode()
    except UnicodeEncodeError:  # a lone surrogate has no UTF-8 form
        return f"{wire(policy)}\n".encode()


class LedgerFile:
    """The active copy of the ledger with its ``.new`` and ``.old`` companions. All methods block: call in a thread."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._digest = md5()
        self._exists = False

    @property
    def version(self) -> str:
        """md5 of the active file's bytes, kept up to date by every change; "0" before a file exists."""
        return self._digest.hexdigest() if self._exists else NO_VERSION

    def version_with(self, data: bytes) -> str:
        """What the version will be when ``data`` is added."""
        digest = self._digest.copy()
        digest.update(data)
        return digest.hexdigest()

    def load(self) -> Contents:
        """Read the active copy; empty when there is none. Raises EdgeLakeError (35) when it can't be read."""
        try:
            data = self.path.read_bytes()
        except FileNotFoundError:
            self._exists = False
            self._digest = md5()
            return Contents()
        except OSError as problem:
            raise error(35, f"{self.path}: {problem.strerror}") from problem
        self._remember(data)
        with uncollected():
            return parse(data)

    def append(self, policy: Policy) -> None:
        """Add one line and sync it. Raises EdgeLakeError (63)."""
        self.append_lines(lines([policy]))

    def append_lines(self, data: bytes) -> None:
        """Add whole lines and sync them. Raises EdgeLakeError (63)."""
        with _writing(self.path):
            created = not self.path.exists()
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with self.path.open("ab+") as file:
                end = file.seek(0, os.SEEK_END)
                if end and not _ends_a_line(file.fileno(), end):
                    data = b"\n" + data  # a line torn by a crash stays a bad line of its own
                try:
                    file.write(data)
                    file.flush()
                    os.fsync(file.fileno())
                except OSError:
                    # What is half written must not become part of the next line, nor a policy after a restart.
                    with contextlib.suppress(OSError):
                        os.ftruncate(file.fileno(), end)
                    raise
            if created:
                sync_directory(self.path.parent)
        self._digest.update(data)
        self._exists = True

    def replace(self, data: bytes) -> Contents:
        """Make ``data`` the active copy: it is written beside it and synced, the active copy becomes ``.old``.

        Raises EdgeLakeError (59 empty, 69 without a readable policy although it has lines, 63 disk).
        """
        contents = self.readable(data)
        self.put(data)
        return contents

    def readable(self, data: bytes) -> Contents:
        """The policies of a new copy. Raises EdgeLakeError (59 empty, 69 no policy in its lines)."""
        with uncollected():
            contents = parse(data)
        if not data:
            raise error(59, f"the new copy of {self.path.name} is empty")
        if data.strip() and not contents.entries and not contents.tombstones:
            raise error(69, f"the new copy of {self.path.name} is refused: {contents.problems[0]}")
        return contents

    def put(self, data: bytes) -> None:
        """As ``replace``, for lines that were read already. Raises EdgeLakeError (63)."""
        new = self.path.with_name(f"{self.path.name}.tmp")  # `.new` is for copies that others bring
        with _writing(self.path):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with new.open("wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            if self.path.exists():
                _keep_old(self.path)
            os.replace(new, self.path)
            sync_directory(self.path.parent)
        self._remember(data)

    def delete(self) -> None:
        """Remove the active copy; fine when there is none. Raises EdgeLakeError (63)."""
        with _writing(self.path):
            self.path.unlink(missing_ok=True)
        self._exists = False
        self._digest = md5()

    def _remember(self, data: bytes) -> None:
        self._digest = md5(data)
        self._exists = True


def _keep_old(path: Path) -> None:
    """The active copy also under ``.old``; it keeps its own name until the new one takes it."""
    spare = path.with_suffix(".old.tmp")
    spare.unlink(missing_ok=True)
    try:
        os.link(path, spare)
    except OSError:  # a file system without hard links
        shutil.copyfile(path, spare)
    os.replace(spare, path.with_suffix(".old"))


def _ends_a_line(fd: int, end: int) -> bool:
    return os.pread(fd, 1, end - 1) == b"\n"


@contextlib.contextmanager
def _writing(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as problem:
        raise error(63, f"{path}: {problem.strerror}", hint="check space and rights of the directory") from problem
