//! `GroupScan`: rows of scans, grouped in native code.

use edgelake_core::query::error::QueryError;
use edgelake_core::query::group::{self, Gathered, Groups};
use edgelake_core::query::spec::GroupSpec;
use parking_lot::Mutex;
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;

use super::statement::{Connection, Statement, parameters};
use super::{Stop, to_py};
use crate::errors;
use crate::rows::{Rows, to_zone};

/// Groups that scans fill, one after another or several at once.
#[pyclass(module = "edgelake._rust", frozen)]
pub struct GroupScan {
    /// None once the result was taken, or a scan failed.
    groups: Mutex<Option<Groups>>,
}

#[pymethods]
impl GroupScan {
    #[new]
    #[pyo3(signature = (spec_json, *, limit_bytes = 268_435_456))]
    fn new(py: Python<'_>, spec_json: &str, limit_bytes: usize) -> PyResult<Self> {
        let spec: GroupSpec = serde_json::from_str(spec_json)
            .map_err(|e| PyValueError::new_err(format!("wrong group spec: {e}")))?;
        let groups = Groups::new(&spec, limit_bytes).map_err(|e| errors::query(py, &e))?;
        Ok(Self {
            groups: Mutex::new(Some(groups)),
        })
    }

    #[pyo3(signature = (pointer, sql, values = vec![]))]
    #[allow(clippy::needless_pass_by_value)] // what PyO3 extracts is owned
    fn scan(
        &self,
        py: Python<'_>,
        pointer: usize,
        sql: &str,
        values: Vec<Bound<'_, PyAny>>,
    ) -> PyResult<u64> {
        let connection = Connection::new(pointer)?;
        let values = parameters(&values)?;
        let run = move || {
            let mut found = self.groups.lock().as_ref().ok_or_else(ended)?.empty();
            let mut statement = Statement::prepare(connection, sql, &values)?;
            if statement.columns() < found.width() {
                return Err(Stop::from(QueryError::Parse(format!(
                    "the scan has {} columns, its groups need {}",
                    statement.columns(),
                    found.width()
                ))));
            }
            let mut rows = 0;
            while statement.step()? {
                found.add(&statement)?;
                rows += 1;
            }
            drop(statement);
            self.take_in(found)?;
            Ok(rows)
        };
        py.detach(run).map_err(|stop| to_py(py, &stop))
    }

    #[pyo3(signature = (pointer, sql))]
    fn scan_gathered(&self, py: Python<'_>, pointer: usize, sql: &str) -> PyResult<bool> {
        let connection = Connection::new(pointer)?;
        let run = move || {
            let mut found = self.groups.lock().as_ref().ok_or_else(ended)?.empty();
            let mut statement = Statement::prepare(connection, sql, &[])?;
            if statement.columns() != found.gathered_width() {
                return Err(Stop::from(QueryError::Parse(format!(
                    "the server's groups have {} columns, {} are wanted",
                    statement.columns(),
                    found.gathered_width()
                ))));
            }
            while statement.step()? {
                if found.add_gathered(&statement)? == Gathered::NotExactly {
                    return Ok(false);
                }
            }
            drop(statement);
            self.take_in(found)?;
            Ok(true)
        };
        py.detach(run).map_err(|stop| to_py(py, &stop))
    }

    fn merge(&self, py: Python<'_>, other: &Self) -> PyResult<()> {
        py.detach(|| {
            let groups = other.groups.lock().take().ok_or_else(ended)?;
            self.take_in(groups)
        })
        .map_err(|e| errors::query(py, &e))
    }

    fn finish(&self, py: Python<'_>) -> PyResult<Rows> {
        let chunk = py.detach(|| {
            let groups = self.groups.lock().take().ok_or_else(ended)?;
            group::to_chunk(groups.finish()?)
        });
        let chunk = chunk.map_err(|e| errors::query(py, &e))?;
        Ok(Rows::new(chunk, to_zone(None)?))
    }

    fn __len__(&self, py: Python<'_>) -> usize {
        py.detach(|| self.groups.lock().as_ref().map_or(0, Groups::len))
    }
}

impl GroupScan {
    /// Merge; what a failed merge leaves is of no use.
    fn take_in(&self, found: Groups) -> Result<(), QueryError> {
        let mut groups = self.groups.lock();
        let held = groups.as_mut().ok_or_else(ended)?;
        let merged = held.merge(found);
        if merged.is_err() {
            *groups = None;
        }
        merged
    }
}

fn ended() -> QueryError {
    QueryError::Parse("the groups were finished, or a scan of them failed".to_owned())
}
