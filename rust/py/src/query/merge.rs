//! `PeerMerge`: rows that other nodes send, put together to one answer.

use edgelake_core::peer::Structure;
use edgelake_core::query::error::QueryError;
use edgelake_core::query::group::{self, Groups};
use edgelake_core::query::peer_rows::decode;
use edgelake_core::query::render::Renderer;
use edgelake_core::query::spec::{GroupSpec, Render};
use edgelake_core::query::value::{Kind, Val};
use parking_lot::Mutex;
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::PyBytes;

use super::reader::now;
use crate::errors;
use crate::peer::PeerMessage;
use crate::rows::{Rows, to_zone};

/// What becomes of a row.
enum Target {
    /// It is printed at once, from the row `offset` on, `limit` of them.
    Text {
        text: Box<Renderer>,
        limit: u64,
        offset: u64,
    },
    Groups(Box<Groups>),
    /// It is kept, in columns.
    Columns {
        columns: Vec<Vec<Val>>,
        bytes: usize,
    },
}

struct State {
    target: Target,
    kinds: Vec<Kind>,
    rows: u64,
    limit_bytes: usize,
}

/// Rows of several nodes.
#[pyclass(module = "edgelake._rust", frozen)]
pub struct PeerMerge(Mutex<State>);

fn wrong(e: &serde_json::Error) -> PyErr {
    PyValueError::new_err(format!("wrong spec: {e}"))
}

#[pymethods]
impl PeerMerge {
    #[new]
    #[pyo3(signature = (kinds_json, *, group_spec = "", render = "", limit = None, offset = 0, limit_bytes = 268_435_456))]
    fn new(
        py: Python<'_>,
        kinds_json: &str,
        group_spec: &str,
        render: &str,
        limit: Option<u64>,
        offset: u64,
        limit_bytes: usize,
    ) -> PyResult<Self> {
        let kinds: Vec<Kind> = serde_json::from_str(kinds_json).map_err(|e| wrong(&e))?;
        let target = if !group_spec.is_empty() {
            let spec: GroupSpec = serde_json::from_str(group_spec).map_err(|e| wrong(&e))?;
            let groups = Groups::new(&spec, limit_bytes).map_err(|e| errors::query(py, &e))?;
            Target::Groups(Box::new(groups))
        } else if render.is_empty() {
            Target::Columns {
                columns: vec![Vec::new(); kinds.len()],
                bytes: 0,
            }
        } else {
            let spec: Render = serde_json::from_str(render).map_err(|e| wrong(&e))?;
            let text = Renderer::new(spec, now()).map_err(|e| errors::query(py, &e))?;
            Target::Text {
                text: Box::new(text),
                limit: limit.unwrap_or(u64::MAX),
                offset,
            }
        };
        Ok(Self(Mutex::new(State {
            target,
            kinds,
            rows: 0,
            limit_bytes,
        })))
    }

    /// Take the rows of messages; returns the text that they become, where rows are passed on.
    #[allow(clippy::needless_pass_by_value)] // what PyO3 extracts is owned
    fn add<'py>(
        &self,
        py: Python<'py>,
        messages: Vec<Py<PeerMessage>>,
    ) -> PyResult<Bound<'py, PyBytes>> {
        let messages: Vec<&PeerMessage> = messages.iter().map(Py::get).collect();
        let text = py.detach(|| {
            let mut state = self.0.lock();
            let mut out = Vec::new();
            for message in messages.iter().map(|m| &m.0) {
                match message.header.structure {
                    Structure::PRINTED => state.print(&message.data, &mut out)?,
                    Structure::LINES => {
                        rows(&message.data).try_for_each(|row| state.take(row, &mut out))?;
                    }
                    _ => (message.rows.iter()).try_for_each(|row| state.take(row, &mut out))?,
                }
            }
            Ok::<_, QueryError>(out)
        });
        let text = text.map_err(|e| errors::query(py, &e))?;
        Ok(PyBytes::new(py, &text))
    }

    /// Rows that were taken and not cut off.
    #[getter]
    fn rows(&self) -> u64 {
        self.0.lock().rows
    }

    /// Memory of the rows that are kept, about.
    #[getter]
    fn held_bytes(&self) -> usize {
        match &self.0.lock().target {
            Target::Columns { bytes, .. } => *bytes,
            _ => 0,
        }
    }

    /// Whether more rows change nothing.
    #[getter]
    fn is_full(&self) -> bool {
        let state = self.0.lock();
        matches!(state.target, Target::Text { limit: 0, .. })
    }

    /// What stands behind the rows that were passed on.
    fn end<'py>(
        &self,
        py: Python<'py>,
        elapsed_s: u64,
        target_nodes: u32,
        participating_nodes: u32,
    ) -> Bound<'py, PyBytes> {
        let mut out = Vec::new();
        if let Target::Text { text, .. } = &mut self.0.lock().target {
            text.set_nodes(target_nodes, participating_nodes);
            text.finish(&mut out, elapsed_s);
        }
        PyBytes::new(py, &out)
    }

    /// The rows, or their groups, as a batch with the columns c0, c1 ...; they are gone from here. More rows may follow.
    fn take(&self, py: Python<'_>) -> PyResult<Rows> {
        let chunk = py.detach(|| {
            let mut state = self.0.lock();
            let empty = Target::Columns {
                columns: vec![Vec::new(); state.kinds.len()],
                bytes: 0,
            };
            group::to_chunk(match std::mem::replace(&mut state.target, empty) {
                Target::Groups(groups) => groups.finish()?,
                Target::Columns { columns, .. } => columns,
                Target::Text { .. } => Vec::new(),
            })
        });
        let chunk = chunk.map_err(|e| errors::query(py, &e))?;
        Ok(Rows::new(chunk, to_zone(None)?))
    }
}

/// The rows of a frame.
fn rows(lines: &[u8]) -> impl Iterator<Item = &[u8]> {
    lines.split(|b| *b == b'\n').filter(|row| !row.is_empty())
}

impl State {
    /// Pass on rows that are printed already, a line each.
    fn print(&mut self, lines: &[u8], out: &mut Vec<u8>) -> Result<(), QueryError> {
        let Target::Text {
            text,
            limit,
            offset,
        } = &mut self.target
        else {
            return Err(QueryError::Parse(
                "a node sent printed rows, which were not asked for".into(),
            ));
        };
        out.reserve(lines.len() + lines.len() / 16);
        for row in rows(lines) {
            if *offset > 0 {
                *offset -= 1;
            } else if *limit > 0 {
                text.printed(out, row);
                *limit -= 1;
                self.rows += 1;
            }
        }
        Ok(())
    }

    fn take(&mut self, row: &[u8], out: &mut Vec<u8>) -> Result<(), QueryError> {
        let values = decode(row, &self.kinds)?;
        match &mut self.target {
            Target::Text { offset, .. } if *offset > 0 => {
                *offset -= 1;
                return Ok(());
            }
            Target::Text { limit: 0, .. } => return Ok(()),
            Target::Text { text, limit, .. } => {
                text.row(out, &values[..])?;
                *limit -= 1;
            }
            Target::Groups(groups) => groups.add(&values[..])?,
            Target::Columns { columns, bytes } => {
                for (column, value) in columns.iter_mut().zip(values) {
                    *bytes += size_of::<Val>() + value.heap_bytes();
                    column.push(value);
                }
                if *bytes > self.limit_bytes {
                    return Err(QueryError::TooLarge(format!(
                        "rows of other nodes that are to be sorted take more than {} MB: set a limit, or narrow it",
                        self.limit_bytes >> 20
                    )));
                }
            }
        }
        self.rows += 1;
        Ok(())
    }
}
