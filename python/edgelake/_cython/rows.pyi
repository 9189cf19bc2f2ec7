"""Rows that are Python objects, to columns and back."""

from collections.abc import Iterable
from typing import Any

from typing_extensions import Buffer

_Column = tuple[str, str, Buffer, Buffer | None, Buffer | None]
"""(name, kind, values, ends, nulls): see ``edgelake._rust.Rows.from_columns``."""
_Readable = _Column | tuple[str, str, list[Any], None, Buffer | None]

def columns_from_records(records: Iterable[Any]) -> list[_Column]:
    """Columns of rows: dictionaries, msgspec Structs, dataclasses or named tuples.

    A name that a row lacks is null there. Raises TypeError for a row or a value that can't be stored, naming it.
    """

def column_from_objects(name: str, values: Iterable[Any]) -> _Column:
    """A column of Python values: the kind that all have, else ``json``. Raises TypeError for one that has no form."""

def records_from_columns(columns: Iterable[_Readable]) -> list[dict[str, Any]]:
    """Rows as dictionaries: ``M8[us]`` as datetime in UTC, ``json`` decoded, nulls as None.

    Takes columns of the kinds that ``columns_from_records`` makes, and ``O`` for a list of objects. Raises ValueError
    for one whose memory doesn't fit its kind or the other columns.
    """

def objects_from_column(column: _Readable) -> list[Any]:
    """The values of one column as a list. See ``records_from_columns``."""
