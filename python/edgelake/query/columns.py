"""Answers for programs: blocks of columns as rows of Python objects, or as numpy arrays."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any, Final

from edgelake._cython.rows import records_from_columns

if TYPE_CHECKING:
    from numpy import ndarray

Block = list[tuple[str, str, str, Any, bytes | None]]
"""Of each column: title, kind, type code, values (bytes, or a list for code O), a byte per row that is 1 for null."""

_KINDS: Final = {"?": "b1", "q": "i8", "d": "f8", "O": "O"}


def rows(block: Block) -> list[dict[str, Any]]:
    """Rows of a block: times as datetime in UTC, a null as None."""
    return records_from_columns(
        (title, _kind(kind, code), values, None, nulls) for title, kind, code, values, nulls in block
    )


def _kind(kind: str, code: str) -> str:
    """The kind of a column, as the Cython module reads it."""
    return "M8[us]" if kind == "timestamp" and code == "q" else _KINDS[code]


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
