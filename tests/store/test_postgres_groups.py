"""Rows that a PostgreSQL server puts together: answers are those of SQLite, to the last digit."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from edgelake._rust import Rows
from edgelake.bench.postgres_server import PostgresServer
from edgelake.errors import DatabaseError
from edgelake.node import Node
from edgelake.query.jobs import Job
from edgelake.query.options import parse_options
from edgelake.query.service import Queries
from edgelake.store.base import ColumnInfo
from edgelake.store.insert import Insertion
from edgelake.store.partition import Interval, Partitioning
from edgelake.store.postgres import groups
from edgelake.store.postgres.store import PostgresStore
from edgelake.store.stores import Stores

COLUMNS = [
    ColumnInfo("timestamp", "timestamp"),
    ColumnInfo("name", "varchar"),
    ColumnInfo("i", "int"),
    ColumnInfo("l", "bigint"),
    ColumnInfo("f", "float"),
    ColumnInfo("d", "decimal"),
    ColumnInfo("b", "boolean"),
]
NAMES = ["a", "B", "ä", "a'b", "", None]


def content(seed: int = 3, rows: int = 600) -> list[dict[str, Any]]:
    drawn = random.Random(seed)

    def perhaps(value: Any) -> Any:
        return None if drawn.random() < 0.1 else value

    made = []
    for at in range(rows):
        month, day = 1 + at % 3, 1 + drawn.randrange(28)
        clock = (
            f"{drawn.randrange(24):02}:{drawn.randrange(60):02}:{drawn.randrange(60):02}.{drawn.randrange(10**6):06}"
        )
        made.append(
            {
                "timestamp": f"2025-{month:02}-{day:02}T{clock}Z",
                "name": drawn.choice(NAMES),
                "i": perhaps(drawn.randrange(-1000, 1000)),
                "l": perhaps(drawn.randrange(-(2**62), 2**62)),
                "f": perhaps(
                    drawn.choice([drawn.uniform(-100, 100), drawn.randrange(50) / 10, drawn.uniform(0, 1e-4)])
                ),
                "d": perhaps(round(drawn.uniform(-1000, 1000), drawn.randrange(1, 5))),
                "b": perhaps(drawn.random() < 0.4),
            }
        )
    return made


@dataclass
class Both:
    """One table in both engines."""

    sqlite: Queries
    postgres: Queries
    gathered: list[bool] = field(default_factory=list)

    async def same(self, sql: str, options: str = "stat = false and timezone = utc") -> str:
        """The answer, which is the same of both; ``gathered`` tells of each scan whether the server grouped it."""
        self.gathered.clear()
        texts = []
        for queries in (self.sqlite, self.postgres):
            answer = await queries.ask("plant", sql, parse_options(options))
            texts.append(b"".join([piece async for piece in answer.pieces()]).decode())
        assert texts[1] == texts[0], sql
        return texts[0]


async def fill(stores: Stores, table: str, rows: list[dict[str, Any]]) -> None:
    store = stores.get("plant")
    await store.change(lambda tx: tx.create_table(table, COLUMNS))
    lines = "\n".join(map(json.dumps, rows)).encode()
    parsed = await asyncio.to_thread(Rows.parse, lines, timezone="utc")
    await store.insert(Insertion(table, parsed, 0, tsd_name="128", tsd_id=1))


@asynccontextmanager
async def both(
    home: Path, server: PostgresServer, monkeypatch: pytest.MonkeyPatch, rows: list[dict[str, Any]], interval: str = ""
) -> AsyncIterator[Both]:
    server.sql("DROP DATABASE IF EXISTS plant WITH (FORCE)")
    (home / "p").mkdir()
    made = [Stores(lambda: home), Stores(lambda: home / "p")]
    await made[0].connect("plant", memory=True)
    await made[1].connect("plant", kind="psql", server=server.server())
    for stores in made:
        if interval:
            await stores.declare(Partitioning("plant", "t", "timestamp", Interval.parse(interval)))
        await fill(stores, "t", rows)
    found = Both(Queries(made[0], timezone="utc"), Queries(made[1], timezone="utc"))
    gather = PostgresStore.gather

    def noted(self: PostgresStore, *asked: Any) -> bool:
        found.gathered.append(gather(self, *asked))
        return found.gathered[-1]

    monkeypatch.setattr(PostgresStore, "gather", noted)
    try:
        yield found
    finally:
        for queries, stores in ((found.sqlite, made[0]), (found.postgres, made[1])):
            await queries.stop()
            await stores.close()


ALL = ", ".join(
    [
        "count(*) as n",
        *(f"{function}({column}) as {function}_{column}" for column in "ilfd" for function in
          ("count", "min", "max", "sum", "avg", "range")),
        *(f"{function}({column}) as {function}_{column}" for column in ("name", "timestamp") for function in
          ("count", "min", "max")),
        "count(b) as count_b", "min(b) as min_b", "max(b) as max_b", "sum(b) as sum_b", "range(timestamp) as span",
    ]
)  # fmt: skip
GROUPED = [
    f"select {ALL} from t",
    f"select {ALL} from t where i is null and i is not null",
    f"select name, {ALL} from t group by name order by name",
    f"select b, {ALL} from t group by b order by b",
    "select d, count(*) as n from t group by d order by d",
    "select f, i, count(*) as n from t group by f, i order by f, i",
    "select timestamp, sum(f) as s from t group by timestamp order by timestamp",
    "select count(distinct name) as x, count(distinct d) as y, sum(f) as s, avg(l) as m from t",
    "select name, count(distinct i) as x, avg(d) as s from t group by name order by name",
    "select name, sum(f) as s from t group by name having sum(f) > 0 and count(*) > 3 order by s desc",
    *(
        f"select increments({unit}, {number}, timestamp), {ALL} from t"
        for unit, number in (
            *(("second", 30), ("minute", 1), ("minute", 7), ("hour", 5), ("hour", 24), ("day", 1), ("day", 10)),
            *(("week", 1), ("week", 2), ("month", 1), ("month", 3), ("year", 1), ("year", 4)),
        )
    ),
    "select increments(day, 5, timestamp), name, sum(d) as s, avg(f) as m from t group by name",
]
CONDITIONS = [
    "timestamp >= '2025-01-15' and timestamp < '2025-02-10 12:00:00'",
    "timestamp between '2025-01-15T10:00:00Z' and '2025-03-01'",
    "not (timestamp > '2025-02-01' or name = 'a')",
    "timestamp in ('2025-02-01', '2025-02-02') or i = 5",
    "i > 100 and i <= 200.5",
    "i not between -500 and 500",
    "i in (1, 2, 3, -4, 500) or l > 4000000000000000000",
    "f >= 0.1 and f <> 0.3",
    "f < -5 or f is null",
    "d > 0.5 and d <= 100",
    "-10 < d",
    "d not in (1.5, 2)",
    "name > 'B' and name <= 'ä'",
    "name = 'a''b'",
    "name in ('a', '') or name is null",
    'name = "a"',
    "b = true",
    "b <> false or b is null",
    "tsd_id = 1",
]


@pytest.mark.parametrize("interval", ["", "1 month"])
async def test_the_server_groups_as_sqlite_does(
    tmp_path: Path, postgres: PostgresServer, monkeypatch: pytest.MonkeyPatch, interval: str
) -> None:
    async with both(tmp_path, postgres, monkeypatch, content(), interval) as made:
        for sql in GROUPED:
            await made.same(sql)
            assert made.gathered, sql
            assert all(made.gathered), sql
        for condition in CONDITIONS:
            await made.same(f"select name, {ALL} from t where {condition} group by name order by name")
            assert all(made.gathered), condition
        # A statement that needs no rows of some partitions asks the server for those of the others.
        await made.same("select sum(f) as s from t where timestamp >= '2025-03-01'")
        assert made.gathered == [True]


async def test_what_only_sqlite_means_is_fetched(
    tmp_path: Path, postgres: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with both(tmp_path, postgres, monkeypatch, content()) as made:
        for sql in (
            "select sum(f + i) as s from t",
            "select upper(name) as n, count(*) as c from t group by upper(name) order by n",
            "select count(*) as n from t where name like 'a%'",
            "select count(*) as n from t where i > f",
            "select count(*) as n from t where abs(i) > 100",
        ):
            await made.same(sql)
            assert not any(made.gathered), sql


async def test_sums_that_the_server_would_round_are_fetched(
    tmp_path: Path, postgres: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = content(rows=30)
    for at, value in enumerate((1e300, 1e-30, -1e300, 4.5e12, 5e-324)):
        rows[at] |= {"name": f"extreme {at}", "f": value}
    async with both(tmp_path, postgres, monkeypatch, rows) as made:
        await made.same("select name, sum(f) as s, avg(f) as m from t group by name order by name")
        assert made.gathered == [False]
        await made.same("select name, min(f) as s, max(f) as m from t group by name order by name")
        assert made.gathered == [True]
        postgres.sql("UPDATE t SET f = 'infinity' WHERE name = 'extreme 0'", "plant")
        postgres.sql("UPDATE t SET f = 'nan' WHERE name = 'extreme 1'", "plant")
        answer = await made.postgres.ask(
            "plant",
            "select name, count(f) as n, max(f) as m from t where name in ('extreme 1', 'extreme 2') group by name",
            parse_options("stat = false"),
        )
        text = b"".join([piece async for piece in answer.pieces()])
        assert json.loads(text)["Query"] == [
            {"name": "extreme 1", "n": 0, "m": ""},
            {"name": "extreme 2", "n": 1, "m": -1e300},
        ]
        assert made.gathered[-1] is True


async def test_included_tables_and_constants_are_grouped_too(
    tmp_path: Path, postgres: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with both(tmp_path, postgres, monkeypatch, content(rows=50)) as made:
        for queries in (made.sqlite, made.postgres):
            await fill(queries.stores, "u", content(seed=8, rows=40))
        options = "stat = false and include = (u) and extend = (@table_name)"
        await made.same("select count(*) as n, sum(f) as s, avg(d) as m from t", options)
        assert made.gathered == [True, True]


async def test_a_server_that_does_not_know_a_function_has_its_rows_fetched(
    tmp_path: Path, postgres: PostgresServer, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async with both(tmp_path, postgres, monkeypatch, content(rows=50)) as made:
        monkeypatch.setattr(groups, "_REST", "no_such_function(72)")
        await made.same("select name, sum(f) as s from t group by name order by name")
        assert made.gathered == [False]
        assert "no_such_function" in caplog.text


async def test_a_server_that_is_away_is_said(
    tmp_path: Path, postgres: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with both(tmp_path, postgres, monkeypatch, content(rows=50)) as made:
        await made.same("select sum(f) as s from t")
        postgres.crash()
        try:
            with pytest.raises(DatabaseError):
                await made.postgres.ask("plant", "select sum(f) as s from t", parse_options("stat = false"))
        finally:
            postgres.start()
        await made.same("select sum(f) as s from t")
        assert made.gathered == [True]


async def test_what_is_shown_of_a_query_is_what_the_server_was_asked(
    tmp_path: Path, postgres: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    grouped = "select name, sum(f) as s from t where i > 3 group by name order by name"
    async with both(tmp_path, postgres, monkeypatch, content(rows=50), "1 month") as made:

        async def job_of(sql: str) -> Job:
            answer = await made.postgres.ask("plant", sql, parse_options("stat = false"))
            [_ async for _ in answer.pieces()]
            return answer.job

        job = await job_of(grouped)
        assert len(job.statements) == 3
        for sent in job.statements:
            assert 'FROM "par_t_2025' in sent
            assert "clock_timestamp()" in sent
            assert len(postgres.sql(sent, "plant").splitlines()) > 1  # it is a statement of the server
            plan = "\n".join(await asyncio.to_thread(made.postgres.stores.get("plant").explain, sent))
            assert "Aggregate" in plan
            assert "Scan on par_t_2025" in plan
        # What the server cannot do, or not exactly, SQLite does, over rows that it fetches.
        fetched = [await job_of("select sum(f + i) as s from t")]
        monkeypatch.setattr(groups, "_REST", "no_such_function(72)")
        fetched.append(await job_of(grouped))
        for job in fetched:
            assert not job.servers
            assert job.statements == job.scans
        answer = await made.sqlite.ask("plant", grouped, parse_options("stat = false"))
        assert answer.job.statements == answer.job.scans
        answer.drop()


async def test_query_explain_shows_the_statement_of_the_server_and_its_plan(
    tmp_path: Path, postgres: PostgresServer
) -> None:
    postgres.sql("DROP DATABASE IF EXISTS plant WITH (FORCE)")
    server = f"ip = 127.0.0.1 and port = {postgres.port} and user = test and password = s3cret"
    async with Node(tmp_path) as node:
        await node.execute(f"connect dbms plant where type = psql and {server}")
        await node.ingest("plant", "motor", [{"device": "m1", "speed": 1480}, {"device": "m2", "speed": 1520}])
        await node.execute("flush buffers")
        answer = await node.execute(
            "sql plant stat = false select device, max(speed) as top from motor group by device"
        )
        assert answer.stream is not None
        [_ async for _ in answer.stream]
        (shown,) = (await node.execute("query explain")).data
        assert shown["Remote Query"].startswith("SELECT ")
        assert 'FROM "motor"' in shown["Remote Query"]
        assert "GROUP BY 1" in shown["Remote Query"]
        assert "Server Plan" not in shown
        (shown,) = (await node.execute("query explain where plan = true")).data
        assert "Aggregate" in shown["Server Plan"]
        assert "Seq Scan on motor" in shown["Server Plan"]
