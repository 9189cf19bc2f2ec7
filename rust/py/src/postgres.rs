//! `CopyBatch`: a batch of rows as PostgreSQL's binary COPY data.

use std::ops::Range;
use std::sync::Arc;

use edgelake_core::postgres::{Automatic, Encoder, UnknownWire, Wire};
use parking_lot::Mutex;
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::PyBytes;

use crate::loaded::Loaded;
use crate::rows::Rows;

const PIECE_BYTES: usize = 1 << 20;

pub fn wires(names: &[String]) -> PyResult<Vec<Wire>> {
    names
        .iter()
        .map(|name| name.parse())
        .collect::<Result<_, UnknownWire>>()
        .map_err(|e| PyValueError::new_err(e.to_string()))
}

/// A batch, and the window of it that is being sent.
#[pyclass(module = "edgelake._rust", frozen)]
pub struct CopyBatch {
    state: Mutex<State>,
}

struct State {
    loaded: Loaded,
    window: Range<usize>,
    /// Position of the next row to be sent; `None` before the header.
    at: Option<usize>,
    ended: bool,
}

#[pymethods]
impl CopyBatch {
    #[new]
    #[pyo3(signature = (rows, *, key = None, fill_us = 0))]
    fn new(py: Python<'_>, rows: &Rows, key: Option<usize>, fill_us: i64) -> Self {
        let chunk = Arc::clone(rows.chunk());
        Self {
            state: Mutex::new(State {
                loaded: py.detach(|| Loaded::new(chunk, key, fill_us)),
                window: 0..0,
                at: None,
                ended: true,
            }),
        }
    }

    fn next_key(&self) -> Option<i64> {
        self.state.lock().loaded.next_key()
    }

    #[pyo3(signature = (*, end_us = None))]
    fn take(&self, end_us: Option<i64>) -> usize {
        let mut state = self.state.lock();
        state.window = state.loaded.take(end_us, None);
        state.at = None;
        state.ended = false;
        state.window.len()
    }

    #[pyo3(signature = (types, automatic = None))]
    #[allow(clippy::needless_pass_by_value)] // what PyO3 extracts is owned
    fn piece<'py>(
        &self,
        py: Python<'py>,
        types: Vec<String>,
        automatic: Option<(i64, i64, String, i32)>,
    ) -> PyResult<Option<Bound<'py, PyBytes>>> {
        let types = wires(&types)?;
        let out = py.detach(|| {
            let mut state = self.state.lock();
            if state.ended {
                return Ok(None);
            }
            if types.len() != state.loaded.chunk.columns.len() {
                return Err(format!(
                    "{} types for {} columns",
                    types.len(),
                    state.loaded.chunk.columns.len()
                ));
            }
            state.piece(&types, automatic.as_ref()).map(Some)
        });
        let out = out.map_err(PyValueError::new_err)?;
        Ok(out.map(|bytes| PyBytes::new(py, &bytes)))
    }
}

impl State {
    /// The next piece of the window's rows.
    fn piece(
        &mut self,
        types: &[Wire],
        automatic: Option<&(i64, i64, String, i32)>,
    ) -> Result<Vec<u8>, String> {
        let mut out = Vec::with_capacity(PIECE_BYTES + PIECE_BYTES / 8);
        let at = self.at.unwrap_or_else(|| {
            Encoder::begin(&mut out);
            self.window.start
        });
        let encoder = Encoder {
            chunk: &self.loaded.chunk,
            types,
            automatic: automatic.map(|(first_row_id, insert_timestamp_us, tsd_name, tsd_id)| {
                Automatic {
                    first_row_id: *first_row_id,
                    insert_timestamp_us: *insert_timestamp_us,
                    tsd_name,
                    tsd_id: *tsd_id,
                }
            }),
        };
        let order = self.loaded.order.as_ref().map(|order| order.as_slice());
        let done = encoder
            .rows(
                at..self.window.end,
                self.window.start,
                order,
                PIECE_BYTES,
                &mut out,
            )
            .map_err(|wrong| wrong.to_string())?;
        self.at = Some(at + done);
        if at + done >= self.window.end {
            Encoder::end(&mut out);
            self.ended = true;
        }
        Ok(out)
    }
}
