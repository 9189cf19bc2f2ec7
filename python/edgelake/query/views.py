"""Views: other names and kinds for the columns of a local table (spec: query, section 15)."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from edgelake.errors import CommandError
from edgelake.store.base import TableInfo
from edgelake.store.statement import logical_kind

_COLUMN: Final = re.compile(
    r"(?P<name>\w+)\s+(?:(?P<unused>not\s+used)|using\s+(?P<stored>\w+)\s+(?P<kind>[\w() ]+)"
    r"|(?P<own>[\w() ]+?)(?:\s+using\s+(?P<after>\w+))?)\s*",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class ViewColumn:
    """A column as statements name it; ``stored`` is its name in the table, None = always null here."""

    name: str
    kind: str
    stored: str | None


@dataclass(frozen=True, slots=True)
class View:
    """A table's columns by other names, so that one statement fits tables of several nodes."""

    dbms: str
    table: str
    columns: tuple[ViewColumn, ...]

    @property
    def statement(self) -> str:
        """The command that declares it."""
        return f"create view {self.dbms}.{self.table} ({', '.join(map(_written, self.columns))})"


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
