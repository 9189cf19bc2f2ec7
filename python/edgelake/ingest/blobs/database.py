"""Blobs in a database: ``blobs_<dbms>`` of SQLite holds those of the database ``<dbms>``.

Equal contents of several tables are stored once. A content goes in by pieces in short transactions, and is there when
its entry is: a long one holds no lock and no memory, and what a crash left of one is removed with the next.
Source: spec "Ingestion and storage", section 3 (``dbms = true``).
"""

from __future__ import annotations

import threading
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from edgelake.ingest.blobs.arrival import Arrival
from edgelake.ingest.blobs.content import Content, pieces_of
from edgelake.ingest.blobs.names import Blob, BlobName, Wanted
from edgelake.ingest.blobs.spool import Spool
from edgelake.store.schema import Transaction
from edgelake.store.sqlite import SqliteStore

_KIND: Final = "dbms"
_GROUP: Final = 8
"""Pieces that one transaction takes."""

_LISTED: Final = 1000
"""Entries that are read at once."""

_TABLES: Final = """
CREATE TABLE IF NOT EXISTS _edgelake_blobs (
    dbms TEXT, table_name TEXT, id TEXT, day TEXT, content INTEGER, PRIMARY KEY (dbms, table_name, id)) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS _edgelake_blobs_content ON _edgelake_blobs (content);
CREATE TABLE IF NOT EXISTS _edgelake_blob_contents (
    content INTEGER PRIMARY KEY, md5 TEXT, bytes INTEGER, stored_bytes INTEGER, packed INTEGER, complete INTEGER);
CREATE INDEX IF NOT EXISTS _edgelake_blob_contents_md5 ON _edgelake_blob_contents (md5);
CREATE TABLE IF NOT EXISTS _edgelake_blob_pieces (
    content INTEGER, number INTEGER, piece BLOB, PRIMARY KEY (content, number));
"""
_ENTRIES: Final = (
    "SELECT b.dbms, b.table_name, b.id, b.day, c.stored_bytes FROM _edgelake_blobs b JOIN _edgelake_blob_contents c"
    " ON c.content = b.content"
)


class BlobTables:
    """A place of blobs. All calls are for threads, not for the loop."""

    kind = _KIND

    def __init__(self, store: SqliteStore) -> None:
        self._store = store
        self._prepared = False
        self._lock = threading.Lock()

    # ---- what is there

    def find(self, wanted: Wanted) -> list[Blob]:
        where, values = "b.dbms = ? AND b.table_name = ?", [wanted.dbms, wanted.table]
        if wanted.id:
            where, values = f"{where} AND b.id = ?", [*values, wanted.id]
        if wanted.day:
            where, values = f"{where} AND b.day = ?", [*values, wanted.day]
        found = self._read(f"{_ENTRIES} WHERE {where} ORDER BY b.day, b.id", values)
        return [blob for row in found if wanted.fits((blob := self._blob(row)).name.id, blob.day)]

    def count(self) -> Counter[tuple[str, str]]:
        rows = self._read("SELECT dbms, table_name, count(*) FROM _edgelake_blobs GROUP BY 1, 2", ())
        return Counter({(str(dbms), str(table)): int(number) for dbms, table, number in rows})

    def all(self, dbms: str) -> Iterator[Blob]:
        """In the order of their names, in groups."""
        table, blob_id = "", ""
        where = f"{_ENTRIES} WHERE b.dbms = ? AND (b.table_name, b.id) > (?, ?)"
        while rows := self._read(f"{where} ORDER BY b.table_name, b.id LIMIT {_LISTED}", (dbms, table, blob_id)):
            yield from map(self._blob, rows)
            _, table, blob_id, _, _ = rows[-1]

    def _blob(self, row: Any) -> Blob:
        dbms, table, blob_id, day, size = row
        return Blob(BlobName(dbms, table, blob_id), day, size, _KIND, self._store.dbms)

    def _read(self, sql: str, values: Any) -> list[Any]:
        self._prepare()
        with self._store.reader() as db:
            return db.execute(sql, values).fetchall()

    def _prepare(self) -> None:
        """Not before the first use, which is in a thread."""
        with self._lock:
            if not self._prepared:
                self._store.change_blocking(_prepare)
                self._prepared = True

    # ---- in and out

    def store(self, arrival: Arrival, *, compress: bool) -> None:
        """Store a content; durable on return. Raises BlobDamagedError, StorageFullError, DatabaseError, OSError."""
        name, content = arrival.name, arrival.checked()
        known = self._read(
            "SELECT content FROM _edgelake_blob_contents WHERE md5 = ? AND bytes = ? AND complete",
            (content.md5, content.bytes),
        )
        number = int(known[0][0]) if known else self._put(arrival.path, content, compress=compress)
        day = datetime.now(UTC).strftime("%y%m%d")

        def publish(tx: Transaction) -> None:
            sql = "UPDATE _edgelake_blob_contents SET complete = 1 WHERE content = ? RETURNING 1"
            if not tx.execute(sql, (number,)).fetchall():  # the last blob of that content was removed meanwhile
                raise _GoneError
            tx.execute(
                "INSERT OR REPLACE INTO _edgelake_blobs VALUES (?, ?, ?, ?, ?)",
                (name.dbms, name.table, name.id, day, number),
            )

        try:
            self._store.change_blocking(publish)
        except _GoneError:
            self.store(arrival, compress=compress)

    def _put(self, source: Path, content: Content, *, compress: bool) -> int:
        """Store a content that has no entry yet; its number."""
        packer = zlib.compressobj(wbits=31) if compress else None

        def begin(tx: Transaction) -> int:
            sql = (
                "INSERT INTO _edgelake_blob_contents (md5, bytes, stored_bytes, packed, complete)"
                " VALUES (?, ?, 0, ?, 0) RETURNING content"
            )
            return int(tx.execute(sql, (content.md5, content.bytes, int(compress))).fetchall()[0][0])

        number = self._store.change_blocking(begin, synchronous="NORMAL")
        try:
            at = 0
            for group in _groups(_packed(source, packer) if packer else pieces_of(source)):
                self._store.change_blocking(_insert(number, at, group), synchronous="NORMAL")
                at += len(group)
        except BaseException:
            self._store.change_blocking(_delete(number))
            raise
        return number

    def fetch(self, blob: Blob, spool: Spool) -> Path:
        """A file with the content, checked. Raises BlobDamagedError."""
        rows = self._read(
            "SELECT c.content, c.md5, c.bytes, c.packed FROM _edgelake_blobs b JOIN _edgelake_blob_contents c"
            " ON c.content = b.content WHERE b.dbms = ? AND b.table_name = ? AND b.id = ?",
            (blob.name.dbms, blob.name.table, blob.name.id),
        )
        if not rows:
            raise FileNotFoundError(blob.name.file)
        number, md5, size, packed = rows[0]
        return spool.fill(blob.name, Content(size, md5), lambda: self._pieces(number, packed=bool(packed)))

    def _pieces(self, number: int, *, packed: bool) -> Iterator[bytes]:
        unpacker = zlib.decompressobj(wbits=31) if packed else None
        at = 0
        while True:
            rows = self._read("SELECT piece FROM _edgelake_blob_pieces WHERE content = ? AND number = ?", (number, at))
            if not rows:
                return
            piece, at = rows[0][0], at + 1
            while unpacker and piece:
                try:
                    yield unpacker.decompress(piece, 1 << 20)
                except zlib.error:
                    return  # what is missing shows in the length
                piece = unpacker.unconsumed_tail
            if piece:
                yield piece

    def remove(self, blob: Blob) -> None:
        """Remove the entry, and its content with the last one."""
        key = (blob.name.dbms, blob.name.table, blob.name.id, blob.day)

        self._prepare()

        def work(tx: Transaction) -> None:
            entry = "_edgelake_blobs WHERE dbms = ? AND table_name = ? AND id = ? AND day = ?"
            number = tx.value(f"SELECT content FROM {entry}", key)
            tx.execute(f"DELETE FROM {entry}", key)
            if number is not None and not tx.value("SELECT 1 FROM _edgelake_blobs WHERE content = ?", (number,)):
                _delete(number)(tx)

        self._store.change_blocking(work)


class _GoneError(Exception):
    """A content was removed between two steps."""


def _prepare(tx: Transaction) -> None:
    for statement in _TABLES.strip().split(";"):
        if statement.strip():
            tx.execute(statement)
    left = tx.execute("SELECT content FROM _edgelake_blob_contents WHERE NOT complete").fetchall()
    for (number,) in left:
        _delete(int(str(number)))(tx)


def _insert(number: int, at: int, group: list[bytes]) -> Callable[[Transaction], None]:
    def work(tx: Transaction) -> None:
        rows = [(number, at + n, piece) for n, piece in enumerate(group)]
        tx.connection.executemany("INSERT INTO _edgelake_blob_pieces VALUES (?, ?, ?)", rows)
        tx.execute(
            "UPDATE _edgelake_blob_contents SET stored_bytes = stored_bytes + ? WHERE content = ?",
            (sum(map(len, group)), number),
        )

    return work


def _delete(number: int) -> Callable[[Transaction], None]:
    def work(tx: Transaction) -> None:
        tx.execute("DELETE FROM _edgelake_blob_pieces WHERE content = ?", (number,))
        tx.execute("DELETE FROM _edgelake_blob_contents WHERE content = ?", (number,))

    return work


def _groups(pieces: Iterator[bytes]) -> Iterator[list[bytes]]:
    held: list[bytes] = []
    for piece in pieces:
        held.append(piece)
        if len(held) >= _GROUP:
            yield held
            held = []
    if held:
        yield held


def _packed(source: Path, packer: Any) -> Iterator[bytes]:
    for piece in pieces_of(source):
        if out := packer.compress(piece):
            yield out
    yield packer.flush()
