"""Rows and columns of a reply, whatever form it came in."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any


@dataclass(frozen=True, slots=True)
class Grid:
    """A table of plain values; every row is as long as ``columns``."""

    columns: list[str]
    rows: list[list[Any]]

    def column(self, at: int) -> list[Any]:
        return [row[at] for row in self.rows]


def documents(text: str) -> list[Any] | None:
    """JSON values that stand one after the other (an answer, then its statistics); None when the text is no JSON."""
    decoder = json.JSONDecoder()
    found: list[Any] = []
    at, end = 0, len(text)
    try:
        while at < end:
            if text[at].isspace():
                at += 1
                continue
            value, at = decoder.raw_decode(text, at)
            found.append(value)
    except (ValueError, RecursionError):
        return None
    return found or None


def grid_of(values: Sequence[Any]) -> Grid:
    """The rows of JSON documents: those of ``Query``, of a list, of objects a line, or the members of an object."""
    shown = [value for value in values if not (isinstance(value, dict) and set(value) <= {"Statistics", "reply"})]
    if len(shown) == 1:
        value = shown[0]
        if isinstance(value, dict) and isinstance(value.get("Query"), list):
            return _records(value["Query"])
        if isinstance(value, list):
            return _records(value)
        if isinstance(value, dict):
            return _members(value)
    return _records(shown)


def _members(value: Mapping[str, Any]) -> Grid:
    """An object: a row for each of its members, with the columns of the members when these are objects."""
    if value and all(isinstance(member, dict) for member in value.values()):
        inner = _records(list(value.values()))
        return Grid(["name", *inner.columns], [[name, *row] for name, row in zip(value, inner.rows, strict=True)])
    return Grid(["name", "value"], [[name, member] for name, member in value.items()])


def _records(values: Iterable[Any]) -> Grid:
    columns: dict[str, None] = {}
    records = [value if isinstance(value, dict) else {"value": value} for value in values]
    for record in records:
        columns.update(dict.fromkeys(record))
    return Grid(list(columns), [[record.get(name) for name in columns] for record in records])


def cell(value: Any) -> str:
    """A value as a page shows it."""
    if value is None:
        return ""
    if isinstance(value, str):
        return value
    if isinstance(value, float):
        return f"{value:.10g}"
    return json.dumps(value, ensure_ascii=False, default=str)


def number(value: Any) -> float | None:
    """A number, or a text that is one (as casts print them); None for everything else."""
    if isinstance(value, bool):
        return float(value)
    if isinstance(value, str):
        try:
            value = float(value.replace(",", ""))
        except ValueError:
            return None
    if not isinstance(value, int | float):
        return None
    try:
        found = float(value)
    except OverflowError:
        return None
    return found if found - found == 0 else None  # neither infinite nor NaN


def moment(value: Any) -> float | None:
    """Unix seconds of a printed time; None for what is none."""
    if not isinstance(value, str) or len(value) < 10 or not value[:4].isdecimal():
        return None
    try:
        found = datetime.fromisoformat(value)
    except ValueError:
        return None
    return found.replace(tzinfo=found.tzinfo or UTC).timestamp()


@dataclass(frozen=True, slots=True)
class Series:
    """One line or set of bars: values beside the places of a chart; None = nothing there."""

    name: str
    values: list[float | None]


@dataclass(frozen=True, slots=True)
class Chartable:
    """What charts draw.

    Attributes:
        labels: text of each place.
        places: the times of the places in Unix seconds, or None when they are mere names.
    """

    labels: list[str]
    places: list[float] | None
    series: list[Series]


def chartable(grid: Grid) -> Chartable:
    """Columns sorted into labels and series: the first column of times or texts names the places, numbers are series.

    Beside times, a column of texts (a device) splits the rows into series of their own.
    """
    kinds = [_kind(grid.column(at)) for at in range(len(grid.columns))]
    times = [at for at, kind in enumerate(kinds) if kind == "time"]
    texts = [at for at, kind in enumerate(kinds) if kind == "text"]
    numbers = [at for at, kind in enumerate(kinds) if kind == "number"]
    if times:
        return _over_time(grid, times[0], texts[0] if texts else None, numbers)
    labels = [cell(row[texts[0]]) for row in grid.rows] if texts else [str(n) for n in range(1, len(grid.rows) + 1)]
    series = [Series(grid.columns[at], [number(row[at]) for row in grid.rows]) for at in numbers]
    return Chartable(labels, None, series)


def _kind(values: Sequence[Any]) -> str:
    present = [value for value in values if value not in (None, "")]
    if not present:
        return "empty"
    if all(number(value) is not None for value in present):
        return "number"
    return "time" if all(moment(value) is not None for value in present) else "text"


def _over_time(grid: Grid, at: int, by: int | None, numbers: Sequence[int]) -> Chartable:
    rows = sorted((row for row in grid.rows if moment(row[at]) is not None), key=lambda row: moment(row[at]) or 0.0)
    places = [moment(row[at]) or 0.0 for row in rows]
    labels = [cell(row[at]) for row in rows]
    if by is None:
        series = [Series(grid.columns[n], [number(row[n]) for row in rows]) for n in numbers]
        return Chartable(labels, places, series)
    groups = list(dict.fromkeys(cell(row[by]) for row in rows))
    series = [
        Series(
            f"{group} {grid.columns[n]}" if len(numbers) > 1 else group,
            [number(row[n]) if cell(row[by]) == group else None for row in rows],
        )
        for group in groups[:MAX_GROUPS]
        for n in numbers
    ]
    return Chartable(labels, places, series)


MAX_GROUPS = 20
"""A chart with more lines tells nothing."""
