# cython: boundscheck=False, wraparound=False, initializedcheck=False
"""Rows that are Python objects, to columns and back.

A column is ``(name, kind, values, ends, nulls)``, as ``edgelake._rust.Rows.from_columns`` takes it: ``values`` are
bytes of the kind (``b1``, ``i8``, ``f8``, ``M8[us]``, or ``text`` and ``json`` end to end), ``ends`` where each text
ends (eight bytes each; None for the other kinds), ``nulls`` a byte a row, not 0 for null (None: no null).
"""

import datetime as _datetime
import decimal as _decimal
import enum as _enum
import math as _math
import uuid as _uuid

import msgspec as _msgspec

from cpython.bytearray cimport PyByteArray_AS_STRING
from cpython.bytes cimport PyBytes_FromStringAndSize
from cpython.datetime cimport (
    PyDateTime_Check,
    PyDateTime_DATE_GET_HOUR,
    PyDateTime_DATE_GET_MICROSECOND,
    PyDateTime_DATE_GET_MINUTE,
    PyDateTime_DATE_GET_SECOND,
    PyDateTime_GET_DAY,
    PyDateTime_GET_MONTH,
    PyDateTime_GET_YEAR,
    datetime_new,
    import_datetime,
)
from cpython.dict cimport PyDict_Check, PyDict_Next, PyDict_SetItem
from cpython.float cimport PyFloat_AS_DOUBLE, PyFloat_CheckExact, PyFloat_FromDouble
from cpython.list cimport PyList_GET_ITEM, PyList_New, PyList_SET_ITEM
from cpython.long cimport PyLong_CheckExact, PyLong_FromLongLong
from cpython.object cimport PyObject
from cpython.ref cimport Py_INCREF
from cpython.unicode cimport PyUnicode_Check, PyUnicode_DecodeUTF8
from libc.string cimport memcpy

cdef extern from "Python.h":
    const char* PyUnicode_AsUTF8AndSize(object text, Py_ssize_t* size) except NULL
    long long PyLong_AsLongLongAndOverflow(object value, int* overflow) except? -1

import_datetime()

cdef object _UTC = _datetime.timezone.utc
cdef object _encode = _msgspec.json.Encoder().encode
cdef object _decode = _msgspec.json.Decoder().decode
cdef long long _DAY_US = 86_400_000_000


def columns_from_records(records):
    """Columns of rows: dictionaries, msgspec Structs, dataclasses or named tuples.

    A name that a row lacks is null there. Raises TypeError for a row or a value that can't be stored, naming it.
    """
    cdef list rows = records if isinstance(records, list) else list(records)
    cdef _Scatter columns = _Scatter(len(rows))
    cdef Py_ssize_t index
    for index in range(columns.count):
        row = <object>PyList_GET_ITEM(rows, index)
        columns.add(row if PyDict_Check(row) else _as_dict(row, index), index)
    return [column_from_objects(name, values) for name, values in zip(columns.names, columns.values)]


cdef class _Scatter:
    """Values of rows sorted into their columns. Rows mostly have the same names in the same order."""

    cdef Py_ssize_t count
    cdef list names
    cdef list values
    cdef dict numbers

    def __cinit__(self, Py_ssize_t count):
        self.count = count
        self.names = []
        self.values = []
        self.numbers = {}

    cdef int add(self, object row, Py_ssize_t index) except -1:
        cdef PyObject* key
        cdef PyObject* value
        cdef Py_ssize_t position = 0, number = 0, columns = len(self.names)
        while PyDict_Next(row, &position, &key, &value):
            if number >= columns or PyList_GET_ITEM(self.names, number) is not key:
                number = self.number(<object>key, index)
                columns = len(self.names)
            (<list>PyList_GET_ITEM(self.values, number))[index] = <object>value
            number += 1
        return 0

    cdef Py_ssize_t number(self, object key, Py_ssize_t index) except -1:
        """The column of a name, a new one for a new name."""
        found = self.numbers.get(key)
        if found is None:
            if not PyUnicode_Check(key):
                raise TypeError(f"row {index}: the name {key!r} is no text")
            found = len(self.names)
            self.numbers[key] = found
            self.names.append(key)
            self.values.append([None] * self.count)
        return found


cdef object _as_dict(object row, Py_ssize_t index):
    """The fields of a record."""
    names = getattr(type(row), "__struct_fields__", None)
    if names is None:
        names = getattr(type(row), "__dataclass_fields__", None)
    if names is None and isinstance(row, tuple):
        names = getattr(type(row), "_fields", None)
    if names is not None:
        return {name: getattr(row, name) for name in names}
    if hasattr(row, "keys"):
        return dict(row)
    raise TypeError(f"row {index}: {type(row).__name__} is no row; use dictionaries, Structs or dataclasses")


def column_from_objects(str name not None, values):
    """A column of Python values: the kind that all have, else ``json``. Raises TypeError for one that has no form."""
    cdef list items = values if isinstance(values, list) else list(values)
    made = _typed(name, items)
    if made is not None:
        return made
    plain = [_plain(value, name, index) for index, value in enumerate(items)]
    made = _typed(name, plain)
    return made if made is not None else _as_json(name, plain)


cdef object _typed(str name, list items):
    """The column when all values are of one kind; None when not."""
    cdef Py_ssize_t index, count = len(items)
    for index in range(count):
        value = <object>PyList_GET_ITEM(items, index)
        if value is None:
            continue
        if PyFloat_CheckExact(value):
            return _floats(name, items)
        if isinstance(value, bool):
            return _bools(name, items)
        if PyLong_CheckExact(value):
            return _ints(name, items)
        if PyUnicode_Check(value):
            return _texts(name, items)
        if PyDateTime_Check(value):
            return _times(name, items)
        return None
    return (name, "text", b"", bytes(8 * count), b"\1" * count)


cdef class _Nulls:
    """A byte a row, made when the first null comes."""

    cdef Py_ssize_t count
    cdef bytearray mask
    cdef char* bytes

    def __cinit__(self, Py_ssize_t count):
        self.count = count
        self.mask = None

    cdef int add(self, Py_ssize_t index) except -1:
        if self.mask is None:
            self.mask = bytearray(self.count)
            self.bytes = PyByteArray_AS_STRING(self.mask)
        self.bytes[index] = 1
        return 0


cdef object _floats(str name, list items):
    cdef Py_ssize_t index, count = len(items)
    cdef bytearray made = bytearray(8 * count)
    cdef double* out = <double*>PyByteArray_AS_STRING(made)
    cdef _Nulls nulls = _Nulls(count)
    for index in range(count):
        value = <object>PyList_GET_ITEM(items, index)
        if PyFloat_CheckExact(value):
            out[index] = PyFloat_AS_DOUBLE(value)
        elif value is None:
            nulls.add(index)
        else:
            return None
    return (name, "f8", made, None, nulls.mask)


cdef object _ints(str name, list items):
    cdef Py_ssize_t index, count = len(items)
    cdef bytearray made = bytearray(8 * count)
    cdef long long* out = <long long*>PyByteArray_AS_STRING(made)
    cdef _Nulls nulls = _Nulls(count)
    cdef int overflow = 0
    for index in range(count):
        value = <object>PyList_GET_ITEM(items, index)
        if PyLong_CheckExact(value):
            out[index] = PyLong_AsLongLongAndOverflow(value, &overflow)
            if overflow:
                return None
        elif value is None:
            nulls.add(index)
        else:
            return None
    return (name, "i8", made, None, nulls.mask)


cdef object _bools(str name, list items):
    cdef Py_ssize_t index, count = len(items)
    cdef bytearray made = bytearray(count)
    cdef char* out = PyByteArray_AS_STRING(made)
    cdef _Nulls nulls = _Nulls(count)
    for index in range(count):
        value = <object>PyList_GET_ITEM(items, index)
        if value is True:
            out[index] = 1
        elif value is None:
            nulls.add(index)
        elif value is not False:
            return None
    return (name, "b1", made, None, nulls.mask)


cdef object _texts(str name, list items):
    cdef Py_ssize_t index, count = len(items), size = 0, total = 0
    cdef bytearray ends = bytearray(8 * count)
    cdef long long* end = <long long*>PyByteArray_AS_STRING(ends)
    cdef _Nulls nulls = _Nulls(count)
    for index in range(count):
        value = <object>PyList_GET_ITEM(items, index)
        if PyUnicode_Check(value):
            _utf8(value, &size, name, index)
            total += size
        elif value is None:
            nulls.add(index)
        else:
            return None
        end[index] = total
    cdef bytearray made = bytearray(total)
    cdef char* out = PyByteArray_AS_STRING(made)
    cdef const char* text
    for index in range(count):
        value = <object>PyList_GET_ITEM(items, index)
        if value is not None:
            text = _utf8(value, &size, name, index)
            memcpy(out, text, size)
            out += size
    return (name, "text", made, ends, nulls.mask)


cdef const char* _utf8(object text, Py_ssize_t* size, str name, Py_ssize_t index) except NULL:
    """The UTF-8 form, which the text object keeps."""
    try:
        return PyUnicode_AsUTF8AndSize(text, size)
    except UnicodeEncodeError:
        raise TypeError(f"column '{name}', row {index}: a text with half a surrogate pair is no Unicode") from None


cdef object _times(str name, list items):
    """Instants of times with a zone. Times without one are texts, which the node reads in its own zone."""
    cdef Py_ssize_t index, count = len(items)
    cdef bytearray made = bytearray(8 * count)
    cdef long long* out = <long long*>PyByteArray_AS_STRING(made)
    cdef _Nulls nulls = _Nulls(count)
    for index in range(count):
        value = <object>PyList_GET_ITEM(items, index)
        if value is None:
            nulls.add(index)
        elif not PyDateTime_Check(value):
            return None
        else:
            zone = value.tzinfo
            if zone is None:
                return None
            out[index] = _micros(value)
            if zone is not _UTC:
                out[index] -= _span_us(value.utcoffset())
    return (name, "M8[us]", made, None, nulls.mask)


cdef long long _span_us(object span) except? -1:
    return (<long long>span.days) * _DAY_US + (<long long>span.seconds) * 1_000_000 + <long long>span.microseconds


cdef long long _micros(object value):
    """Microseconds since 1970 on the value's own clock."""
    cdef long long year = PyDateTime_GET_YEAR(value)
    cdef long long month = PyDateTime_GET_MONTH(value)
    cdef long long day = PyDateTime_GET_DAY(value)
    cdef long long seconds
    if month <= 2:  # years that begin in March have the leap day at their end
        year -= 1
        month += 12
    # Years 1 and later: no division of a negative number.
    day += (153 * (month - 3) + 2) // 5 + 365 * year + year // 4 - year // 100 + year // 400 - 719_469
    seconds = PyDateTime_DATE_GET_HOUR(value) * 3600 + PyDateTime_DATE_GET_MINUTE(value) * 60
    seconds += PyDateTime_DATE_GET_SECOND(value)
    return day * _DAY_US + seconds * 1_000_000 + PyDateTime_DATE_GET_MICROSECOND(value)


cdef object _plain(object value, str name, Py_ssize_t index):
    """A value of a type that JSON has, or a time with a zone."""
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, _enum.Enum):
        return _plain(value.value, name, index)
    if isinstance(value, int):
        return int(value)
    if isinstance(value, float):
        return float(value) if _math.isfinite(value) else None
    if isinstance(value, (str, dict, list, tuple)):
        return value
    if PyDateTime_Check(value):
        if value != value:  # pandas' NaT
            return None
        return value if value.tzinfo is not None else value.isoformat(" ")
    if isinstance(value, (_datetime.date, _datetime.time)):
        return value.isoformat()
    if isinstance(value, _uuid.UUID):
        return str(value)
    if isinstance(value, _decimal.Decimal):
        if not value.is_finite():
            return None
        return int(value) if value.as_tuple().exponent == 0 else float(value)
    if hasattr(value, "dtype") and hasattr(value, "item") and getattr(value, "ndim", 1) == 0:
        return _plain(value.item(), name, index)
    if hasattr(type(value), "__struct_fields__") or hasattr(type(value), "__dataclass_fields__"):
        return _msgspec.to_builtins(value)
    raise TypeError(f"column '{name}', row {index}: a value of type {type(value).__name__} can't be stored")


cdef object _as_json(str name, list items):
    """The column as one JSON value a row."""
    cdef bytearray made = bytearray()
    cdef bytearray ends = bytearray(8 * len(items))
    cdef long long* end = <long long*>PyByteArray_AS_STRING(ends)
    cdef Py_ssize_t index
    for index, value in enumerate(items):
        try:
            if isinstance(value, int) and not isinstance(value, bool):
                made += str(value).encode()  # of any size
            elif PyDateTime_Check(value):
                made += _encode(value.astimezone(_UTC))
            else:
                made += _encode(value)
        except (TypeError, ValueError, RecursionError, OverflowError) as cause:
            raise TypeError(f"column '{name}', row {index}: {cause}") from None
        end[index] = len(made)
    return (name, "json", made, ends, None)


def records_from_columns(columns):
    """Rows as dictionaries: ``M8[us]`` as datetime in UTC, ``json`` decoded, nulls as None.

    Takes columns of the kinds that ``columns_from_records`` makes, and ``O`` for a list of objects. Raises ValueError
    for one whose memory doesn't fit its kind or the other columns.
    """
    cdef Py_ssize_t index, count = -1
    cdef list rows = []
    for name, kind, values, ends, nulls in columns:
        items = _objects(kind, values, ends, nulls)
        if count < 0:
            count = len(items)
            rows = [{} for _ in range(count)]
        elif len(<list>items) != count:
            raise ValueError(f"column '{name}' has {len(items)} rows, the first one {count}")
        for index in range(count):
            PyDict_SetItem(<object>PyList_GET_ITEM(rows, index), name, <object>PyList_GET_ITEM(<list>items, index))
    return rows


def objects_from_column(column):
    """The values of one column as a list. See ``records_from_columns``."""
    _, kind, values, ends, nulls = column
    return _objects(kind, values, ends, nulls)


cdef list _objects(str kind, object values, object ends, object nulls):
    if kind == "O":
        return values if isinstance(values, list) else list(values)
    cdef const unsigned char[::1] data = memoryview(values).cast("B")
    cdef const unsigned char[::1] mask = None
    cdef Py_ssize_t index, size = data.shape[0], count
    cdef const char* bytes = NULL
    if size:
        bytes = <const char*>&data[0]
    if kind == "text" or kind == "json":
        return _texts_of(bytes, size, ends, nulls, kind == "json")
    cdef char code = {"b1": b"b", "i8": b"i", "f8": b"f", "M8[us]": b"M"}.get(kind, b"?")[0]
    count = size if code == b"b" else size // 8
    if code == b"?" or (code != b"b" and size % 8):
        raise ValueError(f"{size} bytes are no column of the kind '{kind}'")
    mask = _mask(nulls, count)
    cdef list items = PyList_New(count)
    for index in range(count):
        if mask is not None and mask[index]:
            value = None
        elif code == b"f":
            value = PyFloat_FromDouble((<const double*>bytes)[index])
        elif code == b"i":
            value = PyLong_FromLongLong((<const long long*>bytes)[index])
        elif code == b"b":
            value = bytes[index] != 0
        else:
            value = _moment((<const long long*>bytes)[index])
        Py_INCREF(value)
        PyList_SET_ITEM(items, index, value)
    return items


cdef list _texts_of(const char* bytes, Py_ssize_t size, object ends, object nulls, bint decode):
    """Values that stand end to end."""
    cdef const unsigned char[::1] marks = memoryview(ends).cast("B")
    cdef Py_ssize_t index, start, stop = 0, count = marks.shape[0] // 8
    cdef const long long* end = NULL
    if count:
        end = <const long long*>&marks[0]
    cdef const unsigned char[::1] mask = _mask(nulls, count)
    cdef list items = PyList_New(count)
    for index in range(count):
        start, stop = stop, end[index]
        if not start <= stop <= size:
            raise ValueError("the ends of the texts don't fit them")
        if mask is not None and mask[index]:
            value = None
        elif decode:
            value = _decode(PyBytes_FromStringAndSize(bytes + start, stop - start))
        else:
            value = PyUnicode_DecodeUTF8(bytes + start, stop - start, "replace")
        Py_INCREF(value)
        PyList_SET_ITEM(items, index, value)
    return items


cdef object _mask(object nulls, Py_ssize_t count):
    """The null mask of ``count`` rows, or None. Raises ValueError when it has another size."""
    if nulls is None:
        return None
    mask = memoryview(nulls).cast("B")
    if len(mask) != count:
        raise ValueError(f"{count} values, but a null mask of {len(mask)}")
    return mask


cdef object _moment(long long us):
    """A time in UTC. Raises ValueError outside of the years 1 to 9999."""
    # Days counted from 0000-03-01, in eras of 400 years (the proleptic Gregorian calendar).
    cdef long long of_day = us % _DAY_US
    cdef long long days = us // _DAY_US + 719_468
    cdef long long era = days // 146_097
    cdef long long of_era = days - era * 146_097
    cdef long long year = (of_era - of_era // 1460 + of_era // 36_524 - of_era // 146_096) // 365
    cdef long long of_year = of_era - (365 * year + year // 4 - year // 100)
    cdef long long month = (5 * of_year + 2) // 153
    cdef int day = <int>(of_year - (153 * month + 2) // 5 + 1)
    cdef long long second = of_day // 1_000_000
    year += era * 400
    month = month + 3 if month < 10 else month - 9
    if month <= 2:
        year += 1
    if not 1 <= year <= 9999:
        raise ValueError(f"{us} microseconds are outside of the years 1 to 9999")
    return datetime_new(
        <int>year, <int>month, day, <int>(second // 3600), <int>(second // 60 % 60), <int>(second % 60),
        <int>(of_day % 1_000_000), _UTC,
    )
