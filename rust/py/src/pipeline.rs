//! `Pipeline` and `Flush`: the Python face of the durable way of a payload.

use std::collections::HashMap;
use std::io::{Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::Duration;

use edgelake_core::journal::{self, Level};
use edgelake_core::pipeline::{self, Key, Options, Outcome, SubmitError, Threshold};
use parking_lot::Mutex;
use pyo3::exceptions::{PyOSError, PyRuntimeError, PyValueError};
use pyo3::import_exception;
use pyo3::prelude::*;
use pyo3::types::PyDict;

use crate::errors;
use crate::rows::{Columns, Rows, to_schema, to_zone};

import_exception!(edgelake.errors, JournalError);
import_exception!(edgelake.errors, OverloadedError);
import_exception!(edgelake.errors, StorageFullError);

/// (ticket, rows stored, rows rejected, reason of the first, error): the error is an exception to raise, or None.
type Told = (u64, usize, usize, String, Option<Py<PyAny>>);

fn journal_error(error: &journal::JournalError) -> PyErr {
    match error {
        journal::JournalError::Full(text) => StorageFullError::new_err(text.clone()),
        other => JournalError::new_err(other.to_string()),
    }
}

/// Rows of a table for its database.
#[pyclass(module = "edgelake._rust", frozen)]
pub struct Flush {
    inner: Mutex<Option<pipeline::Flush>>,
    rows: Py<Rows>,
    #[pyo3(get)]
    table: String,
    #[pyo3(get)]
    first: u64,
    #[pyo3(get)]
    last: u64,
    #[pyo3(get)]
    arrival_us: i64,
}

#[pymethods]
impl Flush {
    #[getter]
    fn rows(&self, py: Python<'_>) -> Py<Rows> {
        self.rows.clone_ref(py)
    }
}

/// Parse, journal, acknowledge, buffer, hand over.
#[pyclass(module = "edgelake._rust", frozen)]
pub struct Pipeline {
    inner: pipeline::Pipeline,
    awake: UnixStream,
    timezone: Option<String>,
}

#[pymethods]
impl Pipeline {
    #[new]
    #[pyo3(signature = (directory, *, timezone = None, workers = 2, limit_bytes = 67_108_864, segment_bytes = 67_108_864,
                        journal_limit_bytes = 1_073_741_824, sync_delay_us = 0))]
    #[allow(clippy::too_many_arguments, clippy::needless_pass_by_value)] // what PyO3 extracts is owned
    fn new(
        py: Python<'_>,
        directory: std::path::PathBuf,
        timezone: Option<String>,
        workers: usize,
        limit_bytes: usize,
        segment_bytes: u64,
        journal_limit_bytes: u64,
        sync_delay_us: u64,
    ) -> PyResult<Self> {
        let mut options = Options::new(&directory, to_zone(timezone.as_deref())?);
        options.workers = workers;
        options.limit_bytes = limit_bytes;
        options.journal.segment_bytes = segment_bytes;
        options.journal.limit_bytes = journal_limit_bytes;
        if sync_delay_us > 0 {
            options.journal.before_sync = Some(Arc::new(move || {
                std::thread::sleep(Duration::from_micros(sync_delay_us));
                Ok(())
            }));
        }
        let (awake, waker) = UnixStream::pair()?;
        awake.set_nonblocking(true)?;
        waker.set_nonblocking(true)?;
        let wake = Arc::new(move || {
            // A full socket means that the reader has been woken already.
            let _ = (&waker).write(&[1]);
        });
        let inner = py
            .detach(|| pipeline::Pipeline::open(&options, wake))
            .map_err(|e| journal_error(&e))?;
        Ok(Self {
            inner,
            awake,
            timezone,
        })
    }

    /// Becomes readable when there are completions.
    fn fileno(&self) -> i32 {
        self.awake.as_raw_fd()
    }

    #[pyo3(signature = (dbms, table, payload, source = "0", instructions = "0"))]
    fn submit(
        &self,
        py: Python<'_>,
        dbms: &str,
        table: &str,
        payload: &[u8],
        source: &str,
        instructions: &str,
    ) -> PyResult<u64> {
        self.inner
            .submit(
                Key::new(dbms, table),
                payload.to_vec(),
                source,
                instructions,
            )
            .map_err(|error| match error {
                SubmitError::Payload(error) => errors::payload(py, &error),
                SubmitError::Overloaded { .. } => OverloadedError::new_err(error.to_string()),
                SubmitError::Closed => JournalError::new_err(error.to_string()),
            })
    }

    fn completions(&self, py: Python<'_>) -> Vec<Told> {
        let mut sink = [0_u8; 256];
        while matches!((&self.awake).read(&mut sink), Ok(n) if n == sink.len()) {}
        self.inner
            .completions()
            .into_iter()
            .map(|(ticket, outcome)| match outcome {
                Outcome::Stored {
                    rows,
                    rejected,
                    reason,
                } => (ticket, rows, rejected, reason, None),
                Outcome::Payload(error) => {
                    let error = errors::payload(py, &error).into_value(py).into_any();
                    (ticket, 0, 0, String::new(), Some(error))
                }
                Outcome::Journal(error) => {
                    let error = journal_error(&error).into_value(py).into_any();
                    (ticket, 0, 0, String::new(), Some(error))
                }
            })
            .collect()
    }

    fn set_schema(&self, dbms: &str, table: &str, schema: Option<Columns>) -> PyResult<()> {
        let schema = schema.map(to_schema).transpose()?;
        self.inner.set_schema(&Key::new(dbms, table), schema);
        Ok(())
    }

    /// An empty table means the database, an empty dbms the node; without age and bytes the entry is removed.
    #[pyo3(signature = (dbms, table, age_s = None, volume_bytes = None))]
    fn set_threshold(
        &self,
        dbms: &str,
        table: &str,
        age_s: Option<f64>,
        volume_bytes: Option<usize>,
    ) -> PyResult<()> {
        let threshold = match (age_s, volume_bytes) {
            (None, None) => None,
            (age, bytes) => Some(Threshold {
                age: match age {
                    Some(s) => Duration::try_from_secs_f64(s)
                        .map_err(|e| PyValueError::new_err(e.to_string()))?,
                    None => Threshold::default().age,
                },
                bytes: bytes.unwrap_or(Threshold::default().bytes),
            }),
        };
        let key = (!dbms.is_empty()).then(|| Key::new(dbms, table));
        self.inner.set_threshold(key.as_ref(), threshold);
        Ok(())
    }

    fn set_level(&self, dbms: &str, table: &str, level: &str) -> PyResult<()> {
        let level = match level {
            "durable" => Level::Durable,
            "fast" => Level::Fast,
            "memory" => Level::Memory,
            other => {
                return Err(PyValueError::new_err(format!(
                    "no durability level '{other}'"
                )));
            }
        };
        let key = (!dbms.is_empty()).then(|| Key::new(dbms, table));
        self.inner.set_level(key.as_ref(), level);
        Ok(())
    }

    #[allow(clippy::needless_pass_by_value)] // what PyO3 extracts is owned
    fn attach(&self, py: Python<'_>, dbms: &str, watermarks: HashMap<String, u64>) {
        py.detach(|| self.inner.attach(dbms, &watermarks));
    }

    fn detach(&self, py: Python<'_>, dbms: &str) {
        py.detach(|| self.inner.detach(dbms));
    }

    fn take(&self, py: Python<'_>, dbms: &str, timeout_s: f64) -> PyResult<Option<Flush>> {
        let timeout = Duration::try_from_secs_f64(timeout_s)
            .map_err(|e| PyValueError::new_err(e.to_string()))?;
        let taken = py
            .detach(|| self.inner.take(dbms, timeout))
            .map_err(|e| journal_error(&e))?;
        let Some(mut flush) = taken else {
            return Ok(None);
        };
        let zone = to_zone(self.timezone.as_deref())?;
        let rows = Py::new(py, Rows::new(std::mem::take(&mut flush.chunk), zone))?;
        Ok(Some(Flush {
            table: flush.key.table.clone(),
            first: flush.first,
            last: flush.last,
            arrival_us: flush.arrival_us,
            rows,
            inner: Mutex::new(Some(flush)),
        }))
    }

    fn committed(&self, flush: &Flush) -> PyResult<()> {
        let inner = flush.inner.lock().take().ok_or_else(ended)?;
        self.inner.committed(&inner);
        Ok(())
    }

    fn put_back(&self, flush: &Flush) -> PyResult<()> {
        let mut inner = flush.inner.lock().take().ok_or_else(ended)?;
        inner.chunk = edgelake_core::rows::Chunk::clone(flush.rows.get().chunk());
        self.inner.put_back(inner);
        Ok(())
    }

    fn synced(&self, py: Python<'_>, dbms: &str) -> PyResult<()> {
        py.detach(|| self.inner.synced(dbms))
            .map_err(|e| PyOSError::new_err(e.to_string()))
    }

    fn flush_all(&self) {
        self.inner.flush_all();
    }

    fn pending(&self, dbms: &str) -> usize {
        self.inner.pending(dbms)
    }

    fn in_flight_bytes(&self) -> usize {
        self.inner.in_flight_bytes()
    }

    fn journal_bytes(&self) -> u64 {
        self.inner.journal_bytes()
    }

    /// Counters of every table, as `get streaming` shows them.
    fn stats<'py>(&self, py: Python<'py>) -> PyResult<Vec<Bound<'py, PyDict>>> {
        self.inner
            .stats()
            .into_iter()
            .map(|(key, stats)| {
                let made = PyDict::new(py);
                made.set_item("dbms", key.dbms)?;
                made.set_item("table", key.table)?;
                made.set_item("calls", stats.calls)?;
                made.set_item("rows", stats.rows)?;
                made.set_item("rejected", stats.rejected)?;
                made.set_item("refused", stats.refused)?;
                made.set_item("bytes", stats.bytes)?;
                made.set_item("buffered_rows", stats.buffered_rows)?;
                made.set_item("buffer_bytes", stats.buffer_bytes)?;
                made.set_item("flushed_rows", stats.flushed_rows)?;
                made.set_item("idle_ms", stats.idle_ms)?;
                let threshold = stats.threshold.unwrap_or_default();
                made.set_item("threshold_s", threshold.age.as_secs_f64())?;
                made.set_item("threshold_bytes", threshold.bytes)?;
                Ok(made)
            })
            .collect()
    }

    fn close(&self, py: Python<'_>) {
        py.detach(|| self.inner.close());
    }
}

fn ended() -> PyErr {
    PyRuntimeError::new_err("this flush has ended")
}
