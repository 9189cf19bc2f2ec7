"""Opening database files with apsw, the only SQLite of the process (dependencies, "One SQLite per process")."""

from __future__ import annotations

import urllib.parse
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import apsw

from edgelake import _rust
from edgelake.errors import (
    DatabaseAwayError,
    DatabaseError,
    EdgeLakeError,
    NotPermittedError,
    RefusedError,
    StorageFullError,
)

ENTRY_POINT = "sqlite3_edgelake_init"
BUSY_TIMEOUT_MS = 10_000
PAGE_BYTES = 4096

HARMLESS_PRAGMAS = frozenset({"table_info", "table_xinfo", "index_list", "index_info", "table_list", "data_version"})
"""Pragmas that SQL of a reader may use: they only describe."""

_READ_ACTIONS = frozenset({apsw.SQLITE_SELECT, apsw.SQLITE_READ, apsw.SQLITE_RECURSIVE, apsw.SQLITE_TRANSACTION})


def quote(name: str) -> str:
    """An identifier as it stands in SQL, whatever is in it."""
    return '"' + name.replace('"', '""') + '"'


def literal(text: str) -> str:
    """A text as an SQL literal, for statements that take no parameters (views)."""
    return "'" + text.replace("'", "''") + "'"


def load_native() -> None:
    """Hand apsw's SQLite interface to the Rust module; once per process, later calls do nothing.

    A throw-away connection loads the module as an extension, so that Rust uses the very same library.
    """
    if _rust.sqlite_ready():
        return
    connection = apsw.Connection(":memory:")
    try:
        connection.enable_load_extension(True)
        connection.load_extension(_rust.__file__, ENTRY_POINT)
    finally:
        connection.close()


def open_writer(location: str) -> apsw.Connection:
    """The one connection that writes; WAL, with the settings that were measured (see ``tune``).

    Raises DatabaseError when the file can't be opened or is no database.
    """
    load_native()
    flags = apsw.SQLITE_OPEN_READWRITE | apsw.SQLITE_OPEN_CREATE | apsw.SQLITE_OPEN_URI
    try:
        connection = apsw.Connection(location, flags=flags)
        connection.set_busy_timeout(BUSY_TIMEOUT_MS)
        tune(connection)
    except apsw.Error as error:
        raise to_error(error, location) from error
    return connection


def tune(connection: apsw.Connection) -> None:
    """Settings of a writer connection.

    Measured on two shared cores, workload W (time, text, decimal), 0.9 M rows, CPU time of the writer thread with its
    checkpoints: with the index on time 2.5 M rows/s at 15,000 rows a transaction and 2.3 M at 100,000; without the
    index 4.4 M and 5.0 M. A checkpoint at every 1,000 or 4,000 pages costs up to a fifth against none;
    pages of 8 or 16 KiB, a cache of 2 or 64 MiB and a memory map of 256 MiB stay within the noise. That a file can be
    shortened when rows go (auto_vacuum, for new files) costs about 3 %.
    """
    connection.execute(f"PRAGMA page_size={PAGE_BYTES}")
    if connection.execute("PRAGMA page_count").fetchone() == (0,):  # a file that has pages would only be written to
        connection.execute("PRAGMA auto_vacuum=INCREMENTAL")
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=NORMAL")
    connection.execute("PRAGMA wal_autocheckpoint=16384")
    connection.execute("PRAGMA cache_size=-16384")
    connection.execute("PRAGMA temp_store=MEMORY")


def open_reader(location: str, others: Mapping[str, str] | None = None) -> apsw.Connection:
    """A connection that can't write, whatever SQL it is given: read-only, and guarded by an authorizer.

    ``others``: name -> location of databases that are read along with it.

    One thread at a time may use it, so it does without SQLite's lock, which is taken for each value that is read
    (5 M rows scanned by native code: 0.34 s against 0.45 s). ``interrupt`` may be called from any thread.
    """
    load_native()
    flags = apsw.SQLITE_OPEN_READONLY | apsw.SQLITE_OPEN_URI | apsw.SQLITE_OPEN_NOMUTEX
    try:
        connection = apsw.Connection(location, flags=flags)
        connection.set_busy_timeout(BUSY_TIMEOUT_MS)
        attach(connection, others or {})
        connection.execute("PRAGMA query_only=1")
        _rust.add_functions(connection.sqlite3_pointer())
    except apsw.Error as error:
        raise to_error(error, location) from error
    connection.authorizer = authorize_read
    return connection


def attach(connection: apsw.Connection, others: Mapping[str, str]) -> None:
    """Read other databases along, by name -> location; read-only, whatever the connection is."""
    for name, location in others.items():
        connection.execute(f"ATTACH ? AS {quote(name)}", (f"{_uri(location)}&mode=ro",))


def open_scratch() -> apsw.Connection:
    """An empty database in memory, for statements over rows that come from elsewhere."""
    load_native()  # a node that only asks others may have opened no other database
    return apsw.Connection(":memory:")


def open_temporary(cache_bytes: int) -> apsw.Connection:
    """An empty database in a temporary file, which no name leads to: it is gone with the connection or the process.

    ``cache_bytes``: what stands in memory of it, and what a sort takes before it goes to a file of its own.
    """
    load_native()
    connection = apsw.Connection("")
    connection.execute(f"PRAGMA page_size={PAGE_BYTES}")
    for setting in ("journal_mode=OFF", "synchronous=OFF", "temp_store=FILE"):
        connection.execute(f"PRAGMA {setting}")
    connection.execute(f"PRAGMA cache_size=-{max(cache_bytes >> 10, 64)}")
    return connection


def run_single(connection: Any, sql: str) -> None:
    """Run one statement. Raises NotPermittedError when a second one stands behind a semicolon."""
    cursor = connection.cursor()
    seen: list[str] = []

    def only_first(_cursor: apsw.Cursor, text: str, _bindings: object) -> bool:
        seen.append(text)
        return len(seen) == 1

    cursor.exec_trace = only_first
    try:
        cursor.execute(sql).fetchall()
    except apsw.ExecTraceAbort:
        raise NotPermittedError("more than one statement", hint="send them one at a time") from None


def _uri(location: str) -> str:
    """A location that names its VFS: without one, an attached database would take that of the main one."""
    if location.startswith("file:"):
        return location
    return f"file:{urllib.parse.quote(location)}?vfs={apsw.vfs_names()[0]}"


def authorize_read(
    action: int, first: str | None, second: str | None, _database: str | None, _inner: str | None
) -> int:
    """Authorizer of readers: SELECT, and what describes tables. No ATTACH, no PRAGMA that sets, no extension."""
    if action in _READ_ACTIONS:
        return apsw.SQLITE_OK
    if action == apsw.SQLITE_FUNCTION:
        return apsw.SQLITE_DENY if second == "load_extension" else apsw.SQLITE_OK
    if action == apsw.SQLITE_PRAGMA:
        return apsw.SQLITE_OK if (first or "").lower() in HARMLESS_PRAGMAS else apsw.SQLITE_DENY
    return apsw.SQLITE_DENY


def to_error(error: apsw.Error, where: str) -> EdgeLakeError:
    """An apsw exception as the node's, with the database or statement at fault."""
    if isinstance(error, apsw.FullError):
        return StorageFullError(f"{where}: {error}", hint="make room on the disk of the databases")
    if isinstance(error, apsw.IOError) and is_full(error):
        return StorageFullError(f"{where}: {error}", hint="make room, or raise the file size limit")
    if isinstance(error, (apsw.CantOpenError, apsw.ReadOnlyError, apsw.PermissionsError)):
        return DatabaseError(f"{where}: {error}", hint="check that the directory exists and is writable")
    if isinstance(error, apsw.ProtocolError):  # what remote tables say of a server that is away
        return DatabaseAwayError(f"{where}: {error}")
    return DatabaseError(f"{where}: {error}")


_NOT_THE_ROWS = (
    apsw.BusyError,
    apsw.LockedError,
    apsw.FullError,
    apsw.IOError,
    apsw.CantOpenError,
    apsw.ReadOnlyError,
    apsw.PermissionsError,
    apsw.NoMemError,
    apsw.InterruptError,
    apsw.AbortError,
    apsw.ProtocolError,
    apsw.CorruptError,
    apsw.NotADBError,
    apsw.SchemaChangeError,
    apsw.NoLFSError,
)


def refuses_rows(problem: Exception) -> bool:
    """Whether a failed insert fails for the sake of its rows (or their table): again and again, however often it is
    tried. Anything else (a busy database, a full disk) may pass.
    """
    if isinstance(problem, apsw.Error):
        return not isinstance(problem, _NOT_THE_ROWS)
    if isinstance(problem.__cause__, apsw.Error):
        return refuses_rows(problem.__cause__)
    if isinstance(problem, EdgeLakeError):
        return isinstance(problem, RefusedError) or problem.number == 171
    # A value that the native side cannot take.
    return isinstance(problem, (ValueError, TypeError, OverflowError))


def may_pass(problem: Exception) -> bool:
    """Whether it is the database's state that a statement failed for, and not the statement."""
    return isinstance(problem, DatabaseAwayError) or isinstance(problem.__cause__, _NOT_THE_ROWS)


def is_full(error: apsw.Error) -> bool:
    """A write that failed for want of room (a file size limit shows as a failed write, not as 'full')."""
    return getattr(error, "extendedresult", 0) in {
        apsw.SQLITE_IOERR_WRITE,
        apsw.SQLITE_IOERR_SHMSIZE,
        apsw.SQLITE_IOERR_TRUNCATE,
    }


def file_of(directory: Path, name: str) -> Path:
    """File of a logical database. The name may hold a path; an absolute one stands for itself."""
    return directory / f"{name}.dbms"
