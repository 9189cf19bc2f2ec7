"""TSD tables: one row for each file that the node took in (spec: ingestion, section 11).

``tsd_info`` holds files from own sources; ``tsd_<member>`` files that came from that cluster member.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Sequence
from typing import Any, Final

from msgspec import Struct

from edgelake.errors import CommandError, TableMissingError
from edgelake.store.engine import quote
from edgelake.store.schema import Transaction
from edgelake.store.store import Store

TSD_DBMS: Final = "almgm"
OWN: Final = "tsd_info"
MISSING_AT_SOURCE: Final = "01"
REFUSED: Final = "02"
"""Status 1 of a file that came and whose rows did not go in: it is in the error folder."""
KNOWN_CONTENT: Final = "03"
"""Status 1 of a file whose rows came from another member as well: they are in once."""
SUMMARY_TITLES: Final = (
    "DBMS",
    "Table",
    "Start Date",
    "From ID",
    "End Date",
    "To ID",
    "Files Count",
    "Source Count",
    "Status 1",
    "Status 2",
    "Total Rows",
)
_NAME: Final = re.compile(r"tsd_(?:info|\d{1,6})")
_FIELDS: Final = "file_id, dbms_name, table_name, source, file_hash, instructions, file_time, rows, status1, status2"

_SET_ROWS: Final = (
    "UPDATE {} SET rows = ?2, status1 = CASE WHEN ?2 = 0 AND status1 = '' THEN '"
    + REFUSED
    + "' WHEN ?2 > 0 AND status1 = '"
    + REFUSED
    + "' THEN '' ELSE status1 END WHERE file_hash = ?1"
)


class FileEntry(Struct, frozen=True):
    """A row of a TSD table. ``file_time_us`` is microseconds UTC; ``file_id`` 0 = not entered yet."""

    dbms: str
    table: str
    file_hash: str
    source: str = "0"
    instructions: str = "0"
    file_time_us: int = 0
    rows: int = 0
    status1: str = ""
    status2: str = ""
    file_id: int = 0


class Selection(Struct, frozen=True):
    """Which rows a report shows; None and empty = all. Times are microseconds UTC, half-open."""

    dbms: str = ""
    table: str = ""
    file_hash: str = ""
    start_us: int | None = None
    end_us: int | None = None
    limit: int = 100

    def where(self) -> tuple[str, list[object]]:
        tests: list[tuple[str, object]] = [
            ("dbms_name = ?", self.dbms or None),
            ("table_name = ?", self.table or None),
            ("file_hash = ?", self.file_hash or None),
            ("file_time >= ?", self.start_us),
            ("file_time < ?", self.end_us),
        ]
        used = [(test, value) for test, value in tests if value is not None]
        text = " AND ".join(test for test, _ in used) or "1"
        return text, [value for _, value in used]


def is_tsd_name(name: str) -> bool:
    return _NAME.fullmatch(name) is not None


def tsd_name(member: int | None) -> str:
    """``tsd_info`` for own files, ``tsd_<member>`` for those of a cluster member."""
    return OWN if member is None else f"tsd_{member}"


def create(tx: Transaction, name: str) -> None:
    """Create a TSD table if it is missing. Raises CommandError for another name."""
    if not is_tsd_name(name):
        raise CommandError(f"'{name}' is no TSD table", hint="tsd_info, or tsd_ and the number of a member")
    key = tx.number_key(counts=name == OWN)
    tx.execute(
        f"CREATE TABLE IF NOT EXISTS {quote(name)} (file_id {key}, dbms_name varchar NOT NULL,"
        " table_name varchar NOT NULL, source varchar, file_hash varchar NOT NULL, instructions varchar,"
        " file_time timestamp NOT NULL, rows int, status1 char(2), status2 char(2))"
    )
    tx.execute(f"CREATE UNIQUE INDEX IF NOT EXISTS {quote(name + '_hash')} ON {quote(name)} (file_hash)")
    tx.execute(f"CREATE INDEX IF NOT EXISTS {quote(name + '_time')} ON {quote(name)} (file_time)")
    tx.foreign_changes = True


class TsdTable:
    """One TSD table. Every change is durable on return."""

    def __init__(self, store: Store, name: str = OWN) -> None:
        self.store = store
        self.name = name

    @property
    def exists(self) -> bool:
        return self.name in self.store.tables

    def _quoted(self) -> str:
        if not self.exists:
            raise TableMissingError(
                f"{self.store.dbms}.{self.name}", hint=f"create table {self.name} where dbms = {self.store.dbms}"
            )
        return quote(self.name)

    async def create(self) -> None:
        await self.store.change(lambda tx: create(tx, self.name))

    async def add(self, entry: FileEntry) -> int:
        """Enter a file and return its id; the id it has when its hash is there already (a replay)."""
        return (await self.add_many([entry]))[0]

    async def add_many(self, entries: Sequence[FileEntry]) -> list[int]:
        """Enter files in one transaction; their ids in order."""
        self._quoted()
        return await self.store.change(lambda tx: [_add(tx, self.name, entry) for entry in entries])

    def add_many_blocking(self, entries: Sequence[FileEntry]) -> list[int]:
        """As ``add_many``, from a thread other than the loop's."""
        self._quoted()
        return self.store.change_blocking(lambda tx: [_add(tx, self.name, entry) for entry in entries])

    def set_rows_blocking(self, rows: Sequence[tuple[str, int]]) -> None:
        """Put down how many rows files brought: (hash, rows). From a thread other than the loop's."""
        sql = _SET_ROWS.format(self._quoted())
        self.store.change_blocking(lambda tx: tx.connection.executemany(sql, rows))

    async def has(self, file_hash: str) -> bool:
        """Whether a file of this hash was entered."""
        sql = f"SELECT 1 FROM {self._quoted()} WHERE file_hash = ?"
        return await self.store.read(lambda db: db.execute(sql, (file_hash,)).fetchone()) is not None

    async def set_rows(self, file_hash: str, rows: int) -> None:
        """Put down how many rows a file brought."""
        sql = _SET_ROWS.format(self._quoted())
        await self.store.change(lambda tx: tx.execute(sql, (file_hash, rows)).fetchall())

    async def set_hash(self, file_id: int, file_hash: str, rows: int) -> None:
        """Replace the temporary hash of a file entered before it was complete."""
        sql = f"UPDATE {self._quoted()} SET file_hash = ?, rows = ? WHERE file_id = ?"
        await self.store.change(lambda tx: tx.execute(sql, (file_hash, rows, file_id)).fetchall())

    async def put(self, entry: FileEntry) -> None:
        """Enter a member's file under the number that it has there, in place of what stood under number or hash."""
        own = self._quoted()

        def work(tx: Transaction) -> None:
            tx.execute(f"DELETE FROM {own} WHERE file_id = ? OR file_hash = ?", (entry.file_id, entry.file_hash))
            _add(tx, self.name, entry)

        await self.store.change(work)

    async def reserve(self, number: int) -> None:
        """The next own file gets a higher number than this."""
        own = self._quoted()
        sql = f"SELECT coalesce(max(file_id), 0) FROM {own}"

        def work(tx: Transaction) -> None:
            if int(tx.value(sql)) < number:
                tx.reserve_numbers(self.name, "file_id", number)

        await self.store.change(work)

    async def entry(self, file_id: int) -> FileEntry | None:
        """The row of a file; None = there is none."""
        sql = f"SELECT {_FIELDS} FROM {self._quoted()} WHERE file_id = ?"
        row: Any = await self.store.read(lambda db: db.execute(sql, (file_id,)).fetchone())
        return None if row is None else _entry(row)

    async def of_hash(self, file_hash: str) -> FileEntry | None:
        """The row of the file with a hash; None = there is none."""
        return await asyncio.to_thread(self.of_hash_blocking, file_hash)

    def of_hash_blocking(self, file_hash: str) -> FileEntry | None:
        """As ``of_hash``, from a thread other than the loop's."""
        sql = f"SELECT {_FIELDS} FROM {self._quoted()} WHERE file_hash = ?"
        with self.store.reader() as db:
            row: Any = db.execute(sql, (file_hash,)).fetchone()
        return None if row is None else _entry(row)

    async def ids(self, after: int, upto: int) -> list[int]:
        """Numbers of files in (``after``, ``upto``], in order."""
        sql = f"SELECT file_id FROM {self._quoted()} WHERE file_id > ? AND file_id <= ? ORDER BY file_id"
        rows: list[Any] = await self.store.read(lambda db: db.execute(sql, (after, upto)).fetchall())
        return [row[0] for row in rows]

    async def span(self, start_us: int, end_us: int | None) -> tuple[FileEntry, FileEntry, int] | None:
        """First and last file of a time range, and the number of the last one before it; None for an empty range.

        Numbers stand for times here: the first is the one with the lowest number. Without an end the last is that of
        the table, also where the clock was put back since.
        """
        own = self._quoted()
        test, values = Selection(start_us=start_us, end_us=end_us).where()

        def work(db: Any) -> Any:
            ends = db.execute(f"SELECT min(file_id), max(file_id) FROM {own} WHERE {test}", values).fetchone()
            if end_us is None and ends[0] is not None:
                ends = (ends[0], db.execute(f"SELECT max(file_id) FROM {own}").fetchone()[0])
            rows = [db.execute(f"SELECT {_FIELDS} FROM {own} WHERE file_id = ?", (one,)).fetchone() for one in ends]
            before = db.execute(f"SELECT max(file_id) FROM {own} WHERE file_id < ?", (ends[0],)).fetchone()
            return rows, before[0]

        (first, last), before = await self.store.read(work)
        if first is None or last is None:
            return None
        found = _entry(first)
        return found, _entry(last), found.file_id - 1 if before is None else before

    async def set_status(self, file_hash: str, status1: str | None, status2: str | None) -> bool:
        """Set one or both status fields; False when no file has this hash."""
        sql = (
            f"UPDATE {self._quoted()} SET status1 = coalesce(?, status1), status2 = coalesce(?, status2)"
            " WHERE file_hash = ?"
        )
        return await self._changes(sql, (status1, status2, file_hash))

    async def delete(self, file_id: int) -> bool:
        """Remove a file's row; False when there is none."""
        return await self._changes(f"DELETE FROM {self._quoted()} WHERE file_id = ?", (file_id,))

    async def drop(self) -> None:
        """Drop the table."""
        self._quoted()
        await self.store.change(lambda tx: tx.drop_table(self.store.table(self.name)))

    async def details(self, wanted: Selection, *, errors: bool = False) -> list[dict[str, Any]]:
        """Rows, the newest first; ``errors``: those with a status that is set or without rows."""
        test, values = wanted.where()
        if errors:
            test += " AND (status1 NOT IN ('', '0') OR status2 NOT IN ('', '0') OR rows = 0)"
        sql = f"SELECT {_FIELDS} FROM {self._quoted()} WHERE {test} ORDER BY file_id DESC LIMIT ?"
        rows = await self.store.read(lambda db: db.execute(sql, [*values, wanted.limit]).fetchall())
        return [dict(zip(_FIELDS.split(", "), row, strict=True)) for row in rows]

    async def summary(self, wanted: Selection) -> list[tuple[Any, ...]]:
        """One row per data table, in the order of ``SUMMARY_TITLES``; dates are microseconds UTC."""
        test, values = wanted.where()
        sql = (
            "SELECT dbms_name, table_name, min(file_time), min(file_id), max(file_time), max(file_id), count(*),"
            " count(DISTINCT source), sum(status1 NOT IN ('', '0')), sum(status2 NOT IN ('', '0')),"
            f" sum(rows) FROM {self._quoted()} WHERE {test} GROUP BY 1, 2 ORDER BY 1, 2 LIMIT ?"
        )
        return await self.store.read(lambda db: db.execute(sql, [*values, wanted.limit]).fetchall())

    async def safe_id(self) -> int:
        """The highest file id up to which none is missing; 0 for an empty table."""
        own = self._quoted()
        sql = (
            f"SELECT coalesce(min(file_id), 0) FROM {own} AS here"
            f" WHERE NOT EXISTS (SELECT 1 FROM {own} AS after WHERE after.file_id = here.file_id + 1)"
        )
        row: Any = await self.store.read(lambda db: db.execute(sql).fetchone())
        return int(row[0])

    async def _changes(self, sql: str, values: Sequence[object]) -> bool:
        def work(tx: Transaction) -> bool:
            before = tx.connection.total_changes()
            tx.execute(sql, values).fetchall()
            return tx.connection.total_changes() > before

        return await self.store.change(work)


def _entry(row: Sequence[Any]) -> FileEntry:
    file_id, dbms, table, source, file_hash, instructions, time_us, rows, status1, status2 = row
    return FileEntry(
        dbms, table, file_hash, source, instructions, time_us, rows or 0, status1 or "", status2 or "", file_id
    )


def tsd_tables(store: Store) -> list[str]:
    """TSD tables of a database, own files first."""
    return sorted(name for name in store.tables if is_tsd_name(name))


def _add(tx: Transaction, table: str, entry: FileEntry) -> int:
    own = quote(table)
    known = tx.value(f"SELECT file_id FROM {own} WHERE file_hash = ?", (entry.file_hash,))
    if known is not None:
        return int(known)
    values: list[object] = [
        entry.dbms,
        entry.table,
        entry.source,
        entry.file_hash,
        entry.instructions,
        tx.time(entry.file_time_us or time.time_ns() // 1000),
        entry.rows,
        entry.status1,
        entry.status2,
    ]
    fields = _FIELDS.removeprefix("file_id, ")
    if entry.file_id:
        fields, values = _FIELDS, [entry.file_id, *values]
    marks = ", ".join("?" * len(values))
    number = tx.execute(f"INSERT INTO {own} ({fields}) VALUES ({marks}) RETURNING file_id", values).fetchall()[0][0]
    if entry.file_id:
        tx.note_number(table, "file_id", entry.file_id)
    return int(number)
