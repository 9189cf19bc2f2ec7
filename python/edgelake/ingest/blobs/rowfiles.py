"""Row files of ``bwatch_dir``: their rows name blobs that lie in ``blobs_dir``, or that are stored already.

A row names a blob by its id, or by the name of any file of ``blobs_dir``: that file becomes a blob then, and the row
gets its id. When all are there the rows go on to ``watch_dir``, as mapped already.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import msgspec
from msgspec.structs import replace

from edgelake._rust import PayloadSplitter, json_lines
from edgelake.durable import sync_directory
from edgelake.errors import PayloadError, error
from edgelake.ingest import filing
from edgelake.ingest.blobs.blobs import Blobs
from edgelake.ingest.blobs.content import Summed, note, pieces_of
from edgelake.ingest.blobs.names import BlobName, Wanted, blob_name
from edgelake.ingest.names import FileName, running_hash
from edgelake.ingest.settings import BLOCK_BYTES, ROW_BYTES

DEFAULT_COLUMN: Final = "file"


class RowFiles:
    """Brings the files on, one call each.

    Args:
        policy: the mapping policy of an id, or None.
        reuse: files that became blobs stay in ``blobs_dir``, so that the rows of other files may name them.
    """

    def __init__(self, blobs: Blobs, watch_dir: Path, policy: Callable[[str], Any], *, reuse: bool = False) -> None:
        self._blobs = blobs
        self._reuse = reuse
        self._watch_dir = watch_dir
        self._policy = policy

    def take(self, path: Path) -> None:
        """Bring a file on. In a thread.

        Each step can be done again: a crash leaves the file in one of the two directories, and no blob without rows
        that name it. Raises EdgeLakeError for a file that cannot be brought on (78 when a blob is missing), OSError.
        """
        name = FileName.parse(path.name)
        column = self._column(name.instructions)
        ids: dict[str, str] = {}
        for row in _rows(path):
            value = row.get(column)
            if isinstance(value, str) and value and value not in ids:
                ids[value] = self._blob_of(name, value)
        adopted = {value: blob_id for value, blob_id in ids.items() if value != blob_id}
        if adopted:
            working = path.with_name(f".{path.name}.rows_tmp")
            lines = (msgspec.json.encode(_renamed(row, column, adopted)) + b"\n" for row in _rows(path))
            filing.write_file(working, lines, compress=name.compressed)
            working.replace(path)
        filing.sync(path)
        _pass_on(path, self._watch_dir, replace(name, instructions="0"))
        if not self._reuse:
            for value in adopted:
                (self._blobs.folder.root / value).unlink(missing_ok=True)

    def _column(self, instructions: str) -> str:
        """The blob column: the first of the policy's schema that is one; without policy ``file``."""
        policy = self._policy(instructions) if instructions != "0" else None
        body = policy.get("mapping") if isinstance(policy, dict) else None
        schema = body.get("schema") if isinstance(body, dict) else None
        for column, declared in schema.items() if isinstance(schema, dict) else ():
            for one in declared if isinstance(declared, list) else [declared]:
                if isinstance(one, dict) and (one.get("blob") or one.get("hash")):
                    return str(column)
        return DEFAULT_COLUMN

    def _blob_of(self, rows: FileName, value: str) -> str:
        """The id of the blob that a row names. Raises EdgeLakeError 78 when there is none."""
        name = BlobName.parse(f"{rows.dbms}.{rows.table}.{value}")
        if name is not None and self._is_there(name):
            return name.id
        path = self._blobs.folder.root / value
        if Path(value).name != value or value.startswith(".") or not path.is_file():
            raise error(
                78,
                f"{rows.dbms}.{rows.table}: '{value[:200]}' is neither in {self._blobs.folder.root} nor stored",
                hint="put it there, then move the row file back to the directory it came from",
            )
        return self._adopt(path, rows)

    def _is_there(self, name: BlobName) -> bool:
        if self._blobs.folder.arrived(name) is not None:
            return True
        return bool(self._blobs.find(Wanted(name.dbms, name.table, name.id)))

    def _adopt(self, path: Path, rows: FileName) -> str:
        """A file becomes a blob under the name that its content gives; its id."""
        summed, own = Summed(), running_hash(rows.dbms, rows.table)
        for piece in pieces_of(path):
            summed.update(piece)
            own.update(piece)
        name = blob_name(rows.dbms, rows.table, own.hexdigest(), path.suffix)
        working = path.with_name(f".{name.file}.adopted_tmp")
        working.unlink(missing_ok=True)
        if self._reuse:
            shutil.copyfile(path, working)  # whoever writes the file anew does not write into the blob
        else:
            os.link(path, working)
        note(working, summed.content)
        filing.sync(working)
        working.replace(path.with_name(name.file))
        working.unlink(missing_ok=True)  # a rename onto another link of the same file does nothing
        sync_directory(path.parent)
        return name.id


def _pass_on(path: Path, watch_dir: Path, name: FileName) -> None:
    """Into the watch directory by one rename, under a name that nothing has: its own with ``_tmp`` holds it."""
    number = 0
    while True:
        target = watch_dir / f"{name.text(number)}{'.gz' if name.compressed else ''}"
        number += 1
        held = target.with_name(f"{target.name}_tmp")
        try:
            held.touch(exist_ok=False)
        except FileExistsError:
            continue
        try:
            if not target.exists():
                path.rename(target)
                break
        finally:
            held.unlink()
    for folder in (watch_dir, path.parent):
        sync_directory(folder)


def _rows(path: Path) -> Iterator[dict[str, Any]]:
    """Rows of a file, in bounded memory. Raises PayloadError."""
    splitter = PayloadSplitter(block_bytes=BLOCK_BYTES, row_bytes=ROW_BYTES)
    try:
        for piece in filing.pieces_of(path):
            for block in splitter.feed(piece):
                yield from _decoded(block)
    except EOFError as cut:
        raise PayloadError(f"{path.name}: {cut}") from cut
    for block in splitter.finish():
        yield from _decoded(block)


def _decoded(block: bytes) -> Iterator[dict[str, Any]]:
    for line in json_lines(block).splitlines():
        yield msgspec.json.decode(line, type=dict[str, Any])


def _renamed(row: dict[str, Any], column: str, ids: dict[str, str]) -> dict[str, Any]:
    value = row.get(column)
    return {**row, column: ids[value]} if isinstance(value, str) and value in ids else row
