"""Which rows of a database go, and their way out: whole partitions, or whole days of tables without partitions.

The oldest go first, over all tables that a rule names. The last partition or day of a table stays, and whatever reaches
to now: rows still go there.
Source: spec "Ingestion, part 2", section 6 (retention as one command with a report).
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Iterable, Sequence
from typing import Final

from msgspec import Struct, field
from msgspec.structs import replace

from edgelake.errors import CommandError, EdgeLakeError
from edgelake.store.base import TableInfo
from edgelake.store.schema import Transaction
from edgelake.store.store import Store
from edgelake.store.stores import SYSTEM_NAMES, Stores

log = logging.getLogger(__name__)

DAY_US: Final = 86_400_000_000
STEP_ROWS: Final = 10_000
"""Rows that one transaction deletes: the writer's rows wait for it."""
KEPT_RUNS: Final = 256


class Rule(Struct, frozen=True):
    """What stays of the rows of a database.

    Attributes:
        table: empty = all tables.
        days: age in days up to which rows stay; None = any.
        most_bytes: room that the tables may take together, with their indexes; None = any.
        free_bytes: room that has to be free for the database; None = any.
    """

    dbms: str
    table: str = ""
    days: int | None = None
    most_bytes: int | None = None
    free_bytes: int | None = None

    def check(self) -> None:
        """Raises CommandError."""
        if self.days is None and self.most_bytes is None and self.free_bytes is None:
            raise CommandError("nothing says what stays", hint="days = 30, size = 10 GB or free = 5 GB")
        if self.days is not None and self.days < 1:
            raise CommandError(f"days = {self.days}", hint="1 or more")
        if self.dbms in SYSTEM_NAMES:
            raise CommandError(f"'{self.dbms}' belongs to the node", hint="delete rows is for databases of readings")

    @property
    def text(self) -> str:
        said = {"days": self.days, "size": self.most_bytes, "free": self.free_bytes}
        return " and ".join(f"{name} = {value}" for name, value in said.items() if value is not None)


class Piece(Struct, frozen=True):
    """Rows of a table that go together: those from ``start_us`` up to ``end_us``, microseconds UTC.

    Attributes:
        partition: its physical name; empty = a day of a table without partitions.
        stored_bytes: with indexes; of a day an estimate, by its share of the table's rows.
        stays: it is the last of its table, or reaches to now.
    """

    table: str
    partition: str
    start_us: int
    end_us: int
    rows: int
    stored_bytes: int
    stays: bool = False


class Run(Struct):
    """The last time that a rule was followed."""

    rule: Rule
    at_us: int
    removed: list[Piece] = field(default_factory=list)
    returned_bytes: int = 0
    seconds: float = 0.0
    error: str = ""


class Retention:
    """Follows rules on the databases of a node, one rule at a time. For the loop; all work is done beside it.

    Attributes:
        runs: the last run of each database and table of a rule.
    """

    def __init__(self, stores: Stores) -> None:
        self._stores = stores
        self._lock = asyncio.Lock()
        self.runs: dict[tuple[str, str], Run] = {}

    async def going(self, rule: Rule) -> list[Piece]:
        """What would go, the oldest first. Raises CommandError, EdgeLakeError of the database."""
        rule.check()
        store = self._stores.get(rule.dbms)
        names = [rule.table] if rule.table else list(store.tables)
        now_us = time.time_ns() // 1000
        pieces = [piece for name in names for piece in await _pieces(store, store.table(name), now_us)]
        free = None
        if rule.free_bytes is not None:
            free = await store.free_bytes()
            if free is None:
                raise CommandError(
                    f"the disk of '{rule.dbms}' ({store.kind}) cannot be seen from here", hint="use size = or days ="
                )
        return _chosen(pieces, rule, free, now_us)

    async def follow(self, rule: Rule) -> Run:
        """Remove what goes, give its room back. Raises as ``going``; what went until then is in ``runs``."""
        rule.check()
        async with self._lock:
            run = Run(rule, time.time_ns() // 1000)
            started = time.monotonic()
            try:
                await self._follow(rule, run)
            except EdgeLakeError as problem:
                run.error = str(problem)
                raise
            finally:
                run.seconds = time.monotonic() - started
                self._keep(run)
        return run

    async def _follow(self, rule: Rule, run: Run) -> None:
        store = self._stores.get(rule.dbms)
        for piece in await self.going(rule):
            if piece.partition:
                await self._stores.drop_partitions(rule.dbms, piece.table, name=piece.partition)
                removed = piece
            else:
                removed = replace(piece, rows=await _delete(store, piece))
            run.removed.append(removed)
            what = piece.partition or f"day {time.strftime('%Y-%m-%d', time.gmtime(piece.start_us / 1e6))}"
            log.info("delete rows: %s.%s: %s, %d rows", rule.dbms, piece.table, what, removed.rows)
        if run.removed:
            run.returned_bytes = await store.give_back(sorted({p.table for p in run.removed if not p.partition}))

    def _keep(self, run: Run) -> None:
        key = run.rule.dbms, run.rule.table
        self.runs.pop(key, None)
        self.runs[key] = run
        while len(self.runs) > KEPT_RUNS:
            del self.runs[next(iter(self.runs))]


async def _pieces(store: Store, info: TableInfo, now_us: int) -> list[Piece]:
    """The partitions or days of a table; none of one that the node did not make: nothing says how old its rows are."""
    if not info.is_own:
        return []
    sizes = await store.sizes(info.physical_names)
    if info.partitions:
        rows = await store.row_counts([info.name])
        found = [
            Piece(info.name, p.name, p.start_us, p.end_us, rows.get(p.name, 0), sizes.get(p.name, 0))
            for p in info.partitions
        ]
    else:
        days = await store.days(info, time_column(info))
        total = sum(days.values())
        found = [
            Piece(
                info.name, "", day * DAY_US, (day + 1) * DAY_US, rows, sizes.get(info.name, 0) * rows // max(total, 1)
            )
            for day, rows in days.items()
        ]
    last = max((piece.start_us for piece in found), default=0)
    return [replace(p, stays=p.start_us == last or p.end_us > now_us) for p in found]


def time_column(info: TableInfo) -> str:
    """The column that says how old a row is: its first time, else when it came."""
    return next((c.name for c in info.user_columns if c.kind == "timestamp"), "insert_timestamp")


def _chosen(pieces: Sequence[Piece], rule: Rule, free: int | None, now_us: int) -> list[Piece]:
    left = sum(piece.stored_bytes for piece in pieces)
    oldest = now_us - rule.days * DAY_US if rule.days is not None else None
    chosen = []
    for piece in sorted(pieces, key=lambda piece: (piece.end_us, piece.table)):
        too_old = oldest is not None and piece.end_us <= oldest
        too_much = rule.most_bytes is not None and left > rule.most_bytes
        too_full = rule.free_bytes is not None and free is not None and free < rule.free_bytes
        if piece.stays or not (too_old or too_much or too_full):
            continue
        chosen.append(piece)
        left -= piece.stored_bytes
        free = free + piece.stored_bytes if free is not None else None
    return chosen


async def _delete(store: Store, piece: Piece) -> int:
    """Delete the rows of a day in steps; the writer's rows go in between them."""
    column = time_column(store.table(piece.table))
    removed = 0
    while done := await store.change(lambda tx: _delete_step(tx, piece, column)):
        removed += done
    return removed


def _delete_step(tx: Transaction, piece: Piece, column: str) -> int:
    own, name = tx.quote(piece.table), tx.quote(column)
    bounds = (tx.time(piece.start_us), tx.time(piece.end_us))
    info = tx.table(piece.table)
    if info is None or info.partitions:  # it was dropped, or cut into partitions, meanwhile
        return 0
    tx.keep_row_id(info)
    before = tx.connection.total_changes()
    tx.execute(
        f"DELETE FROM {own} WHERE row_id IN (SELECT row_id FROM {own} WHERE ({name} >= ?1 AND {name} < ?2)"
        f" OR ({name} IS NULL AND insert_timestamp >= ?1 AND insert_timestamp < ?2) LIMIT {STEP_ROWS})",
        bounds,
    ).fetchall()
    return tx.connection.total_changes() - before


def totals(pieces: Iterable[Piece]) -> tuple[int, int]:
    """(rows, bytes) of pieces."""
    rows = stored = 0
    for piece in pieces:
        rows += piece.rows
        stored += piece.stored_bytes
    return rows, stored
