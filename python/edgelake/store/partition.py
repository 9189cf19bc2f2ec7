"""Intervals of partitions: where one begins and ends, and its name (spec: ingestion, part 2, section 1).

Vectors: tests/vectors/names-and-files.json, ``partition_names``.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Final, Literal

from msgspec import Struct

from edgelake import _rust
from edgelake.errors import CommandError

Unit = Literal["year", "month", "day", "hour"]

_UNITS: Final[dict[str, tuple[Unit, int]]] = {
    "year": ("year", 1),
    "month": ("month", 1),
    "week": ("day", 7),  # the reference refuses it and advises "7 days"
    "day": ("day", 1),
    "hour": ("hour", 1),
}
_LIMITS: Final[dict[Unit, int]] = {"year": 99, "month": 12, "day": 31, "hour": 24}
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_LAST = datetime(9999, 12, 31, 23, 59, 59, 999999, tzinfo=UTC)
_NAME = re.compile(
    r"^par_(?P<table>.+?)_(?P<key>-?\d{4,}(?:_\d{2}){0,3})_(?P<unit>[ymdh])(?P<amount>\d{2})_(?P<column>.+)$"
)


class Span(Struct, frozen=True):
    """A partition: its name, and its time in microseconds UTC, half-open."""

    name: str
    start_us: int
    end_us: int


class Interval(Struct, frozen=True):
    """Length of a partition: 14 days, 1 month ... Buckets of days and hours restart every month or day."""

    amount: int
    unit: Unit

    @classmethod
    def parse(cls, text: str) -> Interval:
        """``14 days``, ``1 month``, ``2 weeks``. Raises CommandError."""
        words = text.lower().split()
        if len(words) == 1:
            words.insert(0, "1")
        unit = words[1].removesuffix("s") if len(words) == 2 else ""
        if unit not in _UNITS or not words[0].isdecimal() or int(words[0]) < 1:
            raise CommandError(f"partition interval '{text}'", hint="write: <number> years, months, days or hours")
        base, factor = _UNITS[unit]
        amount = int(words[0]) * factor
        if amount > _LIMITS[base]:
            raise CommandError(
                f"partition interval '{text}': at most {_LIMITS[base]} {base}s", hint="use the next larger unit"
            )
        return cls(amount, base)

    def span(self, table: str, column: str, time_us: int) -> Span:
        """The partition of a table that holds an instant."""
        return Span(*_rust.partition_of(f"{self.amount} {self.unit}", column, table, time_us))

    @property
    def words(self) -> str:
        """The unit as declarations print it: ``days``, ``month`` for one."""
        return self.unit if self.amount == 1 else f"{self.unit}s"


class Partitioning(Struct, frozen=True):
    """A declaration: tables of ``dbms.table`` (either may be ``*``) are cut by ``column``."""

    dbms: str
    table: str
    column: str
    interval: Interval


def unit_of(partition_name: str) -> str:
    """``y``, ``m``, ``d`` or ``h``: the unit in a partition's name; empty when it is no partition name."""
    found = _NAME.match(partition_name)
    return found["unit"] if found else ""


def shown_dates(partition_name: str, start_us: int, end_us: int) -> tuple[str, str]:
    """First and last day (hour, for partitions of hours) of a partition, both inclusive."""
    form = "%Y-%m-%d-%H" if unit_of(partition_name) == "h" else "%Y-%m-%d"
    return _moment(start_us).strftime(form), _moment(end_us - 1).strftime(form)


def _moment(time_us: int) -> datetime:
    try:
        return _EPOCH + timedelta(microseconds=time_us)
    except OverflowError:
        return _LAST if time_us > 0 else datetime(1, 1, 1, tzinfo=UTC)
