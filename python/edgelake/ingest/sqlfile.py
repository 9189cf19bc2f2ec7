"""``.insert.sql`` files: INSERT statements of one table, as nodes of the reference write them.

A short file is one transaction. A longer one goes in blocks of statements, each a transaction of its own that also
says how far the file is, as JSON files do. Source: spec "Ingestion", sections 5 and 7.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterable, Iterator, Sequence

from msgspec import Struct

from edgelake.errors import error
from edgelake.ingest.names import running_hash
from edgelake.ingest.settings import BLOCK_BYTES, ROW_BYTES
from edgelake.ingest.source import SourceFile
from edgelake.store.direct import execute
from edgelake.store.engine import quote
from edgelake.store.marker import FileMarker
from edgelake.store.schema import Transaction

_INSERT = re.compile(r"\s*insert\s+into\s+(?:\"[^\"]+\"|[\w.]+)\s*(?=\(|values\b)", re.IGNORECASE)
_WHOLE = re.compile(r"(?:[^'\";]++|'[^']*+'|\"[^\"]*+\")*+")
"""Text up to a semicolon, or to a quote that has no end yet. A doubled quote is two texts beside each other."""
_DEFAULT = re.compile(r"'[^']*+'|\"[^\"]*+\"|\bDEFAULT\b", re.IGNORECASE)


def split(pieces: Iterable[bytes]) -> Iterator[str]:
    """The statements of a file, without their semicolons. Raises EdgeLakeError 16 for one that has no bound."""
    decoder = codecs.getincrementaldecoder("utf-8")()
    text = ""
    at = 0  # up to here it was looked through
    try:
        for piece in pieces:
            text += decoder.decode(piece)
            start = 0
            while (at := _end(text, at)) < len(text) and text[at] == ";":
                if statement := text[start:at].strip():
                    yield statement
                start = at = at + 1
            text, at = text[start:], at - start
            if len(text) > ROW_BYTES:
                raise error(16, f"a statement is longer than {ROW_BYTES:,} characters", hint="send shorter ones")
        text += decoder.decode(b"", True)
    except UnicodeDecodeError as e:
        raise error(16, f"the file is not UTF-8 text: {e.reason}") from e
    if statement := text.strip():
        yield statement


def _end(text: str, at: int) -> int:
    found = _WHOLE.match(text, at)
    return found.end() if found else at


def insert_into(table: str, statement: str) -> str:
    """An INSERT into the logical table: a partition's rows find their partition again.

    The word DEFAULT becomes null, which the table's own defaults replace. Raises EdgeLakeError 16 for anything else.
    """
    head = _INSERT.match(statement)
    if head is None:
        raise error(
            16, f"'{statement.strip()[:60]}' is not an INSERT", hint="SQL files of the watch directory only insert"
        )
    values = _DEFAULT.sub(lambda found: found[0] if found[0][0] in "'\"" else "NULL", statement[head.end() :])
    return f"INSERT INTO {quote(table)} {values}"


class Script(Struct, frozen=True):
    """What the first reading of an SQL file found: every statement inserts."""

    hash: str
    statements: int


def inspect(source: SourceFile) -> Script:
    """Read an SQL file through. Raises EdgeLakeError 16, and as ``SourceFile.pieces``."""
    name = source.name
    digest = running_hash(name.dbms, name.table)

    def hashed() -> Iterator[bytes]:
        for piece in source.pieces():
            digest.update(piece)
            yield piece

    count = 0
    for statement in split(hashed()):
        count += 1
        if _INSERT.match(statement) is None:
            insert_into(name.table, statement)
    if not count:
        raise error(16, "the file holds no statement")
    return Script(name.hash if name.hash != "0" else digest.hexdigest(), count)


class Groups:
    """The statements of a file in blocks, the first ``skip`` left out. ``next`` runs in a thread."""

    def __init__(self, source: SourceFile, skip: int = 0) -> None:
        self._table = source.name.table
        self._statements = split(source.pieces())
        self._skip = skip

    def next(self) -> list[str]:
        """The next statements, made to insert into the table; empty at the end."""
        for _ in range(self._skip):
            next(self._statements, None)
        self._skip = 0
        group: list[str] = []
        size = 0
        for statement in self._statements:
            group.append(insert_into(self._table, statement))
            size += len(statement)
            if size >= BLOCK_BYTES:
                break
        return group


def rest(source: SourceFile, skip: int) -> Iterator[bytes]:
    """Content of a file that holds what comes behind the first ``skip`` statements."""
    for number, statement in enumerate(split(source.pieces())):
        if number >= skip:
            yield statement.encode()
            yield b";\n"


def run_statements(tx: Transaction, group: Sequence[str], marker: FileMarker) -> int | None:
    """Run the statements and leave the file's marker, in the writer's transaction.

    Returns: rows inserted; None when the file's rows are in the table already.
    """
    if marker.covered(tx):
        return None
    count = sum(execute(tx, one) for one in group)
    marker.write(tx, count)
    return count
