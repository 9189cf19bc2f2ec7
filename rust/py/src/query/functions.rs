//! Functions of ours that statements may use on an apsw connection.

#![allow(unsafe_code)]

use std::ffi::c_int;
use std::slice;

use edgelake_core::query::content::Content;
use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;
use rusqlite::ffi;

use super::statement::Connection;

/// Add the functions to a connection: `content_hash(half, value, ...)`, 32 bits of a hash over the values.
#[pyfunction]
pub fn add_functions(pointer: usize) -> PyResult<()> {
    let connection = Connection::new(pointer)?;
    // SAFETY: an open connection, a C string, and a function that lives as long as the process.
    let code = unsafe {
        ffi::sqlite3_create_function_v2(
            connection.raw(),
            c"content_hash".as_ptr(),
            -1,
            ffi::SQLITE_UTF8 | ffi::SQLITE_DETERMINISTIC | ffi::SQLITE_INNOCUOUS,
            std::ptr::null_mut(),
            Some(content_hash),
            None,
            None,
            None,
        )
    };
    if code == ffi::SQLITE_OK {
        Ok(())
    } else {
        Err(PyRuntimeError::new_err(format!(
            "SQLite takes no function: {code}"
        )))
    }
}

/// `content_hash(half, value, ...)`: half 0 or 1 of the 64 bits, so that a sum over 2^31 rows is an integer.
unsafe extern "C" fn content_hash(
    call: *mut ffi::sqlite3_context,
    count: c_int,
    values: *mut *mut ffi::sqlite3_value,
) {
    let count = usize::try_from(count).unwrap_or(0);
    let values = if count == 0 {
        &[]
    } else {
        // SAFETY: SQLite hands `count` values, which stay until this returns.
        unsafe { slice::from_raw_parts(values, count) }
    };
    let Some((half, values)) = values.split_first() else {
        // SAFETY: the call that runs, and a text that SQLite copies.
        unsafe {
            ffi::sqlite3_result_error(call, c"content_hash(half, value, ...)".as_ptr(), -1);
        };
        return;
    };
    let mut content = Content::default();
    for value in values {
        // SAFETY: a value of this call.
        unsafe { take(&mut content, *value) };
    }
    let hash = content.finish();
    // SAFETY: a value, and the context, of this call.
    unsafe {
        let shift = if ffi::sqlite3_value_int64(*half) == 0 {
            0
        } else {
            32
        };
        ffi::sqlite3_result_int64(call, i64::from((hash >> shift) as u32));
    }
}

/// # Safety
/// `value` is one that SQLite handed to the function that runs.
unsafe fn take(content: &mut Content, value: *mut ffi::sqlite3_value) {
    // SAFETY: as promised; the bytes are read before anything else is asked of the value.
    unsafe {
        match ffi::sqlite3_value_type(value) {
            ffi::SQLITE_INTEGER => content.integer(ffi::sqlite3_value_int64(value)),
            ffi::SQLITE_FLOAT => content.float(ffi::sqlite3_value_double(value)),
            ffi::SQLITE_TEXT => {
                let start = ffi::sqlite3_value_text(value);
                content.text(bytes(start, ffi::sqlite3_value_bytes(value)));
            }
            ffi::SQLITE_BLOB => {
                let start = ffi::sqlite3_value_blob(value).cast();
                content.blob(bytes(start, ffi::sqlite3_value_bytes(value)));
            }
            _ => content.null(),
        }
    }
}

/// # Safety
/// `start` is null or the first of `length` bytes.
const unsafe fn bytes<'a>(start: *const u8, length: c_int) -> &'a [u8] {
    if start.is_null() || length <= 0 {
        return &[];
    }
    // SAFETY: as promised.
    unsafe { slice::from_raw_parts(start, length.unsigned_abs() as usize) }
}
