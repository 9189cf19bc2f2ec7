"""The room that a SQLite database takes, and what it gives back."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import apsw

from edgelake.store.base import TableInfo
from edgelake.store.engine import PAGE_BYTES, quote

STEP_PAGES: Final = 2048
"""Pages that one step gives back: rows wait for it."""


def sizes(db: apsw.Connection, names: Sequence[str]) -> dict[str, int]:
    """Bytes of tables with their indexes. Reads every page of them."""
    found = {}
    for name in names:
        own: Any = db.execute(
            "SELECT sum(d.pgsize) FROM sqlite_schema s JOIN dbstat d ON d.name = s.name"
            " WHERE s.tbl_name = ? AND s.type IN ('table', 'index') AND d.aggregate = TRUE",
            (name,),
        ).fetchone()
        found[name] = int(own[0] or 0)
    return found


def days(db: apsw.Connection, info: TableInfo, column: str) -> dict[int, int]:
    """Rows by day: days since 1970-01-01 UTC."""
    own: Any = db.execute(
        f"SELECT floor(coalesce({quote(column)}, insert_timestamp, 0) / 86400000000.0) AS day, count(*)"
        f" FROM {quote(info.name)} GROUP BY 1"
    ).fetchall()
    return {int(day): int(rows) for day, rows in own}


def free_bytes(path: Path, db: apsw.Connection) -> int:
    """Room for rows: on the disk, and in pages of the file that hold nothing."""
    return shutil.disk_usage(path.parent).free + _free_pages(db) * PAGE_BYTES


def give_back_step(db: apsw.Connection) -> bool:
    """Shorten the file by pages that hold nothing; whether there are more of them.

    False for a file that was made before files were shortened: its next rows take those pages.
    """
    before = _free_pages(db)
    # Each row of this statement frees one page.
    db.execute(f"PRAGMA incremental_vacuum({STEP_PAGES})").fetchall()
    left = _free_pages(db)
    return 0 < left < before


def file_bytes(path: Path) -> int:
    return sum(os.stat(f"{path}{end}").st_size for end in ("", "-wal") if os.path.exists(f"{path}{end}"))


def _free_pages(db: apsw.Connection) -> int:
    row: Any = db.execute("PRAGMA freelist_count").fetchone()
    return int(row[0])
