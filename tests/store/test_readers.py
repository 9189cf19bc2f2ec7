"""Readers see what is committed, and can't change anything."""

from __future__ import annotations

import apsw
import pytest

from edgelake.errors import DatabaseError, NotPermittedError
from edgelake.store.schema import Transaction
from edgelake.store.sqlite import SqliteStore
from tests.store.rowset import fetch, insertion


def test_a_reader_sees_nothing_of_an_open_transaction(store: SqliteStore) -> None:
    store.store_many([insertion({"v": 1})])
    seen: list[int] = []

    def work(tx: Transaction) -> None:
        tx.execute("INSERT INTO t (v) VALUES (2)")
        seen.append(fetch(store, "SELECT count(*) FROM t")[0][0])

    store.change_blocking(work)
    seen.append(fetch(store, "SELECT count(*) FROM t")[0][0])
    assert seen == [1, 2]


def test_a_long_read_keeps_its_view_while_rows_come_in(store: SqliteStore) -> None:
    store.store_many([insertion({"v": 1})])
    with store.reader() as connection:
        connection.execute("BEGIN")
        before = connection.execute("SELECT count(*) FROM t").fetchall()
        store.store_many([insertion({"v": 2})])
        assert store.checkpoint()
        assert connection.execute("SELECT count(*) FROM t").fetchall() == before
    assert fetch(store, "SELECT count(*) FROM t") == [(2,)]


@pytest.mark.parametrize(
    "sql",
    [
        "INSERT INTO t (v) VALUES (1)",
        "DELETE FROM t",
        "DROP TABLE t",
        "CREATE TABLE u (v)",
        "CREATE TEMP TABLE u (v)",
        "ATTACH '/tmp/other.db' AS other",
        "PRAGMA query_only = 0",
        "PRAGMA journal_mode = DELETE",
        "PRAGMA writable_schema = 1",
        "SELECT load_extension('libc.so.6')",
        "VACUUM INTO '/tmp/copy.db'",
        "BEGIN IMMEDIATE; INSERT INTO t (v) VALUES (1)",
    ],
)
def test_a_reader_refuses_what_does_not_read(store: SqliteStore, sql: str) -> None:
    store.store_many([insertion({"v": 1})])
    with pytest.raises(DatabaseError):
        fetch(store, sql)
    assert fetch(store, "SELECT v FROM t") == [(1,)]


def test_a_reader_may_describe_tables(store: SqliteStore) -> None:
    store.store_many([insertion({"v": 1})])
    assert len(fetch(store, "PRAGMA table_info(t)")) == 5


@pytest.mark.parametrize(
    "sql", ["ATTACH 'x' AS x", "PRAGMA synchronous = OFF", "SELECT 1", "DROP TABLE _edgelake_columns", "VACUUM", ""]
)
async def test_direct_statements_are_those_that_change_tables(store: SqliteStore, sql: str) -> None:
    with pytest.raises(NotPermittedError):
        await store.execute(sql)


async def test_a_second_statement_is_refused_whole(store: SqliteStore) -> None:
    store.store_many([insertion({"v": 1})])
    with pytest.raises((DatabaseError, NotPermittedError)):
        await store.execute("DELETE FROM t; ATTACH '/tmp/other.db' AS other")
    assert fetch(store, "SELECT v FROM t") == [(1,)]


async def test_tables_made_by_plain_sql_are_described_by_their_declaration(store: SqliteStore) -> None:
    await store.execute("CREATE TABLE plain (id integer primary key, name varchar, at timestamp)")
    await store.execute("INSERT INTO plain (name) VALUES ('a')")
    assert [(c.name, c.kind) for c in store.table("plain").columns] == [
        ("id", "integer"),
        ("name", "varchar"),
        ("at", "timestamp"),
    ]
    assert fetch(store, "SELECT * FROM plain") == [(1, "a", None)]


def test_the_store_refuses_after_its_end(store: SqliteStore) -> None:
    store.close_blocking()
    store.close_blocking()
    with pytest.raises(DatabaseError):
        store.watermarks()
    with pytest.raises(DatabaseError), store.reader():
        pass


def test_errors_of_the_database_are_the_nodes(store: SqliteStore) -> None:
    with pytest.raises(DatabaseError) as caught:
        fetch(store, "SELECT nothing FROM nowhere")
    assert isinstance(caught.value.__cause__, apsw.SQLError)
