"""Rows in every form that a Python program has them, to payloads of the journal: JSON, one object a line.

numpy is not imported: its arrays are known by what they have (``dtype``), and read as memory.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence, Sized
from functools import partial
from typing import Any

from edgelake._cython.rows import column_from_objects, columns_from_records
from edgelake._rust import Rows
from edgelake.errors import EdgeLakeError, OverloadedError, PayloadError
from edgelake.model import Stored, Submit

Column = tuple[str, str, Any, Any, Any]
"""(name, kind, values, ends, nulls), as ``Rows.from_columns`` takes it."""
PIECE_ROWS = 20_000
_FEW_ROWS = 500
_IN_FLIGHT = 3  # pieces of one call that are on their way at once


def payload_of(rows: object) -> bytes:
    """All rows as one payload. See ``payloads``."""
    return b"".join(payloads(rows))


def payloads(rows: object, piece_rows: int = PIECE_ROWS) -> Iterator[bytes]:
    """Rows as payloads of at most ``piece_rows`` rows; what is JSON already is one payload.

    Args:
        rows: JSON as bytes or text; columns as a mapping of names to arrays (and lists beside them); records as a
            sequence of mappings, msgspec Structs, dataclasses or named tuples; one record; or ``Rows``.

    Times with a zone and numpy's times are instants; a time without one is in the node's zone. NaN, NaT and None are
    nulls. Raises PayloadError for a value that can't be stored, naming its column and row.
    """
    if isinstance(rows, bytes):
        yield rows
    elif isinstance(rows, bytearray | memoryview):
        yield bytes(rows)
    elif isinstance(rows, str):
        yield rows.encode("utf-8", "surrogatepass")
    elif isinstance(rows, Rows):
        yield from _pieces(rows, piece_rows)
    elif isinstance(rows, Mapping) and any(is_array(values) for values in rows.values()):
        yield from _pieces(rows_of_columns(rows), piece_rows)
    elif isinstance(rows, Iterable) and not isinstance(rows, Mapping) and not hasattr(rows, "_fields"):
        yield from _records(rows if isinstance(rows, Sequence) else list(rows), piece_rows)
    else:
        yield from _records([rows], piece_rows)


def is_array(value: object) -> bool:
    """Whether a value is an array of numpy, or of a library that has its dtypes."""
    return hasattr(value, "dtype") and bool(getattr(value, "ndim", 0))


def rows_of_columns(columns: Mapping[str, Any]) -> Rows:
    """Rows of columns: arrays as memory, without an object per value; other sequences value by value."""
    made = []
    for name, values in columns.items():
        if is_array(values):
            made.append(_column(str(name), values))
        else:
            try:
                made.append(column_from_objects(str(name), values))
            except TypeError as cause:
                raise PayloadError(str(cause)) from None
    return Rows.from_columns(made)


def _column(name: str, array: Any) -> Column:
    """An array as memory in the machine's byte order."""
    if hasattr(array, "to_numpy"):  # a series of pandas
        array = array.to_numpy()
    if array.ndim != 1:
        raise PayloadError(f"column '{name}' has {array.ndim} dimensions", hint="a column has one")
    nulls = None
    if hasattr(array, "mask"):  # a masked array: its mask is one flag, or one a value
        nulls = array.mask.view("u1").tobytes() if array.mask.ndim else None
        array = array.data
    dtype = array.dtype
    if dtype.kind in "OT":
        return _objects(name, array, nulls)
    if dtype.kind == "f" and dtype.itemsize not in (4, 8):
        array = array.astype("f4" if dtype.itemsize < 4 else "f8")
    elif not dtype.isnative:
        array = array.astype(dtype.newbyteorder("="))
    kind = array.dtype.str[1:]
    if not array.flags.c_contiguous:
        array = array.copy()
    return name, kind, array.view("u1") if len(array) else b"", None, nulls


def _objects(name: str, array: Any, nulls: bytes | None) -> Column:
    values = array.tolist()
    if nulls is not None:
        values = [None if null else value for value, null in zip(values, nulls, strict=True)]
    try:
        return column_from_objects(name, values)
    except TypeError as cause:
        raise PayloadError(str(cause)) from None


def _pieces(rows: Rows, piece_rows: int) -> Iterator[bytes]:
    for first in range(0, len(rows), piece_rows):
        yield rows.to_json_lines(first, first + piece_rows)


def _records(records: Sequence[object], piece_rows: int) -> Iterator[bytes]:
    for first in range(0, len(records), piece_rows):
        try:
            columns = columns_from_records(records[first : first + piece_rows])
        except TypeError as cause:
            place = f" (rows count from row {first})" if first else ""
            raise PayloadError(f"{cause}{place}") from None
        yield Rows.from_columns(columns).to_json_lines()


async def submit_rows(submit: Submit, dbms: str, table: str, rows: object) -> Stored:
    """Submit rows in any form of ``payloads``, large ones in pieces; returns when all are durable.

    Pieces behind the first wait while the node is full, as an entry stops reading then. Raises what ``submit`` and
    ``payloads`` raise. Pieces before the one at fault are stored then; ``where`` of the error says how many rows
    (``stored_rows``).
    """
    pieces = payloads(rows)
    on_loop = isinstance(rows, bytes | bytearray | str) or _few(rows)
    waiting: deque[asyncio.Future[Stored]] = deque()
    done: list[Stored] = []
    try:
        while (piece := next(pieces, None) if on_loop else await asyncio.to_thread(next, pieces, None)) is not None:
            if len(waiting) == _IN_FLIGHT:
                done.append(await waiting.popleft())
            send = submit if not (done or waiting) else partial(_patiently, submit)
            waiting.append(asyncio.ensure_future(send(dbms, table, piece)))
        while waiting:
            done.append(await waiting.popleft())
    except EdgeLakeError as failure:
        done += [part for part in await asyncio.gather(*waiting, return_exceptions=True) if isinstance(part, Stored)]
        if stored := sum(part.rows for part in done):
            failure.where = {**failure.where, "stored_rows": stored}
        raise
    finally:
        for task in waiting:  # of a caller that was cancelled
            task.cancel()
    reason = next((part.reason for part in done if part.reason), "")
    return Stored(sum(part.rows for part in done), sum(part.rejected for part in done), reason)


async def _patiently(submit: Submit, dbms: str, table: str, piece: bytes) -> Stored:
    """Submit a piece as soon as there is room for it."""
    pause_s = 0.01
    while True:
        try:
            return await submit(dbms, table, piece)
        except OverloadedError:
            await asyncio.sleep(pause_s)
            pause_s = min(pause_s * 2, 0.2)


def _few(rows: object) -> bool:
    """Whether rows are made into a payload faster than a thread is asked to."""
    if isinstance(rows, Mapping):
        return all(not isinstance(values, Sized) or len(values) <= _FEW_ROWS for values in rows.values())
    return isinstance(rows, Sized) and len(rows) <= _FEW_ROWS
