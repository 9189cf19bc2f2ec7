"""One statement while it runs: its connections, its threads, its time limit."""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import ExitStack
from typing import Any, Final, TypeVar

import apsw

from edgelake._rust import BatchTable, GroupScan, Plan, RowReader, Rows
from edgelake.errors import QueryStoppedError, TimeoutExpiredError
from edgelake.query.pool import QueryPool
from edgelake.store import engine
from edgelake.store.stores import Stores

T = TypeVar("T")
PIECE_BYTES: Final = 256 << 10
ROWS_PER_SCAN: Final = 200_000
"""Smaller tables are not worth a second thread."""

WHOLE_SHARE: Final = 0.2
"""From this share of a table on, reading it whole by several threads beats the way over its index."""

_Scan = tuple[str, str, Sequence[int], str, str | None]
"""(database, statement, its parameters, physical table, how a server is to read it)"""


class Run:
    """Runs plans on read-only connections in the threads of ``pool``. To be closed, whatever happened.

    Attributes:
        workers: threads that read at a time.
    """

    def __init__(self, stores: Stores, pool: QueryPool, *, threads: int, limit_s: float | None = None) -> None:
        """``threads``: for the scans of one statement; ``limit_s``: for everything, None = no limit."""
        self._stores = stores
        self._pool = pool
        self._threads = threads
        self.workers = 1
        self._stack = ExitStack()
        self._connections: list[apsw.Connection] = []
        self._limit_s = limit_s
        self.parts = (0, 0)  # scans that are done, and all of them
        self.fetched: Callable[[str], object] = lambda scan: None
        """Called with a scan whose rows SQLite reads, in a thread."""

        self._is_expired = False
        self._is_stopped = False
        self._timer: asyncio.TimerHandle | None = None
        if limit_s is not None:
            self._timer = asyncio.get_running_loop().call_later(limit_s, self._expire)

    async def value(self, plan: Plan) -> int | None:
        """The one value of a leading statement."""

        def work() -> int | None:
            row: Any = self._reader(plan.dbms, plan.attached).execute(plan.sql).fetchone()
            return None if row is None else row[0]

        return await self._call(work)

    async def describe(self, plan: Plan) -> list[tuple[str, str, str]]:
        """(name, table, column that it comes from) of the columns of a statement; it is not run."""

        def work() -> list[tuple[str, str, str]]:
            connection = self._reader(plan.dbms, plan.attached)
            found: list[tuple[str, str, str]] = []

            def trace(cursor: apsw.Cursor, _sql: str, _bindings: object) -> bool:
                found.extend((str(d[0]), str(d[3] or ""), str(d[4] or "")) for d in cursor.description_full)
                return False

            cursor = connection.cursor()
            cursor.exec_trace = trace
            with contextlib.suppress(apsw.ExecTraceAbort):
                cursor.execute(plan.sql)
            return found

        return await self._call(work)

    async def open(self, plan: Plan, render: str, *, elapsed_s: float = 0.0) -> RowReader:
        """A reader over the answer: the statement's rows, or those of the merged groups."""
        if plan.kind == "groups":
            groups = await self._groups(plan)
            return await self.open_merged(plan.sql, groups.finish, render, elapsed_s=elapsed_s)

        def work() -> RowReader:
            connection = self._reader(plan.dbms, plan.attached)
            return self._kept(RowReader(connection.sqlite3_pointer(), plan.sql, render, elapsed_s=elapsed_s))

        return await self._call(work)

    async def open_merged(
        self, sql: str, rows: Callable[[], Rows], render: str, *, elapsed_s: float = 0.0
    ) -> RowReader:
        """A reader over a statement whose rows come from ``rows``, as the table ``edgelake_batch``."""

        def work() -> RowReader:
            connection = engine.open_scratch()
            self._stack.callback(connection.close)
            self._connections.append(connection)
            batch = BatchTable(connection.sqlite3_pointer())
            batch.load(rows())
            batch.take(0)
            return self._kept(RowReader(connection.sqlite3_pointer(), sql, render, elapsed_s=elapsed_s))

        return await self._call(work)

    async def open_sorted(
        self, sql: str, whole: Callable[[], apsw.Connection], render: str, *, elapsed_s: float = 0.0
    ) -> RowReader:
        """As ``open_merged``, over the table ``edgelake_batch`` of a connection, which this run closes."""

        def work() -> RowReader:
            connection = whole()
            self._stack.callback(connection.close)
            self._connections.append(connection)
            return self._kept(RowReader(connection.sqlite3_pointer(), sql, render, elapsed_s=elapsed_s))

        return await self._call(work)

    async def pieces(self, reader: RowReader, max_bytes: int = PIECE_BYTES) -> AsyncIterator[bytes]:
        """The answer as text, piece by piece."""
        while (piece := await self._call(lambda: reader.next(max_bytes))) is not None:
            if piece:
                yield piece

    async def blocks(self, reader: RowReader, rows: int) -> AsyncIterator[list[Any]]:
        """The answer as columns, ``rows`` at a time at most."""
        while (block := await self._call(lambda: reader.block(rows))) is not None:
            yield block

    def interrupt(self) -> None:
        """Stop what runs; its caller gets QueryStoppedError. From any thread."""
        self._is_stopped = True
        for connection in list(self._connections):
            with contextlib.suppress(apsw.ConnectionClosedError):
                connection.interrupt()

    def close(self) -> None:
        """Give the connections back, when nothing runs on them any more. Idempotent."""
        if self._timer is not None:
            self._timer.cancel()
        self._connections.clear()
        stack, self._stack = self._stack, ExitStack()
        stack.close()

    # --- threads of the pool

    async def _call(self, work: Callable[[], T]) -> T:
        """Run ``work`` in a thread; whoever stops waiting stops the work first."""
        if self._is_stopped:
            raise self._stopped()
        future = self._pool.call(work)
        try:
            return await asyncio.shield(future)
        except asyncio.CancelledError:
            self.interrupt()
            await asyncio.wait([future])
            raise
        except (QueryStoppedError, apsw.InterruptError) as stopped:
            raise self._stopped() from stopped
        except apsw.Error as failure:
            raise engine.to_error(failure, "query") from failure

    def _stopped(self) -> Exception:
        if self._is_expired:
            return TimeoutExpiredError(
                f"the query took longer than {self._limit_s:g} s", hint="narrow it, or raise max_time or the timeout"
            )
        return QueryStoppedError()

    def _expire(self) -> None:
        self._is_expired = True
        self.interrupt()

    def _kept(self, reader: RowReader) -> RowReader:
        """The statement ends before its connection goes back."""
        self._stack.callback(reader.close)
        return reader

    def _reader(self, dbms: str, attached: Sequence[str] = ()) -> apsw.Connection:
        """A connection of this run, in one transaction until it is given back."""
        store = self._stores.get(dbms)
        if attached:
            connection = store.joined_reader([self._stores.get(name) for name in attached])
            self._stack.callback(connection.close)
        else:
            connection = self._stack.enter_context(store.reader())
        self._connections.append(connection)
        if self._is_stopped:  # between the last look at it and the line above
            raise QueryStoppedError
        connection.execute("BEGIN")
        return connection

    # --- groups

    async def _groups(self, plan: Plan) -> GroupScan:
        groups = GroupScan(plan.group_spec)
        spec = plan.group_spec
        scans = deque(await self._call(lambda: self._cut(plan)))
        self.parts = (0, len(scans))
        self.workers = workers = max(min(self._threads, len(scans)), 1)
        if workers == 1:
            if scans:
                await self._call(lambda: self._scan(groups, spec, scans))
            return groups
        work = [asyncio.ensure_future(self._call(lambda: self._scan(groups, spec, scans))) for _ in range(workers)]
        try:
            await asyncio.gather(*work)
        except BaseException:
            scans.clear()
            self.interrupt()
            await asyncio.wait(work)
            raise
        return groups

    def _cut(self, plan: Plan) -> list[_Scan]:
        """The scans; a large table in stretches of row ids, one for each thread.

        Row ids are cut at the table's last one, so that every stretch sees the same rows while new ones come in.
        """
        scans: list[_Scan] = []
        connections: dict[str, apsw.Connection] = {}
        for (dbms, table, sql, ranged, span), server in zip(plan.scans, plan.server_scans, strict=True):
            stretches: list[tuple[int, int]] = []
            splits = ranged is not None and self._stores.get(dbms).splits_scans
            if splits and self._threads > 1 and len(plan.scans) < self._threads * 2:
                connection = connections.get(dbms) or connections.setdefault(dbms, self._reader(dbms))
                if span is None or _share(connection, table, *span) >= WHOLE_SHARE:
                    stretches = _stretches(connection, table, self._threads)
            if ranged is None or len(stretches) < 2:
                scans.append((dbms, sql, (), table, server))
            else:
                scans += [(dbms, ranged, stretch, table, None) for stretch in stretches]
        return scans

    def _scan(self, groups: GroupScan, spec: str, scans: deque[_Scan]) -> None:
        """Take scans until there are none; one connection a database."""
        connections: dict[str, apsw.Connection] = {}
        while not self._is_stopped:
            try:
                dbms, sql, values, table, server = scans.popleft()
            except IndexError:
                return
            connection = connections.get(dbms) or connections.setdefault(dbms, self._reader(dbms))
            store = self._stores.get(dbms)
            if server is None or not store.gather(connection, table, server, spec, groups):
                self.fetched(sql)
                groups.scan(connection.sqlite3_pointer(), sql, list(values))
            self.parts = (self.parts[0] + 1, self.parts[1])
        raise QueryStoppedError


def _share(connection: apsw.Connection, table: str, column: str, first: int, last: int) -> float:
    """Share of a table's time that lies between two instants; its rows are taken to be spread evenly."""
    field, own = engine.quote(column), engine.quote(table)
    row: Any = connection.execute(
        f"SELECT (SELECT min({field}) FROM {own}), (SELECT max({field}) FROM {own})"
    ).fetchone()
    low, high = row
    if low is None:
        return 0.0
    share: float = max(min(last, high) - max(first, low), 0) / max(high - low, 1)
    return share


def _stretches(connection: apsw.Connection, table: str, threads: int) -> list[tuple[int, int]]:
    """First and last row id of each part of a table; one part, or none, when it is not worth more threads."""
    own = engine.quote(table)
    row: Any = connection.execute(f"SELECT (SELECT min(row_id) FROM {own}), (SELECT max(row_id) FROM {own})").fetchone()
    first, last = row
    if first is None:
        return []
    parts = max(min(threads, (last - first + 1) // ROWS_PER_SCAN), 1)
    width = -(-(last - first + 1) // parts)
    return [(at, min(at + width - 1, last)) for at in range(first, last + 1, width)]
