"""What a blob is called, and which blobs a command means."""

from __future__ import annotations

import re
from dataclasses import dataclass

from edgelake.errors import CommandError
from edgelake.ingest.names import check_part

HASH = re.compile(r"[0-9a-fA-F]{1,128}")
_DATE = re.compile(r"\d{6}")
_TYPE = re.compile(r"(?:\.\w{1,16})?")


@dataclass(frozen=True, slots=True)
class BlobName:
    """Database, table and id of a blob; the id, ``<hash>[.type]``, is what a row holds.

    Hash: md5 over ``<dbms>.<table>`` and the content as it came, in a message before it was decoded.
    """

    dbms: str
    table: str
    id: str

    @property
    def file(self) -> str:
        """Name of its file."""
        return f"{self.dbms}.{self.table}.{self.id}"

    @property
    def hash(self) -> str:
        return self.id.partition(".")[0]

    @property
    def type(self) -> str:
        """Without its dot; empty for none."""
        return self.id.partition(".")[2]

    @classmethod
    def parse(cls, name: str) -> BlobName | None:
        """From the name of a file; None for another file."""
        parts = name.split(".")
        if len(parts) not in {3, 4} or not all(parts) or not HASH.fullmatch(parts[2]):
            return None
        if len(parts) == 4 and not _TYPE.fullmatch(f".{parts[3]}"):
            return None
        return cls(parts[0], parts[1], name.removeprefix(f"{parts[0]}.{parts[1]}."))


def blob_name(dbms: str, table: str, file_hash: str, suffix: str) -> BlobName:
    """The name by its parts, ``suffix`` with its dot. Raises CommandError, EdgeLakeError 119 for what can't stand."""
    check_part(dbms, "dbms")
    check_part(table, "table")
    if not HASH.fullmatch(file_hash):
        raise CommandError(f"hash = {file_hash[:40]}", hint="the hash is hexadecimal")
    if not _TYPE.fullmatch(suffix):
        raise CommandError(f"'{suffix[:40]}' is no type of a file")
    return BlobName(dbms, table, f"{file_hash.lower()}{suffix.lower()}")


@dataclass(frozen=True, slots=True)
class Wanted:
    """Blobs of a table: one by its id or its hash, those stored on a day (YYMMDD, UTC), or all.

    An empty table stands for all tables, in ``covers``.

    Raises CommandError, EdgeLakeError 119 for what no blob can have.
    """

    dbms: str
    table: str
    id: str = ""
    hash: str = ""
    day: str = ""

    def __post_init__(self) -> None:
        check_part(self.dbms, "dbms")
        if self.table:
            check_part(self.table, "table")
        if self.day and not _DATE.fullmatch(self.day):
            raise CommandError(f"date = {self.day[:20]}", hint="write it YYMMDD")
        if self.hash and not HASH.fullmatch(self.hash):
            raise CommandError(f"hash = {self.hash[:40]}", hint="the hash is hexadecimal")
        if self.id and BlobName.parse(f"d.t.{self.id}") is None:
            raise CommandError(f"id = {self.id[:40]}", hint="an id is <hash>.<type>, as the row holds it")

    def fits(self, blob_id: str, day: str) -> bool:
        return (
            (not self.id or blob_id == self.id)
            and (not self.hash or blob_id.partition(".")[0] == self.hash.lower())
            and (not self.day or day == self.day)
        )

    def covers(self, blob: Blob) -> bool:
        name = blob.name
        return name.dbms == self.dbms and self.table in {"", name.table} and self.fits(name.id, blob.day)


@dataclass(frozen=True, slots=True)
class Blob:
    """A blob that is kept somewhere.

    Attributes:
        day: YYMMDD (UTC) on which it was stored last.
        stored_bytes: room that it takes, compressed where that was asked for.
        place: ``folder``, ``dbms`` or ``bucket``.
        where: path of its file, or key of its object.
    """

    name: BlobName
    day: str
    stored_bytes: int
    place: str
    where: str = ""
