"""Tables of files: ``tsd_info`` for the node's own sources, ``tsd_<member>`` for files of a cluster member.

Source: spec "Ingestion", section 11. They live in the database ``almgm``.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from edgelake.errors import DatabaseMissingError, error

DBMS = "almgm"
OWN_TABLE = "tsd_info"


@dataclass(frozen=True, slots=True)
class TsdRow:
    """What a TSD table says about a file. ``rows`` is 0 until its rows are in the database."""

    file_id: int
    file_time_us: int
    rows: int

    @property
    def date(self) -> str:
        """YYMMDDHHMMSS UTC, as file names carry it."""
        return datetime.fromtimestamp(self.file_time_us / 1e6, UTC).strftime("%y%m%d%H%M%S")


class TsdTables:
    """The TSD tables of one node."""

    def __init__(self, stores: Any) -> None:
        self._stores = stores

    def check(self) -> None:
        """Raises EdgeLakeError 3 when there is no ``tsd_info``."""
        try:
            store = self._stores.get(DBMS)
        except DatabaseMissingError as e:
            raise error(3, f"update_tsd_info needs the database {DBMS}", hint=f"connect dbms {DBMS} ...") from e
        if OWN_TABLE not in store.tables:
            raise error(
                3,
                f"update_tsd_info needs the table {DBMS}.{OWN_TABLE}",
                hint=f"create table {OWN_TABLE} where dbms = {DBMS}",
            )

    async def find(self, file_hash: str, table: str = OWN_TABLE) -> TsdRow | None:
        """The file with this hash."""
        store = self._stores.get(DBMS)
        sql = f"SELECT file_id, file_time, rows FROM {table} WHERE file_hash = ?"

        def look(db: Any) -> tuple[Any, ...] | None:
            row: tuple[Any, ...] | None = db.execute(sql, (file_hash,)).fetchone()
            return row

        found = await store.read(look)
        return TsdRow(found[0], int(found[1]), found[2] or 0) if found else None

    async def add(self, dbms: str, table: str, source: str, file_hash: str, instructions: str) -> TsdRow:
        """A new row for a file of the node's own sources, its rows not counted yet."""
        now_us = time.time_ns() // 1000
        sql = (
            f"INSERT INTO {OWN_TABLE} (dbms_name, table_name, source, file_hash, instructions, file_time, rows)"
            " VALUES (?, ?, ?, ?, ?, ?, 0) RETURNING file_id"
        )
        values = (dbms, table, source, file_hash, instructions, now_us)
        store = self._stores.get(DBMS)
        file_id: int = await store.change(lambda tx: tx.execute(sql, values).fetchone()[0])
        return TsdRow(file_id, now_us, 0)

    async def finish(self, file_id: int, rows: int) -> None:
        """The rows of a file are in the database."""
        store = self._stores.get(DBMS)
        sql = f"UPDATE {OWN_TABLE} SET rows = ? WHERE file_id = ?"
        await store.change(lambda tx: tx.execute(sql, (rows, file_id)).fetchall())
