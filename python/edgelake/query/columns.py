"""Answers for programs: blocks of columns as rows of Python objects, or as numpy arrays."""

from __future__ import annotations

from array import array
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from numpy import ndarray

Block = list[tuple[str, str, str, Any, bytes | None]]
"""Of each column: title, kind, type code, values (bytes, or a list for code O), a byte per row that is 1 for null."""

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_CODES: Final = {"?": "b", "q": "q", "d": "d"}


def rows(block: Block) -> Iterator[dict[str, Any]]:
    """Rows of a block."""
    titles = [column[0] for column in block]
    values = [_values(kind, code, data, nulls) for _, kind, code, data, nulls in block]
    return (dict(zip(titles, row, strict=True)) for row in zip(*values, strict=True))


def _values(kind: str, code: str, data: Any, nulls: bytes | None) -> list[Any]:
    if code == "O":
        return list(data)
    found: list[Any] = array(_CODES[code], data).tolist()
    if code == "?":
        found = [bool(value) for value in found]
    elif kind == "timestamp":
        found = [_EPOCH + timedelta(microseconds=us) for us in found]
    if nulls is not None:
        found = [None if null else value for value, null in zip(found, nulls, strict=True)]
    return found


async def arrays(titles: list[str], blocks: AsyncIterator[Block]) -> dict[str, ndarray]:
    """Whole columns. A column of numbers with nulls is float with NaN, of times NaT, of others objects with None."""
    import numpy

    parts: list[list[ndarray]] = [[] for _ in titles]
    async for block in blocks:
        for at, (_, kind, code, data, nulls) in enumerate(block):
            parts[at].append(_array(numpy, kind, code, data, nulls))
    nothing = numpy.empty(0)
    return {title: numpy.concatenate(found or [nothing]) for title, found in zip(titles, parts, strict=True)}


def _array(numpy: Any, kind: str, code: str, data: Any, nulls: bytes | None) -> ndarray:
    if code == "O":
        made = numpy.empty(len(data), dtype=object)
        made[:] = data
        return made  # type: ignore[no-any-return]
    made = numpy.frombuffer(data, dtype={"?": "?", "q": "i8", "d": "f8"}[code])
    is_time = kind == "timestamp"
    if is_time:
        made = made.view("datetime64[us]")
    if nulls is not None:
        mask = numpy.frombuffer(nulls, dtype="?")
        if is_time:
            made = numpy.where(mask, numpy.datetime64("NaT"), made)
        elif code == "?":
            made = numpy.where(mask, None, made.astype(object))
        else:
            made = numpy.where(mask, numpy.nan, made.astype("f8"))
    return made  # type: ignore[no-any-return]
