"""Tests of the own cluster: its members side by side.

Source: spec "Security and high availability", section 13; "Network protocol", section 6.6.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

from edgelake.command.context import Context
from edgelake.command.handlers.comparison import comparison_of, differences, shown_time
from edgelake.command.handlers.peer_tests import ask_each, said
from edgelake.command.handlers.placement import own_cluster
from edgelake.command.registry import command
from edgelake.ingest.comparison import Look
from edgelake.ingest.consumer import Consumer
from edgelake.ingest.distributor import Distributor
from edgelake.ingest.operator import Operator
from edgelake.metadata.ids import body_of
from edgelake.model import CommandClass, Reply, Table
from edgelake.store.tsd import OWN, TSD_DBMS

Facts = Mapping[tuple[str, ...], str]
"""What a member has: the first cells of a row, and what stands in its column."""


@command(
    "test cluster setup",
    cls=CommandClass.DATA,
    topics=("test", "high availability"),
    examples=("test cluster setup",),
)
async def check_cluster_setup(ctx: Context) -> Reply:
    """What a member of a cluster needs, and whether it is there."""
    running = ctx.services.get(Operator.name)
    config = running.config if isinstance(running, Operator) else None
    policy = ctx.policies.get(config.policy) if config else None
    store = next((one for one in ctx.stores if one.dbms == TSD_DBMS), None)
    distributing = "distributor" if config and config.distributor else "no distributor"
    rows = [
        ("Operator", f"Running, {distributing}" if config else "Not running"),
        ("Distributor", "Running" if ctx.services.get(Distributor.name) else "Not running"),
        ("Consumer", _consumer(ctx)),
        ("Operator name", str(body_of(policy).get("name", "")) if policy else ""),
        ("Member ID", str(config.member) if config and config.member else "Not a member"),
        ("Cluster ID", config.cluster if config and config.cluster else "No cluster"),
        (f"{TSD_DBMS}.{OWN}", "Defined" if store is not None and OWN in store.tables else "Not defined"),
    ]
    return Reply.of_table(Table(("Functionality", "Status"), rows), data=dict(rows))


def _consumer(ctx: Context) -> str:
    found = ctx.services.get(Consumer.name)
    return f"Running, {found.config.mode}" if isinstance(found, Consumer) else "Not running"


@command(
    "test cluster databases",
    cls=CommandClass.DATA,
    topics=("test", "high availability"),
    examples=("test cluster databases",),
)
async def check_cluster_databases(ctx: Context) -> Reply:
    """The databases of each member of the own cluster."""

    def facts(found: Any) -> Facts:
        return {(name,): str(one.get("dbms_type", "+")) for name, one in found.items()}

    return await _compared(ctx, "get databases where format = json", ("DBMS",), facts)


@command(
    "test cluster partitions",
    cls=CommandClass.DATA,
    topics=("test", "high availability"),
    examples=("test cluster partitions",),
)
async def check_cluster_partitions(ctx: Context) -> Reply:
    """How each member of the own cluster partitions its tables."""

    def facts(found: Any) -> Facts:
        return {(name,): " ".join(map(str, declared)) for name, declared in found.items()}

    return await _compared(ctx, "get partitions where format = json", ("Table",), facts)


@command(
    "test cluster data",
    cls=CommandClass.DATA,
    topics=("test", "high availability"),
    examples=("test cluster data", "test cluster data where start_date = -3d and end_date = -1d"),
)
async def check_cluster_data(ctx: Context, *, start_date: str = "", end_date: str = "") -> Reply:
    """Files and rows (``1034/21778``) of each table on each member of the own cluster.

    Then, where the rows were compared in the background: when, and whether they are the same (``get cluster
    comparison``).
    """
    line = "get tsd summary where table = * and format = json"
    for key, value in (("start_date", start_date), ("end_date", end_date)):
        line += f" and {key} = {value.replace(' ', chr(9))}" if value else ""
    return _with_contents(ctx, await _compared(ctx, line, ("DBMS", "Table"), _files_and_rows))


def _with_contents(ctx: Context, reply: Reply) -> Reply:
    """The reply with what is known of the rows themselves."""
    running = comparison_of(ctx)
    looks: dict[tuple[str, str], list[Look]] = {}
    for look in running.report.looks if running is not None else ():
        looks.setdefault((look.place.dbms, look.place.table), []).append(look)
    rows = []
    for (dbms, table), of_table in sorted(looks.items()):
        last, equal = (
            shown_time(max(look.at_s for look in of_table)),
            "-" if any(look.is_told for look in of_table) else "+",
        )
        rows.append((dbms, table, len(of_table), sum(look.rows for look in of_table), last, equal))
        for entry in reply.data:
            if (entry["DBMS"], entry["Table"]) == (dbms, table):
                entry |= {"Compared": last, "Equal Rows": equal}
    if rows:
        titles = ("DBMS", "Table", "Partitions", "Rows", "Compared", "Equal")
        reply.tables = [*reply.tables, Table(titles, rows, header="Rows, as compared in the background:")]
    if differing := [look for of_table in looks.values() for look in of_table if look.is_told]:
        reply.tables = [*reply.tables, differences(differing)]
    return reply


def _files_and_rows(found: Any) -> Facts:
    """A member has the files that it took in itself (tsd_info) and those that came from the others (tsd_<member>)."""
    files: Counter[tuple[str, ...]] = Counter()
    rows: Counter[tuple[str, ...]] = Counter()
    for entries in found.values():
        for entry in entries:
            place = (str(entry["DBMS"]), str(entry["Table"]))
            files[place] += int(entry["Files Count"])
            rows[place] += int(entry["Total Rows"])
    return {place: f"{files[place]}/{rows[place]}" for place in files}


async def _compared(ctx: Context, line: str, titles: tuple[str, ...], facts: Callable[[Any], Facts]) -> Reply:
    """What every member answers, a column each; the last column says whether it is the same everywhere.

    A member that does not answer is said to be in the row of its own, and is no part of the comparison.
    """
    cluster, _ = own_cluster(ctx)
    asked = await ask_each(ctx, [one.address for one in cluster.operators], line)
    columns: list[Facts] = []
    faults: list[str] = []
    for one in cluster.operators:
        answer = asked[one.address].answer
        try:
            columns.append({} if answer.error else facts(json.loads(answer.text or "{}")))
            faults.append(said(answer) if answer.error else "")
        except (ValueError, KeyError, TypeError, AttributeError) as fault:
            columns.append({})
            faults.append(f"not readable: {fault}")
    heads = tuple(f"{one.name} {one.address}" for one in cluster.operators)
    places = sorted({place for column in columns for place in column})
    rows = [(*place, *_cells(place, columns, faults)) for place in places]
    if any(faults):
        rows.append((*["Not responding", *[""] * (len(titles) - 1)], *faults, "-"))
    whole = (*titles, *heads, "Equal")
    return Reply.of_table(Table(whole, rows), data=[dict(zip(whole, row, strict=True)) for row in rows])


def _cells(place: tuple[str, ...], columns: list[Facts], faults: list[str]) -> tuple[str, ...]:
    cells = ["?" if fault else column.get(place, "") for column, fault in zip(columns, faults, strict=True)]
    known = {cell for cell in cells if cell != "?"}
    return (*cells, "+" if len(known) == 1 else "-")
