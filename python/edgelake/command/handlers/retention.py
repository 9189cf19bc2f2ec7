"""Rows that leave: by age, by the room they take, by the room that is free."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Final

from edgelake.command.context import Context
from edgelake.command.kinds import Bytes
from edgelake.command.registry import command
from edgelake.errors import CommandError
from edgelake.model import CommandClass, Reply, Table
from edgelake.store.partition import shown_dates
from edgelake.store.retention import Piece, Retention, Rule, totals

PART: Final = "retention"

_GOING = ("Table", "Partition", "Start Date", "End Date", "Rows", "Bytes")
_RUNS = ("DBMS", "Table", "Rule", "Last Run", "Seconds", "Partitions", "Days", "Rows", "Bytes", "Given Back", "Error")


@command(
    "delete rows",
    cls=CommandClass.ADMIN,
    topics=("dbms", "partition"),
    examples=(
        "delete rows where dbms = plant and days = 90 and dry_run = true",
        "delete rows where dbms = plant and table = motor and size = 20 GB",
        "delete rows where dbms = plant and days = 365 and free = 5 GB",
    ),
)
async def delete_rows(
    ctx: Context,
    *,
    dbms: str,
    table: str = "",
    days: int | None = None,
    size: Bytes | None = None,
    free: Bytes | None = None,
    dry_run: bool = False,
) -> Reply:
    """Remove the oldest rows of a database, or of a table: older than a number of days, or as room is needed.

    Whole partitions go, of tables without partitions whole days (UTC) of their first time column, the oldest first over
    all tables, until they take up to ``size`` together and as much is ``free`` for the database. The last partition or
    day of each table stays, and what reaches to now. The room goes back to the disk. dry_run = true shows what would
    go. To do it every day: schedule time = 1 day and name = rows task delete rows where ... What it did last:
    get retention. Archive files and blobs have commands of their own: delete archive, delete blobs.
    """
    rule = Rule(dbms.lower(), "" if table == "*" else table.lower(), days, size, free)
    retention = retention_of(ctx)
    if dry_run:
        return _shown(await retention.going(rule), "To be removed")
    run = await retention.follow(rule)
    return _shown(run.removed, "Removed")


@command(
    "get retention",
    cls=CommandClass.DATA,
    topics=("dbms", "partition", "monitoring"),
    examples=("get retention", "get retention where format = json"),
)
async def get_retention(ctx: Context) -> Reply:
    """What delete rows did last, for each database and table that it was given; since the node started."""
    rows = []
    for (dbms, table), run in sorted(retention_of(ctx).runs.items()):
        count, stored = totals(run.removed)
        partitions = sum(1 for piece in run.removed if piece.partition)
        at = datetime.fromtimestamp(run.at_us / 1e6, UTC).strftime("%Y-%m-%d %H:%M:%S")
        counted = (partitions, len(run.removed) - partitions, count, stored, run.returned_bytes)
        rows.append((dbms, table or "*", run.rule.text, at, round(run.seconds, 3), *counted, run.error))
    if not rows:
        return Reply.of_data([], text="No rows were deleted by a rule since the node started")
    data = [dict(zip([t.lower().replace(" ", "_") for t in _RUNS], row, strict=True)) for row in rows]
    return Reply.of_table(Table(_RUNS, rows), data=data)


def retention_of(ctx: Context) -> Retention:
    found = ctx.parts.get(PART)
    if not isinstance(found, Retention):
        raise CommandError("this node keeps no rows")
    return found


def _shown(pieces: Sequence[Piece], header: str) -> Reply:
    rows = [
        (p.table, p.partition, *shown_dates(p.partition, p.start_us, p.end_us), p.rows, p.stored_bytes) for p in pieces
    ]
    data = [dict(zip(("table", "partition", "start_date", "end_date", "rows", "bytes"), r, strict=True)) for r in rows]
    if not rows:
        return Reply.of_data([], text="Nothing to remove")
    return Reply.of_table(Table(_GOING, rows, header=header), data=data)
