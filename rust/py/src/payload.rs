//! Payloads that are longer than what is held of them: cut into blocks, or only looked through.

use std::sync::Mutex;

use edgelake_core::rows::{self, Block, Check, Limits, SplitError, Splitter};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::PyBytes;

use crate::errors;
use crate::rows::{Columns, DETACH_BYTES, to_columns, to_zone};

#[pyclass(module = "edgelake._rust", frozen)]
pub struct PayloadSplitter(Mutex<State>);

struct State {
    splitter: Splitter,
    fault: Option<SplitError>,
}

impl PayloadSplitter {
    fn blocks<'py>(
        &self,
        py: Python<'py>,
        step: impl FnOnce(&mut Splitter, &mut Vec<Block>) -> Result<(), SplitError>,
    ) -> PyResult<Vec<Bound<'py, PyBytes>>> {
        let mut state = self.0.lock().map_err(|_| broken())?;
        let mut found = Vec::new();
        if state.fault.is_none() {
            state.fault = step(&mut state.splitter, &mut found).err();
        }
        match &state.fault {
            Some(fault) if found.is_empty() => Err(errors::split(py, fault)),
            _ => Ok(found
                .iter()
                .map(|block| PyBytes::new(py, &block.content))
                .collect()),
        }
    }
}

#[pymethods]
impl PayloadSplitter {
    #[new]
    #[pyo3(signature = (*, block_bytes, row_bytes, skip_rows = 0))]
    fn new(block_bytes: usize, row_bytes: usize, skip_rows: usize) -> Self {
        let limits = Limits {
            block_bytes,
            row_bytes,
        };
        Self(Mutex::new(State {
            splitter: Splitter::new(limits, skip_rows),
            fault: None,
        }))
    }

    fn feed<'py>(&self, py: Python<'py>, piece: &[u8]) -> PyResult<Vec<Bound<'py, PyBytes>>> {
        self.blocks(py, |splitter, found| {
            if piece.len() > DETACH_BYTES {
                py.detach(|| splitter.feed(piece, found))
            } else {
                splitter.feed(piece, found)
            }
        })
    }

    fn finish<'py>(&self, py: Python<'py>) -> PyResult<Vec<Bound<'py, PyBytes>>> {
        self.blocks(py, Splitter::finish)
    }

    #[getter]
    fn rows(&self) -> PyResult<usize> {
        Ok(self.0.lock().map_err(|_| broken())?.splitter.rows())
    }
}

#[pyclass(module = "edgelake._rust", frozen)]
pub struct PayloadCheck(Mutex<Option<Check>>);

#[pymethods]
impl PayloadCheck {
    #[new]
    #[pyo3(signature = (*, block_bytes, row_bytes, infer = false, timezone = None))]
    fn new(
        block_bytes: usize,
        row_bytes: usize,
        infer: bool,
        timezone: Option<&str>,
    ) -> PyResult<Self> {
        let limits = Limits {
            block_bytes,
            row_bytes,
        };
        let check = Check::new(limits, to_zone(timezone)?, infer);
        Ok(Self(Mutex::new(Some(check))))
    }

    fn feed(&self, py: Python<'_>, piece: &[u8]) -> PyResult<()> {
        py.detach(|| {
            let mut held = self.0.lock().map_err(|_| None)?;
            let check = held.as_mut().ok_or(None)?;
            check.feed(piece).map_err(Some)
        })
        .map_err(|fault| told(py, fault.as_ref()))
    }

    fn finish(&self, py: Python<'_>) -> PyResult<(usize, Columns)> {
        let (rows, schema) = py
            .detach(|| {
                let check = self.0.lock().map_err(|_| None)?.take().ok_or(None)?;
                check.finish().map_err(Some)
            })
            .map_err(|fault: Option<SplitError>| told(py, fault.as_ref()))?;
        Ok((
            rows,
            schema.map_or_else(Vec::new, |s| to_columns(s.columns)),
        ))
    }
}

fn told(py: Python<'_>, fault: Option<&SplitError>) -> PyErr {
    fault.map_or_else(broken, |fault| errors::split(py, fault))
}

fn broken() -> PyErr {
    PyValueError::new_err("it is finished")
}

#[pyfunction]
#[allow(clippy::needless_pass_by_value)] // as it crosses the boundary
pub fn pick_rows<'py>(py: Python<'py>, payload: &[u8], numbers: Vec<usize>) -> Bound<'py, PyBytes> {
    let picked = py.detach(|| {
        let mut text = rows::pick(payload, &numbers).join("\n");
        if !text.is_empty() {
            text.push('\n');
        }
        text
    });
    PyBytes::new(py, picked.as_bytes())
}
