"""Rows go in as they are given, once, and tables change with the data."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from edgelake.errors import EdgeLakeError
from edgelake.store.catalogue import SchemaColumns
from edgelake.store.marker import FileMarker
from edgelake.store.sqlite import SqliteStore
from tests.store.rowset import NOW_US, fetch, insertion, kinds, us


def test_rows_come_back_with_the_automatic_columns(store: SqliteStore) -> None:
    store.store_many([insertion({"v": 1, "n": "a'\"b"}, {"v": None, "n": "ü"}, tsd_name="95", tsd_id=7)])
    assert fetch(store, "SELECT * FROM t") == [(1, NOW_US, "95", 7, 1, "a'\"b"), (2, NOW_US, "95", 7, None, "ü")]


@pytest.mark.parametrize(
    ("value", "stored", "storage"),
    [
        (True, 1, "integer"),
        (False, 0, "integer"),
        (-5, -5, "integer"),
        (9007199254740993, 9007199254740993, "integer"),
        (1.5, 1.5, "real"),
        ("", None, "null"),
        ("text", "text", "text"),
        ("12.50", 12.5, "real"),
        ("2024-02-03", "2024-02-03", "text"),
        ("10:11:12", "10:11:12", "text"),
        ("2024-02-03T10:11:12.5Z", us("2024-02-03T10:11:12.500000"), "integer"),
        ("10.0.0.1", "10.0.0.1", "text"),
        ("9b2cf0a6-7c3e-4c5e-9a53-5b6f0a3d6c11", "9b2cf0a6-7c3e-4c5e-9a53-5b6f0a3d6c11", "text"),
        ({"a": [1]}, '{"a": [1]}', "text"),
        (9223372036854775808, "9223372036854775808", "text"),
    ],
)
def test_every_kind_of_value_is_stored_in_its_form(store: SqliteStore, value: Any, stored: Any, storage: str) -> None:
    store.store_many([insertion({"v": value, "w": 1})])
    ((found, kind),) = fetch(store, "SELECT v, typeof(v) FROM t")
    if value == "" or isinstance(value, dict):
        found = found if found is None else found.replace(" ", "")
        stored = stored if stored is None else stored.replace(" ", "")
    if value == "" and kind == "null":
        found = None
    assert (found, kind) == (stored, storage)


def test_an_absent_time_becomes_the_time_of_the_batch(store: SqliteStore) -> None:
    store.store_many([insertion({"timestamp": "2024-01-01T00:00:00Z", "v": 1}, {"v": 2})])
    assert fetch(store, "SELECT timestamp FROM t ORDER BY v") == [(us("2024-01-01"),), (NOW_US,)]


def test_a_new_attribute_becomes_a_column(store: SqliteStore) -> None:
    store.store_many([insertion({"v": 1})])
    (done,) = store.store_many([insertion({"v": 2, "unit": "C"})])
    assert [c.name for c in done.changes] == ["unit"]
    assert fetch(store, "SELECT v, unit FROM t ORDER BY v") == [(1, None), (2, "C")]
    assert fetch(store, "SELECT v, unit FROM t_text ORDER BY v") == [(1, None), (2, "C")]


@pytest.mark.parametrize(
    ("first", "as_text"),
    [
        (True, "true"),
        (5, "5"),
        (1.5, "1.5"),
    ],
)
def test_a_text_widens_a_column_and_old_values_become_text(store: SqliteStore, first: Any, as_text: str) -> None:
    store.store_many([insertion({"v": first})])
    store.store_many([insertion({"v": "a longer text"})])
    assert kinds(store)["v"] == "varchar"
    assert fetch(store, "SELECT v FROM t ORDER BY row_id") == [(as_text,), ("a longer text",)]


def test_a_time_column_that_takes_text_shows_its_times_as_text(store: SqliteStore) -> None:
    store.store_many([insertion({"at": "1969-12-31T23:59:59.25Z", "v": 1})])
    store.store_many([insertion({"at": "some day, soon", "v": 2})])
    assert fetch(store, "SELECT at FROM t ORDER BY row_id") == [("1969-12-31T23:59:59.250000Z",), ("some day, soon",)]


def test_integers_widen_to_float_without_a_rewrite(store: SqliteStore) -> None:
    store.store_many([insertion({"v": 1})])
    store.store_many([insertion({"v": 0.123456789})])
    assert kinds(store)["v"] in {"float", "decimal"}
    assert fetch(store, "SELECT v FROM t ORDER BY row_id") == [(1,), (0.123456789,)]


def test_without_widening_a_row_that_does_not_fit_is_kept_out(store: SqliteStore) -> None:
    store.store_many([insertion({"v": 1})])
    (done,) = store.store_many([insertion({"v": "not a number"}, {"v": 3}, widen=False)])
    assert (done.rows, len(done.rejected)) == (1, 1)
    assert fetch(store, "SELECT v FROM t ORDER BY row_id") == [(1,), (3,)]


def test_a_missing_table_is_an_error_when_it_must_not_be_made(store: SqliteStore) -> None:
    with pytest.raises(EdgeLakeError) as caught:
        store.store_many([insertion({"v": 1}, create=False)])
    assert caught.value.number == 171


def test_a_position_is_stored_with_its_rows_once(store: SqliteStore, path: Path) -> None:
    store.store_many([insertion({"v": 1}, position=10), insertion({"v": 1}, table="u", position=11)])
    assert store.watermarks() == {"t": 10, "u": 11}
    (again,) = store.store_many([insertion({"v": 1}, position=10)])
    assert again.replayed
    store.close_blocking()
    reopened = SqliteStore("plant", path)
    assert reopened.watermarks() == {"t": 10, "u": 11}
    assert fetch(reopened, "SELECT count(*) FROM t") == [(1,)]
    reopened.close_blocking()


async def test_a_file_is_taken_once_until_it_is_forgotten(store: SqliteStore) -> None:
    one = insertion({"v": 1}, marker=FileMarker("plant.t.0.abc.json", "abc"))
    assert not (await store.insert(one)).replayed
    assert (await store.insert(one)).replayed
    await store.forget_file("plant.t.0.abc.json")
    assert not (await store.insert(one)).replayed


def test_one_failure_undoes_the_whole_transaction(store: SqliteStore) -> None:
    with pytest.raises(EdgeLakeError):
        store.store_many([insertion({"v": 1}, position=1), insertion({"v": 1}, table="u", create=False)])
    assert dict(store.tables) == {}
    assert store.watermarks() == {}
    (done,) = store.store_many([insertion({"v": 1}, position=1)])
    assert done.created


def test_names_of_any_kind_are_quoted(store: SqliteStore) -> None:
    store.store_many([insertion({"select": 1, "from": 2}, table='or"der')])
    assert fetch(store, 'SELECT "select", "from" FROM "or""der"') == [(1, 2)]


def test_rows_of_a_batch_are_ordered_by_time(store: SqliteStore) -> None:
    days = ["2024-01-03", "2024-01-01", "2024-01-02", "2024-01-01"]
    store.store_many([insertion(*({"at": f"{d}T00:00:00Z", "v": n} for n, d in enumerate(days)))])
    assert fetch(store, "SELECT row_id, v FROM t ORDER BY row_id") == [(1, 1), (2, 3), (3, 2), (4, 0)]


def test_changes_of_a_table_are_told(path: Path) -> None:
    told: list[tuple[str, str, SchemaColumns | None]] = []
    store = SqliteStore("plant", path, lambda dbms, table, columns: told.append((dbms, table, columns)))
    store.store_many([insertion({"v": 100_000_000})])
    store.store_many([insertion({"v": 200_000_000, "w": True})])
    store.store_many([insertion({"v": 300_000_000, "w": True})])
    store.change_blocking(lambda tx: tx.drop_table(store.table("t")))
    store.close_blocking()
    v, w = ("v", "bigint", False), ("w", "boolean", False)
    assert told == [("plant", "t", [v]), ("plant", "t", [v, w]), ("plant", "t", None)]


def test_a_memory_database_works_the_same() -> None:
    store = SqliteStore("system_query", None)
    store.store_many([insertion({"v": 1})])
    assert fetch(store, "SELECT v FROM t") == [(1,)]
    assert store.checkpoint()
    assert store.storage == "MEMORY"
    store.close_blocking()


async def test_rows_go_into_a_table_made_by_plain_sql(store: SqliteStore) -> None:
    await store.execute("CREATE TABLE plain (id integer primary key, name text, at timestamp)")
    await store.insert(insertion({"name": "a", "at": "2024-01-01T00:00:00Z", "unknown": 1}, table="plain"))
    assert fetch(store, "SELECT * FROM plain") == [(1, "a", us("2024-01-01"))]


async def test_a_statement_of_a_policy_makes_a_table_of_the_node(store: SqliteStore) -> None:
    sql = "CREATE TABLE IF NOT EXISTS t(row_id SERIAL PRIMARY KEY, insert_timestamp TIMESTAMP, v INT)"
    await store.execute(sql)
    await store.execute(sql)
    await store.insert(insertion({"v": 1}))
    assert fetch(store, "SELECT row_id, tsd_name, v FROM t") == [(1, "0", 1)]
