"""Selects that no merge makes of the rows of several nodes: joins, subqueries, functions of the engine."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from edgelake._rust import Rows
from edgelake.node import Node
from edgelake.store.base import ColumnInfo
from edgelake.store.insert import Insertion
from edgelake.store.statement import create_statement
from tests.net.peer.nodes import node
from tests.net.peer.two_clusters import Net, insert
from tests.net.peer.two_clusters import network as two_clusters

SITES = [ColumnInfo("name", "varchar"), ColumnInfo("city", "varchar"), ColumnInfo("opened", "timestamp")]
READINGS = [ColumnInfo("timestamp", "timestamp"), ColumnInfo("name", "varchar"), ColumnInfo("value", "float")]
SITE_ROWS = [
    {"name": "a", "city": "Rome", "opened": "2024-01-01T00:00:00Z"},
    {"name": "b", "city": "Oslo", "opened": "2025-06-01T00:00:00Z"},
]
READING_ROWS = [
    {"timestamp": f"2025-01-0{day}T10:00:00Z", "name": name, "value": value}
    for day, name, value in ((1, "a", 1.5), (2, "a", 2.5), (3, "b", 10.0), (4, "c", 99.0))
]
JOIN = "select r.name, s.city, r.value from readings r join places.sites s on r.name = s.name"


async def fill(made: Node, dbms: str, table: str, columns: list[ColumnInfo], rows: list[dict[str, Any]]) -> str:
    """Returns the statement that makes the table."""
    store = made.ctx.stores.find(dbms) or await made.ctx.stores.connect(dbms, memory=True)
    await store.change(lambda tx: tx.create_table(table, columns))
    if rows:
        parsed = await asyncio.to_thread(Rows.parse, "\n".join(map(json.dumps, rows)).encode(), timezone="utc")
        await store.insert(Insertion(table, parsed, 0, tsd_name="128", tsd_id=1))
    info = made.ctx.stores.table(dbms, table)
    assert info is not None
    return create_statement(info)


async def placed(net: Net, where: dict[str, list[str]]) -> None:
    """Put tables (``dbms.table``) into a cluster of each operator that is named."""
    texts: dict[str, str] = {}
    for (made, _), name in zip(net.operators, ("op-a", "op-b"), strict=True):
        for full in where[name]:
            dbms, _, table = full.partition(".")
            columns, rows = (SITES, SITE_ROWS) if table == "sites" else (READINGS, READING_ROWS)
            texts[full] = await fill(made, dbms, table, columns, rows)
    for full, text in texts.items():
        dbms, _, table = full.partition(".")
        await insert(net.asks, {"table": {"name": table, "dbms": dbms, "create": text}})
    for name, tables in where.items():
        parent = name.replace("op-", "cluster-")
        listed = [{"dbms": t.partition(".")[0], "name": t.partition(".")[2], "status": "active"} for t in tables]
        child = {"company": "acme", "name": parent[-1], "parent": parent, "table": listed, "status": "active"}
        await insert(net.asks, {"cluster": child})


@asynccontextmanager
async def network(home: Path, where: dict[str, list[str]]) -> AsyncIterator[Net]:
    async with two_clusters(home) as net:
        await placed(net, where)
        yield net


ONE = {"op-a": ["edge.readings", "places.sites"], "op-b": []}


async def test_a_join_is_run_by_the_cluster_that_holds_its_tables(tmp_path: Path) -> None:
    async with network(tmp_path, ONE) as net:
        found = await net.rows(f"{JOIN} order by r.value desc")
        assert found == [
            {"name": "b", "city": "Oslo", "value": 10.0},
            {"name": "a", "city": "Rome", "value": 2.5},
            {"name": "a", "city": "Rome", "value": 1.5},
        ]
        found = await net.rows(
            "select s.city, count(*) as n, avg(r.value)::float(1) as mean, max(r.timestamp) as last"
            " from readings r join places.sites s on r.name = s.name group by s.city order by s.city",
            "timezone = utc and stat = false",
        )
        assert found == [
            {"city": "Oslo", "n": 1, "mean": 10.0, "last": "2025-01-03T10:00:00.000000Z"},
            {"city": "Rome", "n": 2, "mean": 2.0, "last": "2025-01-02T10:00:00.000000Z"},
        ]


async def test_times_of_a_join_are_those_of_who_asks(tmp_path: Path) -> None:
    async with network(tmp_path, ONE) as net:
        net.asks.ctx.queries.timezone = "America/New_York"  # 10:00 UTC is 5 o'clock there
        found = await net.rows(f"{JOIN} where r.timestamp > '2025-01-02 05:00:00' and s.opened > '2025-01-01'")
        assert found == [{"name": "b", "city": "Oslo", "value": 10.0}]
        found = await net.rows(f"{JOIN} where r.timestamp >= '2025-01-02 05:00:00' order by r.value")
        assert [row["value"] for row in found] == [2.5, 10.0]
        text = await net.text(
            "select r.timestamp, s.city from readings r join places.sites s on r.name = s.name where r.value = 10.0",
            "format = table and stat = false",
        )
        assert text.splitlines()[-1].split() == ["2025-01-03", "05:00:00.000000", "Oslo"]


async def test_subqueries_and_window_functions_go_where_joins_go(tmp_path: Path) -> None:
    async with network(tmp_path, ONE) as net:
        found = await net.rows("select value from readings where name in (select name from places.sites) order by 1")
        assert [row["value"] for row in found] == [1.5, 2.5, 10.0]
        found = await net.rows(
            "select name, row_number() over (order by value desc) as place from readings order by place limit 2"
        )
        assert found == [{"name": "c", "place": 1}, {"name": "b", "place": 2}]


async def test_a_join_of_tables_on_several_nodes_is_refused_and_both_ways_around_work(tmp_path: Path) -> None:
    apart = {"op-a": ["edge.readings"], "op-b": ["places.sites"]}
    async with network(tmp_path, apart) as net:
        failure = await net.failure(JOIN)
        assert failure.number == 46
        assert "a join: rows of different nodes do not meet each other" in str(failure)
        assert "a, b" in str(failure)
        assert "system_query" in (failure.hint or "")
        # A table at a time comes here, and is joined here.
        for dbms, table in (("edge", "readings"), ("places", "sites")):
            await net.asks.execute(f"run client () sql {dbms} table = {table} select * from {table}")
        reply = await net.asks.execute(
            "sql system_query format = json and stat = false "
            "select r.name, s.city, r.value from readings r join sites s on r.name = s.name order by r.value"
        )
        assert reply.stream is not None
        rows = json.loads(b"".join([piece async for piece in reply.stream]))["Query"]
        assert [(row["city"], row["value"]) for row in rows] == [("Rome", 1.5), ("Rome", 2.5), ("Oslo", 10.0)]


async def test_a_node_that_is_named_joins_what_it_has(tmp_path: Path) -> None:
    both = {"op-a": ["edge.readings", "places.sites"], "op-b": ["edge.readings", "places.sites"]}
    async with network(tmp_path, both) as net:
        assert (await net.failure(JOIN)).number == 46
        (_, at_a), (_, at_b) = net.operators
        failure = await net.failure(JOIN, to=f"({at_a}, {at_b})")
        assert at_a in str(failure)
        assert at_b in str(failure)
        assert len(await net.rows(JOIN, to=f"({at_b})")) == 3


async def test_another_member_joins_when_the_first_is_gone(tmp_path: Path) -> None:
    async with network(tmp_path, ONE) as net, node(tmp_path / "c", "op-c") as (other, at):
        for dbms, table, columns, rows in (
            ("edge", "readings", READINGS, READING_ROWS),
            ("places", "sites", SITES, SITE_ROWS),
        ):
            await fill(other, dbms, table, columns, rows)
        host, _, port = at.partition(":")
        body = {"name": "c", "ip": host, "local_ip": host, "port": int(port), "cluster": "cluster-a", "company": "acme"}
        await insert(net.asks, {"operator": body})
        await net.operators[0][0].execute("exit tcp")
        for _ in range(2):
            assert len(await net.rows(JOIN)) == 3


async def test_what_does_not_go_with_a_join_is_said(tmp_path: Path) -> None:
    async with network(tmp_path, ONE) as net:
        star = await net.failure("select * from readings r join places.sites s on r.name = s.name")
        assert "names its columns" in str(star)
        for options in ("include = (t) and stat = false", "extend = (@ip) and stat = false"):
            assert "does not go with" in str(await net.failure(JOIN, options))
        missing = await net.failure("select r.name, m.x from readings r join missing m on r.name = m.name")
        assert missing.number == 45


async def test_a_leading_query_runs_over_the_same_nodes(tmp_path: Path) -> None:
    async with two_clusters(tmp_path) as net:
        latest = await net.rows("select max(timestamp) as last from t", "timezone = utc and stat = false")
        found = await net.rows(
            "select timestamp from t where timestamp = {select max(timestamp)}", "timezone = utc and stat = false"
        )
        assert {row["timestamp"] for row in found} == {latest[0]["last"]}
        failure = await net.failure("select timestamp from t where timestamp = {select timestamp}")
        assert failure.number == 166
