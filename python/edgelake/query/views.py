"""Views: other names and kinds for the columns of a local table (spec: query, section 15)."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Final

import msgspec
from msgspec import Struct

from edgelake.durable import write_whole
from edgelake.errors import CommandError, error
from edgelake.store.base import TableInfo
from edgelake.store.statement import logical_kind

log = logging.getLogger(__name__)

_COLUMN: Final = re.compile(
    r"(?P<name>\w+)\s+(?:(?P<unused>not\s+used)|using\s+(?P<stored>\w+)\s+(?P<kind>[\w() ]+)"
    r"|(?P<own>[\w() ]+?)(?:\s+using\s+(?P<after>\w+))?)\s*",
    re.IGNORECASE,
)


class ViewColumn(Struct, frozen=True):
    """A column as statements name it; ``stored`` is its name in the table, None = always null here."""

    name: str
    kind: str
    stored: str | None


class View(Struct, frozen=True):
    """A table's columns by other names, so that one statement fits tables of several nodes."""

    dbms: str
    table: str
    columns: tuple[ViewColumn, ...]

    @property
    def statement(self) -> str:
        """The command that declares it."""
        return f"create view {self.dbms}.{self.table} ({', '.join(map(_written, self.columns))})"


class Views(Mapping[tuple[str, str], View]):
    """The views of a node by (database, table), kept in a file.

    Args:
        file: where they are kept; None = in memory alone. It is written with the first view.
    """

    def __init__(self, file: Callable[[], Path] | None = None) -> None:
        self._file = file
        self._views: dict[tuple[str, str], View] = {}

    def load(self) -> None:
        """Read what an earlier run kept. A damaged file is put aside, and said in the log: the node goes on without."""
        if self._file is None or not (path := self._file()).exists():
            return
        try:
            found = msgspec.json.decode(path.read_bytes(), type=list[View])
        except (OSError, msgspec.DecodeError) as cause:
            aside = path.with_suffix(".damaged")
            path.replace(aside)
            log.error("Views cannot be read (%s); the file is now %s", cause, aside)
            return
        self._views = {(view.dbms, view.table): view for view in found}

    def put(self, view: View) -> None:
        """Add a view, or replace one. Raises EdgeLakeError 63 when it cannot be kept; nothing is changed then."""
        self._keep({**self._views, (view.dbms, view.table): view})

    def remove(self, dbms: str, table: str) -> None:
        """Raises EdgeLakeError 132 when there is none, 63."""
        if (dbms, table) not in self._views:
            raise error(132, f"there is no view {dbms}.{table}", hint="see: get views")
        self._keep({key: view for key, view in self._views.items() if key != (dbms, table)})

    def _keep(self, views: dict[tuple[str, str], View]) -> None:
        if self._file is not None:
            path = self._file()
            try:
                path.parent.mkdir(parents=True, exist_ok=True)
                write_whole(path, msgspec.json.format(msgspec.json.encode(list(views.values()))) + b"\n")
            except OSError as cause:
                raise error(63, f"{path}: {cause}", hint="make room, or make the directory writable") from cause
        self._views = views

    def __getitem__(self, key: tuple[str, str]) -> View:
        return self._views[key]

    def __iter__(self) -> Iterator[tuple[str, str]]:
        return iter(self._views)

    def __len__(self) -> int:
        return len(self._views)


def parse_view(dbms: str, table: str, columns: str, info: TableInfo) -> View:
    """A view from ``col TYPE, col using src TYPE, col not used``. Raises CommandError."""
    kinds = {c.name: c.kind for c in info.columns}
    found: list[ViewColumn] = []
    for part in re.split(r",(?![^()]*\))", columns):
        match = _COLUMN.fullmatch(part.strip())
        if match is None:
            raise CommandError(
                f"'{part.strip()}' is no column of a view", hint="write: col TYPE, col using src TYPE, col not used"
            )
        name = match["name"].lower()
        if match["unused"]:
            found.append(ViewColumn(name, "varchar", None))
            continue
        stored = (match["stored"] or match["after"] or name).lower()
        if stored not in kinds:
            raise CommandError(f"{dbms}.{table} has no column '{stored}'", hint=f"columns: {', '.join(kinds)}")
        kind = logical_kind(match["kind"] or match["own"])
        if (kind == "timestamp") != (kinds[stored] == "timestamp"):
            raise CommandError(f"'{name}' is {kind}, the column '{stored}' is {kinds[stored]}")
        found.append(ViewColumn(name, kind, stored))
    if len({c.name for c in found}) < len(found):
        raise CommandError("two columns of a view have the same name")
    return View(dbms, table, tuple(found))


def _written(column: ViewColumn) -> str:
    if column.stored is None:
        return f"{column.name} not used"
    using = "" if column.stored == column.name else f" using {column.stored}"
    return f"{column.name}{using} {column.kind}"
