//! `MappingProgram`: the Python face of a compiled mapping.

use std::path::PathBuf;

use edgelake_core::intake;
use edgelake_core::mapping::{BlobSource, CompileError, Condition, Program};
use pyo3::PyErr;
use pyo3::prelude::*;

use crate::rows::{Columns, Rows, to_columns, to_zone};

/// (dbms, table, source, instructions, declared columns, rows)
type Target = (String, String, String, String, Columns, Rows);
/// (element from 1, number, reason)
type Rejected = (usize, u16, String);

/// (command out of a script, what it saw as JSON)
type Command = (String, String);

/// Topics of a message client and what is done with their messages, compiled.
#[pyclass(module = "edgelake._rust", frozen)]
pub struct MappingProgram {
    program: Program,
}

/// `edgelake.errors.error(number, detail)`.
pub fn numbered(py: Python<'_>, number: u16, detail: &str) -> PyErr {
    let made = py
        .import("edgelake.errors")
        .and_then(|errors| errors.call_method1("error", (number, detail)));
    match made {
        Ok(value) => PyErr::from_value(value),
        Err(error) => error,
    }
}

pub fn refused(py: Python<'_>, error: &CompileError) -> PyErr {
    numbered(py, error.code, &error.message)
}

/// Raises EdgeLakeError when a text is no condition.
#[pyfunction]
pub fn check_condition(py: Python<'_>, text: &str) -> PyResult<()> {
    Condition::compile(text)
        .map(drop)
        .map_err(|e| refused(py, &e))
}

#[pymethods]
impl MappingProgram {
    #[new]
    fn new(py: Python<'_>, spec_json: &str) -> PyResult<Self> {
        let spec = serde_json::from_str(spec_json).map_err(|e| numbered(py, 6, &e.to_string()))?;
        let program = Program::compile(&spec).map_err(|e| refused(py, &e))?;
        Ok(Self { program })
    }

    fn topic(&self, name: &str) -> Option<usize> {
        self.program.topic(name)
    }

    /// Columns that the policies of a topic list.
    #[pyo3(signature = (number = 0))]
    fn declared(&self, number: usize) -> Columns {
        to_columns(self.program.declared(number))
    }

    #[pyo3(signature = (payload, topic = "", *, now_us = 0, timezone = None, blobs_dir = None))]
    #[allow(clippy::needless_pass_by_value)] // what PyO3 extracts is owned
    fn map(
        &self,
        py: Python<'_>,
        payload: &[u8],
        topic: &str,
        now_us: i64,
        timezone: Option<&str>,
        blobs_dir: Option<PathBuf>,
    ) -> PyResult<(Vec<Target>, Vec<Rejected>, Vec<Command>)> {
        let zone = to_zone(timezone)?;
        let keep =
            blobs_dir.map(|dir| move |source: BlobSource<'_>| intake::keep_blob(&dir, source));
        let mapped = self
            .program
            .map(topic, payload, now_us, &zone, keep.as_ref().map(|k| k as _))
            .map_err(|e| numbered(py, e.code(), &e.detail()))?;
        let targets = mapped.targets.into_iter().map(|target| {
            let declared = to_columns(target.declared);
            let rows = Rows::new(target.chunk, zone.clone());
            (
                target.dbms,
                target.table,
                target.source,
                target.instructions,
                declared,
                rows,
            )
        });
        let rejected = mapped
            .rejected
            .into_iter()
            .map(|r| (r.element, r.code, r.reason));
        let commands = mapped.commands.into_iter().map(|c| (c.line, c.seen));
        Ok((targets.collect(), rejected.collect(), commands.collect()))
    }
}
