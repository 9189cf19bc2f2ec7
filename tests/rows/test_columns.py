"""Columns of arrays and of Python objects, to rows and back: nothing is lost on the way to JSON."""

from __future__ import annotations

import dataclasses
import datetime as dt
import decimal
import enum
import json
import math
import uuid
from collections import OrderedDict, namedtuple
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgelake._cython.rows import column_from_objects, columns_from_records, objects_from_column, records_from_columns
from edgelake._rust import Rows
from edgelake.errors import PayloadError
from edgelake.ingest.payload import payload_of, payloads

UTC = dt.UTC
TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=8)
MOMENTS = st.datetimes(timezones=st.sampled_from([UTC, dt.timezone(dt.timedelta(hours=5, minutes=30))])).filter(
    lambda t: dt.datetime(1, 1, 3) < t.replace(tzinfo=None) < dt.datetime(9999, 12, 29)
)
SCALARS = {
    "i": st.integers(-(2**63), 2**63 - 1),
    "f": st.floats(allow_nan=False, allow_infinity=False),
    "b": st.booleans(),
    "s": TEXT.filter(bool),
    "t": MOMENTS,
}


def lines(payload: bytes) -> list[dict[str, Any]]:
    """Rows of a payload, nulls left out."""
    rows = (json.loads(line) for line in payload.splitlines())
    return [{name: value for name, value in row.items() if value is not None} for row in rows]


def as_json(value: Any) -> Any:
    """A value as its JSON text says it."""
    if isinstance(value, dt.datetime):
        return value.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
    return value


OPTIONAL = {name: st.none() | values for name, values in SCALARS.items() if name != "i"}


@given(st.lists(st.fixed_dictionaries({"i": SCALARS["i"]}, optional=OPTIONAL), min_size=1))
def test_records_become_columns_and_come_back(records: list[dict[str, Any]]) -> None:
    names = {name for record in records for name in record}
    columns = columns_from_records(records)
    assert records_from_columns(columns) == [{name: r.get(name) for name in names} for r in records]
    shown = lines(Rows.from_columns(columns).to_json_lines())
    for row, record in zip(shown, records, strict=True):
        wanted = {name: as_json(value) for name, value in record.items() if value is not None}
        assert row == wanted
        assert {k: type(v) for k, v in row.items()} == {k: type(v) for k, v in wanted.items()}


ANY = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXT | MOMENTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=5,
)


@given(st.lists(ANY, min_size=1, max_size=8))
def test_values_of_several_kinds_keep_their_own(values: list[Any]) -> None:
    rows = lines(
        Rows.from_columns(
            [column_from_objects("c", values), ("n", "b1", bytes(len(values)), None, None)]
        ).to_json_lines()
    )
    for row, value in zip(rows, values, strict=True):
        if value is None or value == "":
            assert "c" not in row
        elif not isinstance(value, list | dict | dt.datetime):
            assert row["c"] == value
            assert type(row["c"]) is type(value)
    back = objects_from_column(column_from_objects("c", values))
    assert len(back) == len(values)


def lines_of(**columns: Any) -> list[dict[str, Any]]:
    return lines(payload_of(columns))


@given(st.lists(st.floats(width=64)), st.lists(st.integers(-(2**63), 2**63 - 1)))
def test_arrays_keep_floats_and_integers_exactly(floats: list[float], ints: list[int]) -> None:
    shown = lines_of(x=np.array(floats, dtype="f8"), k=np.ones(len(floats), dtype="?"))
    assert [row.get("x") for row in shown] == [value if math.isfinite(value) else None for value in floats]
    assert all(type(row["x"]) is float for row in shown if "x" in row)
    assert [row["x"] for row in lines_of(x=np.array(ints, dtype="i8"))] == ints


@given(st.lists(TEXT))
def test_arrays_of_text_in_every_form(texts: list[str]) -> None:
    wanted = [text or None for text in texts]
    flag = np.ones(len(texts), dtype="?")
    for array in (
        np.array(texts, dtype="U8"),
        np.array(texts, dtype=">U9"),
        np.array([t.encode() for t in texts], dtype="S40"),
        np.array(texts, dtype=object),
        np.array(texts, dtype=np.dtypes.StringDType()),
    ):
        assert [row.get("x") for row in lines_of(x=array, k=flag)] == wanted


@pytest.mark.parametrize("unit", ["Y", "M", "W", "D", "h", "m", "s", "ms", "us", "ns", "25s"])
@given(days=st.lists(st.integers(-100_000, 100_000)))
def test_times_of_every_unit_are_the_instants_that_numpy_means(unit: str, days: list[int]) -> None:
    array = np.array(days, dtype="M8[D]").astype(f"M8[{unit}]")
    micros = array.astype("M8[us]").astype("i8").tolist()
    rows = Rows.from_columns([("t", array.dtype.str[1:], array.view("u1") if days else b"", None, None)])
    assert [row["t"] for row in rows.to_list()] == micros


def test_times_are_iso_text_and_not_a_time_is_null() -> None:
    array = np.array(["2026-01-02T03:04:05.678901", "NaT"], dtype="M8[ns]")
    assert lines_of(t=array, k=np.array([1, 2])) == [{"t": "2026-01-02T03:04:05.678901Z", "k": 1}, {"k": 2}]


@pytest.mark.parametrize("kind", ["?", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "f2", "f4", "f8", "g"])
def test_numbers_of_every_width_and_order_and_stride(kind: str) -> None:
    array = np.array([0, 1, 1, 0, 1], dtype=kind)
    wanted = array.tolist() if kind != "g" else [0.0, 1.0, 1.0, 0.0, 1.0]
    for form in (array, array.astype(array.dtype.newbyteorder(">")), np.repeat(array, 2)[::2], array[::-1][::-1]):
        shown = [row["x"] for row in lines_of(x=form)]
        assert shown == wanted
        assert [type(x) for x in shown] == [type(x) for x in wanted]


def test_large_unsigned_numbers_keep_their_digits() -> None:
    assert [row["x"] for row in lines_of(x=np.array([1, 2**64 - 1], dtype="u8"))] == [1, 2**64 - 1]


def test_masked_values_and_lists_beside_arrays() -> None:
    masked = np.ma.array([1.0, 2.0, 3.0], mask=[False, True, False])
    shown = lines_of(x=masked, y=[None, "a", 2], z=np.ma.array([7, 8, 9]))
    assert shown == [{"x": 1.0, "z": 7}, {"y": "a", "z": 8}, {"x": 3.0, "y": 2, "z": 9}]


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"a": np.zeros(2), "b": np.zeros(3)}, "column 'b': 3 values beside 2 of the first column"),
        ({"a b": np.zeros(2), "a.b": np.zeros(2)}, "column 'a.b': is called 'a_b', as 'a b' is"),
        ({"": np.zeros(1)}, "a column without a name"),
        ({"a": np.zeros((2, 2))}, "column 'a' has 2 dimensions"),
        ({"a": np.zeros(1, dtype="c16")}, "column 'a': values of the type 'c16' can't be stored"),
        ({"a": np.zeros(1, dtype="m8[s]")}, "values of the type 'm8"),
        ({"a": np.array([2**62], dtype="M8[s]")}, "column 'a': row 0: a time outside of the years 1 to 9999"),
        ({"a": np.array([b"\xff"])}, "column 'a': row 0: a text that is not UTF-8"),
        ({"a": np.array([object()])}, "column 'a', row 0: a value of type object can't be stored"),
        ({"a": np.zeros(1), "b": [b"x"]}, "column 'b', row 0: a value of type bytes can't be stored"),
    ],
)
def test_what_cannot_be_stored_is_named(columns: dict[str, Any], message: str) -> None:
    with pytest.raises(PayloadError) as raised:
        payload_of(columns)
    assert message in str(raised.value)


class Struct(msgspec.Struct):
    a: int
    b: str | None = None


@dataclasses.dataclass
class Data:
    a: int
    b: str | None = None


Named = namedtuple("Named", ["a", "b"])


@pytest.mark.parametrize(
    "make", [Struct, Data, Named, lambda a, b: {"a": a, "b": b}, lambda a, b: OrderedDict(a=a, b=b)]
)
def test_records_of_every_kind(make: Any) -> None:
    wanted = [{"a": 1, "b": "x"}, {"a": 2}]
    assert lines(payload_of([make(1, "x"), make(2, None)])) == wanted
    assert lines(payload_of(make(2, None))) == wanted[1:]
    assert lines(payload_of(make(n, None) for n in (2,))) == wanted[1:]


class Colour(enum.IntEnum):
    RED = 3


@pytest.mark.parametrize(
    ("value", "stored"),
    [
        (math.nan, None),
        (math.inf, None),
        (1.0, 1.0),
        (-0.0, -0.0),
        (1e300, 1e300),
        (2**70, 2**70),
        (np.int32(5), 5),
        (np.float32(0.5), 0.5),
        (np.float64(1), 1.0),
        (np.bool_(True), True),
        (np.str_("x"), "x"),
        (np.datetime64("2026-01-02T03:04:05", "us"), "2026-01-02 03:04:05"),
        (Colour.RED, 3),
        (decimal.Decimal("1.50"), 1.5),
        (decimal.Decimal("12"), 12),
        (decimal.Decimal("NaN"), None),
        (uuid.UUID(int=1), str(uuid.UUID(int=1))),
        (dt.date(2026, 1, 2), "2026-01-02"),
        (dt.datetime(2026, 1, 2, 3), "2026-01-02 03:00:00"),
        (dt.datetime(2026, 1, 2, 3, tzinfo=UTC), "2026-01-02T03:00:00.000000Z"),
        (Struct(1), {"a": 1, "b": None}),
        ([1, {"k": 2.0}], [1, {"k": 2.0}]),
        ("é\0x", "éx"),
    ],
)
def test_values_of_python_objects(value: Any, stored: Any) -> None:
    shown = lines(payload_of([{"x": value, "k": 0}]))[0].get("x")
    assert shown == stored
    assert type(shown) is type(stored)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([{"a": 1}, 5], "row 1: int is no row"),
        ([{1: 2}], "row 0: the name 1 is no text"),
        ([{"a": 1}, {"a": {1}}], "column 'a', row 1: a value of type set can't be stored"),
        ([{"a": "\ud800"}], "column 'a', row 0: a text with half a surrogate pair"),
        ([{"a": [object()]}], "column 'a', row 0:"),
    ],
)
def test_records_that_cannot_be_stored_are_named(rows: Any, message: str) -> None:
    with pytest.raises(PayloadError) as raised:
        payload_of(rows)
    assert message in str(raised.value)


def test_json_goes_through_as_it_is() -> None:
    text = '{"a": 1}\n'
    assert payload_of(text) == payload_of(text.encode()) == payload_of(bytearray(text.encode())) == text.encode()


def test_the_first_row_names_the_columns_in_order_but_none_without_values() -> None:
    columns = {"a": np.array([np.nan, 1.0]), "b": np.array([1, 2]), "c": np.array([np.nan, np.nan])}
    assert payload_of(columns) == b'{"a": null, "b": 1}\n{"a": 1.0, "b": 2}\n'


def test_many_rows_come_in_pieces() -> None:
    columns = {"n": np.arange(25)}
    assert [len(piece.splitlines()) for piece in payloads(columns, 10)] == [10, 10, 5]
    assert [len(piece.splitlines()) for piece in payloads([{"n": n} for n in range(25)], 10)] == [10, 10, 5]
    assert b"".join(payloads(columns, 10)) == payload_of(columns)


def test_columns_of_objects_go_back_as_they_are() -> None:
    columns = [("a", "O", ["x", None], None, None), ("b", "b1", b"\1\0", None, b"\0\1")]
    assert records_from_columns(columns) == [{"a": "x", "b": True}, {"a": None, "b": None}]


@pytest.mark.parametrize(
    "column",
    [
        ("c", "i8", b"1234567", None, None),
        ("c", "i8", bytes(8), None, bytes(2)),
        ("c", "text", b"ab", (3).to_bytes(8, "little"), None),
        ("c", "U1", bytes(4), None, None),
    ],
)
def test_memory_that_does_not_fit_its_kind_is_refused_on_the_way_back(column: Any) -> None:
    with pytest.raises(ValueError, match=r"column of the kind|null mask|ends of the texts"):
        records_from_columns([column])
