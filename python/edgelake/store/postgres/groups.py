"""Groups as the server makes them: a statement whose few rows stand for all rows of a scan.

Rows of a server come to SQLite, so that an answer is the same wherever they are. Where a statement puts rows together,
the server does it, and sends what ``_rust.GroupScan.scan_gathered`` merges: the answer stays the same, to the last
digit. Floats are added as whole numbers of 2^-20 and of 2^-82, which loses nothing; where values are larger or smaller
than that holds, and where a server does not know a function that this needs, the rows are fetched as before.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final

import apsw
import msgspec
import psycopg

from edgelake._rust import GroupScan, RemoteTables
from edgelake.errors import EdgeLakeError
from edgelake.store import engine
from edgelake.store.base import ColumnInfo, TableInfo
from edgelake.store.postgres.names import quote
from edgelake.store.postgres.scan import Scan, Source
from edgelake.store.postgres.types import literal, read_expression, wire_type

log = logging.getLogger(__name__)

TABLE: Final = "edgelake_groups"
_EPOCH: Final = datetime(1970, 1, 1)
_EXACT: Final = 1 << 53
"""Whole numbers up to here are exact as floats."""

_LARGEST: Final = f"{1 << 42}::float8"
_WHOLE: Final = f"{1 << 20}::float8"
_REST: Final = f"{1 << 82}::float8"
_WORD: Final = 1 << 32
_NO_SUM: Final = ["0::bigint"] * 8
_SUMS: Final = {"sum", "avg"}
_REFUSALS: Final = (psycopg.ProgrammingError, psycopg.NotSupportedError, psycopg.DataError)
"""What a server says of a statement that it cannot run, whatever the rows."""


class _NotHereError(Exception):
    """A part of the scan is SQLite's own matter."""


@dataclass(slots=True)
class _Needs:
    """What aggregates read of one column."""

    sum: bool = False
    min: bool = False
    max: bool = False
    distinct: bool = False


@dataclass(slots=True)
class _Value:
    """A column of the inner statement.

    Attributes:
        expression: over the table.
        wire: its type; ``null`` = there are no values.
        name: in the outer statement.
    """

    expression: str
    wire: str
    name: str

    @property
    def sent_as(self) -> str:
        return "text" if self.wire == "null" else self.wire


@dataclass(slots=True)
class Statement:
    """What the server is asked, and the types of what it sends."""

    sql: str
    wires: list[str]


def statement(table: str, info: TableInfo, scan: str, spec: str) -> Statement | None:
    """The groups of a scan; None where the server cannot make them.

    Args:
        table: the physical one.
        scan: of ``Plan.server_scans``.
        spec: of ``Plan.group_spec``.
    """
    try:
        return _Writer(table, info, msgspec.json.decode(scan)).write(msgspec.json.decode(spec))
    except _NotHereError:
        return None


@dataclass(slots=True)
class _Writer:
    table: str
    info: TableInfo
    scan: Mapping[str, Any]
    columns: Mapping[str, ColumnInfo] = field(init=False)
    values: list[_Value] = field(init=False)

    def __post_init__(self) -> None:
        self.columns = {column.name: column for column in self.info.columns}
        self.values = [self._value(at, shown) for at, shown in enumerate(self.scan["shown"])]

    def write(self, spec: Mapping[str, Any]) -> Statement:
        list_: list[tuple[str, str]] = [self._key(key) for key in spec["keys"]]
        grouped = len(list_)
        list_.append(("count(*)", "bigint"))
        by = [str(at + 1) for at in range(grouped)]
        added = []
        for column, needs in _read(spec["aggregates"]).items():
            value = self.values[column]
            list_ += self._cells(value, needs)
            if needs.distinct:
                by.append(value.name)
            if needs.sum and value.wire in ("double precision", "numeric"):
                added.append(f"greatest(least(({value.expression})::float8, {_LARGEST}), -{_LARGEST}) AS g{column}")
        inner = [f"{value.expression} AS {value.name}" for value in self.values] + added
        # The clock, which may be asked in parallel, keeps the planner from writing out expressions where they are used.
        sql = f"SELECT {', '.join([*inner, 'clock_timestamp() AS now'])} FROM {quote(self.table)}"
        if self.scan["condition"] is not None:
            sql += f" WHERE {self._condition(self.scan['condition'])}"
        sql = f"SELECT {', '.join(text for text, _ in list_)} FROM ({sql}) AS rows_of_scan"
        if by:
            sql += f" GROUP BY {', '.join(by)}"
        return Statement(sql, [wire for _, wire in list_])

    def _value(self, at: int, shown: Any) -> _Value:
        name = f"x{at}"
        if shown == "null":
            return _Value("NULL::text", "null", name)
        if "text" in shown:
            return _Value(f"{_text(shown['text'])}::text", "text", name)
        expression, wire = self._field(shown["column"])
        if wire == "boolean":
            return _Value(f"({expression})::integer", "integer", name)
        return _Value(expression, wire, name)

    def _field(self, name: str) -> tuple[str, str]:
        """What reads a column, and its type. What is no number is null to SQLite."""
        column = self.columns.get(name)
        if column is None:
            raise _NotHereError
        wire = wire_type(column.kind)
        expression = read_expression(quote(column.name), column, is_own=self.info.is_own)
        return (f"nullif({expression}, 'NaN')" if wire == "double precision" else expression), wire

    def _key(self, key: Mapping[str, Any]) -> tuple[str, str]:
        """A key of the groups; of a bucket the start of the unit, which lies in it."""
        if "column" in key:
            value = self.values[key["column"]]
            return value.name, value.sent_as
        bucket = key["bucket"]
        value = self.values[bucket["column"]]
        if value.wire == "null":
            return value.name, value.sent_as
        if value.wire != "timestamp":
            raise _NotHereError
        unit = {"week": "day"}.get(bucket["unit"], bucket["unit"])
        return f"date_trunc('{unit}', {value.name})", "timestamp"

    def _cells(self, value: _Value, needs: _Needs) -> Iterator[tuple[str, str]]:
        yield f"count({value.name})", "bigint"
        if needs.sum:
            for cell in self._sum(value):
                yield cell, "bigint"
        compared = f'{value.name} COLLATE "C"' if value.sent_as == "text" else value.name
        if needs.min:
            yield f"min({compared})", value.sent_as
        if needs.max:
            yield f"max({compared})", value.sent_as
        if needs.distinct:
            yield value.name, value.sent_as

    def _sum(self, value: _Value) -> list[str]:
        """The eight numbers of a sum."""
        name = value.name
        if value.wire == "null":
            return _NO_SUM
        if value.wire in ("integer", "bigint"):
            return [*_halves(f"sum({name})"), *_NO_SUM[2:]]
        if value.wire not in ("double precision", "numeric"):
            raise _NotHereError
        clamped = f"g{name[1:]}"
        whole = f"({clamped} * {_WHOLE})::bigint"
        rest = f"({clamped} - {whole} / {_WHOLE}) * {_REST}"
        floats = f"count({name})" if value.wire == "double precision" else f"count(*) FILTER (WHERE scale({name}) > 0)"
        there = f"{name} IS NOT NULL"  # least and greatest pass a null over
        inexact = f"count(*) FILTER (WHERE {there} AND (abs({clamped}) >= {_LARGEST} OR {rest} <> round({rest})))"
        parts = [f"sum({part}) FILTER (WHERE {there})" for part in (whole, f"({rest})::bigint")]
        halves = [half for part in parts for half in _halves(part)]
        return [*_NO_SUM[:2], *halves, floats, inexact]

    # --- conditions

    def _condition(self, condition: Mapping[str, Any]) -> str:
        ((word, content),) = condition.items()
        if word in ("and", "or"):
            return f"({f' {word.upper()} '.join(self._condition(part) for part in content)})"
        if word == "not":
            return f"NOT {self._condition(content)}"
        if word == "is_null":
            return f"({self._field(content)[0]} IS NULL)"
        if word == "in":
            name, constants = content
            return f"({' OR '.join(self._comparison(name, '=', one) for one in constants)})"
        return self._comparison(*content)

    def _comparison(self, name: str, sign: str, constant: Mapping[str, Any]) -> str:
        """One that means the same to the server as to SQLite."""
        expression, wire = self._field(name)
        ((kind, value),) = constant.items()
        match kind, wire:
            case "time", "timestamp":
                try:
                    moment = _EPOCH + timedelta(microseconds=value)
                except OverflowError:
                    raise _NotHereError from None
                return f"({expression} {sign} timestamp {literal(moment.isoformat(sep=' '))})"
            case "int", "integer" | "bigint":
                return f"({expression} {sign} {value}::bigint)"
            case "float", "integer" | "bigint":
                return f"({expression} {sign} {value}::numeric)"
            case "int" | "float", "double precision" | "numeric" if kind == "float" or abs(int(value)) < _EXACT:
                # SQLite has decimals as floats.
                return f"({expression}::float8 {sign} {value}::float8)"
            case "text", "text":
                return f'({expression} {sign} {_text(value)} COLLATE "C")'
            case "bool", "boolean":
                return f"({expression} {sign} {str(value).lower()})"
        raise _NotHereError


def _read(aggregates: Sequence[Mapping[str, Any]]) -> dict[int, _Needs]:
    """What is read of each column, in the order in which GroupScan has them."""
    found: dict[int, _Needs] = {}
    for aggregate in aggregates:
        function, column = aggregate["function"], aggregate["column"]
        if function == "count_rows":
            continue
        needs = found.setdefault(column, _Needs())
        needs.sum |= function in _SUMS
        needs.min |= function in ("min", "range")
        needs.max |= function in ("max", "range")
        needs.distinct |= function == "count_distinct"
    return found


def _halves(sum_: str) -> list[str]:
    whole = f"coalesce({sum_}, 0)::numeric"
    return [f"div({whole}, {_WORD})::bigint", f"mod({whole}, {_WORD})::bigint"]


def _text(value: str) -> str:
    if "\0" in value:
        raise _NotHereError
    return literal(value)


class _Watched:
    """A scan that remembers what the server said of its statement."""

    def __init__(self, answer: _Answer, scan: Scan) -> None:
        self._answer, self._scan = answer, scan

    def read(self) -> bytes:
        with self._answer:
            return self._scan.read()

    def close(self) -> None:
        self._scan.close()


class _Answer:
    """The one table of a connection that reads groups."""

    def __init__(self, source: Source, sql: str) -> None:
        self._source, self._sql = source, sql
        self.refusal: BaseException | None = None

    def scan(self, *_asked: Any) -> _Watched:
        with self:
            return _Watched(self, Scan(self._source, self._sql, is_ordered=False))

    def count(self, _schema: str, _table: str) -> int:
        raise AssertionError("groups are read, never counted")

    def __enter__(self) -> None:
        pass

    def __exit__(self, _kind: object, problem: BaseException | None, _trace: object) -> None:
        if problem is not None and isinstance(problem.__cause__, _REFUSALS):
            self.refusal = problem.__cause__


def gather(source: Source, asked: Statement, groups: GroupScan) -> bool:
    """Have the server make groups, and take them in; False when it could not, or not exactly.

    Raises DatabaseError, QueryStoppedError, QueryTooLargeError.
    """
    columns = [(f"c{at}", wire == "text", wire) for at, wire in enumerate(asked.wires)]
    answer = _Answer(source, asked.sql)
    connection = engine.open_scratch()
    try:
        pointer = connection.sqlite3_pointer()
        RemoteTables(pointer, answer, [("main", TABLE, columns, None)])
        connection.execute(f"CREATE VIRTUAL TABLE {TABLE} USING edgelake_remote")
        is_exact = groups.scan_gathered(pointer, f"SELECT * FROM {TABLE}")
    except (EdgeLakeError, apsw.Error):
        if answer.refusal is None or source.stopped:
            raise
        log.warning("the server does not group rows, so they are fetched: %s", answer.refusal)
        return False
    finally:
        connection.close()
    if not is_exact:
        log.info("sums of %s are larger or smaller than the server adds exactly: its rows are fetched", asked.sql[:200])
    return is_exact
