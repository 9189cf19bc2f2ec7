"""What local SQL can beyond the vectors: other tables and databases, the engine's own SQL, options, limits."""

from __future__ import annotations

import asyncio
import gc
import json
from collections.abc import Iterator
from datetime import UTC, datetime
from functools import partial

import pytest

from edgelake._rust import Rows
from edgelake.bench.postgres_server import PostgresServer
from edgelake.errors import DatabaseMissingError, TableMissingError, TimeoutExpiredError
from edgelake.query import run
from edgelake.query.options import parse_options
from edgelake.store.insert import Insertion
from edgelake.store.server import Server
from tests.query.conftest import Asked, opened

ENDLESS = (
    "with recursive n(i) as (select 1 union all select i + 1 from n where i < 1000000000) select count(*) as c from n"
)
INCREMENTS = "select increments(minute, 1, timestamp), id, count(*) as c from t group by id"


PLACES = {
    "plain": (None, ""),
    "days": ("1 day", ""),
    "psql with a file": ("1 month", "edge"),
    "memory with psql": ("1 month", "far"),
    "both psql": (None, "edge far"),
}
"""Partitions of ``edge.t``, the databases that are on a PostgreSQL server."""


@pytest.fixture(scope="module")
def second() -> Iterator[PostgresServer]:
    """A server beside that of ``cut``, whose databases have the same names."""
    server = PostgresServer()
    yield server
    server.stop()


@pytest.fixture(scope="module", params=PLACES)
def two(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Asked]:
    """``edge.t``, a table ``edge.u`` like it without the column name, and ``far.t``."""
    interval, remote = PLACES[request.param]
    server: Server | None = None
    if remote:
        second: PostgresServer = request.getfixturevalue("second")
        for name in ("edge", "far"):
            second.sql(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")
        server = second.server()
    for asked in opened(tmp_path_factory.mktemp("dbms"), interval, server if "edge" in remote else None):

        async def more(stores=asked.stores) -> None:  # type: ignore[no-untyped-def]
            rows = [
                {"timestamp": "2025-01-01T00:00:30Z", "id": 1, "value": 7.5},
                {"timestamp": "2025-01-05T00:00:00Z", "id": 9, "value": 8.5},
            ]
            payload = Rows.parse(b"\n".join(json.dumps(row).encode() for row in rows))
            await stores.get("edge").insert(Insertion("u", payload, 1))
            far = await stores.connect("far", kind="psql" if "far" in remote else "sqlite", server=server)
            await far.insert(Insertion("t", payload, 1))

        asyncio.run(more())
        yield asked


async def test_included_tables_count_as_one(two: Asked) -> None:
    options = "stat = false and include = (u, far.t)"
    assert await two.rows("select count(*) as c, max(id) as m from t", options) == [{"c": 18, "m": 9}]
    grouped = await two.rows("select count(*) as c from t", f"{options} and extend = (@dbms_name as d, @table_name)")
    assert grouped == [
        {"d": "edge", "table_name": "t", "c": 14},
        {"d": "edge", "table_name": "u", "c": 2},
        {"d": "far", "table_name": "t", "c": 2},
    ]


async def test_rows_of_included_tables_and_databases_are_one_list(two: Asked) -> None:
    options = "stat = false and include = (u, far.t) and extend = (@dbms_name)"
    rows = await two.rows("select name, value from t where id = 9 or value > 50 order by value, dbms_name", options)
    assert rows == [
        {"dbms_name": "edge", "name": None, "value": 8.5},
        {"dbms_name": "far", "name": None, "value": 8.5},
        {"dbms_name": "edge", "name": "b", "value": 100.0},
    ]
    failure = await two.failure("select * from t", options)
    assert failure.number == 296


async def test_a_period_ends_at_the_latest_row_of_all_tables(two: Asked) -> None:
    sql = "select count(*) as c from t where period(day, 1, '2025-01-06', timestamp)"
    assert await two.rows(sql) == [{"c": 7}]
    assert await two.rows(sql, "stat = false and include = (u)") == [{"c": 1}]
    sql = "select id from t where period(day, 3, '2025-01-06', timestamp) order by id"
    assert await two.rows(sql, "stat = false and include = (u)") == [{"id": 9}]


async def test_joins_run_in_the_engine_with_times_as_times(two: Asked) -> None:
    sql = (
        "select a.timestamp, b.timestamp as other, a.value + b.value as both, strftime('%H:%M', b.timestamp) as clock "
        "from t a join u b on a.id = b.id where a.timestamp >= '2025-01-01' and a.timestamp < '2025-01-01 00:01:00'"
    )
    assert await two.rows(sql) == [
        {
            "timestamp": "2025-01-01 00:00:00.000000",
            "other": "2025-01-01 00:00:30.000000",
            "both": 9.0,
            "clock": "00:00",
        }
    ]
    sql = "select count(*) as c from t where id in (select id from u)"
    assert await two.rows(sql) == [{"c": 6}]
    late = "with late as (select * from t where timestamp > '2025-02-15')"
    sql = f"{late} select name, count(*) as c from late group by name"
    assert await two.rows(sql) == [{"name": "b", "c": 2}]
    sql = "select t.id, count(*) as c from t join far.t f on t.id = f.id group by t.id"
    assert await two.rows(sql) == [{"id": 1, "c": 6}]


async def test_window_functions_run_in_the_engine(two: Asked) -> None:
    sql = "select id, row_number() over (partition by name order by timestamp) as n from t where id = 3"
    assert [row["n"] for row in await two.rows(sql)] == [1, 2, 3]


async def test_stars_of_a_join_keep_times(two: Asked) -> None:
    rows = await two.rows("select b.* from t a join u b on a.id = b.id limit 1")
    assert rows[0]["timestamp"] == "2025-01-01 00:00:30.000000"


async def test_time_functions(cut: Asked) -> None:
    sql = "select date_trunc('day', timestamp) as d, count(*) as c from t where id = 1 group by d"
    assert await cut.rows(sql) == [
        {"d": "2024-12-31 00:00:00.000000", "c": 1},
        {"d": "2025-01-01 00:00:00.000000", "c": 4},
        {"d": "2025-02-01 00:00:00.000000", "c": 1},
    ]
    sql = "select extract(hour from timestamp) as h, max(value) as m from t group by h order by m desc limit 2"
    assert await cut.rows(sql) == [{"h": 0, "m": 100.0}, {"h": 6, "m": 20.0}]
    columns = "date_trunc('month', timestamp) as m, date_trunc('week', timestamp) as w"
    sql = f"select {columns} from t order by timestamp limit 1"
    assert await cut.rows(sql) == [{"m": "2024-12-01 00:00:00.000000", "w": "2024-12-30 00:00:00.000000"}]
    sql = "select strftime('%Y', timestamp) as y, count(*) as c from t group by y having c > 1"
    assert await cut.rows(sql) == [{"y": "2025", "c": 12}]
    sql = "select max(timestamp) - min(timestamp) as s from t where timestamp < '2025-01-01 00:00:01'"
    assert await cut.rows(sql) == [{"s": 1.0}]


async def test_expressions_over_groups(cut: Asked) -> None:
    columns = "sum(value) / count(value) - avg(value) as nothing, max(value) - min(value) as r, range(value) as same"
    rows = await cut.rows(f"select name, {columns} from t group by name order by r desc, name")
    assert [tuple(row.values()) for row in rows] == [("b", 0, 96, 96), ("c", 0, 8, 8), ("a", 0, 6.5, 6.5)]


async def test_like_tells_capitals_apart(cut: Asked) -> None:
    assert await cut.rows("select count(*) as c from t where name like 'A'") == [{"c": 0}]
    assert await cut.rows("select count(*) as c from t where name like '_' and name not like 'b%'") == [{"c": 9}]


async def test_the_references_order_of_keys(asked: Asked) -> None:
    sql = "select name, count(*) as c from t group by name order by c, name desc"
    standard = [row["name"] for row in await asked.rows(sql)]
    asked.queries.limits.reference_order = True
    try:
        reference = [row["name"] for row in await asked.rows(sql)]
    finally:
        asked.queries.limits.reference_order = False
    assert (standard, reference) == (["c", "b", "a"], ["a", "b", "c"])


async def test_wrong_names(asked: Asked) -> None:
    missing = await asked.failure("select a from nosuch")
    assert isinstance(missing, TableMissingError)
    assert missing.number == 45
    assert isinstance(await asked.failure("select a from t", dbms="nodb"), DatabaseMissingError)
    column = await asked.failure("select nocol from t")
    assert (column.number, column.detail) == (46, "Column 'nocol' is not recognized in table: edge.t")
    for hidden in ("sqlite_schema", "_edgelake_columns"):
        assert isinstance(await asked.failure(f"select * from {hidden}"), TableMissingError)


@pytest.mark.parametrize(
    "options",
    [
        "format = bogus",
        "nodes = few",
        "unknown = 1",
        "stat = maybe",
        "stat",
        "max_time = soon",
        "extend = (city)",
        "dest = mars",
    ],
)
async def test_wrong_options(asked: Asked, options: str) -> None:
    assert (await asked.failure("select value from t", options)).number == 175


async def test_an_unknown_zone_is_refused(asked: Asked) -> None:
    assert (await asked.failure("select value from t", "timezone = nowhere")).number == 173


async def test_a_time_limit_stops_the_query(asked: Asked) -> None:
    failure = await asked.failure(ENDLESS, "max_time = 1 and stat = false")
    assert isinstance(failure, TimeoutExpiredError)
    assert asked.queries.jobs.latest is not None
    assert asked.queries.jobs.latest.status == "Error"
    # Its connection is as good as before.
    assert await asked.rows("select count(*) as c from t") == [{"c": 14}]


async def test_a_caller_who_leaves_stops_the_query(asked: Asked) -> None:
    begun = asyncio.ensure_future(asked.text(ENDLESS))
    await asyncio.sleep(0)
    begun.cancel()
    with pytest.raises(asyncio.CancelledError):
        await begun
    job = asked.queries.jobs.latest
    assert job is not None
    assert (job.command, job.status) == (ENDLESS, "Stopped")


async def test_an_answer_that_is_not_read_to_its_end_gives_everything_back(asked: Asked) -> None:
    answer = await asked.queries.ask("edge", "select a.id from t a, t b, t c", parse_options("stat = false"))
    pieces = answer.pieces(max_bytes=100)
    assert await anext(pieces)
    await pieces.aclose()
    assert answer.job.ended is not None


async def test_an_answer_that_nobody_reads_gives_everything_back(asked: Asked) -> None:
    answer = await asked.queries.ask("edge", "select a.id from t a, t b, t c", parse_options("stat = false"))
    job, pieces = answer.job, answer.pieces()
    assert job.status == "Processing"
    del answer, pieces
    gc.collect()
    assert job.status == "Stopped"


async def test_rows_and_columns_for_programs(cut: Asked) -> None:
    rows = [row async for row in cut.queries.rows("select timestamp, name, value from edge.t where id = 1 order by 1")]
    assert rows[0] == {"timestamp": datetime(2024, 12, 31, 23, 59, 59, tzinfo=UTC), "name": "a", "value": 1.0}
    assert rows[-1]["value"] is None
    import numpy

    found = await cut.queries.columns("select timestamp, id, name, value from t order by timestamp", "edge")
    assert found["timestamp"].dtype == "datetime64[us]"
    assert found["timestamp"][0] == numpy.datetime64("2024-12-31T23:59:59")
    assert found["id"].tolist() == [1, 1, 1, 1, 2, 2, 2, 1, 3, 3, 3, 1, 2, 2]
    assert numpy.isnan(found["value"][11])
    assert found["name"].tolist()[:2] == ["a", "a"]
    nothing = await cut.queries.columns("select value from t where id = 99", "edge")
    assert {name: len(column) for name, column in nothing.items()} == {"value": 0}


async def test_several_threads_give_the_same_as_one(asked: Asked, monkeypatch: pytest.MonkeyPatch) -> None:
    sql = "select id, count(*) as c, sum(value) as s, min(timestamp) as first from t group by id"
    one = await asked.rows(sql)
    monkeypatch.setattr(run, "ROWS_PER_SCAN", 2)
    for threads in (2, 3, 7):
        monkeypatch.setattr(asked.queries, "_scan_threads", threads)
        assert await asked.rows(sql) == one


@pytest.mark.parametrize("sql", ["select timestamp, id, sum(value) as s from t group by timestamp, id", INCREMENTS])
async def test_groups_beyond_their_memory_are_refused_wherever_they_are_made(
    cut: Asked, sql: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By SQLite's rows or by a PostgreSQL server: the question says what is wrong, and holds up no other."""
    expected = await cut.rows(sql)
    with monkeypatch.context() as small:
        small.setattr(run, "GroupScan", partial(run.GroupScan, limit_bytes=1024))
        failure = await cut.failure(sql)
    assert (failure.code, failure.http_status) == ("query.too_large", 507)
    assert "1024 bytes of memory: narrow the time range or group by fewer columns" in failure.detail
    assert await cut.rows(sql) == expected
