"""The naming convention of data files.

``[dbms].[table].[source].[hash].[instructions].[TSD member].[TSD id].[TSD date].json``
Source: spec "Ingestion", section 5.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from typing import Any, Literal, cast

from msgspec import Struct
from msgspec.structs import replace

from edgelake import _rust
from edgelake.errors import error

FIELDS = (
    ("dbms", "logical database"),
    ("table", "logical table"),
    ("source", "id of the data source, 0 = none"),
    ("hash", "md5 of database, table and content, 0 = not computed"),
    ("instructions", "id of the mapping policy, 0 = none"),
    ("TSD member", "number of the member that first took the file, @ = rows are in the table already"),
    ("TSD id", "row id in that member's TSD table"),
    ("TSD date", "YYMMDDHHMMSS, UTC"),
)
INSERTED: Literal["@"] = "@"
_FAULTS = re.compile(r"[./\\\x00-\x1f]")


class FileName(Struct, frozen=True):
    """Parts of a data file's name. ``member`` is None without TSD, ``@`` when the rows are in the table already."""

    dbms: str
    table: str
    source: str = "0"
    hash: str = "0"
    instructions: str = "0"
    member: int | Literal["@"] | None = None
    tsd_id: int = 0
    tsd_date: str = ""
    kind: Literal["json", "sql"] = "json"
    compressed: bool = False

    @classmethod
    def parse(cls, name: str) -> FileName:
        """Raises EdgeLakeError 119, naming what is wrong."""
        try:
            found = cast(dict[str, Any], _rust.parse_file_name(name))
        except ValueError as e:
            raise error(119, str(e), hint="see: get json file struct") from e
        plain = name.removesuffix(".gz")
        return cls(
            found["dbms"],
            found["table"],
            found["source"],
            found["hash"],
            found["instructions"],
            found["tsd_member"],
            int(found["tsd_row_id"]),
            found["tsd_date"] or "",
            "sql" if plain.endswith(".sql") else "json",
            plain != name,
        )

    def with_tsd(self, member: int | Literal["@"], tsd_id: int, date: str) -> FileName:
        return replace(self, member=member, tsd_id=tsd_id, tsd_date=date)

    def text(self, number: int = 0) -> str:
        """The name, without ``.gz``. ``number`` keeps files of equal content apart: it is added to the hash."""
        file_hash = f"{self.hash}_{number}" if number else self.hash
        parts = [self.dbms, self.table, self.source, file_hash, self.instructions]
        if self.member is not None:
            parts += [str(self.member), str(self.tsd_id), self.tsd_date]
        return ".".join([*parts, "json"])


def content_hash(dbms: str, table: str, content: bytes) -> str:
    """md5 over ``dbms.table`` and the content; it names a file, nothing relies on it being hard to forge."""
    return _rust.payload_hash(dbms, table, content)


def running_hash(dbms: str, table: str) -> hashlib._Hash:
    """``content_hash`` of content that comes in pieces: ``update`` with each, then ``hexdigest``."""
    return hashlib.md5(f"{dbms}.{table}".encode(), usedforsecurity=False)


def pieces_hash(dbms: str, table: str, pieces: Iterable[bytes]) -> str:
    """``content_hash`` of pieces."""
    found = running_hash(dbms, table)
    for piece in pieces:
        found.update(piece)
    return found.hexdigest()


def batch_hash(dbms: str, table: str, node: str, position: int, arrival_us: int) -> str:
    """Hash of the archive file of a streamed batch: honest twins stay apart, a resent batch is known.

    The time keeps batches apart whose positions are given a second time, on a node that came back from a backup.
    """
    return content_hash(dbms, table, f"{node}{position}.{arrival_us}".encode())


def check_part(text: str, what: str) -> str:
    """A part of a file name as it is. Raises EdgeLakeError 119 for one that would break the name."""
    if not text or _FAULTS.search(text):
        raise error(119, f"{what} '{text}' cannot stand in a file name", hint="no dots, slashes or control characters")
    return text
