"""Databases on a real PostgreSQL server: the same answers as from SQLite, and what a server can do besides."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest

from edgelake.bench.postgres_server import PostgresServer
from edgelake.command.handlers.consistency import hashed
from edgelake.errors import (
    CommandError,
    DatabaseAwayError,
    DatabaseError,
    DatabaseMissingError,
    EdgeLakeError,
    NotPermittedError,
    RefusedError,
)
from edgelake.query.options import parse_options
from edgelake.query.service import Queries
from edgelake.store import ledger
from edgelake.store.base import ColumnInfo
from edgelake.store.batches import StoredBatch, open_batches
from edgelake.store.marker import FileMarker
from edgelake.store.partition import Interval, Partitioning
from edgelake.store.postgres.names import physical
from edgelake.store.postgres.store import PostgresStore
from edgelake.store.sqlite import SqliteStore
from edgelake.store.store import Store
from edgelake.store.stores import Stores
from edgelake.store.tsd import FileEntry, Selection, TsdTable
from tests.net.peer.relay import Relay
from tests.store.rowset import NOW_US, fetch, insertion, kinds, us

PAYLOADS: list[list[dict[str, Any]]] = [
    [{"v": True}, {"v": None}],
    [{"v": -5, "at": "2024-02-03T10:11:12.5Z"}, {"v": 9007199254740993}],
    [{"v": 1.5, "n": "a'\"b\\ ü", "o": {"a": [1, "x"]}}],
    [{"v": 9223372036854775808, "d": "2024-02-03", "t": "10:11:12", "ip": "10.0.0.1"}],
    [{"v": "a text", "n": ""}],
    [{"w": 5}, {"w": 5.0}, {"w": 0.1}, {"w": 1e300}, {"w": -1e-300}],
    [{"at": "1969-12-31T23:59:59.999999Z", "w": 2}, {"at": "9999-12-31T23:59:59.999999Z"}],
]


@pytest.fixture
def empty(postgres: PostgresServer) -> PostgresServer:
    """The server, without the database of the tests."""
    for name in ("plant", "other", "almgm", "blockchain"):
        postgres.sql(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")
    return postgres


@pytest.fixture
def store(empty: PostgresServer) -> Iterator[PostgresStore]:
    opened = PostgresStore("plant", empty.server())
    yield opened
    opened.close_blocking()


@asynccontextmanager
async def asking(tmp_path: Path, server: PostgresServer) -> AsyncIterator[tuple[Stores, Queries]]:
    stores = Stores(lambda: tmp_path)
    queries = Queries(stores, timezone="utc")
    await stores.connect("plant", kind="psql", server=server.server())
    try:
        yield stores, queries
    finally:
        await queries.stop()
        await stores.close()


async def answer(queries: Queries, sql: str, options: str = "stat = false") -> list[dict[str, str]]:
    """Rows of the json format, each value as a text."""
    found = await queries.ask("plant", sql, parse_options(options))
    text = b"".join([piece async for piece in found.pieces()]).decode()
    return [{name: str(value) for name, value in row.items()} for row in json.loads(text)["Query"]]


def test_rows_come_back_as_from_sqlite(store: PostgresStore, tmp_path: Path) -> None:
    sqlite = SqliteStore("plant", tmp_path / "plant.dbms")
    for payload in PAYLOADS:
        for one in (sqlite, store):
            one.store_many([insertion(*payload)])
    sql = "SELECT * FROM t ORDER BY row_id"
    assert fetch(store, sql) == fetch(sqlite, sql)
    assert kinds(store) == kinds(sqlite)
    for condition in ("at < 0", f"at >= {us('2024-02-03')}", "n = 'a''\"b\\ ü'", "w > 1", "v IS NULL", "w = 5"):
        sql = f"SELECT row_id FROM t WHERE {condition} ORDER BY row_id"
        assert fetch(store, sql) == fetch(sqlite, sql), condition
    for sql in (
        "SELECT row_id FROM t ORDER BY at, row_id",
        "SELECT row_id FROM t ORDER BY at DESC, row_id",
        "SELECT max(at), min(at), count(*), count(w) FROM t",
        "SELECT a.row_id, b.row_id FROM t a JOIN t b ON a.row_id = b.row_id + 1 ORDER BY 1",
    ):
        assert fetch(store, sql) == fetch(sqlite, sql), sql
    sqlite.close_blocking()


def test_hashes_of_contents_are_the_same_on_both_engines(store: PostgresStore, tmp_path: Path) -> None:
    sqlite = SqliteStore("plant", tmp_path / "plant.dbms")
    for payload in PAYLOADS:
        for one in (sqlite, store):
            one.store_many([insertion(*payload)])
    values = ", ".join(hashed(column) for column in store.tables["t"].user_columns)
    for half in (0, 1):
        sql = f"SELECT content_hash({half}, {values}) FROM t ORDER BY row_id"
        found = fetch(store, sql)
        assert found == fetch(sqlite, sql)
        assert len({row[0] for row in found}) == len({*fetch(store, f"SELECT {values} FROM t")})
        assert all(0 <= row[0] < 1 << 32 for row in found)
    sqlite.close_blocking()


def test_other_clients_see_columns_of_the_types_they_expect(store: PostgresStore, empty: PostgresServer) -> None:
    store.store_many([insertion({"at": "2024-02-03T10:11:12.5Z", "v": 1, "f": 0.5, "b": True, "n": "x"})])
    assert empty.sql("SELECT at, v, f, b, n, row_id, insert_timestamp FROM t", "plant") == (
        "2024-02-03 10:11:12.5|1|0.5|t|x|1|2026-09-21 14:13:20"
    )
    # Other clients may insert, too: their rows get what rows of the node have.
    empty.sql("INSERT INTO t (v) VALUES (2)", "plant")
    store.store_many([insertion({"v": 3})])
    assert fetch(store, "SELECT row_id, v, tsd_name FROM t ORDER BY row_id") == [(1, 1, "0"), (2, 2, "0"), (3, 3, "0")]


def test_positions_files_and_notes_are_committed_with_the_rows(store: PostgresStore) -> None:
    note = StoredBatch("t", 1, 5, path=Path("/archive/x.json"), tsd_hash="h")
    first = insertion({"v": 1}, position=5, batch=note)
    assert store.store_many([first])[0].rows == 1
    assert store.store_many([first])[0].replayed
    marked = insertion({"v": 2}, marker=FileMarker("a.json", "hash", rows=1))
    assert store.store_many([marked])[0].rows == 1
    assert store.store_many([marked])[0].replayed
    assert store.watermarks() == {"t": 5}
    with store.reader() as db:
        (kept,) = open_batches(db)
        assert (kept.rows, kept.tsd_hash, kept.path) == (1, "h", Path("/archive/x.json"))
        assert db.execute("SELECT name, rows, stored FROM _edgelake_files").fetchall() == [("a.json", 1, 1)]
    assert fetch(store, "SELECT v FROM t ORDER BY v") == [(1,), (2,)]


def test_a_transaction_that_fails_leaves_nothing(store: PostgresStore) -> None:
    def fails(done: object) -> None:
        raise OSError("no error folder")

    with pytest.raises(OSError, match="error folder"):
        store.store_many([insertion({"v": 1}, position=9)], before_commit=fails)
    assert store.tables == {}
    assert store.watermarks() == {}
    store.store_many([insertion({"v": 2}, position=9)])
    assert fetch(store, "SELECT v FROM t") == [(2,)]


def test_rows_that_the_database_refuses_are_kept_out_and_the_others_go_in(
    store: PostgresStore, empty: PostgresServer
) -> None:
    store.store_many([insertion({"v": 1})])
    empty.sql("ALTER TABLE t ADD CONSTRAINT small CHECK (v < 10)", "plant")
    wanted = insertion(*[{"v": n} for n in (2, 30, 4, 50)], position=3)
    with pytest.raises(RefusedError, match="small"):
        store.store_many([wanted])
    (done,) = store.store_many([wanted], sparing=True)
    assert sorted(row for row, _ in done.rejected) == [1, 3]
    assert fetch(store, "SELECT v FROM t ORDER BY v") == [(1,), (2,), (4,)]
    assert store.watermarks() == {"t": 3}


async def test_partitions_have_the_same_names_and_are_pruned(empty: PostgresServer, tmp_path: Path) -> None:
    async with asking(tmp_path, empty) as (stores, queries):
        store = stores.get("plant")
        await store.insert(insertion({"timestamp": "2024-01-01T00:00:00Z", "v": 0}))
        await stores.declare(Partitioning("plant", "t", "timestamp", Interval.parse("1 day")))
        rows = [{"timestamp": f"2024-01-{day:02d}T12:00:00Z", "v": day} for day in (3, 1, 2, 3)]
        await store.insert(insertion(*rows))
        names = [f"par_t_2024_01_{day:02d}_d01_timestamp" for day in (1, 2, 3)]
        assert list(store.table("t").physical_names) == names
        assert await store.row_counts(["t"]) == dict(zip(names, (2, 1, 2), strict=True))
        found = await answer(queries, "select v from t where timestamp >= '2024-01-03' order by v")
        assert found == [{"v": "3"}, {"v": "3"}]
        assert await store.execute("UPDATE t SET v = v + 10 WHERE v = 3") == 2
        assert await store.execute("INSERT INTO t (timestamp, v) VALUES ('2024-01-02 01:00:00', 7)") == 1
        assert await store.row_counts(["t"], whole=True) == {"t": 6}
        assert [p.name for p in await stores.drop_partitions("plant", "t", keep=1)] == names[:2]
        assert await answer(queries, "select v from t") == [{"v": "13"}, {"v": "13"}]
        assert {row[:2] for row in await store.dropped_partitions()} == {("t", name) for name in names[:2]}


async def test_names_that_the_server_would_cut(empty: PostgresServer, tmp_path: Path) -> None:
    long = "measured_in_the_second_hall_of_the_plant_in_the_north_by_the_old_line_" + "x" * 20
    async with asking(tmp_path, empty) as (stores, queries):
        store = stores.get("plant")
        await stores.declare(Partitioning("plant", "*", "timestamp", Interval.parse("1 month")))
        for value in (1, 2):
            row = {"timestamp": "2024-01-01T00:00:00Z", long + "a": value, long + "b": -value}
            await store.insert(insertion(row, table=long))
        sql = f'select "{long}a" as a, "{long}b" as b from "{long}" order by a'
        assert await answer(queries, sql) == [{"a": "1", "b": "-1"}, {"a": "2", "b": "-2"}]
        await stores.disconnect("plant")
        again = await stores.connect("plant", kind="psql", server=empty.server())
        assert list(again.tables) == [long]
        assert await answer(queries, sql) == [{"a": "1", "b": "-1"}, {"a": "2", "b": "-2"}]
        assert len(physical(long)) <= 63


async def test_tables_of_others_are_read_and_filled(empty: PostgresServer, tmp_path: Path) -> None:
    empty.sql("CREATE DATABASE plant")
    empty.sql(
        "CREATE TABLE meters (id uuid, at timestamptz, value real, small smallint, price numeric(8, 2), day date,"
        " note jsonb, on_line boolean); INSERT INTO meters VALUES ('9b2cf0a6-7c3e-4c5e-9a53-5b6f0a3d6c11',"
        " '2024-02-03 12:00:00+02', 1.5, 7, 12.50, '2024-02-03', '{\"a\": 1}', true)",
        "plant",
    )
    async with asking(tmp_path, empty) as (stores, queries):
        (row,) = await answer(queries, "select * from meters")
        assert row["at"] == "2024-02-03 10:00:00.000000"
        assert [row[name] for name in ("value", "small", "price", "day")] == ["1.5", "7", "12.5", "2024-02-03"]
        assert row["id"] == "9b2cf0a6-7c3e-4c5e-9a53-5b6f0a3d6c11"
        more = {"id": "00000000-0000-0000-0000-000000000001", "at": "2024-02-04T00:00:00Z", "value": 2, "price": 3.25}
        await stores.get("plant").insert(insertion(more, table="meters"))
        assert empty.sql("SELECT id, at, value, price FROM meters WHERE value = 2", "plant") == (
            "00000000-0000-0000-0000-000000000001|2024-02-04 00:00:00+00|2|3.25"
        )


async def test_statements_of_users(empty: PostgresServer, tmp_path: Path) -> None:
    async with asking(tmp_path, empty) as (stores, queries):
        assert await queries.change("plant", "create table made (a int, b text)") == 0
        assert await queries.change("plant", "insert into made values (1, 'x'), (2, 'y?')") == 2
        assert await queries.change("plant", "delete from made where a = 1") == 1
        assert await answer(queries, "select a, b from made") == [{"a": "2", "b": "y?"}]
        await stores.get("plant").insert(insertion({"timestamp": "2024-01-01T00:00:00Z", "v": 1}))
        assert await queries.change("plant", "insert into t (timestamp, v) values ('2024-01-02 10:00:00', 2)") == 1
        assert await queries.change("plant", "update t set v = 5 where timestamp > '2024-01-02'") == 1
        found = await answer(queries, "select timestamp, v from t order by timestamp desc")
        assert [row["v"] for row in found] == ["5", "1"]
        assert found[0]["timestamp"] == "2024-01-02 10:00:00.000000"
        with pytest.raises(NotPermittedError, match="more than one"):
            await queries.change("plant", "delete from made; drop table made")
        with pytest.raises(NotPermittedError):
            await queries.change("plant", "delete from _edgelake_journal")
        with pytest.raises(DatabaseError, match="nothing"):
            await queries.change("plant", "insert into nothing values (1)")


async def test_the_nodes_own_tables(empty: PostgresServer, tmp_path: Path) -> None:
    stores = Stores(lambda: tmp_path)
    await stores.connect("almgm", kind="psql", server=empty.server())
    table = TsdTable(stores.get("almgm"))
    await table.create()
    entries = [FileEntry("plant", "t", f"hash{n}", "0", "0", NOW_US + n) for n in range(3)]
    assert await table.add_many(entries) == [1, 2, 3]
    assert await table.add(entries[1]) == 2
    table.set_rows_blocking([("hash0", 10), ("hash2", 20)])
    assert await table.set_status("hash1", "01", None)
    assert [row["rows"] for row in await table.details(Selection())] == [20, 0, 10]
    assert (await table.summary(Selection()))[0][-1] == 30
    assert await table.safe_id() == 3
    assert await table.delete(3)
    assert await table.add(FileEntry("plant", "t", "hash9", "0", "0", NOW_US)) == 4

    await stores.connect("blockchain", kind="psql", server=empty.server())
    kept = ledger.LedgerTable(stores)
    await kept.create()
    rows = [("table", f"id{n}", "ACME", "2026-01-02T03:04:05.6Z", "host", "{}") for n in range(2)]
    assert await kept.change([], rows) == (1, 2)
    before = await kept.stamp()
    assert await kept.change(["id0"], []) == ()
    assert await kept.stamp() != before
    assert await kept.rows() == [(2, "{}")]
    with pytest.raises(DatabaseError):
        await kept.change([], rows[1:])
    await stores.close()


async def test_a_query_that_takes_too_long_is_stopped_at_the_server(empty: PostgresServer, tmp_path: Path) -> None:
    async with asking(tmp_path, empty) as (stores, queries):
        await stores.get("plant").insert(insertion(*[{"v": n} for n in range(5000)]))
        with pytest.raises(EdgeLakeError, match=r"took longer|timeout"):
            await answer(queries, "select count(*) from t a, t b, t c where a.v + b.v > c.v", "max_time = 1")
        assert (await answer(queries, "select count(*) as n from t"))[0]["n"] == "5000"
        busy = "SELECT count(*) FROM pg_stat_activity WHERE datname = 'plant' AND state = 'active'"
        while empty.sql(busy) != "0":  # noqa: ASYNC110 - the server tells nobody when it has stopped
            await asyncio.sleep(0.05)


def test_what_cannot_be_reached_is_said(empty: PostgresServer) -> None:
    with pytest.raises(DatabaseError, match=r"password authentication failed.*check user and password"):
        PostgresStore("plant", empty.server(password="wrong"))
    with pytest.raises(DatabaseAwayError, match=r"127\.0\.0\.1:9.*server runs"):
        PostgresStore("plant", empty.server(port=9))
    with pytest.raises(DatabaseMissingError):
        PostgresStore.drop_database("plant", empty.server())


async def test_a_server_that_lets_nobody_in_is_not_waited_for(empty: PostgresServer, tmp_path: Path) -> None:
    stores = Stores(lambda: tmp_path)
    with pytest.raises(DatabaseError, match="password authentication failed") as refused:
        await stores.connect_or_wait("plant", kind="psql", server=empty.server(password="wrong"))
    assert not isinstance(refused.value, DatabaseAwayError)
    empty.sql("CREATE ROLE guest LOGIN PASSWORD 'guest'")
    with pytest.raises(DatabaseError, match="permission denied to create database"):
        await stores.connect_or_wait("plant", kind="psql", server=empty.server(user="guest", password="guest"))
    empty.sql("DROP ROLE guest")
    assert stores.databases() == []
    await stores.close()


async def test_a_server_that_is_away_is_waited_for(tmp_path: Path) -> None:
    server = PostgresServer()
    server.crash()
    stores, there = Stores(lambda: tmp_path), asyncio.Event()
    stores.on_wait = lambda name, waits: None if waits else there.set()
    assert "refused" in await stores.connect_or_wait("plant", kind="psql", server=server.server())
    assert "refused" in await stores.connect_or_wait("plant", kind="psql", server=server.server())
    (row,) = stores.databases()
    assert (row.name, row.kind, row.address) == ("plant", "psql", f"127.0.0.1:{server.port}")
    assert row.storage.startswith("Not connected: plant at")
    with pytest.raises(DatabaseAwayError, match="disconnect dbms plant"):
        stores.get("plant")
    with pytest.raises(DatabaseError, match="waits for its server"):
        await stores.connect("plant")
    await stores.declare(Partitioning("plant", "t", "nothing", Interval.parse("1 day")))
    await stores.later("plant", lambda store: store.change(lambda tx: tx.create_table("t", [ColumnInfo("v", "int")])))
    await asyncio.to_thread(server.start)
    async with asyncio.timeout(40):
        await there.wait()
    assert list(stores.get("plant").tables) == ["t"]
    assert [row.storage for row in stores.databases()] == ["Persistent"]
    server.crash()
    await stores.disconnect("plant")
    await stores.connect_or_wait("plant", kind="psql", server=server.server())
    await stores.disconnect("plant")
    assert stores.databases() == []
    await stores.connect("plant")  # in a file now
    await stores.close()
    server.stop()


async def test_one_statement_reads_tables_of_two_servers(empty: PostgresServer, tmp_path: Path) -> None:
    """Two servers of their own, and a file of SQLite beside them."""
    far = PostgresServer()
    try:
        async with asking(tmp_path, empty) as (stores, queries):
            await stores.connect("far", kind="psql", server=far.server())
            await stores.connect("here", memory=True)
            for dbms, values in (("plant", (1, 2, 3)), ("far", (3, 4)), ("here", (5,))):
                rows = [{"v": value, "n": dbms, "at": "2024-02-03T10:11:12Z"} for value in values]
                await stores.get(dbms).insert(insertion(*rows))
            both = "stat = false and include = (far.t, here.t)"
            assert await answer(queries, "select count(*) as n, sum(v) as s, avg(v) as a from t", both) == [
                {"n": "6", "s": "18", "a": "3.0"}
            ]
            named = f"{both} and extend = (@dbms_name)"
            assert await answer(queries, "select max(v) as m from t order by dbms_name", named) == [
                {"dbms_name": "far", "m": "4"},
                {"dbms_name": "here", "m": "5"},
                {"dbms_name": "plant", "m": "3"},
            ]
            assert await answer(queries, "select v from t where v > 2 order by v desc limit 3", both) == [
                {"v": "5"},
                {"v": "4"},
                {"v": "3"},
            ]
            joined = "select a.v as v, b.n as n from t as a join far.t as b on a.v = b.v"
            assert await answer(queries, joined) == [{"v": "3", "n": "far"}]
            far.crash()
            with pytest.raises(EdgeLakeError) as failure:
                await answer(queries, "select count(*) from t", both)
            assert str(far.port) in str(failure.value)
            assert await answer(queries, "select count(*) as n from t") == [{"n": "3"}]
    finally:
        far.stop()


async def test_kinds_do_not_mix(empty: PostgresServer, tmp_path: Path) -> None:
    async with asking(tmp_path, empty) as (stores, _):
        assert await stores.connect("plant", kind="psql", server=empty.server()) is stores.get("plant")
        with pytest.raises(DatabaseError, match="type psql"):
            await stores.connect("plant")
        with pytest.raises(CommandError, match="memory"):
            await stores.connect("fast", kind="psql", memory=True)
        with pytest.raises(DatabaseError, match="is connected"):
            await stores.drop("plant", kind="psql", server=empty.server())
        await stores.disconnect("plant")
        await stores.drop("plant", kind="psql", server=empty.server())
        assert empty.sql("SELECT count(*) FROM pg_database WHERE datname = 'plant'") == "0"


async def test_a_server_that_comes_back_is_used_again() -> None:
    server = PostgresServer()
    store: Store = await asyncio.to_thread(PostgresStore, "plant", server.server())
    await store.insert(insertion({"v": 1}))
    assert await store.row_counts(["t"]) == {"t": 1}
    server.crash()
    for _ in range(2):
        with pytest.raises(DatabaseError) as failed:
            await store.insert(insertion({"v": 2}))
        assert not isinstance(failed.value, RefusedError)  # the rows are not to blame: they are kept and tried again
    with pytest.raises(DatabaseError):
        await store.read(lambda db: db.execute("SELECT * FROM t").fetchall())
    server.start()
    await store.insert(insertion({"v": 3}))
    assert await store.read(lambda db: db.execute("SELECT v FROM t ORDER BY v").fetchall()) == [(1,), (3,)]
    server.crash()  # with a reader's connection kept for the next question
    server.start()
    assert await store.row_counts(["t"]) == {"t": 2}
    await store.close()
    server.stop()


@pytest.mark.parametrize("takes_place", [True, False], ids=["committed", "lost"])
async def test_a_commit_whose_answer_is_lost_is_asked_for(empty: PostgresServer, *, takes_place: bool) -> None:
    relay = Relay(empty.port)
    await relay.start()
    store = await asyncio.to_thread(PostgresStore, "plant", empty.server(port=relay.port))
    await store.insert(insertion({"v": 1}, position=1))
    if takes_place:
        relay.drop_answers_of = b"COMMIT"
        assert (await store.insert(insertion({"v": 2}, position=2))).rows == 1
    else:
        relay.swallow = b"COMMIT"
        with pytest.raises(DatabaseError) as failed:
            await store.insert(insertion({"v": 2}, position=2))
        assert not isinstance(failed.value, RefusedError)
    assert relay.cut.is_set()
    relay.swallow = relay.drop_answers_of = b""
    again = await store.insert(insertion({"v": 2}, position=2))
    assert again.replayed == takes_place
    assert empty.sql("SELECT v FROM t ORDER BY v", "plant").split() == ["1", "2"]
    await store.close()
    assert empty.sql("SELECT count(*) FROM _edgelake_commits", "plant") == "0"
    await relay.stop()


async def test_what_a_lost_connection_held_is_let_go(empty: PostgresServer) -> None:
    store = await asyncio.to_thread(PostgresStore, "plant", empty.server())
    await store.insert(insertion({"v": 1}))

    def loses(tx: Any) -> None:
        tx.execute("UPDATE t SET v = 5")  # and its lock stays with a server that does not notice
        kept.append(tx.connection.raw)
        tx.connection.raw = dead

    dead = psycopg.connect(**empty.login, dbname="plant")
    dead.close()
    kept: list[Any] = []
    with pytest.raises(DatabaseError):
        await store.change(loses)
    await store.change(lambda tx: tx.execute("UPDATE t SET v = v + 1").fetchall())
    assert await store.read(lambda db: db.execute("SELECT v FROM t").fetchall()) == [(2,)]
    await store.close()


async def test_times_of_partitions_far_away(empty: PostgresServer, tmp_path: Path) -> None:
    async with asking(tmp_path, empty) as (stores, queries):
        await stores.declare(Partitioning("plant", "t", "timestamp", Interval.parse("1 year")))
        times = ["1969-06-01T00:00:00Z", "1971-06-01T00:00:00Z", "2300-06-01T00:00:00Z"]
        await stores.get("plant").insert(insertion(*[{"timestamp": t, "v": n} for n, t in enumerate(times)]))
        assert len(stores.get("plant").table("t").partitions) == 3
        far = "select v from t where timestamp < '1970-01-01' or timestamp > '2299-01-01' order by v"
        found = await answer(queries, far)
        assert [row["v"] for row in found] == ["0", "2"]
