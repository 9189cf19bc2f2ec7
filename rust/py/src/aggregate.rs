//! Continuous aggregates: what a batch changes, and the rows of derived tables.

use std::collections::BTreeMap;
use std::sync::Arc;

use edgelake_core::aggregate::{self, BadText, Changes, Interval, Spec, Tally, Time};
use edgelake_core::query::value::Val;
use edgelake_core::rows::time::Zone;
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;

use crate::rows::{DETACH_BYTES, Rows};

fn bad(error: &BadText) -> PyErr {
    PyValueError::new_err(error.to_string())
}

/// What a batch changed in the intervals of one value column.
#[pyclass(module = "edgelake._rust", frozen)]
pub struct Aggregated {
    changes: Changes,
}

#[pymethods]
impl Aggregated {
    /// `time`: the name of the column, or the time of all rows. `known`: (start, text) of the intervals kept so far.
    #[new]
    #[pyo3(signature = (rows, time, value, known, *, interval_us, keep, tolerance = None))]
    #[allow(clippy::too_many_arguments, clippy::needless_pass_by_value)] // the signature that Python sees
    fn new(
        py: Python<'_>,
        rows: &Rows,
        time: TimeFrom,
        value: String,
        known: Vec<(i64, String)>,
        interval_us: i64,
        keep: usize,
        tolerance: Option<f64>,
    ) -> PyResult<Self> {
        if interval_us < 1 || keep < 1 {
            return Err(PyValueError::new_err(
                "an interval has a length, and one is kept",
            ));
        }
        let known = known
            .iter()
            .map(|(start, text)| Ok((*start, text.parse::<Interval>()?)))
            .collect::<Result<BTreeMap<_, _>, BadText>>()
            .map_err(|e| bad(&e))?;
        let spec = Spec {
            interval_us,
            keep,
            tolerance,
        };
        let chunk = Arc::clone(rows.chunk());
        let work = || {
            let time = match &time {
                TimeFrom::Fixed(us) => Time::Fixed(*us),
                TimeFrom::Column(name) => Time::Column(name),
            };
            aggregate::aggregate(&chunk, time, &value, spec, &known)
        };
        let changes = if chunk.len * 16 > DETACH_BYTES {
            py.detach(work)
        } else {
            work()
        };
        Ok(Self { changes })
    }

    #[getter]
    fn oldest_us(&self) -> i64 {
        self.changes.oldest_us
    }

    /// (start, text) of the intervals that are kept and changed.
    #[getter]
    fn kept(&self) -> Vec<(i64, String)> {
        let kept = self.changes.kept.iter();
        kept.map(|(start, interval)| (*start, interval.to_text()))
            .collect()
    }

    /// (start, whether the next batch may change it, text) of rows for the derived table.
    #[getter]
    fn entries(&self) -> Vec<(i64, bool, String)> {
        let entries = self.changes.entries.iter();
        entries
            .map(|e| (e.start_us, e.open, e.tally.to_text()))
            .collect()
    }

    /// Numbers of the rows that have no time or no number.
    #[getter]
    fn unused(&self) -> Vec<usize> {
        self.changes.unused.clone()
    }
}

#[derive(FromPyObject)]
enum TimeFrom {
    Fixed(i64),
    Column(String),
}

/// Rows of a derived table out of (value column, text of an entry).
#[pyfunction]
#[allow(clippy::needless_pass_by_value)] // what PyO3 extracts is owned
pub fn derived_rows(entries: Vec<(String, String)>, bounds: bool) -> PyResult<Rows> {
    let entries = entries
        .into_iter()
        .map(|(name, text)| Ok((name, text.parse::<Tally>()?)))
        .collect::<Result<Vec<_>, BadText>>()
        .map_err(|e| bad(&e))?;
    Ok(Rows::new(
        aggregate::derived(&entries, bounds),
        Zone::local(),
    ))
}

#[derive(IntoPyObject)]
pub enum Number {
    Int(i64),
    Float(f64),
}

impl Number {
    fn of(value: &Val) -> Option<Self> {
        match value {
            Val::Int(n) => Some(Self::Int(*n)),
            Val::Float(f) => Some(Self::Float(*f)),
            _ => None,
        }
    }
}

/// (count, min, max, average, first and last time in us) of the text of an interval.
#[pyfunction]
#[allow(clippy::type_complexity)] // one tuple, read in one place
pub fn interval_values(
    text: &str,
) -> PyResult<(u64, Option<Number>, Option<Number>, f64, i64, i64)> {
    let interval: Interval = text.parse().map_err(|e| bad(&e))?;
    let all = interval.all;
    Ok((
        all.count,
        Number::of(&all.min),
        Number::of(&all.max),
        all.average(),
        all.first_us,
        all.last_us,
    ))
}
