//! Core errors to Python's: one arm per error, one class per error.

use edgelake_core::rows::{self, SplitError};
use pyo3::prelude::*;
use pyo3::types::PyDict;
use pyo3::{PyErr, import_exception};

import_exception!(edgelake.errors, PayloadError);
import_exception!(edgelake.errors, RowTooLongError);

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
