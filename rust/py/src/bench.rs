//! Baselines of the benches: what a minimal native program would do. Not used by the node.

#![allow(unsafe_code)]

use pyo3::exceptions::{PyRuntimeError, PyValueError};
use pyo3::prelude::*;
use rusqlite::{Connection, ffi};
use serde::Deserialize;

#[derive(Deserialize)]
struct Reading<'a> {
    timestamp: &'a str,
    device_name: &'a str,
    value: f64,
}

/// Insert newline separated readings (timestamp, device_name, value) by bind and step, one transaction per body.
///
/// The baseline of the ingestion benches: serde into a borrowed struct, one prepared statement, text time with
/// an index on it. Returns the number of rows.
#[pyfunction]
#[allow(clippy::needless_pass_by_value)] // what PyO3 extracts is owned
pub fn bench_native_loop(
    py: Python<'_>,
    pointer: usize,
    payload_bodies: Vec<Vec<u8>>,
    table: &str,
) -> PyResult<usize> {
    if !crate::sqlite::is_ready() || pointer == 0 {
        return Err(PyValueError::new_err("an open connection is needed"));
    }
    py.detach(|| {
        // SAFETY: the pointer is of an open apsw connection that the caller doesn't use meanwhile;
        // `from_handle` never closes it.
        let db = unsafe { Connection::from_handle(pointer as *mut ffi::sqlite3) }
            .map_err(|e| e.to_string())?;
        insert(&db, &payload_bodies, table)
    })
    .map_err(PyRuntimeError::new_err)
}

fn insert(db: &Connection, bodies: &[Vec<u8>], table: &str) -> Result<usize, String> {
    let text = |e: rusqlite::Error| e.to_string();
    let name = table.replace('"', "\"\"");
    db.execute_batch(&format!(
        "CREATE TABLE IF NOT EXISTS \"{name}\" (timestamp TEXT, device_name TEXT, value REAL);
         CREATE INDEX IF NOT EXISTS \"{name}_time\" ON \"{name}\" (timestamp);"
    ))
    .map_err(text)?;
    let mut statement = db
        .prepare(&format!("INSERT INTO \"{name}\" VALUES (?1, ?2, ?3)"))
        .map_err(text)?;
    let mut rows = 0;
    for body in bodies {
        db.execute_batch("BEGIN IMMEDIATE").map_err(text)?;
        for line in body.split(|&b| b == b'\n').filter(|l| !l.is_empty()) {
            let reading: Reading = serde_json::from_slice(line).map_err(|e| e.to_string())?;
            statement
                .raw_bind_parameter(1, reading.timestamp)
                .map_err(text)?;
            statement
                .raw_bind_parameter(2, reading.device_name)
                .map_err(text)?;
            statement
                .raw_bind_parameter(3, reading.value)
                .map_err(text)?;
            rows += statement.raw_execute().map_err(text)?;
        }
        db.execute_batch("COMMIT").map_err(text)?;
    }
    Ok(rows)
}
