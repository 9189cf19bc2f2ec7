"""Selects for panels: what a payload asks for as a statement of the node's dialect."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from edgelake.command.grafana.requests import Panel, Payload, Range
from edgelake.errors import RequestError
from edgelake.store.base import ColumnInfo
from edgelake.store.catalogue import AUTOMATIC

DEFAULT_FUNCTIONS: Final = ("avg", "min", "max")
FUNCTIONS: Final = frozenset({"avg", "min", "max", "sum", "count", "range"})
MOST_COLUMNS: Final = 10
TIME: Final = "timestamp"
_TEXTS: Final = ("char", "varchar", "text", "timestamp", "date", "time", "blob", "json", "uuid")
_CLAUSE: Final = re.compile(
    r"'(?:[^']|'')*'|\"[^\"]*\"|[()]|\b(?:select|from|where|group\s+by|having|order\s+by|limit)\b", re.IGNORECASE
)
_PERIOD: Final = re.compile(r"\bperiod\s*\(", re.IGNORECASE)
_INTERVAL: Final = re.compile(r"(\d{1,6})\s*([A-Za-z]+)")
_UNITS: Final = {
    "s": "second",
    "m": "minute",
    "h": "hour",
    "d": "day",
    "w": "week",
    "M": "month",
    "y": "year",
}
_WORDS: Final = frozenset({"second", "minute", "hour", "day", "week", "month", "year"})


@dataclass(frozen=True, slots=True)
class Interval:
    """``n`` units; "" as unit: the node chooses for ``n`` points."""

    unit: str
    n: int


def clauses(sql: str) -> dict[str, str]:
    """The clauses of a select by their words. Raises RequestError for what is none."""
    found: dict[str, str] = {}
    name, begin, depth = "", 0, 0
    for token in _CLAUSE.finditer(sql):
        text = token[0]
        depth += {"(": 1, ")": -1}.get(text, 0)
        if depth or text[0] in "'\"()":
            continue
        word = " ".join(text.lower().split())
        if name or word != "select":
            found[name] = sql[begin : token.start()].strip()
        if word in found or (not name and word != "select"):
            raise RequestError("'sql' is one select", hint='for example "select avg(speed) from motor"')
        name, begin = word, token.end()
    found[name] = sql[begin:].strip()
    if not found.get("select"):
        raise RequestError("'sql' is a select")
    return found


def time_column(payload: Payload, columns: Sequence[ColumnInfo]) -> str:
    """The one that the payload names, ``timestamp``, or the first time that the readings bring."""
    if named := payload.text("time_column"):
        return quoted(named)
    times = [c.name for c in _own(columns) if c.kind.startswith("timestamp")]
    if not times and columns:
        return "insert_timestamp"
    return TIME if TIME in times or not times else quoted(times[0])


def _own(columns: Sequence[ColumnInfo]) -> list[ColumnInfo]:
    automatic = {column.name for column in AUTOMATIC}
    return [column for column in columns if column.name not in automatic]


def quoted(name: str) -> str:
    """A column as a statement names it. Raises RequestError."""
    if re.fullmatch(r"[A-Za-z_]\w{0,127}", name):
        return name
    if '"' in name or len(name) > 128 or not name.isprintable():
        raise RequestError(f"'{name[:60]}' is no column")
    return f'"{name}"'


def _values(payload: Payload, columns: Sequence[ColumnInfo]) -> list[str]:
    """``avg(speed), ...``: the functions of the value columns. Raises RequestError."""
    functions = [one.lower() for one in payload.texts("functions")] or list(DEFAULT_FUNCTIONS)
    if unknown := [one for one in functions if one not in FUNCTIONS]:
        raise RequestError(f"'functions': '{unknown[0][:60]}'", hint=f"of {', '.join(sorted(FUNCTIONS))}")
    named = [quoted(one) for one in payload.texts("value_column")]
    numbers = [c.name for c in _own(columns) if not c.kind.lower().startswith(_TEXTS)]
    wanted = named or [quoted(one) for one in numbers[:MOST_COLUMNS]]
    return [f"{function}({column})" for column in wanted for function in functions] or ["count(*)"]


def interval_of(payload: Payload, panel: Panel) -> Interval:
    """Raises RequestError."""
    text, points = payload.text("interval"), payload.points()
    if points is not None:
        return Interval("", points)
    if text.lower() == "dashboard":
        return _bucket(max(1, -(-panel.interval_ms // 1000)))
    if text.lower() in ("", "optimize"):
        return Interval("", panel.points)
    return _written(text)


def _written(text: str) -> Interval:
    found = _INTERVAL.fullmatch(text)
    unit = "" if found is None else _UNITS.get(found[2], found[2].lower().removesuffix("s"))
    if found is not None and found[2].lower() == "ms":
        return Interval("second", max(1, -(-int(found[1]) // 1000)))
    if found is None or unit not in _WORDS or not int(found[1]):
        raise RequestError(f"'interval': '{text[:60]}'", hint="for example 1 minute, optimize, dashboard")
    return Interval(unit, int(found[1]))


def _bucket(seconds: int) -> Interval:
    """Increments restart at the next larger unit: 90 minutes would be an hour each."""
    for unit, length in (("day", 86_400), ("hour", 3600), ("minute", 60)):
        if seconds >= length:
            return Interval(unit, round(seconds / length))
    return Interval("second", seconds)


def _exactly(seconds: int) -> Interval:
    for unit, length in (("day", 86_400), ("hour", 3600), ("minute", 60)):
        if seconds % length == 0:
            return Interval(unit, seconds // length)
    return Interval("second", seconds)


def _moment(panel_range: Range, *, end: bool) -> str:
    at = panel_range.end if end else panel_range.start
    return f"'{at.strftime('%Y-%m-%dT%H:%M:%S.%f')}Z'"


def _range(payload: Payload, panel: Panel, column: str) -> list[str]:
    """The range of the dashboard, unless the payload ignores it."""
    if panel.range is None or not payload.flag("time_range", True):
        return []
    return [
        f"{column} >= {_moment(panel.range, end=False)}",
        f"{column} <= {_moment(panel.range, end=True)}",
    ]


def _conditions(payload: Payload, written: dict[str, str]) -> list[str]:
    return [f"({one})" for one in (written.get("where", ""), payload.text("where")) if one]


def _joined(written: dict[str, str], select: Sequence[str], where: Sequence[str], limit: int | None) -> str:
    text = f"select {', '.join(select)} from {written['from']}"
    text += f" where {' and '.join(where)}" if where else ""
    for name in ("group by", "having", "order by"):
        text += f" {name} {written[name]}" if name in written else ""
    shown = limit or written.get("limit")
    return f"{text} limit {shown}" if shown else text


def _base(payload: Payload) -> dict[str, str]:
    """What the payload's own statement brings; without one the table."""
    written = clauses(payload.text("sql")) if payload.text("sql") else {}
    if "from" not in written:
        if not payload.table:
            raise RequestError("no table", hint="choose dbms.table, or write table or sql into the payload")
        written["from"] = payload.table
    return written


def increments(payload: Payload, panel: Panel, columns: Sequence[ColumnInfo]) -> str:
    """Values over intervals. Raises RequestError."""
    written, column, every = _base(payload), time_column(payload, columns), interval_of(payload, panel)
    bucket = f"increments({every.unit}, {every.n}, {column})" if every.unit else f"increments({column}, {every.n})"
    values = [written["select"]] if "select" in written else _values(payload, columns)
    where = [*_range(payload, panel, column), *_conditions(payload, written)]
    return _joined(written, [bucket, f"min({column}) as {TIME}", *values], where, payload.limit())


def period(payload: Payload, panel: Panel, columns: Sequence[ColumnInfo]) -> str:
    """Values of the last readings: an interval that ends with the latest one in the range. Raises RequestError."""
    written, column = _base(payload), time_column(payload, columns)
    wanted = payload.text("interval").lower()
    in_range = panel.range is not None and payload.flag("time_range", True)
    every = _written(payload.text("interval")) if wanted not in ("", "optimize", "dashboard") else None
    if every is None:
        every = _exactly(max(1, round(panel.range.seconds))) if panel.range is not None else Interval("hour", 1)
    end = _moment(panel.range, end=True) if panel.range is not None and in_range else "now()"
    values = [written["select"]] if "select" in written else _values(payload, columns)
    filters = _conditions(payload, written)
    among = f", and {' and '.join(filters)}" if filters else ""  # the latest of those that are shown
    latest = f"period({every.unit}, {every.n}, {end}, {column}{among})"
    return _joined(written, [f"max({column}) as {TIME}", *values], [latest], payload.limit())


def as_written(payload: Payload, panel: Panel) -> str:
    """The author's select, with the range of the dashboard where it names a time column. Raises RequestError."""
    sql = payload.text("sql").rstrip("; \n")
    if not sql:
        raise RequestError("'sql' is missing")
    if not payload.has("time_column") and not payload.has("where") and payload.limit() is None:
        return sql
    written = clauses(sql)
    if "from" not in written:
        return sql
    is_period = _PERIOD.search(written.get("where", "")) is not None
    ranged = payload.has("time_column") and not is_period
    where = _range(payload, panel, quoted(payload.text("time_column"))) if ranged else []
    if "where" in written:  # a period stands alone, not in parentheses
        where.insert(0, written["where"] if is_period else f"({written['where']})")
    if payload.text("where"):
        where.append(f"({payload.text('where')})")
    return _joined(written, [written["select"]], where, payload.limit())


def rows_of_table(payload: Payload, panel: Panel, columns: Sequence[ColumnInfo]) -> str:
    """A table without further words: its latest readings."""
    column = time_column(payload, columns)
    names = [quoted(one.name) for one in _own(columns)] or ["*"]
    written = _base(payload) | {"order by": f"{column} desc"}
    where = [*_range(payload, panel, column), *_conditions(payload, written)]
    return _joined(written, names, where, payload.limit() or panel.points)
