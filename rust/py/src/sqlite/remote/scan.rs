//! A scan of a remote table: the cursor that SQLite moves, and the blocks that the source gives.

#![allow(unsafe_code)]

use std::ffi::{CStr, c_char, c_int};

use edgelake_core::postgres::{CopyReader, Field};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyString};
use rusqlite::ffi;

use super::Table;

#[repr(C)]
struct Cursor {
    base: ffi::sqlite3_vtab_cursor,
    stream: Option<Py<PyAny>>,
    reader: Option<CopyReader>,
    /// Place of each column among those that were asked for.
    places: Vec<Option<usize>>,
    /// Place of the key.
    key: Option<usize>,
    /// Rows to come of a scan that asks for no column: they were counted by the server.
    bare: Option<i64>,
    row: i64,
    at_end: bool,
}

impl Cursor {
    /// Forget the scan; the source may use its connection for another.
    fn end(&mut self) {
        self.at_end = true;
        self.bare = None;
        self.reader = None;
        if let Some(stream) = self.stream.take() {
            Python::attach(|py| {
                if let Err(problem) = stream.call_method0(py, "close") {
                    problem.write_unraisable(py, Some(stream.bind(py)));
                }
            });
        }
    }

    /// Go to the next row, over the end of a block.
    fn advance(&mut self) -> Result<(), Failure> {
        self.row += 1;
        if let Some(left) = &mut self.bare {
            self.at_end = *left <= 0;
            *left -= 1;
            return Ok(());
        }
        loop {
            let Some(reader) = self.reader.as_mut() else {
                self.at_end = true;
                return Ok(());
            };
            if reader
                .advance()
                .map_err(|e| Failure::error(&e.to_string()))?
            {
                return Ok(());
            }
            let Some(stream) = &self.stream else {
                self.at_end = true;
                return Ok(());
            };
            let more = Python::attach(|py| -> Result<bool, Failure> {
                let block = stream
                    .call_method0(py, "read")
                    .map_err(|e| Failure::of(py, &e))?;
                let bytes = block
                    .cast_bound::<PyBytes>(py)
                    .map_err(|_| Failure::error("the source gave no bytes"))?;
                if bytes.as_bytes().is_empty() {
                    return Ok(false);
                }
                reader
                    .feed(bytes.as_bytes())
                    .map_err(|e| Failure::error(&e.to_string()))?;
                Ok(true)
            })?;
            if !more {
                self.end();
                return Ok(());
            }
        }
    }
}

/// What SQLite is told of a scan that failed.
struct Failure {
    code: c_int,
    text: String,
}

impl Failure {
    fn error(text: &str) -> Self {
        Self {
            code: ffi::SQLITE_ERROR,
            text: text.to_owned(),
        }
    }

    /// An exception of the source; its attributes say whether it was interrupted, or its server is away.
    fn of(py: Python<'_>, problem: &PyErr) -> Self {
        let value = problem.value(py);
        let says = |name| {
            let flag = value.getattr(name).and_then(|flag| flag.is_truthy());
            flag.unwrap_or(false)
        };
        Self {
            code: if says("interrupted") {
                ffi::SQLITE_INTERRUPT
            } else if says("is_away") {
                ffi::SQLITE_PROTOCOL
            } else {
                ffi::SQLITE_ERROR
            },
            text: value.str().map_or_else(
                |_| "the source failed".to_owned(),
                |s| s.to_string_lossy().into_owned(),
            ),
        }
    }

    /// Leave the text with the table, as SQLite wants it.
    ///
    /// # Safety
    /// `table` is a table of this module.
    unsafe fn say(self, table: *mut ffi::sqlite3_vtab) -> c_int {
        // SAFETY: the text that stands there is SQLite's memory or null.
        unsafe {
            ffi::sqlite3_free((*table).zErrMsg.cast());
            (*table).zErrMsg = given(&self.text);
        }
        self.code
    }
}

/// A text in SQLite's own memory; null when there is none left.
pub fn given(text: &str) -> *mut c_char {
    let clean = text.replace('\0', " ");
    // SAFETY: `len + 1` bytes are asked for, and written when they were given.
    unsafe {
        let memory = ffi::sqlite3_malloc64(clean.len() as u64 + 1).cast::<c_char>();
        if !memory.is_null() {
            std::ptr::copy_nonoverlapping(clean.as_ptr().cast(), memory, clean.len());
            *memory.add(clean.len()) = 0;
        }
        memory
    }
}

pub unsafe extern "C" fn open(
    _table: *mut ffi::sqlite3_vtab,
    out: *mut *mut ffi::sqlite3_vtab_cursor,
) -> c_int {
    let cursor = Box::new(Cursor {
        base: ffi::sqlite3_vtab_cursor::default(),
        stream: None,
        reader: None,
        places: Vec::new(),
        key: None,
        bare: None,
        row: 0,
        at_end: true,
    });
    // SAFETY: SQLite gives a valid `out`, sets `base.pVtab` itself and frees through `close`.
    unsafe { *out = Box::into_raw(cursor).cast() };
    ffi::SQLITE_OK
}

pub unsafe extern "C" fn close(cursor: *mut ffi::sqlite3_vtab_cursor) -> c_int {
    // SAFETY: made by `open`, given back once.
    let mut cursor = unsafe { Box::from_raw(cursor.cast::<Cursor>()) };
    cursor.end();
    ffi::SQLITE_OK
}

/// A constant of the statement as a Python value.
///
/// # Safety
/// `value` is SQLite's, for this call.
unsafe fn to_python(py: Python<'_>, value: *mut ffi::sqlite3_value) -> PyResult<Bound<'_, PyAny>> {
    // SAFETY: as the caller says; a text lives as long as the value is not read otherwise.
    unsafe {
        Ok(match ffi::sqlite3_value_type(value) {
            ffi::SQLITE_INTEGER => ffi::sqlite3_value_int64(value)
                .into_pyobject(py)?
                .into_any(),
            ffi::SQLITE_FLOAT => ffi::sqlite3_value_double(value)
                .into_pyobject(py)?
                .into_any(),
            ffi::SQLITE_TEXT => {
                let text = ffi::sqlite3_value_text(value);
                let len = usize::try_from(ffi::sqlite3_value_bytes(value)).unwrap_or(0);
                if text.is_null() {
                    py.None().into_bound(py)
                } else {
                    let bytes = std::slice::from_raw_parts(text, len);
                    PyString::new(py, &String::from_utf8_lossy(bytes)).into_any()
                }
            }
            _ => py.None().into_bound(py),
        })
    }
}

pub unsafe extern "C" fn filter(
    cursor: *mut ffi::sqlite3_vtab_cursor,
    _plan: c_int,
    plan_text: *const c_char,
    count: c_int,
    arguments: *mut *mut ffi::sqlite3_value,
) -> c_int {
    // SAFETY: a cursor of `open`; `pVtab` is its table, which outlives it; the text is that of `best_index`, and there
    // are `count` values.
    unsafe {
        let base = (*cursor).pVtab;
        let cursor = &mut *cursor.cast::<Cursor>();
        let table = &*base.cast::<Table>();
        cursor.end();
        let plan = CStr::from_ptr(plan_text).to_string_lossy();
        let values = std::slice::from_raw_parts(
            if count > 0 {
                arguments.cast_const()
            } else {
                std::ptr::NonNull::dangling().as_ptr()
            },
            usize::try_from(count).unwrap_or(0),
        );
        let started = Python::attach(|py| {
            begin(py, table, cursor, &plan, values).map_err(|e| Failure::of(py, &e))
        });
        let done = started.and_then(|()| {
            cursor.at_end = false;
            cursor.row = 0;
            cursor.advance()
        });
        match done {
            Ok(()) => ffi::SQLITE_OK,
            Err(failure) => {
                cursor.end();
                failure.say(base)
            }
        }
    }
}

/// Ask the source for a scan.
///
/// # Safety
/// `values` are SQLite's, for this call.
unsafe fn begin(
    py: Python<'_>,
    table: &Table,
    cursor: &mut Cursor,
    plan: &str,
    values: &[*mut ffi::sqlite3_value],
) -> PyResult<()> {
    let remote = &table.shared.tables[table.index];
    let mut parts = plan.split(';');
    let mut list = || {
        parts
            .next()
            .unwrap_or_default()
            .split(',')
            .filter(|part| !part.is_empty())
    };
    let mut used: Vec<usize> = list().filter_map(|at| at.parse().ok()).collect();
    let tests: Vec<&str> = list().collect();
    if used.is_empty() && tests.is_empty() {
        let source = &table.shared.source;
        let rows = source.call_method1(py, "count", (&remote.schema, &remote.name))?;
        cursor.bare = Some(rows.extract(py)?);
        return Ok(());
    }
    if let Some(key) = remote.key.filter(|key| !used.contains(key)) {
        used.push(key);
    }
    let order: Option<&str> = list().next();
    let name = |at: &str| {
        at.parse()
            .ok()
            .and_then(|at: usize| remote.columns.get(at))
            .map(|c| c.name.as_str())
    };
    let mut conditions = Vec::with_capacity(tests.len());
    for (test, value) in tests.iter().zip(values) {
        if let Some((column, op)) = test.split_once(' ')
            && let Some(column) = name(column)
        {
            // SAFETY: as the caller says.
            conditions.push((column, op, unsafe { to_python(py, *value) }?));
        }
    }
    let order = order
        .and_then(|order| order.split_once(' '))
        .and_then(|(column, direction)| Some((name(column)?, direction == "desc")));
    let names: Vec<&str> = used
        .iter()
        .map(|at| remote.columns[*at].name.as_str())
        .collect();
    let wires = used.iter().map(|at| remote.columns[*at].wire).collect();
    let stream = table.shared.source.call_method1(
        py,
        "scan",
        (&remote.schema, &remote.name, names, conditions, order),
    )?;
    cursor.places = vec![None; remote.columns.len()];
    for (place, at) in used.iter().enumerate() {
        cursor.places[*at] = Some(place);
    }
    cursor.key = remote.key.and_then(|key| cursor.places[key]);
    cursor.stream = Some(stream);
    cursor.reader = Some(CopyReader::new(wires));
    Ok(())
}

pub unsafe extern "C" fn next(cursor: *mut ffi::sqlite3_vtab_cursor) -> c_int {
    // SAFETY: a cursor of `open`; `pVtab` is its table.
    unsafe {
        let base = (*cursor).pVtab;
        let cursor = &mut *cursor.cast::<Cursor>();
        match cursor.advance() {
            Ok(()) => ffi::SQLITE_OK,
            Err(failure) => {
                cursor.end();
                failure.say(base)
            }
        }
    }
}

pub unsafe extern "C" fn eof(cursor: *mut ffi::sqlite3_vtab_cursor) -> c_int {
    // SAFETY: a cursor of `open`.
    let cursor = unsafe { &*cursor.cast::<Cursor>() };
    c_int::from(cursor.at_end)
}

pub unsafe extern "C" fn rowid(cursor: *mut ffi::sqlite3_vtab_cursor, out: *mut i64) -> c_int {
    // SAFETY: a cursor of `open`, and SQLite's place for the answer.
    unsafe {
        let base = (*cursor).pVtab;
        let cursor = &*cursor.cast::<Cursor>();
        *out = match (cursor.key, &cursor.reader) {
            (Some(place), Some(reader)) => match reader.field(place) {
                Ok(Field::Int(value)) => value,
                Ok(_) => return Failure::error("a key that is no number").say(base),
                Err(problem) => return Failure::error(&problem.to_string()).say(base),
            },
            _ => cursor.row,
        };
    }
    ffi::SQLITE_OK
}

pub unsafe extern "C" fn column(
    cursor: *mut ffi::sqlite3_vtab_cursor,
    ctx: *mut ffi::sqlite3_context,
    index: c_int,
) -> c_int {
    // SAFETY: a cursor of `open`; `ctx` is SQLite's for this call.
    unsafe {
        let base = (*cursor).pVtab;
        let cursor = &*cursor.cast::<Cursor>();
        let place = cursor.places.get(index as usize).copied().flatten();
        // A column that was not asked for is null, which is what SQLite takes when nothing is set.
        let (Some(place), Some(reader)) = (place, &cursor.reader) else {
            return ffi::SQLITE_OK;
        };
        match reader.field(place) {
            Ok(Field::Null) => {}
            Ok(Field::Int(value)) => ffi::sqlite3_result_int64(ctx, value),
            Ok(Field::Float(value)) => ffi::sqlite3_result_double(ctx, value),
            Ok(Field::Text(bytes)) => text(ctx, bytes),
            Ok(Field::Digits(digits)) => text(ctx, digits.as_bytes()),
            Err(problem) => return Failure::error(&problem.to_string()).say(base),
        }
    }
    ffi::SQLITE_OK
}

/// Answer a text; SQLite copies it, since the next row overwrites it.
///
/// # Safety
/// `ctx` is SQLite's for this call.
unsafe fn text(ctx: *mut ffi::sqlite3_context, bytes: &[u8]) {
    // SAFETY: pointer and length of one slice.
    unsafe {
        ffi::sqlite3_result_text64(
            ctx,
            bytes.as_ptr().cast(),
            bytes.len() as u64,
            ffi::SQLITE_TRANSIENT(),
            ffi::SQLITE_UTF8 as u8,
        );
    }
}
