//! Bench-only functions: the MQTT load generator. Nothing in the node calls them.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::time::Duration;

use edgelake_load::mqtt::crowd::{self, Crowd, Disturbance};
use edgelake_load::mqtt::flow::{self, Flow};
use edgelake_load::mqtt::pace::{self, Pace};
use edgelake_load::mqtt::{self, Target, sink};
use pyo3::exceptions::{PyOSError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::PyDict;

fn target(address: &str, version: u8) -> PyResult<Target> {
    let address = parse(address)?;
    let version =
        mqtt::version(version).ok_or_else(|| PyValueError::new_err("version is 3, 4 or 5"))?;
    Ok(Target { address, version })
}

fn parse(address: &str) -> PyResult<SocketAddr> {
    let wrong = || PyValueError::new_err(format!("'{address}' is no ip:port address"));
    address.parse().map_err(|_| wrong())
}

fn failed(error: &io::Error) -> PyErr {
    PyOSError::new_err(error.to_string())
}

/// Messages from publishers to subscribers, each of which gets all; returns counts and seconds.
#[pyfunction]
#[pyo3(signature = (address, topic, *, version, publishers, subscribers, qos, payload_bytes, window, messages, limit_s))]
#[allow(clippy::too_many_arguments)]
pub fn load_mqtt_flow<'py>(
    py: Python<'py>,
    address: &str,
    topic: String,
    version: u8,
    publishers: usize,
    subscribers: usize,
    qos: u8,
    payload_bytes: usize,
    window: usize,
    messages: u64,
    limit_s: f64,
) -> PyResult<Bound<'py, PyDict>> {
    let flow = Flow {
        target: target(address, version)?,
        publishers,
        subscribers,
        qos: mqtt::qos(qos).ok_or_else(|| PyValueError::new_err("qos is 0, 1 or 2"))?,
        payload_bytes,
        window,
        messages,
        topic,
        limit: Duration::from_secs_f64(limit_s),
    };
    let report = py
        .detach(|| flow::run(&flow))
        .map_err(|error| failed(&error))?;
    let result = PyDict::new(py);
    result.set_item("seconds", report.seconds)?;
    result.set_item("acknowledged", report.acknowledged)?;
    result.set_item("delivered", report.delivered)?;
    Ok(result)
}

/// Latency of PUBACKs: at `rate` messages a second beside a disturbance, or one by one with `rate` 0.
#[pyfunction]
#[pyo3(signature = (address, topic, *, version, publishers, rate, messages, payload_bytes, disturbance = "none", amount = 0))]
#[allow(clippy::too_many_arguments)]
pub fn load_mqtt_pace<'py>(
    py: Python<'py>,
    address: &str,
    topic: String,
    version: u8,
    publishers: usize,
    rate: u32,
    messages: u64,
    payload_bytes: usize,
    disturbance: &str,
    amount: usize,
) -> PyResult<Bound<'py, PyDict>> {
    let disturbance = match disturbance {
        "none" => Disturbance::None,
        "storm" => Disturbance::Storm(amount),
        "stalled" => Disturbance::Stalled(amount),
        "claims" => Disturbance::Claims(amount),
        _ => {
            return Err(PyValueError::new_err(
                "disturbance is none, storm, stalled or claims",
            ));
        }
    };
    let target = target(address, version)?;
    let pace = Pace {
        target,
        publishers,
        rate,
        messages,
        payload_bytes,
        topic,
    };
    let (latencies, seconds) = py
        .detach(|| match pace.rate {
            0 => pace::one_by_one(&pace).map(|latencies| (latencies, 0.0)),
            _ => crowd::bystander(&pace, disturbance),
        })
        .map_err(|error| failed(&error))?;
    let percentile = |p: usize| {
        let last = latencies.len().saturating_sub(1);
        latencies
            .get(last * p / 100)
            .map_or(0.0, |&ns| ns as f64 / 1000.0)
    };
    let result = PyDict::new(py);
    result.set_item("p50_us", percentile(50))?;
    result.set_item("p99_us", percentile(99))?;
    result.set_item("most_us", percentile(100))?;
    result.set_item("disturbance_s", seconds)?;
    Ok(result)
}

/// Connections that are held until this is dropped.
#[pyclass(frozen)]
pub struct MqttCrowd {
    crowd: Crowd,
}

#[pymethods]
impl MqttCrowd {
    #[new]
    #[pyo3(signature = (address, count, *, version, subscribe, limit_s))]
    fn new(
        py: Python<'_>,
        address: &str,
        count: usize,
        version: u8,
        subscribe: bool,
        limit_s: f64,
    ) -> PyResult<Self> {
        let target = target(address, version)?;
        let limit = Duration::from_secs_f64(limit_s);
        let opened = py.detach(|| crowd::open(target, count, subscribe, limit));
        opened
            .map(|crowd| Self { crowd })
            .map_err(|error| failed(&error))
    }

    #[getter]
    fn seconds(&self) -> f64 {
        self.crowd.seconds
    }
}

/// The server that does nothing but acknowledge and hand on; serves until the process ends.
#[pyfunction]
pub fn load_mqtt_sink(py: Python<'_>, address: &str) -> PyResult<()> {
    let address = parse(address)?;
    py.detach(|| sink::serve(TcpListener::bind(address)?))
        .map_err(|error| failed(&error))
}
