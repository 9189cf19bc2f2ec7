"""What a query found, and how Grafana takes it: as time series or as a table."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final, Literal

import msgspec

from edgelake._rust import time_text
from edgelake.errors import RequestError
from edgelake.query.columns import Block, rows
from edgelake.query.service import Answer

MOST_CELLS: Final = 1_000_000
Kind = Literal["time", "number", "boolean", "string"]
_ISO: Final = re.compile(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:?\d\d)?")


@dataclass(slots=True)
class Result:
    """Columns by title and kind; times as datetime in UTC."""

    titles: list[str]
    kinds: list[Kind]
    rows: list[list[Any]]


async def of_answer(answer: Any) -> Result:
    """The whole answer. Raises RequestError when it is too much for a panel, and what the query raises."""
    if isinstance(answer, Answer):
        return await _of_blocks(answer)
    async with aclosing(answer.pieces()) as pieces:
        text = await _text(pieces)
    found = msgspec.json.decode(text) if text[:1] == b"[" else []
    return of_records(found, answer.titles)


async def _of_blocks(answer: Answer) -> Result:
    result = Result(list(answer.titles), [], [])
    async with aclosing(answer.blocks(10_000)) as blocks:
        async for block in blocks:
            kinds = [_kind_of(*column[1:3]) for column in block]
            result.kinds = _wider(result.kinds, kinds, block)
            result.rows += [list(row.values()) for row in rows(block)]
            _check(len(result.rows) * len(result.titles))
    result.kinds = result.kinds or ["string"] * len(result.titles)
    for at, kind in enumerate(result.kinds):
        if kind == "string":
            result.kinds[at] = _of_values([row[at] for row in result.rows])
            if result.kinds[at] == "time":  # of a view with readable times
                for row in result.rows:
                    row[at] = None if row[at] in (None, "") else _moment(row[at])
    return result


def _wider(known: list[Kind], kinds: list[Kind], block: Block) -> list[Kind]:
    return kinds if not known else [a if a == b else "string" for a, b in zip(known, kinds, strict=True)]


def _kind_of(kind: str, code: str) -> Kind:
    if kind == "timestamp" and code == "q":
        return "time"
    return {"q": "number", "d": "number", "?": "boolean"}.get(code, "string")  # type: ignore[return-value]


async def _text(pieces: AsyncIterator[bytes]) -> bytes:
    parts, size = [], 0
    async for piece in pieces:
        parts.append(piece)
        size += len(piece)
        _check(size // 16)
    return b"".join(parts)


def _check(cells: int) -> None:
    if cells > MOST_CELLS:
        raise RequestError(
            f"the answer has more than {MOST_CELLS:,} values",
            hint="narrow the range, set limit, or use increments",
        )


def of_records(found: Sequence[Any], titles: Sequence[str] = ()) -> Result:
    """Objects as rows; what is no object is a row of one value."""
    records = [one if isinstance(one, Mapping) else {"value": one} for one in found]
    names = list(titles) or list(dict.fromkeys(str(key) for one in records for key in one))
    _check(len(records) * len(names))
    columns = [[one.get(name) for one in records] for name in names]
    kinds = [_of_values(column) for column in columns]
    for at, kind in enumerate(kinds):
        if kind == "time":
            columns[at] = [None if one in (None, "") else _moment(one) for one in columns[at]]
    return Result(names, kinds, [list(row) for row in zip(*columns, strict=True)])


def of_data(data: Any) -> Result:
    """The reply of a command: rows, an object of objects, or an object of values."""
    if isinstance(data, Mapping) and len(data) == 1 and isinstance(rows_ := next(iter(data.values())), list):
        data = rows_  # {"Query": [...]}
    if isinstance(data, list):
        return of_records(data)
    if isinstance(data, Mapping):
        if data and all(isinstance(one, Mapping) for one in data.values()):
            return of_records([{"name": key, **one} for key, one in data.items()])
        return of_records([data])
    lines = [line for line in str(data).splitlines() if line.strip()]
    return of_records(lines)


def _of_values(values: Iterable[Any]) -> Kind:
    there = [one for one in values if one is not None and one != ""]
    if not there:
        return "string"
    if all(isinstance(one, datetime) for one in there):
        return "time"
    if all(isinstance(one, bool) for one in there):
        return "boolean"
    if all(isinstance(one, (int, float)) for one in there):
        return "number"
    return "time" if all(isinstance(one, str) and _ISO.fullmatch(one) and _is_time(one) for one in there) else "string"


def _is_time(text: str) -> bool:
    try:
        _moment(text)
    except ValueError:
        return False
    return True


def _moment(text: Any) -> datetime:
    if isinstance(text, datetime):
        return text
    found = datetime.fromisoformat(text)
    return found.replace(tzinfo=UTC) if found.tzinfo is None else found.astimezone(UTC)


def _ms(at: datetime) -> int:
    return round(at.timestamp() * 1000)


def as_series(result: Result) -> list[dict[str, Any]]:
    """One series for each column of values; texts beside them (group by) make series of their own.

    Raises RequestError without a time.
    """
    if not result.rows:
        return []
    if "time" not in result.kinds:
        raise RequestError("the answer has no time column", hint='use "grafana": {"format_as": "table"}')
    when = result.kinds.index("time")
    values = [at for at, kind in enumerate(result.kinds) if kind in ("number", "boolean")]
    labels = [at for at, kind in enumerate(result.kinds) if kind == "string"]
    found: dict[tuple[str, ...], list[list[Any]]] = {}
    for row in sorted((row for row in result.rows if row[when] is not None), key=lambda row: row[when]):
        named = tuple(str(row[at]) for at in labels if row[at] not in (None, ""))
        for at in values:
            value = int(row[at]) if isinstance(row[at], bool) else row[at]
            found.setdefault((result.titles[at], *named), []).append([value, _ms(row[when])])
    return [{"target": " ".join(name), "datapoints": points} for name, points in found.items()]


def as_table(result: Result, zone: str = "") -> dict[str, Any]:
    """A table. Times are Unix milliseconds; with ``zone`` texts of that zone, which Grafana shows as they are."""
    shown = {"time": "timestamp" if zone else "time", "boolean": "string"}
    columns = [
        {"text": title, "type": shown.get(kind, kind)} for title, kind in zip(result.titles, result.kinds, strict=True)
    ]
    return {"columns": columns, "rows": [[_cell(one, zone) for one in row] for row in result.rows], "type": "table"}


def _cell(value: Any, zone: str) -> Any:
    if isinstance(value, datetime):
        return time_text(round(value.timestamp() * 1_000_000), timezone=zone) if zone else _ms(value)
    if value is None or (isinstance(value, (int, float)) and not isinstance(value, bool)):
        return value
    if isinstance(value, bool):
        return str(value).lower()
    return value if isinstance(value, str) else msgspec.json.encode(value, enc_hook=str).decode()
