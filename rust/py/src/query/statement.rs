//! One prepared SELECT on an apsw connection, read without a copy.

#![allow(unsafe_code)]

use std::cell::RefCell;
use std::ffi::{CStr, CString, c_int};
use std::ptr::{self, NonNull};

use edgelake_core::query::group::Row;
use edgelake_core::query::value::{Cell, Val};
use pyo3::exceptions::{PyRuntimeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyBytes, PyFloat, PyInt, PyString};
use rusqlite::ffi;

/// What SQLite answered instead of rows.
#[derive(Debug)]
pub enum Failure {
    /// `sqlite3_interrupt` was called on the connection.
    Interrupted,
    /// The statement's own fault, or the database's: SQLite's text.
    Sqlite(String),
}

/// A connection of apsw, as an address. Who gives it promises that it stays open and that no other thread uses it
/// while a call with it runs.
#[derive(Clone, Copy)]
pub struct Connection(NonNull<ffi::sqlite3>);

// SAFETY: an address; the promise above makes its use in any one thread sound.
unsafe impl Send for Connection {}

impl Connection {
    pub fn new(pointer: usize) -> PyResult<Self> {
        if !crate::sqlite::is_ready() {
            return Err(PyRuntimeError::new_err(
                "SQLite's interface is not loaded: open databases through edgelake.store.engine",
            ));
        }
        NonNull::new(pointer as *mut ffi::sqlite3)
            .map(Self)
            .ok_or_else(|| PyValueError::new_err("the connection is closed"))
    }

    /// For calls of SQLite; the promise above holds for them.
    pub const fn raw(self) -> *mut ffi::sqlite3 {
        self.0.as_ptr()
    }

    fn failure(self, code: c_int) -> Failure {
        if code & 0xff == ffi::SQLITE_INTERRUPT {
            return Failure::Interrupted;
        }
        // SAFETY: the connection is open; SQLite's message is a C string that is copied before its next call.
        let text = unsafe { CStr::from_ptr(ffi::sqlite3_errmsg(self.0.as_ptr())) };
        Failure::Sqlite(text.to_string_lossy().into_owned())
    }
}

/// Result code, the first statement of a text (null: there is none), and the text behind it.
fn compile(connection: Connection, text: &CStr) -> (c_int, *mut ffi::sqlite3_stmt, &CStr) {
    let (mut raw, mut tail) = (ptr::null_mut(), ptr::null());
    // SAFETY: an open connection, a C string that SQLite reads to its end, and places for the answers.
    let code = unsafe {
        ffi::sqlite3_prepare_v2(
            connection.0.as_ptr(),
            text.as_ptr(),
            -1,
            &raw mut raw,
            &raw mut tail,
        )
    };
    let rest = if tail.is_null() {
        c""
    } else {
        // SAFETY: SQLite points `tail` into `text`, at its closing zero when nothing follows.
        unsafe { CStr::from_ptr(tail) }
    };
    (code, raw, rest)
}

/// Whether a text holds no statement: nothing but blanks, semicolons and comments.
fn is_blank(connection: Connection, mut text: &CStr) -> bool {
    while !text.is_empty() {
        let (code, raw, rest) = compile(connection, text);
        // SAFETY: a statement that was just prepared and is used no more, or null.
        unsafe { ffi::sqlite3_finalize(raw) };
        if code != ffi::SQLITE_OK || !raw.is_null() {
            return false;
        }
        text = rest;
    }
    true
}

/// A statement between its first row and its end.
pub struct Statement {
    connection: Connection,
    raw: NonNull<ffi::sqlite3_stmt>,
    columns: c_int,
    /// Texts of the row that were no UTF-8, repaired.
    repaired: RefCell<Vec<Box<str>>>,
}

// SAFETY: SQLite ties a statement to its connection, not to a thread; see `Connection`.
unsafe impl Send for Statement {}

impl Statement {
    /// Prepare one statement that only reads, and bind its parameters.
    pub fn prepare(connection: Connection, sql: &str, parameters: &[Val]) -> Result<Self, Failure> {
        let refuse = |text: &str| Err(Failure::Sqlite(text.to_owned()));
        let Ok(text) = CString::new(sql) else {
            return refuse("the statement holds a zero byte");
        };
        let (code, raw, tail) = compile(connection, &text);
        if code != ffi::SQLITE_OK {
            return Err(connection.failure(code));
        }
        let Some(raw) = NonNull::new(raw) else {
            return refuse("there is no statement in the text");
        };
        // SAFETY: a statement that was just prepared.
        let (columns, reads_only, wanted) = unsafe {
            (
                ffi::sqlite3_column_count(raw.as_ptr()),
                ffi::sqlite3_stmt_readonly(raw.as_ptr()) != 0,
                ffi::sqlite3_bind_parameter_count(raw.as_ptr()),
            )
        };
        let made = Self {
            connection,
            raw,
            columns,
            repaired: RefCell::default(),
        };
        if !is_blank(connection, tail) {
            return refuse("more than one statement");
        }
        if !reads_only || columns == 0 {
            return refuse("only statements that read are run here");
        }
        if usize::try_from(wanted) != Ok(parameters.len()) {
            return refuse(&format!(
                "the statement has {wanted} parameters; {} were given",
                parameters.len()
            ));
        }
        for (at, value) in parameters.iter().enumerate() {
            made.bind(at as c_int + 1, value)?;
        }
        Ok(made)
    }

    fn bind(&self, at: c_int, value: &Val) -> Result<(), Failure> {
        let raw = self.raw.as_ptr();
        // SAFETY: an own statement; SQLITE_TRANSIENT makes SQLite copy texts and blobs in the call.
        let code = unsafe {
            match value {
                Val::Null => ffi::sqlite3_bind_null(raw, at),
                Val::Int(value) => ffi::sqlite3_bind_int64(raw, at, *value),
                Val::Float(value) => ffi::sqlite3_bind_double(raw, at, *value),
                Val::Text(text) => ffi::sqlite3_bind_text64(
                    raw,
                    at,
                    text.as_ptr().cast(),
                    text.len() as u64,
                    ffi::SQLITE_TRANSIENT(),
                    ffi::SQLITE_UTF8 as u8,
                ),
                Val::Blob(bytes) => ffi::sqlite3_bind_blob64(
                    raw,
                    at,
                    bytes.as_ptr().cast(),
                    bytes.len() as u64,
                    ffi::SQLITE_TRANSIENT(),
                ),
            }
        };
        if code == ffi::SQLITE_OK {
            Ok(())
        } else {
            Err(self.connection.failure(code))
        }
    }

    pub fn columns(&self) -> usize {
        self.columns as usize
    }

    /// Move to the next row; false at the end.
    #[inline]
    pub fn step(&mut self) -> Result<bool, Failure> {
        let repaired = self.repaired.get_mut();
        if !repaired.is_empty() {
            repaired.clear();
        }
        // SAFETY: an own statement; no borrow of the row lives, since `self` is borrowed mutably.
        match unsafe { ffi::sqlite3_step(self.raw.as_ptr()) } {
            ffi::SQLITE_ROW => Ok(true),
            ffi::SQLITE_DONE => Ok(false),
            code => Err(self.connection.failure(code)),
        }
    }

    /// A text that is no UTF-8, with signs of replacement. It lives as long as the row.
    #[cold]
    fn repair(&self, bytes: &[u8]) -> &str {
        let text: Box<str> = String::from_utf8_lossy(bytes).into();
        let place: *const str = &raw const *text;
        self.repaired.borrow_mut().push(text);
        // SAFETY: a box does not move what it holds, and boxes leave the list only in `step`, which takes `self`
        // mutably and so ends every borrow that this function gave.
        unsafe { &*place }
    }
}

impl Row for Statement {
    #[inline]
    fn cell(&self, column: usize) -> Cell<'_> {
        if column >= self.columns as usize {
            return Cell::Null;
        }
        // SAFETY: a column of the statement's row. The value is used in the thread that steps, so it need not be
        // "protected". Pointers of texts and blobs hold until the next step, to which the borrow of `self` extends;
        // a value is read as one type only, so no conversion moves it.
        unsafe {
            let value = ffi::sqlite3_column_value(self.raw.as_ptr(), column as c_int);
            match ffi::sqlite3_value_type(value) {
                ffi::SQLITE_INTEGER => Cell::Int(ffi::sqlite3_value_int64(value)),
                ffi::SQLITE_FLOAT => Cell::Float(ffi::sqlite3_value_double(value)),
                ffi::SQLITE_TEXT => {
                    let text = ffi::sqlite3_value_text(value);
                    let bytes = slice(text, ffi::sqlite3_value_bytes(value));
                    match std::str::from_utf8(bytes) {
                        Ok(text) => Cell::Text(text),
                        Err(_) => Cell::Text(self.repair(bytes)),
                    }
                }
                ffi::SQLITE_BLOB => {
                    let blob = ffi::sqlite3_value_blob(value);
                    Cell::Blob(slice(blob.cast(), ffi::sqlite3_value_bytes(value)))
                }
                _ => Cell::Null,
            }
        }
    }
}

/// # Safety
/// `start` is null or points to `len` bytes that live for `'a`.
#[inline]
unsafe fn slice<'a>(start: *const u8, len: c_int) -> &'a [u8] {
    match (NonNull::new(start.cast_mut()), usize::try_from(len)) {
        // SAFETY: the caller's promise.
        (Some(start), Ok(len)) => unsafe { std::slice::from_raw_parts(start.as_ptr(), len) },
        _ => &[],
    }
}

impl Drop for Statement {
    fn drop(&mut self) {
        // SAFETY: an own statement, given back once. The answer repeats the error of the last step.
        unsafe { ffi::sqlite3_finalize(self.raw.as_ptr()) };
    }
}

/// Parameters of a statement from Python values.
pub fn parameters(values: &[Bound<'_, PyAny>]) -> PyResult<Vec<Val>> {
    values.iter().map(parameter).collect()
}

fn parameter(value: &Bound<'_, PyAny>) -> PyResult<Val> {
    if value.is_none() {
        Ok(Val::Null)
    } else if let Ok(flag) = value.cast::<PyBool>() {
        Ok(Val::Int(i64::from(flag.is_true())))
    } else if value.is_instance_of::<PyInt>() {
        Ok(Val::Int(value.extract()?))
    } else if value.is_instance_of::<PyFloat>() {
        Ok(Val::Float(value.extract()?))
    } else if let Ok(text) = value.cast::<PyString>() {
        Ok(Val::text(text.to_str()?))
    } else if let Ok(bytes) = value.cast::<PyBytes>() {
        Ok(Val::Blob(bytes.as_bytes().into()))
    } else {
        let kind = value.get_type().name()?;
        Err(PyValueError::new_err(format!(
            "a parameter of type {kind}: give None, bool, int, float, str or bytes"
        )))
    }
}
