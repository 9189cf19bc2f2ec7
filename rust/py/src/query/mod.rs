//! Queries: the planner, and its engine on apsw's connections: grouped scans, rows as text or columns.

mod functions;
mod merge;
mod plan;
mod reader;
mod scan;
mod statement;

use edgelake_core::query::error::QueryError;
use pyo3::{PyErr, Python};

use crate::errors;

pub use functions::add_functions;
pub use merge::PeerMerge;
pub use plan::{Plan, Select, change_statement, statement_word, time_expression, time_text};
pub use reader::RowReader;
pub use scan::GroupScan;
pub use statement::Failure;

/// Why rows ended before the last one.
enum Stop {
    Failed(Failure),
    Refused(QueryError),
}

impl From<Failure> for Stop {
    fn from(failure: Failure) -> Self {
        Self::Failed(failure)
    }
}

impl From<QueryError> for Stop {
    fn from(error: QueryError) -> Self {
        Self::Refused(error)
    }
}

fn to_py(py: Python<'_>, stop: &Stop) -> PyErr {
    match stop {
        Stop::Failed(failure) => errors::sqlite(failure),
        Stop::Refused(error) => errors::query(py, error),
    }
}
