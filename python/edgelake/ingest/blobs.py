"""Files that belong to rows, kept in a folder a day: ``blobs_dir/YY/MM/DD/<dbms>.<table>.<hash>[.type]``.

Contents of blob columns of mapping policies lie in ``blobs_dir`` itself under such names.

Source: spec "Ingestion and storage", section 3 (``folder = true``).
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime
from glob import escape
from pathlib import Path

from edgelake.errors import CommandError
from edgelake.ingest.filing import day_folder
from edgelake.ingest.names import check_part

_DATE = re.compile(r"\d{6}")
_HASH = re.compile(r"[0-9a-fA-F]{1,128}")
_WORKING = "_tmp"
_TYPE = re.compile(r"(?:\.\w{1,16})?")


class BlobFolder:
    """The blobs of a node by database and table.

    Args:
        folder: ``blobs_dir`` at the moment.
    """

    def __init__(self, folder: Callable[[], Path]) -> None:
        self._folder = folder

    def day(self) -> Path:
        """Folder of what is stored now (UTC); it is made."""
        found = day_folder(self._folder(), datetime.now(UTC))
        found.mkdir(parents=True, exist_ok=True)
        return found

    def find(self, dbms: str, table: str, *, name: str = "", file_hash: str = "", date: str = "") -> list[Path]:
        """Blobs of a table, those of blob columns first, then by day: one by its name or hash, those of a day, or all.

        ``name`` is ``<hash>[.type]``, ``date`` YYMMDD. Raises CommandError, EdgeLakeError 119.
        """
        check_part(dbms, "dbms")
        check_part(table, "table")
        if date and not _DATE.fullmatch(date):
            raise CommandError(f"date = {date[:20]}", hint="write it YYMMDD")
        if file_hash and not _HASH.fullmatch(file_hash):
            raise CommandError(f"hash = {file_hash[:40]}", hint="the hash is hexadecimal")
        day = "/".join((date[:2], date[2:4], date[4:])) if date else "[0-9][0-9]/[0-9][0-9]/[0-9][0-9]"
        names = f"{escape(f'{dbms}.{table}.')}*"
        found = [path for path in self._of_columns(names) if not date or _stored(path) == date]
        found += sorted(self._folder().glob(f"{day}/{names}"))
        named = [(path, path.name.removeprefix(f"{dbms}.{table}.")) for path in found]
        return [
            path
            for path, own in named
            if (not name or own == name) and (not file_hash or own.partition(".")[0] == file_hash.lower())
        ]

    def count(self, dbms: str = "", table: str = "") -> list[tuple[str, str, int]]:
        """Number of blobs by database and table, for ``get files count``."""
        paths = [*self._of_columns("*.*.*"), *self._folder().glob("[0-9][0-9]/[0-9][0-9]/[0-9][0-9]/*.*.*")]
        names = (path.name.split(".") for path in paths)
        counted = Counter((parts[0], parts[1]) for parts in names if parts[0])
        return [(d, t, n) for (d, t), n in sorted(counted.items()) if dbms in {"", d} and table in {"", t}]

    def _of_columns(self, names: str) -> list[Path]:
        """Contents of blob columns by the pattern of their names, without those that are being written."""
        found = self._folder().glob(names)
        return sorted(path for path in found if not path.name.endswith(_WORKING) and path.is_file())


def _stored(path: Path) -> str:
    """YYMMDD (UTC) of the last change; empty for a file that was removed meanwhile."""
    try:
        return datetime.fromtimestamp(path.stat().st_mtime, UTC).strftime("%y%m%d")
    except FileNotFoundError:
        return ""


def blob_name(dbms: str, table: str, file_hash: str, suffix: str) -> str:
    """Name of a blob. Raises CommandError for a hash or a type that can't stand in it, EdgeLakeError 119."""
    check_part(dbms, "dbms")
    check_part(table, "table")
    if not _HASH.fullmatch(file_hash):
        raise CommandError(f"hash = {file_hash[:40]}", hint="the hash is hexadecimal")
    if not _TYPE.fullmatch(suffix):
        raise CommandError(f"'{suffix[:40]}' is no type of a file")
    return f"{dbms}.{table}.{file_hash.lower()}{suffix.lower()}"
