"""Continuous aggregates: intervals and derived rows beside what SQL says of the same rows."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiomqtt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgelake import Node
from edgelake.bench.postgres_server import PostgresServer
from edgelake.bench.processes import free_port
from edgelake.command.render import reply_text
from edgelake.errors import CommandError, DatabaseMissingError, EdgeLakeError
from edgelake.model import PROMPT
from edgelake.store import aggregates
from edgelake.store.aggregates import Aggregation
from edgelake.store.sqlite import SqliteStore
from tests.store.rowset import fetch, insertion

SQLITE = "connect dbms plant where type = sqlite"
MINUTE_US = 60_000_000


@pytest.fixture(params=("sqlite", "psql"))
def connect(request: pytest.FixtureRequest) -> str:
    """The command that connects an empty database."""
    if request.param == "sqlite":
        return SQLITE
    server: PostgresServer = request.getfixturevalue("postgres")
    server.sql("DROP DATABASE IF EXISTS plant WITH (FORCE)")
    at = server.server()
    return (
        f"connect dbms plant where type = psql and ip = {at.ip} and port = {at.port} and user = {at.user}"
        f" and password = {at.password}"
    )


@asynccontextmanager
async def plant(home: Path, *lines: str) -> AsyncIterator[Node]:
    async with Node(home, caller=PROMPT, timezone="utc") as node:
        for line in ("create work directories", *lines):
            await node.execute(line)
        yield node


async def send(node: Node, *rows: dict[str, Any], table: str = "motor") -> None:
    await node.ingest("plant", table, list(rows))
    await node.execute("flush buffers")


def reading(minute: int, second: int, speed: object, **more: object) -> dict[str, Any]:
    return {"timestamp": f"2026-01-01T{minute // 60:02}:{minute % 60:02}:{second:02}Z", "speed": speed, **more}


async def rows_of(node: Node, sql: str, dbms: str = "plant") -> list[dict[str, Any]]:
    return [row async for row in node.query(sql, dbms=dbms)]


async def derived(node: Node, table: str = "bounds_motor", dbms: str = "plant") -> list[tuple[Any, ...]]:
    found = await rows_of(node, f"select timestamp, end_interval, min_val, max_val, avg_val, events from {table}", dbms)
    return sorted(tuple(row.values()) for row in found)


async def by_sql(node: Node, table: str = "motor") -> list[tuple[Any, ...]]:
    """The same of the rows themselves, minute by minute."""
    sql = (
        "select increments(minute, 1, timestamp), min(timestamp), max(timestamp), min(speed), max(speed), avg(speed),"
        f" count(speed) from {table} where speed is not null"
    )
    return sorted(tuple(row.values())[-6:] for row in await rows_of(node, sql))


def alike(found: Sequence[tuple[Any, ...]], wanted: Sequence[tuple[Any, ...]]) -> None:
    assert [row[:4] + row[5:] for row in found] == [row[:4] + row[5:] for row in wanted]
    assert [row[4] for row in found] == pytest.approx([float(row[4]) for row in wanted], rel=1e-12)


async def until(condition: Callable[[], Any], seconds: float = 30.0) -> None:
    ends = time.monotonic() + seconds
    while not await condition():
        assert time.monotonic() < ends
        await asyncio.sleep(0.02)


AGGREGATE = "set aggregation where dbms = plant and table = motor and value_column = speed"
BOUNDS = "set aggregation encoding where dbms = plant and table = motor and encoding = bounds"


@pytest.mark.parametrize("partitioned", [False, True], ids=["whole", "partitions"])
async def test_the_derived_rows_are_what_sql_says_of_the_rows(
    tmp_path: Path, connect: str, *, partitioned: bool
) -> None:
    cut = ["partition plant * using timestamp by 1 hour"] if partitioned else []
    async with plant(tmp_path, connect, *cut, AGGREGATE, BOUNDS) as node:
        await send(node, *(reading(58 + minute, 10 * minute, 5 * minute + 0.25) for minute in range(5)))
        alike(await derived(node), await by_sql(node))
        await send(node, reading(62, 1, 99), reading(58, 0, -7), reading(59, 59, None), reading(60, 30, 1))
        alike(await derived(node), await by_sql(node))
        if partitioned:
            found = (await node.execute("get partitions where dbms = plant and table = bounds_motor")).data
            assert len(found) == 2
        shown = (await node.execute("get aggregation where dbms = plant and format = json")).data
        assert [one["count"] for one in shown] == [2, 1, 2, 1, 2]
        assert (shown[0]["start"], shown[0]["min"], shown[0]["max"]) == ("2026-01-01 00:58:00.000000", -7.0, 0.25)


async def test_declarations_and_intervals_survive_a_restart(tmp_path: Path, connect: str) -> None:
    async with plant(tmp_path, connect, AGGREGATE, BOUNDS) as node:
        await send(node, reading(1, 0, 10), reading(1, 5, 20))
    async with plant(tmp_path, connect) as node:
        for line in (AGGREGATE, BOUNDS):  # as the script says it again
            await node.execute(line)
        await send(node, reading(1, 7, 60))
        alike(await derived(node), await by_sql(node))
        assert (await derived(node))[0][2:] == (10.0, 60.0, 30.0, 3)
        line = "get aggregation where dbms = plant and table = motor and function ="
        assert [
            reply_text(await node.execute(f"{line} {name}")).strip() for name in ("count", "min", "max", "avg")
        ] == [
            "3",
            "10",
            "60",
            "30.0",
        ]


async def test_rows_alone_or_aggregates_alone(tmp_path: Path, connect: str) -> None:
    async with plant(tmp_path, connect, AGGREGATE, BOUNDS) as node:
        await node.execute("set aggregation ingest where dbms = plant and table = motor and source = false")
        await send(
            node, reading(1, 0, 10), reading(1, 30, 30), reading(2, 0, None, note="stopped"), {"note": "no time"}
        )
        assert [row[2:] for row in await derived(node)] == [(10.0, 30.0, 20.0, 2)]
        left = await rows_of(node, "select note from motor")
        assert sorted(row["note"] for row in left) == ["no time", "stopped"]  # no declaration can use them
        await node.execute(
            "set aggregation ingest where dbms = plant and table = motor and source = true and derived = false"
        )
        await send(node, reading(1, 40, 80), reading(9, 0, 1))
        assert [row[2:] for row in await derived(node)] == [(10.0, 30.0, 20.0, 2)]
        assert len(await rows_of(node, "select speed from motor")) == 4
        (first, second) = (await node.execute("get aggregation where dbms = plant and format = json")).data
        assert (first["count"], first["max"], second["count"]) == (3, 80, 1)


async def test_runs_of_values_that_are_about_equal(tmp_path: Path, connect: str) -> None:
    lines = [AGGREGATE, f"{BOUNDS.replace('bounds', 'arle')} and tolerance = 10"]
    async with plant(tmp_path, connect, *lines) as node:
        speeds = [100, 105, 95, 200, 210, 100, 1]
        for at, speed in enumerate(speeds):  # each in a batch of its own
            await send(node, reading(1, at, speed))
        await send(node, *(reading(2, at, speed) for at, speed in enumerate(speeds)))
        sql = "select timestamp, avg_val, events, value_column from arle_motor"
        found = sorted((tuple(row.values()) for row in await rows_of(node, sql)), key=lambda row: row[0])
        assert [row[1:] for row in found] == 2 * [
            (100.0, 3, "speed"),
            (205.0, 2, "speed"),
            (100.0, 1, "speed"),
            (1.0, 1, "speed"),
        ]


async def test_every_table_and_several_columns(tmp_path: Path) -> None:
    lines = [
        "set aggregation where dbms = plant and value_column = speed and value_column = power and intervals = 2",
        "set aggregation ingest where dbms = plant and derived = true",
        "set aggregation where dbms = plant and table = quiet and value_column = level",
    ]
    async with plant(tmp_path, SQLITE, *lines) as node:
        for table in ("motor", "pump"):
            await send(node, *(reading(m, 0, m, power=2 * m) for m in range(4)), table=table)
        await send(node, reading(0, 0, 1, level=5), table="quiet")
        shown = (await node.execute("get aggregation where dbms = plant and format = json")).data
        assert [(s["table"], s["value_column"], s["interval"], s["max"]) for s in shown] == [
            ("motor", "power", 0, 4),
            ("motor", "power", 1, 6),
            ("motor", "speed", 0, 2),
            ("motor", "speed", 1, 3),
            ("pump", "power", 0, 4),
            ("pump", "power", 1, 6),
            ("pump", "speed", 0, 2),
            ("pump", "speed", 1, 3),
            ("quiet", "level", 0, 5),
        ]
        assert len(await derived(node, "agg_motor")) == 8  # those that are kept no more are there too
        timed = "get aggregation by time where dbms = plant and table = motor"
        by_time = await node.execute(
            f"{timed} and value_column = * and function = max and timezone = utc and limit = 1"
        )
        assert by_time.data == [
            {"timestamp": "2026-01-01 00:03:00.000000", "value_column": "power", "max": 6},
            {"timestamp": "2026-01-01 00:03:00.000000", "value_column": "speed", "max": 3},
        ]


async def test_late_rows_behind_the_kept_intervals_are_counted(tmp_path: Path) -> None:
    async with plant(tmp_path, SQLITE, f"{AGGREGATE} and intervals = 2", BOUNDS) as node:
        await send(node, *(reading(m, 0, m) for m in range(5)))
        await send(node, reading(0, 30, 50), reading(4, 30, 40))
        found = await derived(node)
        assert sum(row[-1] for row in found) == 7
        assert [row[2:4] for row in found if row[0].minute == 0] == [(0.0, 0.0), (50.0, 50.0)]
        assert [row[2:] for row in found if row[0].minute == 4] == [(4.0, 40.0, 22.0, 2)]


async def test_a_column_that_became_text_still_has_its_numbers(tmp_path: Path) -> None:
    async with plant(tmp_path, SQLITE, AGGREGATE, BOUNDS) as node:
        await send(node, reading(1, 0, 10))
        await send(node, reading(1, 1, "off"))
        await send(node, reading(1, 2, 2.5), reading(1, 3, "nan"))
        assert [row[2:] for row in await derived(node)] == [(2.5, 10.0, 6.25, 2)]


async def test_the_time_of_arrival(tmp_path: Path) -> None:
    line = f"{AGGREGATE} and time_column = insert_timestamp and time = 1 day"
    async with plant(tmp_path, SQLITE, line) as node:
        await send(node, {"speed": 1}, {"speed": 4})
        shown = (await node.execute("get aggregation where dbms = plant and format = json")).data
        assert sum(one["count"] for one in shown) == 2


# ---- another database


async def test_derived_rows_of_another_database_go_there_once(tmp_path: Path, connect: str) -> None:
    history = "connect dbms history where type = sqlite"
    lines = [connect, f"{AGGREGATE} and target_dbms = history and target_table = motor_minutes"]
    async with plant(tmp_path, *lines) as node:
        await send(node, *(reading(m, 0, m) for m in range(3)))

        async def told() -> bool:
            (row,) = (await node.execute("get aggregation tables where format = json")).data
            return row["waiting"] == 3 and "history" in row["error"]

        await until(told)  # it is not connected
        await node.execute(history)

        async def arrived() -> bool:
            (row,) = (await node.execute("get aggregation tables where format = json")).data
            return (row["waiting"], row["error"]) == (0, "")

        await until(arrived)
        alike(await derived(node, "motor_minutes", "history"), await by_sql(node))
        await send(node, reading(2, 30, 8), reading(3, 0, 9))
    async with plant(tmp_path, connect, history) as node:  # what the stop left goes now
        await until(arrived_at(node))
        alike(await derived(node, "motor_minutes", "history"), await by_sql(node))
        await send(node, reading(3, 30, 19))
        await until(arrived_at(node))
        alike(await derived(node, "motor_minutes", "history"), await by_sql(node))


def arrived_at(node: Node) -> Callable[[], Any]:
    async def nothing_waits() -> bool:
        await node.ctx.parts["aggregates"].hand_over()
        (row,) = (await node.execute("get aggregation tables where format = json")).data
        return bool(row["waiting"] == 0)

    return nothing_waits


async def test_a_crash_between_two_databases_neither_loses_nor_doubles(tmp_path: Path) -> None:
    one = Aggregation("t", "v", "d1", target_dbms="history", encoding="bounds")
    source, target = SqliteStore("plant", tmp_path / "plant"), SqliteStore("history", tmp_path / "history")
    try:
        await source.change(lambda tx: aggregates.declare(tx, one, None))
        for v in (1, 2):
            await source.insert(insertion({"timestamp": "2026-01-01T00:00:01Z", "v": v}))
            notes = await source.run(lambda db: aggregates.posted(db, "history", 10))
            await target.receive(notes)  # and the node dies before the source hears of it
        await target.receive(notes)
        await source.change(lambda tx: aggregates.handed_over(tx, "history", notes[-1].number))
        await source.insert(insertion({"timestamp": "2026-01-01T00:00:02Z", "v": 6}))
        await target.receive(await source.run(lambda db: aggregates.posted(db, "history", 10)))
        assert fetch(target, "SELECT min_val, max_val, avg_val, events FROM bounds_t") == [(1.0, 6.0, 3.0, 3)]
    finally:
        source.close_blocking()
        target.close_blocking()


# ---- changes


async def test_other_settings_begin_anew_and_a_reset_ends(tmp_path: Path) -> None:
    async with plant(tmp_path, SQLITE, AGGREGATE, BOUNDS) as node:
        await send(node, reading(1, 0, 10))
        await node.execute(f"{AGGREGATE} and time = 1 hour")
        await send(node, reading(1, 1, 30))
        assert [row[2:] for row in await derived(node)] == [(10.0, 10.0, 10.0, 1), (30.0, 30.0, 30.0, 1)]
        (config,) = (await node.execute("get aggregation config where format = json")).data
        assert (config["time"], config["encoding"], config["derived"]) == ("1 hour", "bounds", True)
        await node.execute("reset aggregation where dbms = plant and table = motor")
        await send(node, reading(1, 2, 50))
        assert len(await derived(node)) == 2
        assert "No aggregations" in reply_text(await node.execute("get aggregation"))


async def test_tables_that_go_take_their_intervals_with_them(tmp_path: Path, connect: str) -> None:
    async with plant(tmp_path, connect, AGGREGATE, BOUNDS) as node:
        await send(node, *(reading(m, 0, m) for m in range(3)))
        await node.execute("drop table bounds_motor where dbms = plant")
        await send(node, reading(2, 1, 12), reading(3, 0, 1))
        assert [row[2:] for row in await derived(node)] == [(2.0, 12.0, 7.0, 2), (1.0, 1.0, 1.0, 1)]
        await node.execute("drop table motor where dbms = plant")
        await send(node, reading(3, 1, 7))
        (shown,) = (await node.execute("get aggregation where dbms = plant and format = json")).data
        assert shown["count"] == 1


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("set aggregation where dbms = plant and table = t and intervals = 0", "intervals = 0"),
        ("set aggregation where dbms = plant and table = t and intervals = 5000", "intervals = 5000"),
        ("set aggregation where dbms = plant and table = t and time = 0.1 seconds", "0.1 seconds"),
        ("set aggregation where dbms = plant and target_table = x", "for all tables"),
        ("set aggregation where dbms = plant and table = t and target_table = t", "the table itself"),
        (
            "set aggregation encoding where dbms = plant and table = t and encoding = bounds",
            "no aggregation of plant.t",
        ),
        ("set aggregation encoding where dbms = plant and table = motor and encoding = zip", "zip"),
        ("set aggregation encoding where dbms = plant and table = motor and encoding = arle and tolerance = -1", "-1"),
        (
            "set aggregation ingest where dbms = plant and table = motor and source = false",
            "neither rows nor aggregates",
        ),
        ("reset aggregation where dbms = plant and table = other", "no aggregation of plant.other"),
    ],
)
async def test_what_cannot_be_declared_is_said(tmp_path: Path, line: str, said: str) -> None:
    async with plant(tmp_path, SQLITE, AGGREGATE) as node:
        with pytest.raises(EdgeLakeError) as failed:
            await node.execute(line)
        assert isinstance(failed.value, CommandError)
        assert said in str(failed.value)
        with pytest.raises(DatabaseMissingError):
            await node.execute("set aggregation where dbms = none and table = t")


# ---- against SQL, with any batches

_BATCHES = st.lists(
    st.lists(
        st.tuples(
            st.integers(0, 6 * MINUTE_US - 1),
            st.one_of(st.none(), st.integers(-1000, 1000), st.floats(-1e6, 1e6, allow_nan=False)),
        ),
        min_size=1,
        max_size=12,
    ),
    min_size=1,
    max_size=8,
)


@settings(max_examples=25, deadline=None)
@given(_BATCHES, st.integers(1, 8), st.booleans())
def test_any_batches_come_to_what_sql_says(
    tmp_path_factory: pytest.TempPathFactory, batches: list[list[tuple[int, Any]]], keep: int, partitioned: bool
) -> None:
    store = SqliteStore("plant", tmp_path_factory.mktemp("agg") / "plant.dbms")
    try:
        asyncio.run(_store(store, batches, keep, partitioned=partitioned))
        physical = store.table("bounds_t").physical_names if "bounds_t" in store.tables else []
        found: dict[int, list[Any]] = {}
        for name in physical:
            for start, *values in fetch(
                store, f"SELECT timestamp / {MINUTE_US}, min_val, max_val, avg_val, events FROM {name}"
            ):
                found.setdefault(start, []).append(values)
        wanted: dict[int, list[float]] = {}
        for batch in batches:
            for us, v in batch:
                if v is not None:
                    wanted.setdefault(us // MINUTE_US, []).append(float(v))
        assert found.keys() == wanted.keys()
        for minute, values in wanted.items():
            parts = found[minute]
            assert len(parts) == 1 or keep < 6
            assert sum(part[3] for part in parts) == len(values)
            assert (min(p[0] for p in parts), max(p[1] for p in parts)) == (min(values), max(values))
            total = sum(part[2] * part[3] for part in parts)
            assert total == pytest.approx(sum(values), rel=1e-9, abs=1e-6)
        kept = fetch(store, "SELECT count(*) FROM _edgelake_intervals")
        assert kept[0][0] == min(keep, len(wanted))
    finally:
        store.close_blocking()


async def _store(store: SqliteStore, batches: list[list[tuple[int, Any]]], keep: int, *, partitioned: bool) -> None:
    one = Aggregation("t", "v", "d1", keep=keep, encoding="bounds")
    await store.change(lambda tx: aggregates.declare(tx, one, None))
    if partitioned:

        def cut(tx: Any) -> None:
            tx.execute("INSERT INTO _edgelake_partitioning VALUES ('plant', '*', 'timestamp', 1, 'hour')")
            tx.foreign_changes = True

        await store.change(cut)
    declared = [("timestamp", "timestamp", False), ("v", "float", False)]
    for batch in batches:
        rows = [{"timestamp": _text(us), "v": v} for us, v in batch]
        await store.insert(insertion(*rows, declared=declared))


def _text(us: int) -> str:
    return f"1970-01-01T00:{us // MINUTE_US:02}:{us % MINUTE_US / 1e6:09.6f}Z"


async def test_rows_of_files_are_aggregated_too(tmp_path: Path) -> None:
    lines = [
        "connect dbms almgm where type = sqlite",
        "create table tsd_info where dbms = almgm",
        SQLITE,
        AGGREGATE,
        BOUNDS,
    ]
    async with plant(tmp_path, *lines) as node:
        node.ctx.variables.set("ip", "127.0.0.1")
        for line in (
            "p = create policy cluster where name = c1 and company = acme",
            "blockchain insert where policy = !p and local = true",
            "c = blockchain get cluster bring.first [cluster][id]",
            "p = create policy operator where name = op and company = acme and cluster = !c and ip = !ip and port = 1",
            "blockchain insert where policy = !p and local = true",
            "id = blockchain get operator bring.first [operator][id]",
        ):
            await node.execute(line)
        await node.execute(
            "run operator where policy = !id and create_table = true and update_tsd_info = true and archive_json = true"
        )
        watch = node.ctx.directories.path("watch_dir")
        name = f"plant.motor.0.{'0' * 32}.0.json"
        (watch / f".{name}").write_text("\n".join(json.dumps(reading(1, at, at)) for at in range(5)))
        (watch / f".{name}").rename(watch / name)

        async def loaded() -> bool:
            return "bounds_motor" in node.ctx.stores.get("plant").tables

        await until(loaded)
        alike(await derived(node), await by_sql(node))

        async def published() -> bool:
            names = [policy["table"]["name"] for policy in node.ctx.policies.find("table", dbms="plant")]
            return sorted(names) == ["bounds_motor", "motor"]

        await until(published)  # other nodes can query both


async def test_rows_of_messages_are_aggregated_too(tmp_path: Path) -> None:
    port = free_port()
    lines = [
        SQLITE,
        AGGREGATE,
        BOUNDS,
        f"run message broker where external_ip = 127.0.0.1 and external_port = {port} and bind = true",
        "run msg client where broker = local and topic = (name = motors and dbms = plant and table = motor and"
        ' column.timestamp.timestamp = "bring [timestamp]" and column.speed.float = "bring [speed]")',
    ]
    async with plant(tmp_path, *lines) as node:
        async with aiomqtt.Client("127.0.0.1", port) as client:
            for at in range(5):
                await client.publish("motors", json.dumps(reading(1, at, at)), qos=1)
        await node.execute("flush buffers")
        assert [row[2:] for row in await derived(node)] == [(0.0, 4.0, 2.0, 5)]
        alike(await derived(node), await by_sql(node))
