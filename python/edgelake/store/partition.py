"""Intervals of partitions: where one begins and ends, and its name (spec: ingestion, part 2, section 1).

Vectors: tests/vectors/names-and-files.json, ``partition_names``.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final, Literal

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
_SECOND_US = 1_000_000
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_LAST = datetime(9999, 12, 31, 23, 59, 59, 999999, tzinfo=UTC)
_NAME = re.compile(
    r"^par_(?P<table>.+?)_(?P<key>\d{4}(?:_\d{2}){0,3})_(?P<unit>[ymdh])(?P<amount>\d{2})_(?P<column>.+)$"
)


@dataclass(frozen=True, slots=True)
class Span:
    """One partition's time: microseconds UTC, half-open; ``key`` is its part of the name."""

    key: str
    start_us: int
    end_us: int


@dataclass(frozen=True, slots=True)
class Interval:
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

    def span(self, time_us: int) -> Span:
        """The partition that holds an instant. Instants outside years 1..9999 go to the first or last."""
        moment = _moment(time_us)
        n = self.amount
        if self.unit == "year":
            bucket = moment.year // n
            first = datetime(max(bucket * n, 1), 1, 1, tzinfo=UTC)
            last = _year_start(bucket * n + n)
            key = f"{bucket if n > 1 else moment.year:04d}"
        elif self.unit == "month":
            bucket = (moment.month - 1) // n
            first = datetime(moment.year, bucket * n + 1, 1, tzinfo=UTC)
            last = _month_start(moment.year, bucket * n + n + 1)
            key = f"{moment.year:04d}_{bucket if n > 1 else moment.month:02d}"
        elif self.unit == "day":
            bucket = (moment.day - 1) // n
            first = datetime(moment.year, moment.month, bucket * n + 1, tzinfo=UTC)
            last = min(_add(first, timedelta(days=n)), _month_start(moment.year, moment.month + 1))
            key = f"{moment.year:04d}_{moment.month:02d}_{bucket if n > 1 else moment.day:02d}"
        else:
            bucket = moment.hour // n
            day = datetime(moment.year, moment.month, moment.day, tzinfo=UTC)
            first = day + timedelta(hours=bucket * n)
            last = min(_add(first, timedelta(hours=n)), _add(day, timedelta(days=1)))
            key = f"{day:%Y_%m_%d}_{bucket if n > 1 else moment.hour:02d}"
        return Span(key, _us(first), _us(last))

    def name(self, table: str, column: str, span: Span) -> str:
        """``par_<table>_<key>_<u><NN>_<column>``"""
        return f"par_{table}_{span.key}_{self.unit[0]}{self.amount:02d}_{column}"

    @property
    def words(self) -> str:
        """The unit as declarations print it: ``days``, ``month`` for one."""
        return self.unit if self.amount == 1 else f"{self.unit}s"


@dataclass(frozen=True, slots=True)
class Partitioning:
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


def _us(moment: datetime) -> int:
    if moment == _LAST:
        return 1 << 62  # the last partition takes every later instant
    delta = moment - _EPOCH
    return (delta.days * 86_400 + delta.seconds) * _SECOND_US + delta.microseconds


def _add(moment: datetime, delta: timedelta) -> datetime:
    try:
        return moment + delta
    except OverflowError:
        return _LAST


def _year_start(year: int) -> datetime:
    return datetime(year, 1, 1, tzinfo=UTC) if year <= 9999 else _LAST


def _month_start(year: int, month: int) -> datetime:
    """First of a month; a month number above 12 means the next year (a bucket never crosses it)."""
    return datetime(year, month, 1, tzinfo=UTC) if month <= 12 else _year_start(year + 1)
