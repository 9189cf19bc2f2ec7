//! `RowReader`: the rows of a statement as text or as columns, a piece at a time.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

use edgelake_core::query::render::{Block, BlockReader, Renderer, Values};
use edgelake_core::query::spec::Render;
use edgelake_core::query::value::Val;
use parking_lot::Mutex;
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyList};

use super::statement::{Connection, Statement, parameters};
use super::{Stop, to_py};
use crate::errors;

/// (title, kind, type code, values, nulls)
type Column<'py> = (
    &'py str,
    &'static str,
    char,
    Bound<'py, PyAny>,
    Option<Bound<'py, PyBytes>>,
);

struct State {
    /// None after the last row, an error, or `close`.
    statement: Option<Statement>,
    /// Whether the text has its end.
    is_finished: bool,
    text: Renderer,
    blocks: BlockReader,
    /// Reused from piece to piece.
    buffer: Vec<u8>,
    rows: u64,
}

/// The rows of one statement on an apsw connection.
#[pyclass(module = "edgelake._rust", frozen)]
pub struct RowReader {
    state: Mutex<State>,
    started: Instant,
    elapsed_s: f64,
    /// (title, kind) of each column.
    columns: Vec<(String, &'static str)>,
}

#[pymethods]
impl RowReader {
    #[new]
    #[pyo3(signature = (pointer, sql, render_json, values = vec![], *, elapsed_s = 0.0, now_us = None))]
    #[allow(clippy::needless_pass_by_value)] // what PyO3 extracts is owned
    fn new(
        py: Python<'_>,
        pointer: usize,
        sql: &str,
        render_json: &str,
        values: Vec<Bound<'_, PyAny>>,
        elapsed_s: f64,
        now_us: Option<i64>,
    ) -> PyResult<Self> {
        let connection = Connection::new(pointer)?;
        let spec: Render = serde_json::from_str(render_json)
            .map_err(|e| PyValueError::new_err(format!("wrong render spec: {e}")))?;
        let columns = spec.outputs.iter().map(|o| {
            (
                o.title.clone(),
                if o.casts.is_empty() {
                    o.kind.name()
                } else {
                    "any"
                },
            )
        });
        let columns = columns.collect();
        let now_us = now_us.unwrap_or_else(now);
        let blocks = BlockReader::new(&spec, now_us).map_err(|e| errors::query(py, &e))?;
        let text = Renderer::new(spec, now_us).map_err(|e| errors::query(py, &e))?;
        let values = parameters(&values)?;
        let statement = py
            .detach(move || Statement::prepare(connection, sql, &values))
            .map_err(|failure| errors::sqlite(&failure))?;
        Ok(Self {
            state: Mutex::new(State {
                statement: Some(statement),
                is_finished: false,
                text,
                blocks,
                buffer: Vec::new(),
                rows: 0,
            }),
            started: Instant::now(),
            elapsed_s,
            columns,
        })
    }

    /// The next piece of the text.
    #[pyo3(signature = (max_bytes = 262_144))]
    fn next<'py>(
        &self,
        py: Python<'py>,
        max_bytes: usize,
    ) -> PyResult<Option<Bound<'py, PyBytes>>> {
        let read = || {
            let mut state = self.state.lock();
            if state.is_finished {
                return Ok(None);
            }
            let read = state.read_text(max_bytes, || {
                (self.started.elapsed().as_secs_f64() + self.elapsed_s) as u64
            });
            state.end_on_error(read.is_err());
            read.map(|()| Some(std::mem::take(&mut state.buffer)))
        };
        let Some(mut buffer) = py.detach(read).map_err(|stop| to_py(py, &stop))? else {
            return Ok(None);
        };
        let piece = PyBytes::new(py, &buffer);
        buffer.clear();
        py.detach(|| self.state.lock().buffer = buffer);
        Ok(Some(piece))
    }

    /// The next rows as columns.
    fn block<'py>(
        &'py self,
        py: Python<'py>,
        max_rows: usize,
    ) -> PyResult<Option<Vec<Column<'py>>>> {
        let read = || {
            let mut state = self.state.lock();
            let read = state.read_block(max_rows);
            state.end_on_error(read.is_err());
            read
        };
        let Some(blocks) = py.detach(read).map_err(|stop| to_py(py, &stop))? else {
            return Ok(None);
        };
        let columns = self.columns.iter().zip(blocks);
        columns
            .map(|((title, kind), block)| column(py, title, kind, block))
            .collect::<PyResult<_>>()
            .map(Some)
    }

    #[getter]
    fn rows(&self, py: Python<'_>) -> u64 {
        py.detach(|| self.state.lock().rows)
    }

    fn close(&self, py: Python<'_>) {
        py.detach(|| self.state.lock().end_on_error(true));
    }
}

impl State {
    fn read_text(&mut self, max_bytes: usize, elapsed_s: impl Fn() -> u64) -> Result<(), Stop> {
        if let Some(statement) = &mut self.statement {
            while statement.step()? {
                self.text.row(&mut self.buffer, &*statement)?;
                if self.buffer.len() >= max_bytes {
                    self.rows = self.text.rows();
                    return Ok(());
                }
            }
        }
        self.statement = None;
        self.is_finished = true;
        self.rows = self.text.rows();
        self.text.finish(&mut self.buffer, elapsed_s());
        Ok(())
    }

    fn read_block(&mut self, max_rows: usize) -> Result<Option<Vec<Block>>, Stop> {
        let Some(statement) = &mut self.statement else {
            return Ok(None);
        };
        let mut is_last = false;
        while self.blocks.rows() < max_rows.max(1) {
            if !statement.step()? {
                is_last = true;
                break;
            }
            self.blocks.row(&*statement)?;
        }
        if is_last {
            self.statement = None;
            self.is_finished = true;
        }
        let rows = self.blocks.rows();
        self.rows += rows as u64;
        Ok((rows > 0).then(|| self.blocks.take()))
    }

    /// A statement that failed, or was closed, gives nothing any more.
    fn end_on_error(&mut self, failed: bool) {
        if failed {
            self.statement = None;
            self.is_finished = true;
            self.buffer = Vec::new();
        }
    }
}

pub(super) fn now() -> i64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |passed| passed.as_micros() as i64)
}

fn column<'py>(
    py: Python<'py>,
    title: &'py str,
    kind: &'static str,
    block: Block,
) -> PyResult<Column<'py>> {
    let (code, values) = match block.values {
        Values::Bool(values) => ('?', bytes(py, &values, |flag| [u8::from(flag)])?),
        Values::Int(values) => ('q', bytes(py, &values, i64::to_ne_bytes)?),
        Values::Float(values) => ('d', bytes(py, &values, f64::to_ne_bytes)?),
        Values::Any(values) => {
            let made = values.iter().map(|value| object(py, value));
            let made = made.collect::<PyResult<Vec<_>>>()?;
            ('O', PyList::new(py, made)?.into_any())
        }
    };
    let nulls = block.nulls.map(|nulls| PyBytes::new(py, &nulls));
    Ok((title, kind, code, values, nulls))
}

/// Values end to end in the machine's byte order.
fn bytes<'py, T: Copy, const N: usize>(
    py: Python<'py>,
    values: &[T],
    to_bytes: impl Fn(T) -> [u8; N],
) -> PyResult<Bound<'py, PyAny>> {
    let made = PyBytes::new_with(py, values.len() * N, |out| {
        for (place, value) in out.chunks_exact_mut(N).zip(values) {
            place.copy_from_slice(&to_bytes(*value));
        }
        Ok(())
    })?;
    Ok(made.into_any())
}

fn object<'py>(py: Python<'py>, value: &Val) -> PyResult<Bound<'py, PyAny>> {
    Ok(match value {
        Val::Null => py.None().into_bound(py),
        Val::Int(value) => value.into_pyobject(py)?.into_any(),
        Val::Float(value) => value.into_pyobject(py)?.into_any(),
        Val::Text(text) => text.into_pyobject(py)?.into_any(),
        Val::Blob(value) => PyBytes::new(py, value).into_any(),
    })
}
