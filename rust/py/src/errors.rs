//! Core errors to Python's: one arm per error, one class per error.

use edgelake_core::query::error::QueryError as Refused;
use edgelake_core::rows::{self, SplitError};
use pyo3::prelude::*;
use pyo3::types::PyDict;
use pyo3::{PyErr, import_exception};

use crate::query::Failure;

import_exception!(edgelake.errors, DatabaseError);
import_exception!(edgelake.errors, PayloadError);
import_exception!(edgelake.errors, RowTooLongError);
import_exception!(edgelake.errors, QueryError);
import_exception!(edgelake.errors, QueryStoppedError);
import_exception!(edgelake.errors, QueryTooLargeError);

/// `edgelake.errors.PayloadError` with the place.
pub fn payload(py: Python<'_>, error: &rows::PayloadError) -> PyErr {
    let place = PyDict::new(py);
    let made = place
        .set_item("row", error.row)
        .and_then(|()| place.set_item("byte", error.offset))
        .and_then(|()| {
            let text = format!(
                "{} (row {}, byte {})",
                error.message, error.row, error.offset
            );
            py.get_type::<PayloadError>().call((text,), Some(&place))
        });
    match made {
        Ok(value) => PyErr::from_value(value),
        Err(error) => error,
    }
}

/// `PayloadError`, or `RowTooLongError` with the place.
pub fn split(py: Python<'_>, error: &SplitError) -> PyErr {
    match error {
        SplitError::Payload(error) => payload(py, error),
        SplitError::RowTooLong { .. } => RowTooLongError::new_err(error.to_string()),
    }
}

/// A statement that the planner or the engine refuses, with the number that clients know.
pub fn query(py: Python<'_>, error: &Refused) -> PyErr {
    match error {
        Refused::Parse(text) | Refused::Unsupported(text) => QueryError::new_err(text.clone()),
        Refused::CastFailed(text) => numbered(py, 194, text),
        Refused::UnknownCast(text) => numbered(py, 195, text),
        Refused::IncludeMismatch(text) => numbered(py, 296, text),
        Refused::TooLarge(text) => QueryTooLargeError::new_err(text.clone()),
    }
}

/// What SQLite answered instead of rows.
pub fn sqlite(failure: &Failure) -> PyErr {
    match failure {
        Failure::Interrupted => QueryStoppedError::new_err(()),
        Failure::Sqlite(text) => DatabaseError::new_err(text.clone()),
    }
}

/// `edgelake.errors.error(number, detail)`.
fn numbered(py: Python<'_>, number: u16, detail: &str) -> PyErr {
    let made = py
        .import("edgelake.errors")
        .and_then(|module| module.getattr("error"))
        .and_then(|error| error.call1((number, detail)));
    made.map_or_else(|failed| failed, PyErr::from_value)
}

/// `edgelake.errors.PayloadError` of a column that was given as memory.
pub fn column(py: Python<'_>, name: &str, error: &rows::ColumnError) -> PyErr {
    let place = PyDict::new(py);
    let made = place.set_item("column", name).and_then(|()| {
        if let rows::ColumnError::Value { row, .. } = error {
            place.set_item("row", row)?;
        }
        let text = format!("column '{name}': {error}");
        py.get_type::<PayloadError>().call((text,), Some(&place))
    });
    match made {
        Ok(value) => PyErr::from_value(value),
        Err(error) => error,
    }
}
