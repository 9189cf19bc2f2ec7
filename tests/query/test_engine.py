"""Grouped scans and readers on real connections: the answers are SQLite's own, whatever the rows hold."""

from __future__ import annotations

import json
import os
import struct
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import apsw
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgelake._rust import BatchTable, GroupScan, RowReader
from edgelake.errors import (
    DatabaseError,
    EdgeLakeError,
    QueryError,
    QueryStoppedError,
    QueryTooLargeError,
)
from edgelake.store import engine

ENDLESS = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT i FROM n"
FUNCTIONS = ("count", "count_distinct", "min", "max", "sum", "avg")


@pytest.fixture
def db() -> Iterator[apsw.Connection]:
    engine.load_native()
    with apsw.Connection(":memory:") as connection:
        yield connection
    connection.close()


def group_spec(keys: Sequence[Any], aggregates: Sequence[tuple[str, int | None]]) -> str:
    listed = [{"function": function, "column": column} for function, column in aggregates]
    return json.dumps({"keys": keys, "aggregates": listed})


def grouped(
    db: apsw.Connection, sql: str, keys: Sequence[Any], aggregates: Sequence[tuple[str, int | None]]
) -> list[list[Any]]:
    scan = GroupScan(group_spec(keys, aggregates))
    scan.scan(db.sqlite3_pointer(), sql)
    return [list(row.values()) for row in scan.finish().to_list()]


def render_spec(outputs: Sequence[tuple[str, ...]], **options: Any) -> str:
    """From (title, kind, cast, cast ...)."""
    listed = [{"title": title, "kind": kind, "casts": casts} for title, kind, *casts in outputs]
    return json.dumps({"outputs": listed, "zone": "utc", **options})


def read(db: apsw.Connection, sql: str, spec: str, values: Sequence[Any] = (), max_bytes: int = 1 << 16) -> bytes:
    reader = RowReader(db.sqlite3_pointer(), sql, spec, list(values))
    return b"".join(iter(lambda: reader.next(max_bytes) or b"", b""))


def stop_once_it_runs(db: apsw.Connection, work: Callable[[], object]) -> BaseException | None:
    """Run work in a thread, interrupt it in the middle, return what it raised."""
    runs = threading.Event()
    raised: list[BaseException] = []

    def job() -> None:
        try:
            work()
        except EdgeLakeError as error:
            raised.append(error)

    # The handler is called from inside the statement and needs the interpreter, which the scan must have let go.
    db.set_progress_handler(lambda: bool(runs.set()), 1000)
    thread = threading.Thread(target=job)
    thread.start()
    assert runs.wait(30)
    db.interrupt()
    thread.join(30)
    assert not thread.is_alive()
    return raised[0] if raised else None


# ---- groups

VALUES = st.one_of(
    st.none(),
    st.integers(-5, 5),
    st.integers(-(2**40), 2**40),
    st.floats(allow_nan=False, allow_infinity=False, min_value=-1e9, max_value=1e9),
    st.integers(-4, 4).map(lambda n: n / 2),
    st.text(max_size=4),
    st.sampled_from(["12", "-1.5e1x", "b", "B", ""]),
)


@given(st.lists(st.tuples(VALUES, VALUES), max_size=40), st.booleans())
def test_groups_are_those_of_sqlite(rows: list[tuple[Any, Any]], by_key: bool) -> None:
    engine.load_native()
    db = apsw.Connection(":memory:")
    db.execute("CREATE TABLE t (a, b)")
    db.executemany("INSERT INTO t VALUES (?, ?)", rows)
    # Sums as floats: SQLite fails where its integer sum overflows.
    asked = "count(*), count(b), count(DISTINCT b), min(b), max(b), total(b), avg(b)"
    sql = f"SELECT a, {asked} FROM t GROUP BY a ORDER BY a" if by_key else f"SELECT {asked} FROM t"
    expected = [list(row) for row in db.execute(sql)]
    got = grouped(
        db,
        "SELECT a, b FROM t",
        [{"column": 0}] if by_key else [],
        [("count_rows", None), *((function, 1) for function in FUNCTIONS)],
    )
    for row in (*got, *expected):
        row[-2:] = [float(value or 0) for value in row[-2:]]
    assert len(got) == len(expected)
    for ours, theirs in zip(got, expected, strict=True):
        assert ours[:-2] == theirs[:-2]
        assert ours[-2:] == pytest.approx(theirs[-2:], rel=1e-12, abs=1e-4)
    db.close()


@given(st.lists(st.tuples(st.integers(-(10**13), 10**16), st.integers(-100, 100)), max_size=60))
def test_buckets_are_those_of_the_divided_time(rows: list[tuple[int, int]]) -> None:
    engine.load_native()
    db = apsw.Connection(":memory:")
    db.execute("CREATE TABLE t (us, v)")
    db.executemany("INSERT INTO t VALUES (?, ?)", rows)
    floor = "(us - ((us % 60000000) + 60000000) % 60000000)"
    sql = f"SELECT count(*), min(us), max(us), sum(v) FROM t GROUP BY {floor} ORDER BY {floor}"
    bucket = {"bucket": {"column": 0, "unit": "minute", "n": 1}}
    got = grouped(db, "SELECT us, v FROM t", [bucket], [("count_rows", None), ("min", 0), ("max", 0), ("sum", 1)])
    assert [tuple(row[1:]) for row in got] == db.execute(sql).fetchall()
    db.close()


def test_ranges_scanned_by_threads_merge_to_the_whole(tmp_path: Path) -> None:
    path = tmp_path / "t.db"
    writer = engine.open_writer(str(path))
    writer.execute("CREATE TABLE t (id INTEGER PRIMARY KEY, name TEXT, v REAL)")
    writer.executemany("INSERT INTO t VALUES (?, ?, ?)", ((i, f"n{i % 7}", i / 8) for i in range(20_000)))
    spec = group_spec([{"column": 0}], [("count_rows", None), ("sum", 1), ("min", 1), ("count_distinct", 1)])
    whole = GroupScan(spec)
    counts = []

    def job(low: int, high: int) -> None:
        reader = engine.open_reader(str(path))
        sql = "SELECT name, v FROM t WHERE id BETWEEN ? AND ?"
        counts.append(whole.scan(reader.sqlite3_pointer(), sql, [low, high]))
        reader.close()

    threads = [threading.Thread(target=job, args=(low, low + 4999)) for low in range(0, 20_000, 5000)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert counts == [5000] * 4
    assert len(whole) == 7
    sql = "SELECT name, count(*), sum(v), min(v), count(DISTINCT v) FROM t GROUP BY name ORDER BY name"
    assert [tuple(row.values()) for row in whole.finish().to_list()] == writer.execute(sql).fetchall()
    writer.close()


def test_scans_of_one_question_merge(db: apsw.Connection) -> None:
    spec = group_spec([], [("sum", 0), ("avg", 0), ("range", 0)])
    first, second = GroupScan(spec), GroupScan(spec)
    first.scan(db.sqlite3_pointer(), "VALUES (1), (2)")
    second.scan(db.sqlite3_pointer(), "VALUES (?), (?)", [6, None])
    first.merge(second)
    with pytest.raises(QueryError):
        second.finish()
    assert first.finish().to_list() == [{"c0": 9, "c1": 3.0, "c2": 5}]
    with pytest.raises(QueryError):
        first.scan(db.sqlite3_pointer(), "VALUES (1)")


def test_groups_pass_through_the_merge_query(db: apsw.Connection) -> None:
    scan = GroupScan(group_spec([{"column": 0}], [("sum", 1), ("max", 1)]))
    scan.scan(db.sqlite3_pointer(), "VALUES ('b', 1), ('a', 2.5), (NULL, 3), ('b', NULL), ('', 0)")
    batch = BatchTable(db.sqlite3_pointer())
    batch.load(scan.finish())
    batch.take(0)
    sql = "SELECT c0, c1 + 1 FROM edgelake_batch WHERE c2 > 0 ORDER BY c0 DESC LIMIT 2"
    spec = render_spec([("name", "text"), ("more", "decimal")], format="json:output")
    assert read(db, sql, spec) == b'{"name": "b", "more": 2}\n{"name": "a", "more": 3.5}'


def test_integer_sums_beyond_64_bits_become_floats(db: apsw.Connection) -> None:
    assert grouped(db, f"VALUES ({2**63 - 1}), (1)", [], [("sum", 0)]) == [[float(2**63)]]
    assert grouped(db, f"VALUES ({2**63 - 1}), (1), (-1)", [], [("sum", 0)]) == [[2**63 - 1]]


def test_groups_are_bounded_in_memory(db: apsw.Connection) -> None:
    counted = [("count_rows", None)]
    scan = GroupScan(group_spec([{"column": 0}], counted), limit_bytes=1 << 20)
    with pytest.raises(QueryTooLargeError, match="1048576 bytes"):
        scan.scan(db.sqlite3_pointer(), ENDLESS)
    # What the failed scan held is free again, and the object goes on.
    assert scan.scan(db.sqlite3_pointer(), "VALUES (1), (1)") == 2
    assert scan.finish().to_list() == [{"c0": 1, "c1": 2}]


def test_a_scan_stops_when_its_connection_is_interrupted(db: apsw.Connection) -> None:
    scan = GroupScan(group_spec([], [("count_rows", None)]))
    error = stop_once_it_runs(db, lambda: scan.scan(db.sqlite3_pointer(), ENDLESS))
    assert isinstance(error, QueryStoppedError)
    assert scan.finish().to_list() == [{"c0": 0}]


@pytest.mark.parametrize(
    ("sql", "values", "says"),
    [
        ("SELECT missing", [], "no such column"),
        ("SELECT 1; SELECT 2", [], "more than one"),
        ("SELECT 1; nonsense", [], "more than one"),
        ("DELETE FROM t RETURNING 1", [], "only statements that read"),
        ("BEGIN", [], "only statements that read"),
        ("", [], "no statement"),
        ("-- nothing", [], "no statement"),
        ("SELECT ?", [], "1 parameters; 0"),
        ("SELECT 1", [1], "0 parameters; 1"),
        ("SELECT '\0'", [], "zero byte"),
        ("SELECT abs(-9223372036854775808)", [], "overflow"),
    ],
)
def test_statements_that_cannot_be_run_say_why(db: apsw.Connection, sql: str, values: list[Any], says: str) -> None:
    db.execute("CREATE TABLE t (a)")
    with pytest.raises(DatabaseError, match=says):
        GroupScan(group_spec([], [("sum", 0)])).scan(db.sqlite3_pointer(), sql, values)
    with pytest.raises(DatabaseError, match=says):
        read(db, sql, render_spec([("a", "int")]), values)


def test_specs_that_make_no_sense_are_refused(db: apsw.Connection) -> None:
    pointer = db.sqlite3_pointer()
    for spec in ("{", '{"keys": []}', group_spec([{"column": -1}], [])):
        with pytest.raises(ValueError, match="wrong group spec"):
            GroupScan(spec)
    with pytest.raises(QueryError, match="needs a column"):
        GroupScan(group_spec([], [("sum", None)]))
    with pytest.raises(QueryError, match="1 columns, its groups need 3"):
        GroupScan(group_spec([], [("sum", 2)])).scan(pointer, "SELECT 1")
    bucket = {"bucket": {"column": 0, "unit": "day", "n": 1}}
    with pytest.raises(QueryError, match="time column"):
        GroupScan(group_spec([bucket], [])).scan(pointer, "SELECT 'monday'")
    with pytest.raises(ValueError, match="closed"):
        GroupScan(group_spec([], [])).scan(0, "SELECT 1")
    with pytest.raises(ValueError, match="of type list"):
        GroupScan(group_spec([], [])).scan(pointer, "SELECT ?", [[]])  # type: ignore[list-item]
    with pytest.raises(EdgeLakeError, match="no column 'b'"):
        RowReader(pointer, "SELECT 1", render_spec([("a", "int", "function([b])")]))
    with pytest.raises(ValueError, match="wrong render spec"):
        RowReader(pointer, "SELECT 1", render_spec([("a", "money")]))


# ---- rows as text


@given(st.lists(st.tuples(VALUES, VALUES), min_size=1, max_size=20), st.integers(1, 300))
def test_pieces_join_to_the_same_json(rows: list[tuple[Any, Any]], max_bytes: int) -> None:
    engine.load_native()
    db = apsw.Connection(":memory:")
    db.execute("CREATE TABLE t (a, b)")
    db.executemany("INSERT INTO t VALUES (?, ?)", rows)
    spec = render_spec([("a", "any"), ("b", "any")], json_null="null")
    got = json.loads(read(db, "SELECT a, b FROM t", spec, max_bytes=max_bytes))
    assert got == {"Query": [{"a": a, "b": b} for a, b in rows]}
    db.close()


def test_texts_blobs_nulls_and_broken_utf8(db: apsw.Connection) -> None:
    big = "ä" * 3_000_000
    sql = "SELECT ?1, CAST(x'41ff42' AS TEXT), x'00ff', NULL, '', CAST(x'c328' AS TEXT)"
    titles = ["big", "broken", "blob", "nothing", "empty", "more"]
    spec = render_spec([(title, "any") for title in titles], format="json:output")
    row = json.loads(read(db, sql, spec, [big]))
    assert row == {"big": big, "broken": "A�B", "blob": "00ff", "nothing": "", "empty": "", "more": "�("}
    reader = RowReader(db.sqlite3_pointer(), sql, spec, [big])
    block = reader.block(10)
    assert block is not None
    assert [column[3] for column in block] == [[big], ["A�B"], [b"\x00\xff"], [None], [""], ["�("]]
    assert grouped(db, "VALUES (CAST(x'ff' AS TEXT)), (CAST(x'ff' AS TEXT))", [{"column": 0}], []) == [["�"]]
    with pytest.raises(QueryError, match="binary"):
        grouped(db, "SELECT x'00'", [{"column": 0}], [])


def test_a_statement_may_end_in_a_comment(db: apsw.Connection) -> None:
    spec = render_spec([("a", "int")], format="json:output")
    assert read(db, "SELECT 1 ; /* one */ -- and\n ; ", spec) == b'{"a": 1}'


def test_parameters_of_every_type(db: apsw.Connection) -> None:
    values = [None, True, -(2**63), 1.5, "ö", b"\x01"]
    spec = render_spec([(str(at), "any") for at in range(6)], format="json:output", json_null="null")
    row = json.loads(read(db, "SELECT ?, ?, ?, ?, ?, ?", spec, values))
    assert list(row.values()) == [None, 1, -(2**63), 1.5, "ö", "01"]
    with pytest.raises(OverflowError):
        read(db, "SELECT ?", spec, [2**63])


def test_a_reader_stops_when_its_connection_is_interrupted(db: apsw.Connection) -> None:
    reader = RowReader(db.sqlite3_pointer(), ENDLESS, render_spec([("i", "int")]))
    assert isinstance(stop_once_it_runs(db, lambda: reader.next(1 << 40)), QueryStoppedError)
    assert reader.next() is None


def test_a_failed_cast_names_itself_and_ends_the_reader(db: apsw.Connection) -> None:
    spec = render_spec([("a", "text", "int")], format="json:output")
    reader = RowReader(db.sqlite3_pointer(), "VALUES ('1'), ('x')", spec)
    assert reader.next(1) == b'{"a": 1}'
    with pytest.raises(EdgeLakeError, match="::int' of 'x'") as caught:
        reader.next()
    assert caught.value.number == 194
    assert reader.next() is None
    with pytest.raises(EdgeLakeError, match="1 binary bytes"):
        read(db, "VALUES (x'00')", render_spec([("a", "any", "str")]))


def test_statistics_count_rows_and_time_before(db: apsw.Connection) -> None:
    spec = render_spec([("a", "int")], statistics=True)
    reader = RowReader(db.sqlite3_pointer(), "VALUES (1), (2)", spec, elapsed_s=3600)
    text = reader.next()
    assert text is not None
    assert json.loads(text)["Statistics"] == [{"Count": 2, "Time": "01:00:00", "Nodes": 1}]
    assert reader.rows == 2


def test_close_lets_the_connection_go(db: apsw.Connection) -> None:
    db.execute("CREATE TABLE t AS VALUES (1), (2)")
    reader = RowReader(db.sqlite3_pointer(), "SELECT * FROM t", render_spec([("a", "int")]))
    assert reader.next(1)
    with pytest.raises(apsw.LockedError):
        db.execute("DROP TABLE t")
    reader.close()
    reader.close()
    db.execute("DROP TABLE t")
    assert reader.next() is None
    assert reader.block(1) is None


def test_a_large_result_does_not_grow_the_memory(db: apsw.Connection) -> None:
    sql = f"WITH r AS ({ENDLESS} LIMIT 100000) SELECT i, hex(zeroblob(1000)) FROM r"
    reader = RowReader(db.sqlite3_pointer(), sql, render_spec([("i", "int"), ("text", "text")]))
    assert reader.next()
    before, size, grown = resident_bytes(), 0, 0
    while (piece := reader.next()) is not None:
        size += len(piece)
        assert len(piece) < 300_000
        grown = max(grown, resident_bytes() - before)
    assert size > 150 << 20
    assert grown < 30 << 20


def resident_bytes() -> int:
    with open("/proc/self/statm", "rb") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


# ---- rows as columns


def test_blocks_hold_machine_values(db: apsw.Connection) -> None:
    sql = "SELECT * FROM (VALUES (1, 0.5, 1, 'x', 60000000), (NULL, NULL, 0, NULL, NULL), (3, 4, 1, 'z', 0))"
    kinds = ["int", "float", "bool", "text", "timestamp"]
    spec = render_spec([(kind, kind) for kind in kinds])
    reader = RowReader(db.sqlite3_pointer(), sql, spec)
    first, second, third = reader.block(2), reader.block(2), reader.block(2)
    assert third is None
    assert first is not None
    assert second is not None
    assert reader.rows == 3
    assert [column[:3] for column in first] == [
        ("int", "bigint", "q"),
        ("float", "float", "d"),
        ("bool", "boolean", "?"),
        ("text", "varchar", "O"),
        ("timestamp", "timestamp", "q"),
    ]
    values, nulls = [column[3] for column in first], [column[4] for column in first]
    assert values[0] == struct.pack("=2q", 1, 0)
    assert isinstance(values[1], bytes)
    assert struct.unpack("=2d", values[1])[0] == 0.5
    assert values[2:] == [b"\x01\x00", ["x", None], struct.pack("=2q", 60_000_000, 0)]
    assert nulls == [b"\x00\x01", b"\x00\x01", None, b"\x00\x01", b"\x00\x01"]
    assert [column[3] for column in second][:2] == [struct.pack("=q", 3), struct.pack("=d", 4.0)]
