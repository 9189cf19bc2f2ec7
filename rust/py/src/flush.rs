//! `Flush`, `FileBatch` and `Content`: rows on their way out of the pipeline.

use edgelake_core::pipeline;
use edgelake_core::rows::Chunk;
use edgelake_core::rows::time::Zone;
use parking_lot::Mutex;
use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;
use pyo3::types::PyBytes;

use crate::pipeline::journal_error;
use crate::rows::Rows;

fn ended() -> PyErr {
    PyRuntimeError::new_err("this batch has ended")
}

/// Rows of one origin.
#[pyclass(module = "edgelake._rust", frozen, get_all)]
pub struct FlushPart {
    rows: Py<Rows>,
    source: String,
    instructions: String,
    first: u64,
    last: u64,
    arrival_us: i64,
}

/// Rows of a table for its database.
#[pyclass(module = "edgelake._rust", frozen)]
pub struct Flush {
    inner: Mutex<Option<pipeline::Flush>>,
    #[pyo3(get)]
    parts: Vec<Py<FlushPart>>,
    #[pyo3(get)]
    table: String,
    #[pyo3(get)]
    first: u64,
    #[pyo3(get)]
    last: u64,
    #[pyo3(get)]
    rows: usize,
    #[pyo3(get)]
    payload_bytes: usize,
    #[pyo3(get)]
    immediate: bool,
}

#[pymethods]
impl Flush {
    /// Payloads that do not become rows any more, with the reason.
    #[getter]
    fn unread<'py>(&self, py: Python<'py>) -> Vec<(Bound<'py, PyBytes>, String)> {
        let inner = self.inner.lock();
        let unread = inner.iter().flat_map(|flush| &flush.unread);
        unread
            .map(|one| (PyBytes::new(py, &one.payload), one.reason.clone()))
            .collect()
    }
}

impl Flush {
    pub fn new(py: Python<'_>, mut flush: pipeline::Flush, zone: &Zone) -> PyResult<Self> {
        let parts = flush
            .parts
            .iter_mut()
            .map(|part| {
                let rows = Rows::new(std::mem::take(&mut part.chunk), zone.clone());
                let made = FlushPart {
                    rows: Py::new(py, rows)?,
                    source: part.origin.source.clone(),
                    instructions: part.origin.instructions.clone(),
                    first: part.first,
                    last: part.last,
                    arrival_us: part.arrival_us,
                };
                Py::new(py, made)
            })
            .collect::<PyResult<_>>()?;
        Ok(Self {
            table: flush.key.table.clone(),
            first: flush.first,
            last: flush.last,
            rows: flush.rows,
            payload_bytes: flush.bytes,
            immediate: flush.immediate,
            parts,
            inner: Mutex::new(Some(flush)),
        })
    }

    /// The flush, without its rows.
    pub fn end(&self) -> PyResult<pipeline::Flush> {
        self.inner.lock().take().ok_or_else(ended)
    }

    /// The flush as it was.
    pub fn undo(&self) -> PyResult<pipeline::Flush> {
        let mut inner = self.end()?;
        for (part, shown) in inner.parts.iter_mut().zip(&self.parts) {
            part.chunk = Chunk::clone(shown.get().rows.get().chunk());
        }
        Ok(inner)
    }
}

/// Rows that are to become a file.
#[pyclass(module = "edgelake._rust", frozen)]
pub struct FileBatch {
    inner: Mutex<Option<pipeline::FileBatch>>,
    #[pyo3(get)]
    dbms: String,
    #[pyo3(get)]
    table: String,
    #[pyo3(get)]
    source: String,
    #[pyo3(get)]
    instructions: String,
    #[pyo3(get)]
    first: u64,
    #[pyo3(get)]
    arrival_us: i64,
    #[pyo3(get)]
    rows: u64,
}

impl FileBatch {
    pub fn new(batch: pipeline::FileBatch) -> Self {
        Self {
            dbms: batch.key.dbms.clone(),
            table: batch.key.table.clone(),
            source: batch.origin.source.clone(),
            instructions: batch.origin.instructions.clone(),
            first: batch.first,
            arrival_us: batch.arrival_us,
            rows: batch.rows,
            inner: Mutex::new(Some(batch)),
        }
    }

    pub fn with<T>(&self, use_it: impl FnOnce(&pipeline::FileBatch) -> T) -> PyResult<T> {
        self.inner.lock().as_ref().map(use_it).ok_or_else(ended)
    }

    pub fn end(&self) -> PyResult<pipeline::FileBatch> {
        self.inner.lock().take().ok_or_else(ended)
    }
}

/// Records as JSON lines, piece by piece: an iterator of bytes.
#[pyclass(module = "edgelake._rust", frozen)]
pub struct Content {
    inner: Mutex<pipeline::Content>,
}

impl Content {
    pub fn new(content: pipeline::Content) -> Self {
        Self {
            inner: Mutex::new(content),
        }
    }
}

#[pymethods]
impl Content {
    fn __iter__(this: PyRef<'_, Self>) -> PyRef<'_, Self> {
        this
    }

    fn __next__<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyBytes>>> {
        let piece = py
            .detach(|| self.inner.lock().next_piece())
            .map_err(|e| journal_error(&e))?;
        Ok(piece.map(|piece| PyBytes::new(py, &piece)))
    }
}
