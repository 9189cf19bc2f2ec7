"""The node's work directories and their dictionary names.

Source: spec "Command language", section 6.
"""

from __future__ import annotations

import os
from pathlib import Path

from edgelake import errors
from edgelake.command.variables import Variables

# Dictionary name and path below <home>/EdgeLake, in the order of the specification.
_PATHS: dict[str, str] = {
    "blockchain_dir": "blockchain",
    "blockchain_file": "blockchain/blockchain.json",
    "blockchain_new": "blockchain/blockchain.new",
    "blockchain_sql": "blockchain/blockchain.sql",
    "local_scripts": "scripts",
    "id_dir": "anylog",
    "dbms_dir": "data/dbms",
    "pem_dir": "data/pem",
    "test_dir": "data/test",
    "watch_dir": "data/watch",
    "prep_dir": "data/prep",
    "err_dir": "data/error",
    "bkup_dir": "data/bkup",
    "archive_dir": "data/archive",
    "distr_dir": "data/distr",
    "blobs_dir": "data/blobs",
    "bwatch_dir": "data/bwatch",
    "tmp_dir": "data/tmp",
}


class Directories:
    """Where the node keeps its files. The dictionary names may be changed by scripts, so paths are read from there."""

    def __init__(self, variables: Variables, home: Path) -> None:
        self._variables = variables
        self.home = home
        self._publish()

    @property
    def root(self) -> Path:
        """The folder that holds everything of the node."""
        return self.home / "EdgeLake"

    def set_home(self, home: Path) -> None:
        """Move all directories below another home. Raises 63 when it is missing or cannot be written."""
        if not home.is_dir() or not os.access(home, os.W_OK):
            raise errors.error(63, f"'{home}' is not a writable directory", hint="create it, or choose another home")
        self.home = home.resolve()
        self._publish()

    def path(self, name: str) -> Path:
        """A directory or file by its dictionary name (``dbms_dir``). Raises 33 when it isn't set."""
        text = self._variables.get(name)
        if not text:
            raise errors.error(33, f"'{name}' is not set", hint=f"set it: {name} = <path>")
        return Path(text)

    def create(self) -> list[str]:
        """Create the work directories; returns what went wrong, one text each."""
        failed: list[str] = []
        for name in (name for name in _PATHS if name.endswith("_dir")):
            try:
                self.path(name).mkdir(parents=True, exist_ok=True)
            except OSError as cause:
                failed.append(f"{name}: {cause}")
        return failed

    def inside(self, path: Path) -> bool:
        """Whether a path lies beneath the node's root, links resolved."""
        return path.resolve().is_relative_to(self.root.resolve())

    def _publish(self) -> None:
        for name, below in _PATHS.items():
            self._variables.set(name, str(self.root / below))
        self._variables.set("edgelake_path", str(self.home))
