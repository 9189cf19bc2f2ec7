"""``.insert.sql`` files: INSERT statements of one table, as nodes of the reference write them.

Source: spec "Ingestion", sections 5 and 7.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from edgelake.errors import error
from edgelake.store.direct import execute
from edgelake.store.engine import quote
from edgelake.store.schema import Transaction

_INSERT = re.compile(r"\s*insert\s+into\s+(?:\"[^\"]+\"|[\w.]+)\s*(?=\(|values\b)", re.IGNORECASE)
_PIECES = re.compile(r"'(?:[^']|'')*'|\"(?:[^\"]|\"\")*\"|;|\bDEFAULT\b|[^'\";D]+|D", re.IGNORECASE)


def statements(text: str, table: str) -> list[str]:
    """The file's statements, each an INSERT into the logical table: a partition's rows find their partition again.

    The word DEFAULT becomes null, which the table's own defaults replace. Raises EdgeLakeError 16 for anything else.
    """
    found = [one for one in _split(text) if one.strip()]
    if not found:
        raise error(16, "the file holds no statement")
    changed = []
    for one in found:
        head = _INSERT.match(one)
        if head is None:
            raise error(
                16, f"'{one.strip()[:60]}' is not an INSERT", hint="SQL files of the watch directory only insert"
            )
        changed.append(f"INSERT INTO {quote(table)} {one[head.end() :]}")
    return changed


def _split(text: str) -> list[str]:
    parts: list[list[str]] = [[]]
    for piece in _PIECES.findall(text):
        if piece == ";":
            parts.append([])
        else:
            parts[-1].append("NULL" if piece.upper() == "DEFAULT" else piece)
    return ["".join(part) for part in parts]


def run_statements(tx: Transaction, found: Sequence[str], marker: tuple[str, str]) -> int | None:
    """Run the statements and leave the file's marker, in the writer's transaction.

    Returns: rows inserted; None when the file's rows are in the table already.
    """
    if tx.execute("SELECT 1 FROM _edgelake_files WHERE name = ? AND hash = ?", marker).fetchone():
        return None
    count = sum(execute(tx, one) for one in found)
    tx.execute("INSERT INTO _edgelake_files VALUES (?, ?)", marker)
    return count
