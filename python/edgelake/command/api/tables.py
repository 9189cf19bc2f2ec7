"""``/v1/databases/{dbms}/{table}``: one table of this node, as far as it is known without reading its rows."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final

from edgelake.command.api.routes import Call, json_reply
from edgelake.command.context import Context
from edgelake.command.handlers.retention import PART as RETENTION
from edgelake.errors import EdgeLakeError
from edgelake.net.rest.api import ApiReply
from edgelake.store.base import AUTOMATIC_COLUMNS, TableInfo
from edgelake.store.partition import shown_dates
from edgelake.store.retention import Retention
from edgelake.store.store import Store

PARTITIONS_SHOWN: Final = 500


async def table(call: Call) -> ApiReply:
    """Columns, rows, room, time range, partitions, and what deletes rows. Raises EdgeLakeError."""
    ctx = call.ctx
    store: Store = ctx.stores.get(call.values["dbms"].lower())
    info = store.table(call.values["table"].lower())
    counts = await store.row_counts([info.name])
    sizes = await store.sizes(list(info.physical_names))
    column = time_column(info)
    first, last = await _span(ctx, info, column) if column else (None, None)
    partitions = [
        {
            "name": one.name,
            **dict(zip(("from", "to"), shown_dates(one.name, one.start_us, one.end_us), strict=True)),
            "rows": counts.get(one.name),
            "bytes": sizes.get(one.name),
        }
        for one in info.partitions[-PARTITIONS_SHOWN:]
    ]
    found = {
        "dbms": info.dbms,
        "name": info.name,
        "columns": [{"name": c.name, "type": c.kind, "automatic": c.name in AUTOMATIC_COLUMNS} for c in info.columns],
        "rows": sum(counts.values()),
        "bytes": sum(sizes.values()),
        "time_column": column or None,
        "first": first,
        "last": last,
        "partitioned": _declared(ctx, info),
        "partitions": partitions,
        "partition_count": len(info.partitions),
        "retention": _retention(ctx, info),
    }
    return json_reply(found)


def time_column(info: TableInfo) -> str:
    """The column that the readings are timed by; "" = none."""
    found = [c.name for c in info.user_columns if c.kind.startswith("timestamp")]
    return "timestamp" if "timestamp" in found else next(iter(found), "")


async def _span(ctx: Context, info: TableInfo, column: str) -> tuple[str | None, str | None]:
    """First and last reading, UTC; nothing where the engine cannot say."""
    sql = f'select min("{column}") as first, max("{column}") as last from "{info.name}"'
    try:
        async for row in ctx.queries.rows(sql, info.dbms):
            return _text(row["first"]), _text(row["last"])
    except EdgeLakeError:
        pass
    return None, None


def _text(value: Any) -> str | None:
    return value.isoformat() if isinstance(value, datetime) else None


def _declared(ctx: Context, info: TableInfo) -> dict[str, Any] | None:
    for one in ctx.stores.declarations():
        if one.dbms in (info.dbms, "*") and one.table in (info.name, "*"):
            return {"column": one.column, "every": f"{one.interval.amount} {one.interval.words}"}
    return None


def _retention(ctx: Context, info: TableInfo) -> Sequence[dict[str, Any]]:
    """The rules that were followed since the start, and the tasks that follow one again and again."""
    kept = ctx.parts.get(RETENTION)
    runs = kept.runs if isinstance(kept, Retention) else {}
    found: list[dict[str, Any]] = [
        {"rule": run.rule.text, "last_run": run.at_us / 1e6, "removed_rows": sum(p.rows for p in run.removed)}
        for (dbms, name), run in runs.items()
        if dbms == info.dbms and name in ("", info.name)
    ]
    return found
