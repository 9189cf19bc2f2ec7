"""How far a file of the watch directory is in its table: committed with its rows."""

from __future__ import annotations

from typing import Any

from msgspec import Struct

from edgelake.store.schema import Transaction


class FileMarker(Struct, frozen=True):
    """What the database remembers of a file from its first rows until it is archived.

    Attributes:
        name, hash: which file.
        rows: how many rows of the file are dealt with when this is committed; None = all.
    """

    name: str
    hash: str
    rows: int | None = None

    def covered(self, tx: Transaction) -> bool:
        """Whether the database has these rows already."""
        sql = "SELECT rows FROM _edgelake_files WHERE name = ? AND hash = ?"
        found: Any = tx.execute(sql, (self.name, self.hash)).fetchone()
        if found is None:
            return False
        reached: int | None = found[0]
        return reached is None or (self.rows is not None and reached >= self.rows)

    def write(self, tx: Transaction, stored: int) -> None:
        """Put it down, with the rows that came into the table."""
        tx.execute(
            "INSERT INTO _edgelake_files (name, hash, rows, stored) VALUES (?, ?, ?, ?) ON CONFLICT (name) DO UPDATE"
            " SET hash = excluded.hash, rows = excluded.rows, stored = _edgelake_files.stored + excluded.stored",
            (self.name, self.hash, self.rows, stored),
        )
