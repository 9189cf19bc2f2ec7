"""Partitions: names and bounds, the way of rows into them, and out."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any

import pytest

from edgelake.errors import CommandError, DatabaseError
from edgelake.store.partition import Interval, Partitioning, shown_dates
from edgelake.store.sqlite import SqliteStore
from edgelake.store.stores import Stores
from tests.store.rowset import DAY_US, NOW_US, fetch, insertion, kinds, us

VECTORS = json.loads((Path(__file__).parent.parent / "vectors" / "names-and-files.json").read_text())


async def declare(stores: Stores, interval: str, column: str = "at", dbms: str = "plant", table: str = "t") -> None:
    await stores.declare(Partitioning(dbms, table, column, Interval.parse(interval)))


def readings(*days: str) -> list[dict[str, Any]]:
    return [{"at": f"{day}T12:00:00Z", "v": n} for n, day in enumerate(days)]


def names(store: SqliteStore, table: str = "t") -> list[str]:
    return [p.name for p in store.table(table).partitions]


@pytest.mark.parametrize("case", VECTORS["partition_names"], ids=lambda c: f"{c['interval']}-{c['value']}")
def test_names_and_bounds(case: dict[str, Any]) -> None:
    interval = Interval.parse(case["interval"])
    span = interval.span(case["table"], case["column"], us(case["value"].removesuffix("Z")))
    start, end = shown_dates(span.name, span.start_us, span.end_us)
    assert {"name": span.name, "start": start, "end": end} == case["expect"]


@pytest.mark.parametrize("text", ["1 year", "3 years", "1 month", "5 months", "7 days", "31 days", "5 hours", "1 week"])
def test_partitions_follow_one_another_without_gaps(text: str) -> None:
    interval = Interval.parse(text)
    at = us("2023-11-24T03:00:00")
    for _ in range(60):
        span = interval.span("t", "at", at)
        assert span.start_us <= at < span.end_us
        assert interval.span("t", "at", span.end_us).start_us == span.end_us
        at = span.end_us


@pytest.mark.parametrize("at_us", [-(1 << 62), 1 << 61, 253402300799_999999])
def test_instants_beyond_the_calendar_have_a_partition(at_us: int) -> None:
    for unit in ("year", "month", "day", "hour"):
        span = Interval(1, unit).span("t", "at", at_us)  # type: ignore[arg-type]
        assert span.start_us <= at_us < span.end_us
        assert all(shown_dates(span.name, span.start_us, span.end_us))


@pytest.mark.parametrize("text", ["", "0 days", "x days", "14 fortnights", "99 days", "-1 day"])
def test_wrong_intervals_are_refused(text: str) -> None:
    with pytest.raises(CommandError):
        Interval.parse(text)


async def test_a_batch_is_split_and_row_ids_are_unique(stores: Stores) -> None:
    store = await stores.connect("plant")
    await declare(stores, "1 day")
    (done,) = store.store_many([insertion(*readings("2024-01-02", "2024-01-01", "2024-01-02"))])
    assert done.partitions == ["par_t_2024_01_01_d01_at", "par_t_2024_01_02_d01_at"]
    store.store_many([insertion(*readings("2024-01-01"))])
    assert fetch(store, "SELECT count(*) FROM t") == [(0,)]
    assert fetch(store, "SELECT row_id, v FROM t_text ORDER BY 1") == [(1, 1), (2, 0), (3, 2), (4, 0)]


async def test_rows_without_the_time_go_by_the_time_of_the_batch(stores: Stores) -> None:
    store = await stores.connect("plant")
    await declare(stores, "1 year")
    store.store_many([insertion({"at": "2001-01-01T00:00:00Z", "v": 1}, {"v": 2})])
    assert names(store) == ["par_t_2001_y01_at", "par_t_2026_y01_at"]


async def test_insert_timestamp_may_be_the_column(stores: Stores) -> None:
    store = await stores.connect("plant")
    await declare(stores, "14 days", "insert_timestamp", table="*")
    store.store_many([insertion(*readings("2024-01-01"))])
    (partition,) = store.table("t").partitions
    assert partition.name.endswith("_d14_insert_timestamp")
    assert partition.start_us <= NOW_US < partition.end_us


async def test_the_closest_declaration_counts(stores: Stores) -> None:
    store = await stores.connect("plant")
    await declare(stores, "1 year", dbms="*", table="*")
    await declare(stores, "1 month", table="*")
    await declare(stores, "1 day")
    store.store_many([insertion(*readings("2024-01-01"), table=name) for name in ("t", "u")])
    other = await stores.connect("other")
    other.store_many([insertion(*readings("2024-01-01"))])
    assert names(store) == ["par_t_2024_01_01_d01_at"]
    assert names(store, "u") == ["par_u_2024_01_m01_at"]
    assert names(other) == ["par_t_2024_y01_at"]
    assert len(stores.declarations()) == 3


async def test_declarations_are_kept_in_the_file(tmp_path: Path, stores: Stores) -> None:
    await stores.connect("plant")
    await declare(stores, "7 days")
    await stores.disconnect("plant")
    await stores.connect("plant")
    assert stores.declarations() == [Partitioning("plant", "t", "at", Interval(7, "day"))]


async def test_a_changed_interval_keeps_the_old_partitions(stores: Stores) -> None:
    store = await stores.connect("plant")
    await declare(stores, "1 day")
    store.store_many([insertion(*readings("2024-01-10"))])
    await declare(stores, "1 month")
    store.store_many([insertion(*readings("2024-01-05", "2024-01-10", "2024-01-20"))])
    parts = store.table("t").partitions
    assert [p.end_us <= after.start_us for p, after in itertools.pairwise(parts)] == [True, True]
    for p in parts:
        assert fetch(
            store, f'SELECT count(*) FROM "{p.name}" WHERE NOT at BETWEEN {p.start_us} AND {p.end_us - 1}'
        ) == [(0,)]
    assert fetch(store, "SELECT count(*) FROM t_text") == [(4,)]


async def test_a_table_with_rows_moves_them_when_it_is_partitioned(stores: Stores) -> None:
    store = await stores.connect("plant")
    store.store_many([insertion(*readings("2024-01-01", "2024-02-01"))])
    await declare(stores, "1 month")
    store.store_many([insertion(*readings("2024-02-02"))])
    assert len(names(store)) == 2
    assert fetch(store, "SELECT count(*) FROM t") == [(0,)]
    assert fetch(store, "SELECT row_id FROM t_text ORDER BY 1") == [(1,), (2,), (3,)]


async def test_new_columns_and_widening_reach_every_partition(stores: Stores) -> None:
    store = await stores.connect("plant")
    await declare(stores, "1 day")
    store.store_many([insertion(*readings("2024-01-01", "2024-01-02"))])
    store.store_many([insertion({"at": "2024-01-01T00:00:00Z", "v": "a longer text", "w": True})])
    assert kinds(store)["v"] == "varchar"
    assert sorted(fetch(store, "SELECT v, w FROM t_text"), key=str) == [("0", None), ("1", None), ("a longer text", 1)]


async def test_the_time_column_of_partitions_is_never_widened(stores: Stores) -> None:
    store = await stores.connect("plant")
    await declare(stores, "1 day")
    store.store_many([insertion(*readings("2024-01-01"))])
    (done,) = store.store_many([insertion({"at": "no time at all", "v": 5}, *readings("2024-01-02"))])
    assert kinds(store)["at"] == "timestamp"
    assert (done.rows, len(done.rejected)) == (1, 1)


async def test_dropping(stores: Stores) -> None:
    store = await stores.connect("plant")
    await declare(stores, "1 day")
    store.store_many([insertion(*readings(*(f"2024-01-0{n}" for n in range(1, 7))))])
    made = names(store)
    await stores.drop_partitions("plant", "t")
    assert names(store) == made[1:]
    await stores.drop_partitions("plant", "t", name=made[3])
    assert names(store) == [*made[1:3], *made[4:]]
    await stores.drop_partitions("plant", "t", keep=1)
    assert names(store) == made[-1:]
    with pytest.raises(DatabaseError):
        await stores.drop_partitions("plant", "t")
    with pytest.raises(DatabaseError):
        await stores.drop_partitions("plant", "t", name="par_t_of_dreams")
    await stores.drop_partitions("plant", "t", name="*")
    assert names(store) == []
    store.store_many([insertion(*readings("2024-01-01"))])
    assert fetch(store, "SELECT row_id FROM t_text") == [(7,)]


async def test_declarations_need_a_time_column(stores: Stores) -> None:
    store = await stores.connect("plant")
    store.store_many([insertion({"v": 1})])
    for column in ("v", "nothing"):
        with pytest.raises(DatabaseError):
            await declare(stores, "1 day", column)


async def test_a_table_without_the_column_of_a_general_declaration_stays_whole(stores: Stores) -> None:
    store = await stores.connect("plant")
    await declare(stores, "1 day", "at", table="*")
    store.store_many([insertion({"v": 1})])
    assert fetch(store, "SELECT v FROM t") == [(1,)]


async def test_a_thousand_partitions_have_a_readable_view(stores: Stores) -> None:
    store = await stores.connect("plant")
    await declare(stores, "1 day")
    first = us("2020-01-01")
    store.store_many([insertion(*({"at": first + n * DAY_US, "v": n, "x": "2020-01-01T00:00:00Z"} for n in range(3)))])
    days = [
        {"at": f"{y}-{m:02d}-{d:02d}T00:00:00Z", "v": 0} for y in (2020, 2021) for m in range(1, 13) for d in (1, 15)
    ]
    store.store_many([insertion(*days)])
    assert fetch(store, "SELECT count(*) > 40 FROM t_text") == [(1,)]


async def test_plain_sql_reaches_the_partitions(stores: Stores) -> None:
    store = await stores.connect("plant")
    await declare(stores, "1 day")
    store.store_many([insertion(*readings("2024-01-01", "2024-01-02"))])
    assert await store.execute("INSERT INTO t (at, v) VALUES ('2024-01-03 10:00:00.5', 7), (NULL, 8)") >= 2
    assert fetch(store, "SELECT count(*) FROM t") == [(0,)]
    assert fetch(store, "SELECT row_id, at FROM t_text WHERE v = 7") == [(3, "2024-01-03 10:00:00.500000")]
    assert await store.execute("DELETE FROM t WHERE v = 7") == 1
    assert await store.execute("UPDATE t SET v = v + 1") == 3
    assert fetch(store, "SELECT sum(v) FROM t_text") == [(12,)]
    await store.execute("DROP TABLE t")
    assert dict(store.tables) == {}
