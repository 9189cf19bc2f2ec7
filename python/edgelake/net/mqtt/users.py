"""The file of users: a line ``name:scrypt$n$r$p$salt$hash`` each, salt and hash in base64.

Spec: brokers and mapping, section 1; security, section 3 (slow hashes, constant time).
"""

from __future__ import annotations

import os
from pathlib import Path

from edgelake.errors import ServiceError
from edgelake.identity.passwords import Hash


class UserFile:
    """The users of a file; it is read again when it has changed."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._state: tuple[int, int, int] | None = None
        self._users: dict[str, Hash] = {}

    @property
    def has_any(self) -> bool:
        """Whether there was a user when the file was read last."""
        return bool(self._users)

    def users(self) -> dict[str, Hash]:
        """Hashes by name. Raises ServiceError for a file that cannot be read, and names the line."""
        try:
            found = self.path.stat()
            state = (found.st_mtime_ns, found.st_size, found.st_ino)
            if state != self._state:
                self._users = parse(self.path.read_text(), self.path)
                self._state = state
        except (OSError, UnicodeDecodeError) as problem:
            raise ServiceError(f"users: cannot read {self.path}: {problem}") from problem
        return self._users


def parse(text: str, path: Path) -> dict[str, Hash]:
    """Users of the text of a file. Raises ServiceError with the number of a bad line."""
    users: dict[str, Hash] = {}
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip() or line.startswith("#"):
            continue
        name, colon, hashed = line.strip().partition(":")
        try:
            if not (name and colon):
                raise ValueError("no name")
            users[name] = Hash.parse(hashed)
        except ValueError as problem:
            hint = "mqtt password where user = u and password = p and file = f writes lines"
            raise ServiceError(f"users: {path}, line {number}: {problem}", hint=hint) from problem
    return users


def put(path: Path, name: str, password: str) -> None:
    """Write a user's line, in place of an older one; nobody else may read the file. Raises ServiceError."""
    if not name or ":" in name or any(not c.isprintable() for c in name):
        raise ServiceError(f"users: '{name}' cannot be a user's name")
    try:
        lines = path.read_text().splitlines() if path.exists() else []
        kept = [line for line in lines if line.partition(":")[0] != name]
        working = path.with_name(path.name + ".new")
        working.unlink(missing_ok=True)
        with os.fdopen(os.open(working, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as out:
            out.write("\n".join([*kept, f"{name}:{Hash.of(password.encode())}"]) + "\n")
            out.flush()
            os.fsync(out.fileno())
        working.replace(path)
    except OSError as problem:
        raise ServiceError(f"users: cannot write {path}: {problem.strerror}") from problem
