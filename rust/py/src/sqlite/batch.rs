//! `BatchTable`: loads batches into the virtual table of one connection.

#![allow(unsafe_code)]

use std::sync::Arc;

use parking_lot::Mutex;
use pyo3::exceptions::{PyRuntimeError, PyValueError};
use pyo3::prelude::*;
use rusqlite::ffi;

use super::vtab::{self, Slot, Window};
use crate::loaded::Loaded;
use crate::rows::Rows;

/// The virtual table `edgelake_batch` of one connection.
#[pyclass(module = "edgelake._rust", frozen)]
pub struct BatchTable {
    slot: Arc<Slot>,
    loaded: Mutex<Loaded>,
}

#[pymethods]
impl BatchTable {
    #[new]
    fn new(pointer: usize) -> PyResult<Self> {
        if !super::is_ready() {
            return Err(PyRuntimeError::new_err(
                "SQLite's interface is not loaded: open databases through edgelake.store.engine",
            ));
        }
        if pointer == 0 {
            return Err(PyValueError::new_err("the connection is closed"));
        }
        let slot: Arc<Slot> = Arc::default();
        // SAFETY: the pointer is of an open apsw connection (store.engine hands no other), which belongs to the
        // SQLite whose interface was loaded.
        let code = unsafe { vtab::register(pointer as *mut ffi::sqlite3, Arc::clone(&slot)) };
        if code != ffi::SQLITE_OK {
            return Err(PyRuntimeError::new_err(format!(
                "SQLite refused the batch table (result code {code})"
            )));
        }
        Ok(Self {
            slot,
            loaded: Mutex::default(),
        })
    }

    #[pyo3(signature = (rows, *, key = None, fill_us = 0))]
    fn load(&self, py: Python<'_>, rows: &Rows, key: Option<usize>, fill_us: i64) -> PyResult<()> {
        let chunk = Arc::clone(rows.chunk());
        if chunk.columns.len() > vtab::COLUMNS {
            return Err(PyValueError::new_err(format!(
                "a batch of {} columns: at most {}",
                chunk.columns.len(),
                vtab::COLUMNS
            )));
        }
        *self.loaded.lock() = py.detach(|| Loaded::new(chunk, key, fill_us));
        *self.slot.lock() = Window::default();
        Ok(())
    }

    /// Key of the first row that no window has shown; None at the end.
    fn next_key(&self) -> Option<i64> {
        self.loaded.lock().next_key()
    }

    #[pyo3(signature = (first_row_id, *, end_us = None, limit = None))]
    fn take(&self, first_row_id: i64, end_us: Option<i64>, limit: Option<usize>) -> usize {
        let mut loaded = self.loaded.lock();
        let window = loaded.take(end_us, limit);
        let taken = window.len();
        *self.slot.lock() = Window {
            chunk: Arc::clone(&loaded.chunk),
            order: loaded.order.clone(),
            start: window.start,
            end: window.end,
            first_row_id,
        };
        taken
    }

    fn clear(&self) {
        *self.loaded.lock() = Loaded::default();
        *self.slot.lock() = Window::default();
    }
}
