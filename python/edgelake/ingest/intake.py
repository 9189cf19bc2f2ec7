"""One file of the watch directory: into the database, then to the archive; or to the error folder with its reason.

Order: rows and the file's marker are committed in one transaction, then the file is archived, then the marker is
removed. A crash between any two of these repeats the rest and never the insert.
Source: spec "Ingestion", sections 7 and 14.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import time
import weakref
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from msgspec import Struct
from msgspec.structs import replace

from edgelake.errors import DatabaseMissingError, EdgeLakeError, PayloadError, StorageFullError, error
from edgelake.ingest import filing, sqlfile
from edgelake.ingest.counters import OperatorCounters
from edgelake.ingest.loading import Load, RowStamp
from edgelake.ingest.members import MemberFiles, marker_of, name_of_marker
from edgelake.ingest.names import INSERTED, FileName
from edgelake.ingest.numbers import OwnNumbers
from edgelake.ingest.outbox import Outbox
from edgelake.ingest.rejects import Rejects
from edgelake.ingest.settings import OperatorConfig
from edgelake.ingest.source import Content, RetryLater, SourceFile, inspect, is_marker_of
from edgelake.ingest.streaming import MapRows
from edgelake.store.engine import may_pass
from edgelake.store.marker import FileMarker
from edgelake.store.store import Store
from edgelake.store.tsd import KNOWN_CONTENT, OWN, REFUSED, TSD_DBMS, FileEntry, Selection, TsdTable

log = logging.getLogger(__name__)


class _TsdRow(Struct, frozen=True):
    """The file's row in tsd_info."""

    file_id: int
    date: str  # YYMMDDHHMMSS, as file names carry it


class Intake:
    """Takes files, one call each. Calls may overlap; each table's rows are ordered by its database's writer.

    Args:
        members: numbers of the cluster's members, whose files may come in.
        widens: whether a table may get new columns and wider types.
        map_rows: applies the mapping policy that a file's name says.
        files_of_members: which are here; None: files of members are taken as often as they come.
        outbox: where own files go on to the other members; None = they do not.
    """

    def __init__(
        self,
        config: OperatorConfig,
        stores: Any,
        counters: OperatorCounters,
        *,
        members: Callable[[], frozenset[int]] = frozenset,
        widens: Callable[[str, str], bool] = lambda dbms, table: True,
        map_rows: MapRows | None = None,
        files_of_members: MemberFiles | None = None,
        outbox: Outbox | None = None,
        numbers: OwnNumbers | None = None,
    ) -> None:
        self._numbers = numbers
        self._files_of_members = files_of_members if config.update_tsd_info else None
        self._outbox = outbox
        self._config = config
        self._stores = stores
        self._counters = counters
        self._members = members
        self._widens = widens
        self._map_rows = map_rows
        self._cleaned: set[str] = set()
        self._one_long = asyncio.Semaphore(1)  # so that memory does not grow with the threads
        self._hashes: weakref.WeakValueDictionary[str, asyncio.Lock] = weakref.WeakValueDictionary()
        self.stopping = False
        """Set: long files are left between two blocks, their rest is for the next start."""

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
            if may_pass(failure):
                raise RetryLater(f"{path.name}: {failure}") from failure
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
        if name.member == self._config.member and self._is_of_member(name):
            assert self._files_of_members is not None
            if await self._files_of_members.number_is_taken(name, name.hash):
                parts = (name.dbms, name.table, name.source, name.hash, name.instructions)
                name = FileName(*parts, compressed=name.compressed)
        store = self._store(name.dbms)
        await self._clean_markers(store)
        with self._open(path, name) as source:
            async with self._one_long if source.may_be_long else contextlib.nullcontext():
                await (self._take_sql if name.kind == "sql" else self._take_json)(store, source)

    def _open(self, path: Path, name: FileName) -> SourceFile:
        known_as = marker_of(name) if self._is_of_member(name) else ""
        return SourceFile(path, name, lambda: not self.stopping, known_as=known_as)

    def is_of_member(self, file_name: str) -> bool:
        """Whether a file of that name is one that a member took in and that came from another one."""
        try:
            return self._is_of_member(FileName.parse(file_name))
        except EdgeLakeError:
            return False

    def _is_of_member(self, name: FileName) -> bool:
        """Whether it is a file that has its number already: of another member, or an own one that others have kept."""
        return (
            self._files_of_members is not None
            and isinstance(name.member, int)
            and (name.member != self._config.member or name.hash != "0")
            and name.kind == "json"
            and name.tsd_id > 0
        )

    def _store(self, dbms: str) -> Store:
        try:
            found: Store = self._stores.get(dbms)
        except DatabaseMissingError as e:
            raise error(
                10, f"database '{dbms}' is not connected", hint=f"connect dbms {dbms} where type = sqlite"
            ) from e
        return found

    async def _clean_markers(self, store: Store) -> None:
        """Once per database: forget markers of files that were archived just before the node died."""
        if store.dbms in self._cleaned:
            return
        names = await store.read(lambda db: [row[0] for row in db.execute("SELECT name FROM _edgelake_files")])
        self._cleaned.add(store.dbms)
        for marker in names:
            if await self._is_done(marker):
                await self._forget(store, marker)

    async def _is_done(self, marker: str) -> bool:
        """Whether the rows that a marker stands for are known in another way, or cannot come again."""
        name = name_of_marker(marker)
        if name is not None and self._files_of_members is not None:
            return await self._files_of_members.is_in(name)
        return not is_marker_of(marker, self._config.watch_dir)

    async def _forget(self, store: Store, marker: str) -> None:
        sql = "DELETE FROM _edgelake_files WHERE name = ?"
        await store.change(lambda tx: tx.execute(sql, (marker,)).fetchall(), synchronous="NORMAL")

    # ---- JSON

    async def _take_json(self, store: Store, source: SourceFile) -> None:
        mapped = self._mapping_of(source.name) is not None  # the policy tells the columns then
        infer = not mapped and source.name.table not in store.tables
        content = await asyncio.to_thread(inspect, source, infer=infer)
        if not self._config.update_tsd_info:
            await self._load(store, source, content)
            return
        # Of equal files at once the second has to see that the first is entered.
        async with self._hashes.setdefault(content.hash, asyncio.Lock()):
            if not await self._is_in(store, source, content.hash, content.rows):
                await self._load(store, source, content)

    async def _is_in(self, store: Store, source: SourceFile, file_hash: str, rows: int) -> bool:
        """Drop a file of a member whose rows are in. Others of that content, too: they are entered then."""
        name, files = source.name, self._files_of_members
        if files is None or not self._is_of_member(name) or await self._committed(store, source.marker(file_hash)):
            return False
        if not await files.is_in(name, file_hash):
            assert isinstance(name.member, int)
            own = name.member == self._config.member
            if await files.knows_content(name, file_hash, rows):
                await files.book(name, f"known-{name.tsd_id}", 0, KNOWN_CONTENT)
            elif await files.is_listed(file_hash, but=None if own else name.member) or await self._is_begun(
                store, file_hash
            ):
                await files.book(name, file_hash, 0, KNOWN_CONTENT)
            else:
                return False
        if source.is_in_place():
            await asyncio.to_thread(source.path.unlink)
        return True

    async def _is_begun(self, store: Store, file_hash: str) -> bool:
        """Whether rows of this content are there of a file whose taking in was interrupted."""
        sql = "SELECT 1 FROM _edgelake_files WHERE hash = ?"
        return await store.read(lambda db: db.execute(sql, (file_hash,)).fetchone()) is not None

    def _mapping_of(self, name: FileName) -> MapRows | None:
        return self._map_rows if name.instructions != "0" else None

    async def _load(self, store: Store, source: SourceFile, content: Content) -> None:
        """Rows, TSD row, archive of a file that is all rows."""
        name, config = source.name, self._config
        tsd = await self._tsd_row(store, source, content.hash)
        stamp = RowStamp(create=config.create_table, widen=self._widens(name.dbms, name.table))
        if isinstance(name.member, int) and (name.member != config.member or self._is_of_member(name)):
            time_us = filing.date_us(name.tsd_date) or 0  # rows are the same on every member
            stamp = replace(stamp, tsd_name=str(name.member), tsd_id=name.tsd_id, time_us=time_us)
        elif tsd is not None:
            time_us = (filing.date_us(tsd.date) or 0) if config.distributes else 0
            stamp = replace(stamp, tsd_name=str(config.member), tsd_id=tsd.file_id, time_us=time_us)
        self._counters.file(name.dbms, name.table)
        rejects = Rejects(config.err_dir, source.path.name)
        try:
            mapping = self._mapping_of(name)
            await Load(store, source, content, stamp, rejects, self._counters, mapping).run()
            if tsd is not None:
                await self._tsd_table().set_rows(content.hash, content.rows - rejects.count)
            elif self._files_of_members is not None and self._is_of_member(name) and rejects.count < content.rows:
                await self._files_of_members.book(name, content.hash, content.rows - rejects.count)
            if rejects.count == content.rows:
                failure = PayloadError(f"no row fits {name.dbms}.{name.table}")
                await self._refuse(source.path, name, failure, rows_rejected=rejects.count, rows=rejects.reasons)
            else:
                if rejects.count:
                    await asyncio.to_thread(self._keep_rejected, source, rejects)
                await asyncio.to_thread(self._archive, source, content.hash, tsd)
        finally:
            rejects.discard()
        await self._forget(store, source.marker(content.hash).name)

    async def _tsd_row(self, store: Store, source: SourceFile, file_hash: str) -> _TsdRow | None:
        """The file's row in tsd_info: a new one, or the one that an interrupted run left. Raises 86 for a duplicate."""
        name = source.name
        if not self._config.update_tsd_info or self._is_of_member(name):
            return None
        if name.member is not None and name.member != self._config.member:
            return None
        if self._numbers is not None:
            await self._numbers.settled()
        table = self._tsd_table()
        known = await table.details(Selection(file_hash=file_hash, limit=1))
        if known and known[0]["rows"] and not await self._committed(store, source.marker(file_hash)):
            raise error(86, f"hash {file_hash} is in {OWN} with id {known[0]['file_id']}")
        files = self._files_of_members
        if not known and files is not None and await files.is_listed(file_hash, but=None):
            raise error(86, f"hash {file_hash} came from another member of the cluster")
        if known:
            return _TsdRow(known[0]["file_id"], filing.tsd_date(known[0]["file_time"]))
        now_us = time.time_ns() // 1000
        entry = FileEntry(name.dbms, name.table, file_hash, name.source, name.instructions, now_us)
        return _TsdRow(await table.add(entry), filing.tsd_date(now_us))

    async def _committed(self, store: Store, marker: FileMarker) -> bool:
        """Whether this very file was inserted by a run that ended before it was archived."""
        sql = "SELECT 1 FROM _edgelake_files WHERE name = ? AND hash = ?"
        return await store.read(lambda db: db.execute(sql, (marker.name, marker.hash)).fetchone()) is not None

    def _tsd_table(self) -> TsdTable:
        return TsdTable(self._stores.get(TSD_DBMS))

    def _keep_rejected(self, source: SourceFile, rejects: Rejects) -> None:
        """Rows that don't fit, as a file in the error folder; the rest of their file is in the table."""
        failure = PayloadError(f"{rejects.count} rows of {source.path.name} do not fit the table")
        rejects.keep(failure)
        name = source.name
        self._counters.failed("JSON", name.dbms, name.table, failure.number, str(rejects.reasons[0]["reason"]))

    def _archive(self, source: SourceFile, file_hash: str, tsd: _TsdRow | None) -> None:
        config, name = self._config, replace(source.name, hash=file_hash)
        if tsd is not None:
            name = name.with_tsd(config.member, tsd.file_id, tsd.date)
            if self._outbox is not None and source.is_in_place():
                self._outbox.give(source.path, name)
        if not config.archive_json:
            if source.is_in_place():
                source.path.unlink()
            return
        folder = filing.day_folder(config.archive_dir, filing.file_day(name.tsd_date, source.path))
        shown = _free_archive_name(folder, name) + (".gz" if config.compress_json else "")
        if source.is_in_place() and name.compressed == config.compress_json:
            filing.move(source.path, folder, shown)
            return
        # Packed in another form than the archive's, or another file took the name meanwhile: write what was read.
        folder.mkdir(parents=True, exist_ok=True)
        filing.write_file(folder / shown, source.pieces(), compress=config.compress_json)
        if source.is_in_place():
            source.path.unlink()

    async def _archive_inserted(self, path: Path, name: FileName) -> None:
        """A file of immediate mode: its rows are in the table, it gets the member's number and is archived."""
        self._counters.file(name.dbms, name.table, immediate=True)
        with self._open(path, replace(name, member=self._config.member)) as source:
            await asyncio.to_thread(self._archive, source, name.hash, None)

    # ---- SQL

    async def _take_sql(self, store: Store, source: SourceFile) -> None:
        script = await asyncio.to_thread(sqlfile.inspect, source)
        marker = source.marker(script.hash)
        sql = "SELECT coalesce(rows, ?) FROM _edgelake_files WHERE name = ? AND hash = ?"
        values = (script.statements, marker.name, marker.hash)
        found: tuple[int] | None = await store.read(lambda db: db.execute(sql, values).fetchone())
        done = found[0] if found else 0
        groups = sqlfile.Groups(source, done)
        try:
            while done < script.statements and (group := await asyncio.to_thread(groups.next)):
                source.check_unchanged()
                after = done + len(group)
                reached = source.marker(script.hash, after if after < script.statements else None)
                await self._run_group(store, source.name, group, reached)
                done = after
        except StorageFullError:
            raise
        except EdgeLakeError as failure:
            if not done or may_pass(failure):
                raise
            await asyncio.to_thread(self._refuse_rest, source, done, failure)
            self._count_failure(source.path, source.name, failure)
        else:
            await asyncio.to_thread(self._archive_sql, source)
        await self._forget(store, marker.name)

    async def _run_group(self, store: Store, name: FileName, group: list[str], reached: FileMarker) -> None:
        started = time.perf_counter()
        count = await store.change(lambda tx: sqlfile.run_statements(tx, group, reached))
        if count is not None:
            self._counters.inserted(name.dbms, name.table, count, time.perf_counter() - started)

    def _refuse_rest(self, source: SourceFile, done: int, failure: EdgeLakeError) -> None:
        """A long file that failed on its way: what is not in the table goes to the error folder."""
        name = source.path.name
        failure.detail = f"{failure.detail}; {done} statements before are in the table and left out here"
        log.warning("the rest of %s goes to the error folder: %s", name, failure)
        target = filing.free_unique(self._config.err_dir, name, failure.number)
        filing.write_file(target, sqlfile.rest(source, done), compress=source.name.compressed)
        filing.write_reason(target, failure, statements_stored=done)
        if source.is_in_place():
            source.path.unlink()

    def _archive_sql(self, source: SourceFile) -> None:
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

    async def _refuse(self, path: Path, name: FileName | None, failure: EdgeLakeError, **more: object) -> None:
        self._count_failure(path, name, failure)
        log.warning("%s goes to the error folder: %s", path.name, failure)
        if name is not None and self._is_of_member(name) and name.member in self._members():
            assert self._files_of_members is not None
            await self._files_of_members.book(name, name.hash, 0, REFUSED)
        try:
            await asyncio.to_thread(filing.to_error, path, self._config.err_dir, failure, **more)
        except FileNotFoundError:
            if path.exists():
                raise RetryLater(f"{path.name}: the error folder is missing") from None
        except OSError as e:
            raise RetryLater(f"{path.name}: it cannot be moved to the error folder: {e}") from e

    def _count_failure(self, path: Path, name: FileName | None, failure: EdgeLakeError) -> None:
        dbms, table = (name.dbms, name.table) if name else (*path.name.split("."), "", "")[:2]
        kind = "SQL" if path.name.removesuffix(".gz").endswith(".sql") or failure.code == "dbms.failed" else "JSON"
        self._counters.failed(kind, dbms, table, failure.number, failure.text)


def _free_archive_name(folder: Path, name: FileName) -> str:
    number = 0
    while any((folder / f"{name.text(number)}{kind}").exists() for kind in ("", ".gz")):
        number += 1
    return name.text(number)
