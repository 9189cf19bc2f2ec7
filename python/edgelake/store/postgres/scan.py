"""Scans of tables on a PostgreSQL server, for statements that run in SQLite (``_rust.RemoteTables``)."""

from __future__ import annotations

import select
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from datetime import datetime, timedelta
from typing import Any, Final

import psycopg
from psycopg import errors, pq

from edgelake.store.base import ColumnInfo, TableInfo
from edgelake.store.postgres.connection import to_error
from edgelake.store.postgres.names import quote
from edgelake.store.postgres.types import literal, read_expression, wire_type

FIRST_ROWS: Final = 64
MOST_ROWS: Final = 8192
"""Rows of a block: few at first, since many statements want few."""

BLOCK_BYTES: Final = 1 << 20
"""What a block has at most, but for its last row."""

CANCEL_S: Final = 2.0
SILENCE_S: Final = 3600
"""A statement may sort for long before its first row; a dead connection is found out by TCP."""

_EPOCH: Final = datetime(1970, 1, 1)

Connect = Callable[[], "tuple[psycopg.Connection[Any], bool]"]
"""A connection, and whether it is a new one."""


class Interrupted(Exception):
    """A scan was stopped from outside."""

    interrupted = True  # what SQLite's side looks at

    def __str__(self) -> str:
        return "interrupted"


class Snapshot:
    """The connections of one reader; all that they read is of one moment.

    A scan takes a connection until it ends. Most statements need one; a join needs one for each table.
    """

    def __init__(self, connect: Connect, give_back: Callable[[psycopg.Connection[Any]], None]) -> None:
        self._connect = connect
        self._give_back = give_back
        self._free: list[psycopg.Connection[Any]] = []
        self._all: list[psycopg.Connection[Any]] = []
        self._name = ""

    def take(self) -> psycopg.Connection[Any]:
        if self._free:
            return self._free.pop()
        connection = self._begun()
        self._all.append(connection)
        if self._name:
            connection.execute(f"SET TRANSACTION SNAPSHOT {literal(self._name)}".encode())
        else:
            row = connection.execute("SELECT pg_export_snapshot()").fetchone()
            self._name = str(row[0]) if row else ""
        return connection

    def _begun(self) -> psycopg.Connection[Any]:
        """A connection in a transaction; those of the pool may have been lost with a server that was started again."""
        while True:
            connection, is_new = self._connect()
            try:
                connection.execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
                return connection
            except psycopg.OperationalError:
                connection.close()
                if is_new:
                    raise

    def put(self, connection: psycopg.Connection[Any]) -> None:
        self._free.append(connection)

    def cancel(self) -> None:
        """Stop what runs; from any thread."""
        for connection in list(self._all):
            with suppress(psycopg.Error):
                connection.cancel_safe(timeout=CANCEL_S)

    def end(self) -> None:
        """Give the connections back; the next statement sees what is committed then."""
        connections, self._all, self._free, self._name = self._all, [], [], ""
        for connection in connections:
            try:
                if connection.info.transaction_status is pq.TransactionStatus.ACTIVE:
                    connection.close()
                else:
                    connection.execute("ROLLBACK")
            except psycopg.Error:
                connection.close()
            if not connection.closed:
                self._give_back(connection)


class Source:
    """The tables of one database, as SQLite's remote tables ask for them. One thread at a time, but for ``stopped``."""

    def __init__(self, dbms: str, infos: Mapping[str, TableInfo], snapshot: Snapshot) -> None:
        """``infos``: the logical table of each physical one."""
        self._dbms = dbms
        self._infos = infos
        self.snapshot = snapshot
        self.stopped = False
        self.generation = 0
        """Of the tables that it knows."""

    def info(self, table: str) -> TableInfo | None:
        """The logical table of a physical one."""
        return self._infos.get(table)

    def scan(
        self,
        table: str,
        columns: Sequence[str],
        conditions: Sequence[tuple[str, str, Any]],
        order: tuple[str, bool] | None,
    ) -> Scan:
        """Begin to read columns of the rows that satisfy conditions; rows that do not may come along."""
        info = self._infos[table]
        known = {c.name: c for c in info.columns}
        fields = ", ".join(read_expression(quote(n), known[n], is_own=info.is_own) for n in columns)
        tests = [test for c, op, value in conditions if (test := _test(known[c], op, value, is_own=info.is_own))]
        sql = f"SELECT {fields} FROM {quote(table)}"
        if tests:
            sql += f" WHERE {' AND '.join(tests)}"
        if order is not None:
            column, descends = order
            sql += f" ORDER BY {quote(column)} {'DESC NULLS LAST' if descends else 'ASC NULLS FIRST'}"
        return Scan(self, sql, is_ordered=order is not None)

    def count(self, table: str) -> int:
        """Rows of a table. Raises DatabaseError, Interrupted."""
        if self.stopped:
            raise Interrupted
        try:
            connection = self.snapshot.take()
            row = connection.execute(f"SELECT count(*) FROM {quote(table)}".encode()).fetchone()
        except psycopg.Error as problem:
            raise self.error(problem) from problem
        self.snapshot.put(connection)
        return int(row[0]) if row else 0

    def explain(self, sql: str) -> list[str]:
        """How the server would run a statement. Raises DatabaseError, Interrupted."""
        try:
            connection = self.snapshot.take()
            lines = connection.execute(f"EXPLAIN {sql}".encode()).fetchall()
        except psycopg.Error as problem:
            raise self.error(problem) from problem
        self.snapshot.put(connection)
        return [str(line) for (line,) in lines]

    def error(self, problem: Exception) -> Exception:
        if self.stopped or isinstance(problem, errors.QueryCanceled):
            return Interrupted()
        return to_error(problem, self._dbms)


class Scan:
    """Rows of one statement as blocks of COPY data.

    The library's own reader takes several microseconds for each row, so this one asks libpq itself.
    """

    def __init__(self, source: Source, sql: str, *, is_ordered: bool) -> None:
        self._source = source
        self._rows = FIRST_ROWS
        self._connection: psycopg.Connection[Any] | None = None
        self._is_running = False
        if source.stopped:
            raise Interrupted
        try:
            self._connection = connection = source.snapshot.take()
            # What is read in the order of an index is often not read to its end: no sort before the first row.
            prelude = f"SET LOCAL enable_sort = {'off' if is_ordered else 'on'}; SAVEPOINT edgelake_scan"
            connection.execute(prelude.encode())
            self._begin(connection, f"COPY ({sql}) TO STDOUT (FORMAT binary)".encode())
        except psycopg.Error as problem:
            raise source.error(problem) from problem

    def read(self) -> bytes:
        """The next block; empty at the end. Raises DatabaseError, Interrupted."""
        connection = self._connection
        if self._source.stopped:
            raise Interrupted
        if connection is None or not self._is_running:
            return b""
        rows: list[memoryview] = []
        get, wanted, total_bytes = connection.pgconn.get_copy_data, self._rows, 0
        try:
            while len(rows) < wanted and total_bytes < BLOCK_BYTES:
                size, row = get(1)
                if size > 0:
                    rows.append(row)
                    total_bytes += size
                elif size == 0:
                    _wait(connection)
                else:
                    self._end(connection)
                    break
        except psycopg.Error as problem:
            raise self._source.error(problem) from problem
        self._rows = min(wanted * 4, MOST_ROWS)
        return b"".join(rows)

    def close(self) -> None:
        """End the scan, wherever it stands; its connection is free for the next."""
        connection, self._connection = self._connection, None
        if connection is None:
            return
        try:
            if self._is_running:
                connection.cancel_safe(timeout=CANCEL_S)
                self._drain(connection)
            connection.execute("ROLLBACK TO edgelake_scan")
        except psycopg.Error:
            connection.close()
            return
        self._source.snapshot.put(connection)

    def _begin(self, connection: psycopg.Connection[Any], sql: bytes) -> None:
        connection.pgconn.send_query(sql)
        result = _result(connection)
        if result is None or result.status != pq.ExecStatus.COPY_OUT:
            self._drain(connection)
            raise _failure(connection, result)
        self._is_running = True

    def _end(self, connection: psycopg.Connection[Any]) -> None:
        """The last row was read: what the server says of the whole."""
        self._is_running = False
        failed = None
        while (result := _result(connection)) is not None:
            if result.status != pq.ExecStatus.COMMAND_OK:
                failed = result
        if failed is not None:
            raise _failure(connection, failed)

    def _drain(self, connection: psycopg.Connection[Any]) -> None:
        """Read on to the end of a statement that failed or was stopped."""
        self._is_running = False
        while (result := _result(connection)) is not None:
            if result.status == pq.ExecStatus.COPY_OUT:
                while (size := connection.pgconn.get_copy_data(1)[0]) >= 0:
                    if size == 0:
                        _wait(connection)


def _wait(connection: psycopg.Connection[Any]) -> None:
    """Until the server has sent something; other threads of the node go on."""
    poll = select.poll()
    poll.register(connection.pgconn.socket, select.POLLIN)
    if not poll.poll(SILENCE_S * 1000):
        raise psycopg.OperationalError(f"the server sent nothing for {SILENCE_S} s")
    connection.pgconn.consume_input()


def _result(connection: psycopg.Connection[Any]) -> Any:
    while connection.pgconn.flush():
        _wait(connection)
    while connection.pgconn.is_busy():
        _wait(connection)
    return connection.pgconn.get_result()


def _failure(connection: psycopg.Connection[Any], result: Any) -> psycopg.Error:
    if result is None or result.status != pq.ExecStatus.FATAL_ERROR:
        return psycopg.OperationalError(connection.pgconn.error_message.decode(errors="replace") or "no answer")
    return errors.error_from_result(result)


def _test(column: ColumnInfo, op: str, value: Any, *, is_own: bool) -> str:
    """A comparison that means the same to the server as to SQLite; empty: SQLite alone makes it."""
    wire = wire_type(column.kind)
    field = read_expression(quote(column.name), column, is_own=is_own)
    if wire == "timestamp" and isinstance(value, int):
        try:
            moment = _EPOCH + timedelta(microseconds=value)
        except OverflowError:
            return ""
        return f"{field} {op} timestamp {literal(moment.isoformat(sep=' '))}"
    if wire in {"integer", "bigint"} and isinstance(value, int):
        return f"{field} {op} {value}::bigint"
    if wire == "text" and isinstance(value, str) and "\0" not in value:
        return f'{field} {op} {literal(value)} COLLATE "C"'
    return ""


def remote_columns(info: TableInfo) -> list[tuple[str, bool, str]]:
    """Columns as ``_rust.RemoteTables`` takes them: (name, whether SQLite takes them for text, wire type)."""
    wires = [(column.name, wire_type(column.kind)) for column in info.columns]
    return [(name, wire == "text", wire) for name, wire in wires]
