//! Bench-only functions: the workload and the load generator. Nothing in the node calls them.

use std::net::SocketAddr;
use std::time::Duration;

use edgelake_load::{http, workload};
use pyo3::exceptions::{PyOSError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict};

/// Rows `first..first + rows` of workload W, newline-separated.
#[pyfunction]
pub fn workload_body(py: Python<'_>, first: u64, rows: u64) -> Bound<'_, PyBytes> {
    let body = py.detach(|| workload::body(first, rows));
    PyBytes::new(py, &body)
}

/// PUT workload W to a REST server over kept connections; returns counts, seconds and latency percentiles.
#[pyfunction]
#[pyo3(signature = (address, head, *, rows, rows_per_body, connections, limit_s, first = 0))]
#[allow(clippy::too_many_arguments)]
pub fn load_put<'py>(
    py: Python<'py>,
    address: &str,
    head: &str,
    rows: u64,
    rows_per_body: u64,
    connections: usize,
    limit_s: f64,
    first: u64,
) -> PyResult<Bound<'py, PyDict>> {
    let address: SocketAddr = address
        .parse()
        .map_err(|_| PyValueError::new_err(format!("'{address}' is no ip:port address")))?;
    if rows_per_body == 0 || connections == 0 {
        return Err(PyValueError::new_err(
            "rows_per_body and connections must be above 0",
        ));
    }
    let report = py
        .detach(|| {
            let requests: Vec<Vec<u8>> = (0..rows.div_ceil(rows_per_body))
                .map(|at| {
                    let start = at * rows_per_body;
                    let body = workload::body(first + start, rows_per_body.min(rows - start));
                    let mut request = format!(
                        "PUT / HTTP/1.1\r\nHost: bench\r\n{head}Content-Length: {}\r\n\r\n",
                        body.len()
                    )
                    .into_bytes();
                    request.extend_from_slice(&body);
                    request
                })
                .collect();
            http::run(
                address,
                &requests,
                connections,
                Duration::from_secs_f64(limit_s),
            )
        })
        .map_err(|e| PyOSError::new_err(e.to_string()))?;
    let percentile = |p: usize| {
        let last = report.latency_us.len().saturating_sub(1);
        report.latency_us.get(last * p / 100).copied().unwrap_or(0)
    };
    let result = PyDict::new(py);
    result.set_item("requests", report.requests)?;
    result.set_item("failures", report.failures)?;
    result.set_item("retries", report.retries)?;
    result.set_item("seconds", report.seconds)?;
    result.set_item("p50_us", percentile(50))?;
    result.set_item("p99_us", percentile(99))?;
    result.set_item("first_failure", &report.first_failure)?;
    Ok(result)
}
