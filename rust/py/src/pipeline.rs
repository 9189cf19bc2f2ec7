//! `Pipeline`: the Python face of the durable way of a payload.

use std::collections::HashMap;
use std::io::{Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::Duration;

use edgelake_core::journal::{self, Level};
use edgelake_core::pipeline::{
    self, Action, Batch, Ended, Key, MappedRows, Options, Origin, Outcome, Receipts, SubmitError,
    TableStats, Then, Threshold,
};
use edgelake_core::rows::Chunk;
use edgelake_core::rows::time::Zone;
use pyo3::exceptions::PyValueError;
use pyo3::import_exception;
use pyo3::prelude::*;
use pyo3::types::PyDict;

use crate::errors;
use crate::flush::{Content, FileBatch, Flush};
use crate::mapping::refused;
use crate::rows::{Columns, Rows, to_columns, to_schema, to_zone};

import_exception!(edgelake.errors, JournalError);
import_exception!(edgelake.errors, OverloadedError);
import_exception!(edgelake.errors, StorageFullError);

/// (command, dbms, table, row as JSON)
type Acting = (String, String, String, String);
/// Above this rows are submitted without the interpreter's lock.
const DETACH_BYTES: usize = 256 * 1024;

/// (ticket, rows stored, rows rejected, reason of the first, error): the error is an exception to raise, or None.
type Told = (u64, usize, usize, String, Option<Py<PyAny>>);
/// (table, first position, last position, source, instructions)
type Unarchived = (String, u64, u64, String, String);
/// Rows kept out (number in the part, reason), and whether the journal holds the records for the archive.
type EndedPart = (Vec<(usize, String)>, bool);

pub fn journal_error(error: &journal::JournalError) -> PyErr {
    match error {
        journal::JournalError::Full(text) => StorageFullError::new_err(text.clone()),
        journal::JournalError::Limit(text) => OverloadedError::new_err(text.clone()),
        other => JournalError::new_err(other.to_string()),
    }
}

fn to_level(name: &str) -> PyResult<Level> {
    match name {
        "durable" => Ok(Level::Durable),
        "fast" => Ok(Level::Fast),
        "memory" => Ok(Level::Memory),
        other => Err(PyValueError::new_err(format!(
            "no durability level '{other}'"
        ))),
    }
}

/// Why a payload was not taken.
pub fn not_taken(py: Python<'_>, error: &SubmitError) -> PyErr {
    match error {
        SubmitError::Payload(error) => errors::payload(py, error),
        SubmitError::Overloaded { .. } => OverloadedError::new_err(error.to_string()),
        SubmitError::Closed => JournalError::new_err(error.to_string()),
    }
}

fn seconds(value: f64) -> PyResult<Duration> {
    Duration::try_from_secs_f64(value).map_err(|e| PyValueError::new_err(e.to_string()))
}

impl Pipeline {
    /// For entries that don't pass through Python.
    pub fn inner(&self) -> Arc<pipeline::Pipeline> {
        self.inner.clone()
    }
}

/// Parse, journal, acknowledge, buffer, hand over.
#[pyclass(module = "edgelake._rust", frozen)]
pub struct Pipeline {
    inner: Arc<pipeline::Pipeline>,
    awake: UnixStream,
    zone: Zone,
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
        let zone = to_zone(timezone.as_deref())?;
        let mut options = Options::new(&directory, zone.clone());
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
            inner: Arc::new(inner),
            awake,
            zone,
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
            .map_err(|error| not_taken(py, &error))
    }

    /// Rows that a mapping made; their columns get the types declared where the table lacks them.
    #[pyo3(signature = (dbms, table, rows, declared = Vec::new(), source = "0", instructions = "0"))]
    #[allow(clippy::too_many_arguments)]
    fn submit_rows(
        &self,
        py: Python<'_>,
        dbms: &str,
        table: &str,
        rows: &Rows,
        declared: Columns,
        source: &str,
        instructions: &str,
    ) -> PyResult<u64> {
        let chunk = rows.chunk();
        self.inner
            .admit(chunk.reserved_bytes())
            .map_err(|error| not_taken(py, &error))?;
        let declared = to_schema(declared)?.columns;
        let work = || {
            self.inner.submit_mapped(MappedRows {
                key: Key::new(dbms, table),
                origin: Origin {
                    source: source.to_owned(),
                    instructions: instructions.to_owned(),
                },
                chunk: Chunk::clone(chunk),
                declared,
                arrival_us: pipeline::now_us(),
                receipts: Receipts::default(),
            })
        };
        Ok(if chunk.reserved_bytes() > DETACH_BYTES {
            py.detach(work)
        } else {
            work()
        })
    }

    fn declare(&self, dbms: &str, table: &str, columns: Columns) -> PyResult<()> {
        let columns = to_schema(columns)?.columns;
        self.inner.declare(&Key::new(dbms, table), &columns);
        Ok(())
    }

    fn declared(&self, dbms: &str, table: &str) -> Columns {
        to_columns(self.inner.declared(&Key::new(dbms, table)))
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
                Outcome::Passed => (ticket, 0, 0, String::new(), None),
            })
            .collect()
    }

    #[pyo3(signature = (payload_bytes = 0))]
    fn has_room(&self, payload_bytes: usize) -> bool {
        self.inner.has_room(payload_bytes)
    }

    /// Where reading a source goes on; None when nothing of it has come in.
    fn position(&self, source: &str) -> Option<i64> {
        self.inner.position(source)
    }

    fn hurry(&self) {
        self.inner.hurry();
    }

    // ---- settings

    fn set_schema(&self, dbms: &str, table: &str, schema: Option<Columns>) -> PyResult<()> {
        let schema = schema.map(to_schema).transpose()?;
        self.inner.set_schema(&Key::new(dbms, table), schema);
        Ok(())
    }

    /// (age in seconds, bytes, stored before the acknowledgement)
    #[pyo3(signature = (dbms, table, threshold))]
    fn set_threshold(
        &self,
        dbms: &str,
        table: &str,
        threshold: Option<(f64, usize, bool)>,
    ) -> PyResult<()> {
        let threshold = threshold
            .map(|(age_s, bytes, immediate)| {
                seconds(age_s).map(|age| Threshold {
                    age,
                    bytes,
                    immediate,
                })
            })
            .transpose()?;
        self.inner.set_threshold(Key::new(dbms, table), threshold);
        Ok(())
    }

    #[pyo3(signature = (dbms, table, level))]
    fn set_level(&self, dbms: &str, table: &str, level: Option<&str>) -> PyResult<()> {
        let level = level.map(to_level).transpose()?;
        self.inner.set_level(Key::new(dbms, table), level);
        Ok(())
    }

    // ---- streaming conditions

    /// Rows of a table that fulfil a condition are dropped (`command` None), or a command is queued.
    #[pyo3(signature = (dbms, table, id, condition, command = None, limit = None))]
    #[allow(clippy::too_many_arguments)]
    fn add_condition(
        &self,
        py: Python<'_>,
        dbms: &str,
        table: &str,
        id: u32,
        condition: &str,
        command: Option<String>,
        limit: Option<u64>,
    ) -> PyResult<()> {
        let then = command.map_or(Then::Ignore, Then::Command);
        self.inner
            .add_condition(&Key::new(dbms, table), id, condition, then, limit)
            .map_err(|error| refused(py, &error))
    }

    fn remove_condition(&self, dbms: &str, table: &str, id: u32) {
        self.inner.remove_condition(&Key::new(dbms, table), id);
    }

    /// A command out of a script of a policy.
    fn act(&self, command: String, seen: String) {
        self.inner.act(Action {
            command,
            dbms: String::new(),
            table: String::new(),
            row: seen,
        });
    }

    fn take_actions(&self) -> (Vec<Acting>, u64) {
        let (actions, missed) = self.inner.take_actions();
        let shown = actions
            .into_iter()
            .map(|a| (a.command, a.dbms, a.table, a.row));
        (shown.collect(), missed)
    }

    // ---- the writer's side

    #[pyo3(signature = (dbms, watermarks, unarchived = Vec::new()))]
    #[allow(clippy::needless_pass_by_value)] // what PyO3 extracts is owned
    fn attach(
        &self,
        py: Python<'_>,
        dbms: &str,
        watermarks: HashMap<String, u64>,
        unarchived: Vec<Unarchived>,
    ) -> PyResult<Vec<u64>> {
        let unarchived: Vec<_> = unarchived
            .into_iter()
            .map(|(table, first, last, source, instructions)| Batch {
                table,
                first,
                last,
                origin: Origin {
                    source,
                    instructions,
                },
            })
            .collect();
        py.detach(|| self.inner.attach(dbms, &watermarks, &unarchived))
            .map_err(|e| journal_error(&e))
    }

    fn detach(&self, py: Python<'_>, dbms: &str) {
        py.detach(|| self.inner.detach(dbms));
    }

    fn set_by_origin(&self, on: bool) {
        self.inner.set_by_origin(on);
    }

    fn unreserve(&self) {
        self.inner.unreserve();
    }

    fn take(&self, py: Python<'_>, dbms: &str, timeout_s: f64) -> PyResult<Option<Flush>> {
        let timeout = seconds(timeout_s)?;
        let taken = py
            .detach(|| self.inner.take(dbms, timeout))
            .map_err(|e| journal_error(&e))?;
        taken
            .map(|flush| Flush::new(py, flush, &self.zone))
            .transpose()
    }

    #[allow(clippy::needless_pass_by_value)] // what PyO3 extracts is owned
    fn committed(&self, py: Python<'_>, flush: &Flush, parts: Vec<EndedPart>) -> PyResult<()> {
        let inner = flush.end()?;
        let parts: Vec<_> = parts
            .into_iter()
            .map(|(rejected, hold)| Ended { rejected, hold })
            .collect();
        py.detach(|| self.inner.committed(inner, &parts));
        Ok(())
    }

    fn put_back(&self, py: Python<'_>, flush: &Flush) -> PyResult<()> {
        let inner = flush.undo()?;
        py.detach(|| self.inner.put_back(inner));
        Ok(())
    }

    fn synced(&self, py: Python<'_>, dbms: &str) -> PyResult<()> {
        py.detach(|| self.inner.synced(dbms))
            .map_err(|e| journal_error(&e))
    }

    fn flush_all(&self) -> u64 {
        self.inner.flush_all()
    }

    // ---- files

    fn held(&self, dbms: &str, table: &str, first: u64) -> Option<Content> {
        let content = self.inner.held(&Key::new(dbms, table), first)?;
        Some(Content::new(content))
    }

    fn archived(&self, py: Python<'_>, dbms: &str, table: &str, first: u64) -> PyResult<()> {
        py.detach(|| self.inner.archived(&Key::new(dbms, table), first))
            .map_err(|e| journal_error(&e))
    }

    fn set_filing(&self, on: bool) {
        self.inner.set_filing(on);
    }

    fn expect(&self, dbms: &str, on: bool) {
        self.inner.expect(dbms, on);
    }

    fn take_file(&self, py: Python<'_>, timeout_s: f64) -> PyResult<Option<FileBatch>> {
        let timeout = seconds(timeout_s)?;
        let taken = py
            .detach(|| self.inner.take_file(timeout))
            .map_err(|e| journal_error(&e))?;
        Ok(taken.map(FileBatch::new))
    }

    fn content(&self, batch: &FileBatch) -> PyResult<Content> {
        batch.with(|inner| Content::new(self.inner.content(inner)))
    }

    fn filed(&self, py: Python<'_>, batch: &FileBatch) -> PyResult<()> {
        py.detach(|| batch.with(|inner| self.inner.filed(inner)))?
            .map_err(|e| journal_error(&e))?;
        batch.end().map(drop)
    }

    fn unfiled(&self, batch: &FileBatch) -> PyResult<()> {
        self.inner.unfiled(batch.end()?);
        Ok(())
    }

    // ---- state

    fn pending(&self, dbms: &str) -> u64 {
        self.inner.pending(dbms)
    }

    fn occupied_bytes(&self) -> usize {
        self.inner.occupied_bytes()
    }

    fn journal_bytes(&self) -> u64 {
        self.inner.journal_bytes()
    }

    /// Counters of every table.
    fn stats<'py>(&self, py: Python<'py>) -> PyResult<Vec<Bound<'py, PyDict>>> {
        self.inner
            .stats()
            .into_iter()
            .map(|(key, stats)| stats_dict(py, &key, &stats))
            .collect()
    }

    fn close(&self, py: Python<'_>) {
        py.detach(|| self.inner.close());
    }
}

fn stats_dict<'py>(py: Python<'py>, key: &Key, stats: &TableStats) -> PyResult<Bound<'py, PyDict>> {
    let made = PyDict::new(py);
    made.set_item("dbms", &key.dbms)?;
    made.set_item("table", &key.table)?;
    for (name, value) in [
        ("calls", stats.calls),
        ("rows", stats.rows),
        ("bytes", stats.bytes),
        ("recovered", stats.recovered),
        ("stored", stats.stored),
        ("rejected", stats.rejected),
        ("immediate", stats.immediate),
        ("pending", stats.pending()),
        ("cached_bytes", stats.buffer_bytes),
        ("idle_ms", stats.idle_ms),
        ("age_ms", stats.age_ms),
    ] {
        made.set_item(name, value)?;
    }
    Ok(made)
}
