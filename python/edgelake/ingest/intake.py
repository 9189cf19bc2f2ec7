"""One file of the watch directory: into the database, then to the archive; or to the error folder with its reason.

Order: rows and the file's marker are committed in one transaction, then the file is archived, then the marker is
removed. A crash between any two of these repeats the rest and never the insert.
Source: spec "Ingestion", sections 7 and 14.
"""

from __future__ import annotations

import asyncio
import logging
import os
import time
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgelake import _rust
from edgelake.errors import DatabaseMissingError, EdgeLakeError, PayloadError, StorageFullError, error
from edgelake.ingest import filing
from edgelake.ingest.counters import OperatorCounters
from edgelake.ingest.names import INSERTED, FileName, content_hash
from edgelake.ingest.records import pick_rows
from edgelake.ingest.settings import OperatorConfig
from edgelake.ingest.sqlfile import run_statements, statements
from edgelake.store.catalogue import user_schema
from edgelake.store.insert import Inserted, Insertion
from edgelake.store.sqlite import SqliteStore
from edgelake.store.tsd import OWN, TSD_DBMS, FileEntry, Selection, TsdTable

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _TsdRow:
    """The file's row in tsd_info."""

    file_id: int
    date: str  # YYMMDDHHMMSS, as file names carry it


class RetryLater(Exception):
    """The file is good but has to wait (full disk, folder not writable): it stays where it is."""


@dataclass(frozen=True, slots=True)
class _Source:
    """A file as it was when it was read."""

    path: Path
    name: FileName
    identity: tuple[int, int, int]
    content: bytes
    hash: str

    @property
    def marker(self) -> tuple[str, str]:
        """What the database remembers of the file until it is archived. A later file of that name is another one."""
        inode, _, changed_ns = self.identity
        return f"{self.path.name}|{inode}|{changed_ns}", self.hash


class Intake:
    """Takes files, one call each. Calls may overlap; each table's rows are ordered by its database's writer.

    Args:
        members: numbers of the cluster's members, whose files may come in.
        widens: whether a table may get new columns and wider types.
    """

    def __init__(
        self,
        config: OperatorConfig,
        stores: Any,
        counters: OperatorCounters,
        *,
        members: Callable[[], frozenset[int]] = frozenset,
        widens: Callable[[str, str], bool] = lambda dbms, table: True,
    ) -> None:
        self._config = config
        self._stores = stores
        self._counters = counters
        self._members = members
        self._widens = widens
        self._cleaned: set[str] = set()

    async def take(self, path: Path) -> None:
        """Deal with a file for good. Raises RetryLater when it has to stay; a file that vanished is no error."""
        name: FileName | None = None
        try:
            name = FileName.parse(path.name)
            await self._dispatch(path, name)
        except FileNotFoundError:
            if path.exists():
                raise RetryLater(f"{path.name}: a folder is missing") from None
        except StorageFullError as e:
            self._count_failure(path, name, e)
            raise RetryLater(str(e)) from e
        except EdgeLakeError as failure:
            await self._refuse(path, name, failure)
        except (OSError, EOFError, zlib.error) as e:
            if isinstance(e, OSError) and e.errno is not None:
                self._count_failure(path, name, error(63, f"{path.name}: {e}"))
                raise RetryLater(f"{path.name}: {e}") from e
            await self._refuse(path, name, PayloadError(f"{path.name}: {e}"))

    async def _dispatch(self, path: Path, name: FileName) -> None:
        refusal = self._config.refusal(name.dbms, name.table)
        if refusal is not None:
            raise refusal
        if isinstance(name.member, int) and name.member not in {self._config.member, *self._members()}:
            raise error(131, f"file of member {name.member}")
        if name.member == INSERTED:
            await self._archive_inserted(path, name)
            return
        store = self._store(name.dbms)
        await self._clean_markers(store)
        if name.kind == "sql":
            await self._take_sql(store, await asyncio.to_thread(_read, path, name))
        else:
            await self._take_json(store, await asyncio.to_thread(_read, path, name))

    def _store(self, dbms: str) -> SqliteStore:
        try:
            found: SqliteStore = self._stores.get(dbms)
        except DatabaseMissingError as e:
            raise error(
                10, f"database '{dbms}' is not connected", hint=f"connect dbms {dbms} where type = sqlite"
            ) from e
        return found

    async def _clean_markers(self, store: SqliteStore) -> None:
        """Once per database: forget markers of files that were archived just before the node died."""
        if store.dbms in self._cleaned:
            return
        self._cleaned.add(store.dbms)
        names = await store.read(lambda db: [row[0] for row in db.execute("SELECT name FROM _edgelake_files")])
        for marker in names:
            file_name, _, identity = marker.partition("|")
            seen = _identity(self._config.watch_dir / file_name)
            if seen is None or f"{seen[0]}|{seen[2]}" != identity:
                await self._forget(store, marker)

    async def _forget(self, store: SqliteStore, marker: str) -> None:
        sql = "DELETE FROM _edgelake_files WHERE name = ?"
        await store.change(lambda tx: tx.execute(sql, (marker,)).fetchall(), synchronous="NORMAL")

    # ---- JSON

    async def _take_json(self, store: SqliteStore, source: _Source) -> None:
        name, config = source.name, self._config
        rows = await asyncio.to_thread(_rust.Rows.parse, source.content)
        if len(rows) == 0:
            raise PayloadError(f"{source.path.name}: no rows")
        tsd = await self._tsd_row(store, source)
        member, tsd_id = (str(config.member), tsd.file_id) if tsd else ("0", 0)
        if isinstance(name.member, int) and name.member != config.member:
            member, tsd_id = str(name.member), name.tsd_id
        wanted = Insertion(
            name.table,
            rows,
            time.time_ns() // 1000,
            tsd_name=member,
            tsd_id=tsd_id,
            marker=source.marker,
            create=config.create_table,
            widen=self._widens(name.dbms, name.table),
        )
        self._counters.file(name.dbms, name.table)
        done = await store.insert(wanted, synchronous="FULL")
        rejected = self._after_insert(store, wanted, done, name)
        if tsd is not None:
            await self._tsd_table().set_rows(source.hash, len(rows) - len(rejected))
        if rejected and len(rejected) == len(rows):
            await self._refuse(source.path, name, PayloadError(f"no row fits {name.dbms}.{name.table}"), rejected)
        else:
            if rejected:
                await asyncio.to_thread(self._keep_rejected, source, rejected)
            await asyncio.to_thread(self._archive, source, tsd)
        await self._forget(store, source.marker[0])

    def _after_insert(
        self, store: SqliteStore, wanted: Insertion, done: Inserted, name: FileName
    ) -> Sequence[tuple[int, str]]:
        """Count what was committed; returns the rejected rows, also for an insert that happened before a crash."""
        if done.replayed:
            log.info("%s: its rows were committed before, it is only archived", wanted.table)
            _, rejected = wanted.rows.fit(user_schema(store.table(wanted.table)), wanted.insert_timestamp_us)
            return rejected
        self._counters.inserted(name.dbms, name.table, done.rows, done.seconds, partitions=done.partitions)
        self._counters.rejected_rows += len(done.rejected)
        return done.rejected

    async def _tsd_row(self, store: SqliteStore, source: _Source) -> _TsdRow | None:
        """The file's row in tsd_info: a new one, or the one that an interrupted run left. Raises 86 for a duplicate."""
        name, file_hash = source.name, source.hash
        if not self._config.update_tsd_info or (name.member is not None and name.member != self._config.member):
            return None
        table = self._tsd_table()
        known = await table.details(Selection(file_hash=file_hash, limit=1))
        if known and known[0]["rows"] and not await self._committed(store, source.marker):
            raise error(86, f"hash {file_hash} is in {OWN} with id {known[0]['file_id']}")
        if known:
            return _TsdRow(known[0]["file_id"], filing.tsd_date(known[0]["file_time"]))
        now_us = time.time_ns() // 1000
        entry = FileEntry(name.dbms, name.table, file_hash, name.source, name.instructions, now_us)
        return _TsdRow(await table.add(entry), filing.tsd_date(now_us))

    async def _committed(self, store: SqliteStore, marker: tuple[str, str]) -> bool:
        """Whether this very file was inserted by a run that ended before it was archived."""
        sql = "SELECT 1 FROM _edgelake_files WHERE name = ? AND hash = ?"
        return await store.read(lambda db: db.execute(sql, marker).fetchone()) is not None

    def _tsd_table(self) -> TsdTable:
        return TsdTable(self._stores.get(TSD_DBMS))

    def _keep_rejected(self, source: _Source, rejected: Sequence[tuple[int, str]]) -> None:
        """Rows that don't fit, as a file in the error folder; the rest of their file is in the table."""
        failure = PayloadError(f"{len(rejected)} rows of {source.path.name} do not fit the table")
        plain = source.path.name.removesuffix(".gz")
        target = filing.free_unique(self._config.err_dir, plain, failure.number)
        picked = pick_rows(source.content, {number for number, _ in rejected})
        filing.write_file(target, (line + b"\n" for line in picked), compress=False)
        filing.write_reason(target, failure, [{"row": number + 1, "reason": why} for number, why in rejected])
        name = source.name
        self._counters.failed("JSON", name.dbms, name.table, failure.number, rejected[0][1])

    def _archive(self, source: _Source, tsd: _TsdRow | None) -> None:
        config, name = self._config, source.name
        if not config.archive_json:
            if _identity(source.path) == source.identity:
                source.path.unlink()
            return
        if tsd is not None:
            name = name.with_tsd(config.member, tsd.file_id, tsd.date)
        folder = filing.day_folder(config.archive_dir, filing.file_day(name.tsd_date, source.path))
        target = _free_archive_name(folder, FileName(**{**_fields(name), "hash": source.hash}))
        if _identity(source.path) == source.identity and not name.compressed:
            filing.move(source.path, folder, target, compress=config.compress_json)
            return
        # Packed in another form than the archive's, or another file took the name meanwhile: write what was read.
        folder.mkdir(parents=True, exist_ok=True)
        shown = f"{target}.gz" if config.compress_json else target
        filing.write_file(folder / shown, iter([source.content]), compress=config.compress_json)
        if _identity(source.path) == source.identity:
            source.path.unlink()

    async def _archive_inserted(self, path: Path, name: FileName) -> None:
        """A file of immediate mode: its rows are in the table, it gets the member's number and is archived."""
        source = await asyncio.to_thread(_read, path, name)
        self._counters.file(name.dbms, name.table, immediate=True)
        plain = FileName(**{**_fields(name), "member": self._config.member})
        await asyncio.to_thread(self._archive, _Source(path, plain, source.identity, source.content, name.hash), None)

    # ---- SQL

    async def _take_sql(self, store: SqliteStore, source: _Source) -> None:
        name = source.name
        found = statements(source.content.decode(), name.table)
        started = time.perf_counter()
        count = await store.change(lambda tx: run_statements(tx, found, source.marker))
        if count is not None:
            self._counters.inserted(name.dbms, name.table, count, time.perf_counter() - started)
        await asyncio.to_thread(self._archive_sql, source)
        await self._forget(store, source.marker[0])

    def _archive_sql(self, source: _Source) -> None:
        """To the archive's day tree with a hard link in the backup folder, or away."""
        config = self._config
        if not config.archive_sql:
            source.path.unlink()
            return
        folder = filing.day_folder(config.archive_dir, filing.file_day("", source.path))
        kept = filing.move(source.path, folder, source.path.name, compress=config.compress_sql)
        link = filing.free_name(config.bkup_dir / kept.name)
        try:
            os.link(kept, link)
        except OSError:  # another file system, or one without links
            with kept.open("rb") as content:
                filing.write_file(link, content, compress=False)

    # ---- failures

    async def _refuse(
        self,
        path: Path,
        name: FileName | None,
        failure: EdgeLakeError,
        rejected: Sequence[tuple[int, str]] = (),
    ) -> None:
        self._count_failure(path, name, failure)
        log.warning("%s goes to the error folder: %s", path.name, failure)
        try:
            moved = await asyncio.to_thread(filing.to_error, path, self._config.err_dir, failure)
            if rejected:
                rows: list[dict[str, object]] = [{"row": number + 1, "reason": why} for number, why in rejected]
                await asyncio.to_thread(filing.write_reason, moved, failure, rows)
        except FileNotFoundError:
            if path.exists():
                raise RetryLater(f"{path.name}: the error folder is missing") from None
        except OSError as e:
            raise RetryLater(f"{path.name}: it cannot be moved to the error folder: {e}") from e

    def _count_failure(self, path: Path, name: FileName | None, failure: EdgeLakeError) -> None:
        dbms, table = (name.dbms, name.table) if name else (*path.name.split("."), "", "")[:2]
        kind = "SQL" if path.name.removesuffix(".gz").endswith(".sql") or failure.code == "dbms.failed" else "JSON"
        self._counters.failed(kind, dbms, table, failure.number, failure.text)


def _identity(path: Path) -> tuple[int, int, int] | None:
    try:
        seen = path.stat()
    except OSError:
        return None
    return (seen.st_ino, seen.st_size, seen.st_mtime_ns)


def _read(path: Path, name: FileName) -> _Source:
    """Runs in a thread: content and hash. Raises OSError, EOFError or zlib.error."""
    identity = _identity(path)
    if identity is None:
        raise FileNotFoundError(str(path))
    content = filing.read_file(path)
    known = name.hash if name.hash != "0" else content_hash(name.dbms, name.table, content)
    return _Source(path, name, identity, content, known)


def _fields(name: FileName) -> dict[str, Any]:
    return {field: getattr(name, field) for field in FileName.__slots__}


def _free_archive_name(folder: Path, name: FileName) -> str:
    number = 0
    while any((folder / f"{name.text(number)}{kind}").exists() for kind in ("", ".gz")):
        number += 1
    return name.text(number)
