//! `BatchTable`: loads batches into the virtual table of one connection.

#![allow(unsafe_code)]

use std::sync::Arc;

use edgelake_core::rows::{Chunk, Column, ColumnData, Value};
use parking_lot::Mutex;
use pyo3::exceptions::{PyRuntimeError, PyValueError};
use pyo3::prelude::*;
use rusqlite::ffi;

use super::vtab::{self, Slot, Window};
use crate::rows::Rows;

/// The batch being inserted, cut into windows by a time key.
#[derive(Default)]
struct Loaded {
    chunk: Arc<Chunk>,
    order: Option<Arc<Vec<u32>>>,
    /// Column whose values are the keys; absent = the batch is one window.
    key: Option<usize>,
    fill_us: i64,
    taken: usize,
}

impl Loaded {
    fn key_at(&self, position: usize) -> i64 {
        let row = self
            .order
            .as_ref()
            .map_or(position, |order| order[position] as usize);
        self.key
            .and_then(|at| self.chunk.columns.get(at))
            .map_or(self.fill_us, |column| key_of(column, row, self.fill_us))
    }

    fn find(&self, end_us: i64) -> usize {
        let (mut low, mut high) = (self.taken, self.chunk.len);
        while low < high {
            let middle = low.midpoint(high);
            if self.key_at(middle) < end_us {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        low
    }
}

fn key_of(column: &Column, row: usize, fill_us: i64) -> i64 {
    if column.is_null(row) {
        return fill_us;
    }
    match &column.data {
        ColumnData::Time(values) | ColumnData::Int(values) => values[row],
        ColumnData::Mixed(values) => match values[row] {
            Value::Int(value) => value,
            _ => fill_us,
        },
        _ => fill_us,
    }
}

/// Rows in the order of their keys; `None` when they stand so already, which is usual.
fn order_by(chunk: &Chunk, key: usize, fill_us: i64) -> Option<Arc<Vec<u32>>> {
    let column = chunk.columns.get(key)?;
    let sorted =
        (1..chunk.len).all(|row| key_of(column, row - 1, fill_us) <= key_of(column, row, fill_us));
    if sorted {
        return None;
    }
    let mut order: Vec<u32> = (0..chunk.len as u32).collect();
    // Stable: rows of one instant stay in the order of their arrival.
    order.sort_by_key(|&row| key_of(column, row as usize, fill_us));
    Some(Arc::new(order))
}

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
        let order = py.detach(|| key.and_then(|key| order_by(&chunk, key, fill_us)));
        *self.loaded.lock() = Loaded {
            chunk,
            order,
            key,
            fill_us,
            taken: 0,
        };
        *self.slot.lock() = Window::default();
        Ok(())
    }

    /// Key of the first row that no window has shown; None at the end.
    fn next_key(&self) -> Option<i64> {
        let loaded = self.loaded.lock();
        (loaded.taken < loaded.chunk.len).then(|| loaded.key_at(loaded.taken))
    }

    #[pyo3(signature = (first_row_id, *, end_us = None, limit = None))]
    fn take(&self, first_row_id: i64, end_us: Option<i64>, limit: Option<usize>) -> usize {
        let mut loaded = self.loaded.lock();
        let start = loaded.taken;
        let end = end_us.map_or(loaded.chunk.len, |end_us| loaded.find(end_us));
        let end = limit.map_or(end, |limit| end.min(start.saturating_add(limit)));
        loaded.taken = end;
        *self.slot.lock() = Window {
            chunk: Arc::clone(&loaded.chunk),
            order: loaded.order.clone(),
            start,
            end,
            first_row_id,
        };
        end - start
    }

    fn clear(&self) {
        *self.loaded.lock() = Loaded::default();
        *self.slot.lock() = Window::default();
    }
}
