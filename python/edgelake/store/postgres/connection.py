"""A connection that behaves like the writer's of SQLite, and what its errors mean."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final

import psycopg
from psycopg import errors, pq

from edgelake.errors import (
    DatabaseAwayError,
    DatabaseError,
    EdgeLakeError,
    NotPermittedError,
    RefusedError,
    StorageFullError,
)
from edgelake.store.server import Server

CONNECT_TIMEOUT_S: Final = 10
_MARK: Final = re.compile(r"'(?:[^']|'')*'|\"(?:[^\"]|\"\")*\"|\?(\d*)")
_PASSING: Final = (
    "starting up",
    "shutting down",
    "in recovery mode",
    "not yet accepting",
    "not accepting",
    "too many",
    "connection slots",
    "terminating connection",
)
"""In what a server says that will let us in later."""

_PASSING_CLASSES: Final = ("08", "53", "57")
"""SQLSTATE: connection, resources, an operator stepped in."""

_PROCESS: Final = "SELECT pid, backend_start FROM pg_stat_activity WHERE pid = pg_backend_pid()"
_SETTINGS: Final = "-c timezone=UTC -c datestyle=ISO -c standard_conforming_strings=on -c client_min_messages=warning"


def connect(server: Server, dbms: str) -> psycopg.Connection[Any]:
    """Raises DatabaseError that says what failed: the address, the password, the database."""
    try:
        return psycopg.connect(
            host=server.ip,
            port=server.port,
            user=server.user or None,
            password=server.password or None,
            dbname=dbms,
            connect_timeout=CONNECT_TIMEOUT_S,
            application_name="edgelake",
            options=_SETTINGS,
            autocommit=True,  # transactions are begun and ended by their own statements
            cursor_factory=psycopg.RawCursor,
            keepalives_idle=20,
            keepalives_interval=5,
            keepalives_count=3,
            tcp_user_timeout=30_000,
        )
    except psycopg.Error as problem:
        raise to_error(problem, f"{dbms} at {server.address}", connecting=True) from problem


def to_error(problem: Exception, where: str, *, connecting: bool = False) -> EdgeLakeError:
    """A psycopg exception as the node's; one that lies in the rows or their table is a RefusedError."""
    text = f"{where}: {_first_lines(str(problem))}"
    state = getattr(problem, "sqlstate", None) or ""
    if state in {"53100", "58030"}:
        return StorageFullError(text, hint="make room on the disk of the PostgreSQL server")
    if connecting:
        answered = bool(state) and not state.startswith(_PASSING_CLASSES)
        kind = DatabaseError if answered or _is_refused(str(problem)) else DatabaseAwayError
        return kind(text, hint=_connect_hint(str(problem)))
    lost = isinstance(problem, (errors.OperationalError, errors.InterfaceError, errors.InternalError))
    if lost and not isinstance(problem, errors.ProgramLimitExceeded):
        return DatabaseAwayError(text, hint="the node tries again; see whether the PostgreSQL server runs")
    return RefusedError(text)


def _is_refused(text: str) -> bool:
    """Whether the server answered, and trying again is of no use: password, user, database, ``pg_hba.conf``.

    The library gives no SQLSTATE of a connection that was not made, only the server's message.
    """
    return "FATAL" in text and not any(passing in text for passing in _PASSING)


def _first_lines(text: str) -> str:
    return "; ".join(line.strip() for line in text.strip().splitlines()[:3])


def _connect_hint(text: str) -> str:
    if "password" in text or "authentication" in text or "role" in text:
        return "check user and password of: connect dbms ... where type = psql"
    if "pg_hba" in text:
        return "the server does not let this address in: see its pg_hba.conf"
    return "check that the PostgreSQL server runs, and ip and port of: connect dbms ... where type = psql"


class PostgresCursor:
    """An executed statement; one that gives no rows has none."""

    def __init__(self, cursor: psycopg.Cursor[Any]) -> None:
        self._cursor = cursor

    def fetchone(self) -> Any:
        return self._cursor.fetchone() if self._cursor.description else None

    def fetchall(self) -> list[Any]:
        return self._cursor.fetchall() if self._cursor.description else []

    def __iter__(self) -> Iterator[Any]:
        return iter(self.fetchall())


class PostgresConnection:
    """Takes SQL with ``?`` or ``?1`` for parameters. Raises EdgeLakeError where the server does not do as told.

    Attributes:
        process: (number, start) of the process that serves it, on the server.
    """

    def __init__(self, server: Server, dbms: str) -> None:
        self.dbms = dbms
        self.raw = connect(server, dbms)
        self._changes = 0
        self.process: tuple[object, object] = self.execute(_PROCESS).fetchone()

    @property
    def in_transaction(self) -> bool:
        return self.raw.info.transaction_status in {pq.TransactionStatus.INTRANS, pq.TransactionStatus.INERROR}

    @property
    def is_lost(self) -> bool:
        return self.raw.closed or self.raw.broken

    def total_changes(self) -> int:
        return self._changes

    def execute(self, sql: str, bindings: Sequence[object] = ()) -> PostgresCursor:
        try:
            cursor = self.raw.cursor()
            if bindings:
                cursor.execute(_numbered(sql), bindings)
            else:
                cursor.execute(sql.encode())
        except psycopg.Error as problem:
            raise to_error(problem, self.dbms) from problem
        self._count(cursor)
        return PostgresCursor(cursor)

    def executemany(self, sql: str, bindings: Iterable[Sequence[object]]) -> None:
        try:
            cursor = self.raw.cursor()
            cursor.executemany(_numbered(sql), list(bindings))
        except psycopg.Error as problem:
            raise to_error(problem, self.dbms) from problem
        self._count(cursor)

    def single(self, sql: str) -> int:
        """Run one statement of a user, and no second one behind a semicolon; the rows it changed."""
        try:
            cursor = self.raw.cursor()
            # The extended protocol takes one statement only; asking for binary results chooses it.
            cursor.execute(sql.encode(), binary=True)
        except errors.SyntaxError as problem:
            if "multiple commands" in str(problem):
                raise NotPermittedError("more than one statement", hint="send them one at a time") from problem
            raise to_error(problem, self.dbms) from problem
        except psycopg.Error as problem:
            raise to_error(problem, self.dbms) from problem
        self._count(cursor)
        return max(cursor.rowcount, 0)

    def copy(self, target: str, pieces: Iterable[bytes]) -> None:
        """Send COPY data into ``table (columns)``."""
        try:
            with self.raw.cursor().copy(f"COPY {target} FROM STDIN (FORMAT binary)".encode()) as copy:
                for piece in pieces:
                    copy.write(piece)
        except psycopg.Error as problem:
            raise to_error(problem, self.dbms) from problem

    def end_process(self, process: tuple[object, object]) -> None:
        """End what serves a connection that was lost, if the server has not noticed: it may hold locks."""
        sql = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid = ? AND backend_start = ?"
        self.execute(sql, process)

    def close(self) -> None:
        self.raw.close()

    def _count(self, cursor: psycopg.Cursor[Any]) -> None:
        if not (cursor.statusmessage or "").startswith("SELECT"):
            self._changes += max(cursor.rowcount, 0)


def _numbered(sql: str) -> bytes:
    """``?`` as ``$1``, ``$2`` ...; ``?2`` as ``$2``. Marks inside quotes stay."""
    count = 0

    def number(found: re.Match[str]) -> str:
        nonlocal count
        if found[1] is None:
            return found[0]
        count += 1
        return f"${found[1] or count}"

    return _MARK.sub(number, sql).encode()
