"""Types of command arguments: text to value, with an error that names the key.

Source: spec "Command language", section 4, the table of types.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, Any, NamedTuple

from edgelake import errors
from edgelake.errors import CommandError


@dataclass(frozen=True)
class Kind:
    """How a word becomes a value.

    Attributes:
        name: shown in usage lines.
        convert: text to value; raises ValueError with a reason, or EdgeLakeError.
        raw: the words are not translated (``!key`` stays).
        units: words that may follow a number, for a positional argument of two words (``5 minutes``).
    """

    name: str
    convert: Callable[[str], Any]
    raw: bool = False
    units: frozenset[str] = frozenset()


class Pairs(tuple[tuple[str, str], ...]):
    """A nested list of pairs, ``(name = x and dbms = y)``, in order; a key may stand more than once."""

    __slots__ = ()

    def first(self, key: str, default: str = "") -> str:
        """The first value of ``key``."""
        return next((value for name, value in self if name == key), default)

    def all(self, key: str) -> list[str]:
        """Every value of ``key``."""
        return [value for name, value in self if name == key]


class Moment(NamedTuple):
    """A time: microseconds UTC, and whether it was given as a date rather than as a distance from now."""

    at_us: int
    is_date: bool = False


_TIME_UNITS = {"second": 1, "sec": 1, "minute": 60, "min": 60, "hour": 3600, "day": 86400, "week": 604800}
_TIME_WORDS = frozenset(_TIME_UNITS) | {f"{unit}s" for unit in _TIME_UNITS}
_STORAGE_UNITS = {"": 1, "B": 1, "KB": 1 << 10, "MB": 1 << 20, "GB": 1 << 30, "TB": 1 << 40}
_NUMBER_UNIT = re.compile(r"\s*(\d+(?:\.\d+)?)\s*([A-Za-z]*)\s*")
_OFFSET = re.compile(r"\s*([+-])\s*(\d+)\s*([A-Za-z]+)\s*")
_OFFSET_DAYS = {"d": 1.0, "w": 7.0, "h": 1 / 24, "m": 1 / 1440, "s": 1 / 86400, "t": 30.0, "y": 365.0}
_FIELDS = ("year", "month", "day", "hour", "minute", "second")
_CLEARED = (1, 1, 1, 0, 0, 0)
_START_OF = {"year": 1, "month": 2, "day": 3, "hour": 4, "minute": 5}


def to_int(text: str) -> int:
    """Digits only, no sign."""
    if not text.isascii() or not text.isdigit() or len(text) > 18:
        raise ValueError("is not numeric")
    return int(text)


def to_float(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise ValueError("is not numeric") from None


def to_bool(text: str) -> bool:
    lowered = text.lower()
    if lowered not in ("true", "false"):
        raise ValueError("is not true or false")
    return lowered == "true"


def to_seconds(text: str) -> float:
    """``n unit`` to seconds; a number alone is seconds."""
    found = _NUMBER_UNIT.fullmatch(text)
    if found:
        unit = found[2].lower()
        unit = unit if unit in _TIME_UNITS or not unit else unit.removesuffix("s")
        factor = _TIME_UNITS.get(unit or "second")
        if factor is not None:
            return float(found[1]) * factor
    raise ValueError("is not a time such as '30 seconds', '5 minutes', '2 hours' or '1 day'")


def to_bytes(text: str) -> int:
    """``n``, ``nKB``, ``nMB``, ``nGB``, ``nTB`` to bytes, by 1024."""
    found = _NUMBER_UNIT.fullmatch(text)
    if found and found[2].upper() in _STORAGE_UNITS:
        return int(float(found[1]) * _STORAGE_UNITS[found[2].upper()])
    raise ValueError("is not a volume such as '10000', '100KB' or '1MB'")


def to_period(text: str) -> float:
    """``n`` seconds, or ``n hz``, to seconds."""
    found = _NUMBER_UNIT.fullmatch(text)
    if found and found[2].lower() in ("", "hz") and float(found[1]) > 0:
        return 1 / float(found[1]) if found[2] else float(found[1])
    raise ValueError("is not a frequency such as '10' (seconds) or '2 hz'")


def to_ip_port(text: str) -> str:
    host, colon, port = text.rpartition(":")
    if colon and host and port.isascii() and port.isdigit() and int(port) < 65536:
        return text
    raise ValueError("is not an address ip:port")


def to_directory(text: str) -> Path:
    """An existing writable directory. Raises 35 (missing) or 63 (read-only)."""
    path = Path(text)
    if not path.is_dir():
        raise errors.error(35, f"'{text}' is not a directory", hint="create it first")
    if not os.access(path, os.W_OK):
        raise errors.error(63, f"'{text}' cannot be written")
    return path


def to_timestamp(text: str, now: datetime | None = None) -> int:
    """Microseconds UTC of a timestamp, ``now()``, ``-30d``, ``+1d`` or ``start of day``. No zone means UTC."""
    at = now or datetime.now(UTC)
    wanted = text.strip().strip("'")
    lowered = wanted.lower()
    if lowered in ("now()", "now"):
        return _micros(at)
    if lowered.startswith("start of "):
        fields = _START_OF.get(lowered.removeprefix("start of ").strip())
        if fields is not None:
            clear = dict(zip(_FIELDS[fields:], _CLEARED[fields:], strict=True))
            return _micros(at.replace(**clear, microsecond=0))  # type: ignore[arg-type]
    found = _OFFSET.fullmatch(wanted)
    if found:
        unit = found[3].lower().removesuffix("s") if len(found[3]) > 1 else found[3].lower()
        days = _OFFSET_DAYS.get(unit) or _TIME_UNITS.get(unit, 0) / 86400
        if days and int(found[2]) < 1_000_000:
            shift = timedelta(days=days * int(found[2]))
            try:
                return _micros(at - shift if found[1] == "-" else at + shift)
            except OverflowError:
                raise ValueError("is out of the range of dates") from None
    try:
        parsed = datetime.fromisoformat(wanted)
    except ValueError:
        raise ValueError("is not a timestamp, an offset such as '-30d', 'now()' or 'start of day'") from None
    return _micros(parsed if parsed.tzinfo else parsed.replace(tzinfo=UTC))


def to_moment(text: str) -> Moment:
    """As ``to_timestamp``, and whether it was a date."""
    lowered = text.strip().strip("'").lower()
    return Moment(to_timestamp(text), not lowered.startswith(("now", "+", "-")))


def to_json(text: str) -> Any:
    """A JSON text. Raises 6."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as cause:
        raise errors.error(6, f"{cause}: {text[:80]}") from None


def _micros(at: datetime) -> int:
    return (at - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)


STR = Kind("text", str)
KINDS: dict[type, Kind] = {
    str: STR,
    int: Kind("number", to_int),
    float: Kind("number", to_float),
    bool: Kind("true/false", to_bool),
    Path: Kind("directory", to_directory),
}

Seconds = Annotated[float, Kind("n unit", to_seconds, units=_TIME_WORDS)]
"""``5 minutes``, in seconds (int.time)."""
Bytes = Annotated[int, Kind("volume", to_bytes, units=frozenset({"kb", "mb", "gb", "tb", "b"}))]
"""``100KB``, in bytes (int.storage)."""
Frequency = Annotated[float, Kind("n hz", to_period, units=frozenset({"hz"}))]
"""``2 hz`` or seconds, as a period in seconds (int.frequency)."""
IpPort = Annotated[str, Kind("ip:port", to_ip_port)]
Directory = Annotated[Path, Kind("directory", to_directory)]
"""An existing writable directory."""
Timestamp = Annotated[int, Kind("timestamp", to_timestamp)]
"""Microseconds UTC."""
When = Annotated[Moment, Kind("timestamp", to_moment)]
"""As Timestamp, with whether it was a date."""
Json = Annotated[Any, Kind("json", to_json)]
"""A JSON value; ``!key`` references in it are filled in before it is read."""
Untranslated = Annotated[str, Kind("text", str, raw=True)]
"""Text in which ``!key`` stays as written."""


def convert(kind: Kind, value: object, label: str) -> Any:
    """A translated value as ``kind`` wants it; a typed value (``!p.int``) of the right type is kept.

    Raises CommandError naming ``label``.
    """
    if kind.name == "json" and isinstance(value, dict | list):
        return value
    text = value if isinstance(value, str) else ("true" if value is True else "false" if value is False else str(value))
    try:
        return kind.convert(text)
    except ValueError as cause:
        raise CommandError(f"Value '{text}' (for {label}) {cause}") from None
