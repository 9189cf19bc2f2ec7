"""From the text of a select to its plan: which tables it names, and what is known of them."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from msgspec import Struct

from edgelake._rust import Plan, Select
from edgelake.errors import TableMissingError, error
from edgelake.query import leading
from edgelake.query.options import ExtendItem, Options
from edgelake.query.views import View
from edgelake.store.base import TableInfo
from edgelake.store.catalogue import INTERNAL_PREFIX, TEXT_SUFFIX
from edgelake.store.stores import Stores

_Table = tuple[str, str, list[tuple[str, str, str | None]], list[tuple[str, str, int, int]], bool, str | None]
_SYSTEM_TABLES: Final = ("sqlite_", INTERNAL_PREFIX)


class Planner(Struct, frozen=True):
    """Plans selects over the databases of the node.

    Attributes:
        views: other names for columns, by (database, table).
        timezone: of times in conditions that name none; None = the machine's.
        constant: value of ``@name`` and ``+name`` in ``extend``.
        reference_order: ``set query mode using order = reference``.
    """

    stores: Stores
    views: Mapping[tuple[str, str], View]
    timezone: str | None = None
    constant: Callable[[str], str] = lambda _name: ""
    reference_order: bool = False

    def plan(
        self,
        select: Select,
        dbms: str,
        options: Options,
        latest: tuple[int | None] | None = None,
        *,
        is_leaf: bool = False,
        also: str = "",
    ) -> Plan:
        """The plan of a select; ``latest`` holds what a plan of the kind ``leading`` found.

        ``also``: a condition on the rows of each table, beside that of the statement.

        Raises QueryError, TableMissingError, DatabaseMissingError, EdgeLakeError 194, 195, 296.
        """
        self.stores.get(dbms)
        named = self._named(select, dbms)
        return select.plan(
            [self._table(name or dbms, table) for name, table in named],
            dbms=dbms,
            now_us=time.time_ns() // 1000,
            included=[self._table(name or dbms, table) for name, table in options.include],
            extend=[self._extended(item) for item in options.extend],
            timezone=self.timezone,
            reference_order=self.reference_order,
            leading=latest,
            also=also or None,
            on_server=any(self.stores.get(name or dbms).groups_rows for name, _ in named),
            part="leaf" if is_leaf else "whole",
        )

    def plan_for_peers(
        self,
        select: Select,
        tables: Sequence[TableInfo],
        dbms: str,
        options: Options,
        latest: tuple[int | None] | None = None,
    ) -> Plan:
        """As ``plan``, for rows that other nodes have. ``tables``: what is known of them; their rows are elsewhere.

        Raises QueryError, EdgeLakeError 194, 195.
        """
        extend = [
            (item.title, "text", f"\0{item.what}", item.kind, list(item.casts))  # what it is, only the leaves know
            for item in options.extend
        ]
        return select.plan(
            [described(table) for table in tables],
            dbms=dbms,
            now_us=time.time_ns() // 1000,
            extend=extend,
            timezone=self.timezone,
            reference_order=self.reference_order,
            leading=latest,
            part="query",
        )

    def _named(self, select: Select, dbms: str) -> list[tuple[str, str]]:
        """Tables of the statement; views are the engine's own matter, it knows them."""
        known = self.stores.get(dbms).tables
        return [
            (name, table) for name, table in select.tables if name or table in known or not table.endswith(TEXT_SUFFIX)
        ]

    def _table(self, dbms: str, table: str) -> _Table:
        if table.startswith(_SYSTEM_TABLES):
            raise TableMissingError(f"{dbms}.{table}", hint="tables of the node itself are not for queries")
        info = self.stores.get(dbms).tables.get(table)
        if info is None:
            raise TableMissingError(f"{dbms}.{table}", hint=f"see: get tables where dbms = {dbms}")
        return described(info, self.views.get((dbms, table)))

    def _extended(self, item: ExtendItem) -> tuple[str, str, str, str, list[str]]:
        what = {"@table_name": "table", "@dbms_name": "dbms"}.get(item.what.lower(), "text")
        value = self.constant(item.what) if what == "text" else ""
        return item.title, what, value, item.kind, list(item.casts)


def described(info: TableInfo, view: View | None = None) -> _Table:
    """A table in the form that crosses to Rust; ``view`` gives its columns other names."""
    columns: list[tuple[str, str, str | None]] = [(c.name, c.kind, c.name) for c in info.columns]
    if view is not None:
        columns = [(c.name, c.kind, c.stored) for c in view.columns]
    indexed = next((c.name for c in info.user_columns if c.kind == "timestamp"), None) if info.is_own else None
    partitions = [(p.name, p.column, p.start_us, p.end_us) for p in info.partitions]
    return info.dbms, info.name, columns, partitions, info.is_own, indexed


def split_names(names: Sequence[tuple[str, str]]) -> str:
    """Databases that a select names, when it is exactly one; else empty."""
    found = {dbms for dbms, _ in names}
    return found.pop() if len(found) == 1 else ""


def database_of(sql: str) -> str:
    """The database that stands before the tables of a select (``from d.t``). Raises EdgeLakeError 83."""
    found = split_names(Select(leading.without(sql)).tables)
    if not found:
        raise error(83, sql[:60], hint="name the database, or write from database.table")
    return found
