"""How the rows of a table are spread over the operators of the network.

Source: spec "Ingestion and storage", section 2.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from typing import Annotated, Final

from edgelake.command.context import Context
from edgelake.command.grammar import Key
from edgelake.command.handlers.placement import routes_of
from edgelake.command.handlers.query import network_select
from edgelake.command.registry import command
from edgelake.command.render import reply_text
from edgelake.errors import CommandError, EdgeLakeError, error
from edgelake.metadata.routing import Operator
from edgelake.model import CommandClass, Reply, Table
from edgelake.query.network import Asked

TITLES: Final = ("Address", "Node Type", "Node Name", "Rows", "Percent")


@command(
    "get data distribution",
    cls=CommandClass.DATA,
    topics=("metadata", "table", "high availability"),
    examples=(
        "get data distribution where dbms = lsl_demo and table = ping_sensor",
        "get data distribution where dbms = d and table = t and where = \"timestamp > '2026-01-01'\"",
    ),
)
async def get_data_distribution(
    ctx: Context,
    *,
    dbms: str,
    table: str,
    estimate: bool = False,
    condition: Annotated[str, Key("where")] = "",
) -> Reply:
    """Rows of a table on each operator that has it, and their part of the whole table.

    Members of one cluster hold the same rows, which count once for the whole. where: of which rows. estimate is taken
    for the sake of older scripts: counts are exact.
    """
    clusters = [c for c in routes_of(ctx).routing.clusters_of("", dbms, table) if c.operators]
    if not clusters:
        raise error(73, f"{dbms}.{table}", hint="see: get data nodes")
    operators = [one for cluster in clusters for one in cluster.operators if not one.is_foreign]
    counted = await asyncio.gather(*(_count(ctx, one, dbms, table, condition) for one in operators))
    found = dict(zip([one.address for one in operators], counted, strict=True))
    whole = sum(_most([found[o.address] for o in c.operators if o.address in found]) for c in clusters)
    rows = [_row(one, found[one.address], whole) for one in operators]
    return Reply.of_table(Table(TITLES, rows), data=[dict(zip(TITLES, row, strict=True)) for row in rows])


async def _count(ctx: Context, operator: Operator, dbms: str, table: str, condition: str) -> int | str:
    """Rows at an operator, or what is wrong there."""
    where = f" where {condition}" if condition else ""
    line = f'sql {dbms} format = json and stat = false "select count(*) as n from {table}{where}"'
    try:
        reply = await network_select(ctx, line, Asked([operator.address]))
        if reply.stream is not None:
            text = b"".join([piece async for piece in reply.stream]).decode()
        else:
            text = reply_text(reply)
        found = json.loads(text)["Query"]
        return int(found[0]["n"]) if found else 0
    except CommandError:
        raise
    except EdgeLakeError as failure:
        return str(failure)


def _most(counts: Sequence[int | str]) -> int:
    return max((one for one in counts if isinstance(one, int)), default=0)


def _row(operator: Operator, count: int | str, whole: int) -> tuple[str, str, str, int | str, str]:
    percent = f"{100 * count / whole:.2f}" if isinstance(count, int) and whole else ""
    return operator.address, "operator", operator.name, count, percent
