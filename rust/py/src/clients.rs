//! `MessageClients`: the Python face of the message clients of a node.

use std::path::PathBuf;
use std::sync::Arc;

use edgelake_core::intake::{
    Clients, Counted, Declaration, Directories, Incoming, LOCAL, LineFormat, LineRule, Routes,
};
use edgelake_core::pipeline::{Position, now_us};
use pyo3::exceptions::{PyKeyError, PyValueError};
use pyo3::prelude::*;
use pyo3::pybacked::{PyBackedBytes, PyBackedStr};

use crate::mapping::{numbered, refused};
use crate::pipeline::{Pipeline, StorageFullError, not_taken};
use crate::rows::to_zone;

/// Above this a batch is mapped without the interpreter's lock.
const DETACH_BYTES: usize = 64 * 1024;

/// (messages, success, errors, last message, last error, its text); times in microseconds, 0 = never.
type Counters = (u64, u64, u64, i64, i64, String);
/// (message from 0, element from 1 or 0 = the whole, number, reason)
type Unmapped = (usize, usize, u16, String);
/// (client, topic, first bytes, number, reason)
type Fault = (u32, String, Vec<u8>, u16, String);

fn told(unmapped: edgelake_core::intake::Unmapped) -> Unmapped {
    (
        unmapped.message,
        unmapped.element,
        unmapped.code,
        unmapped.reason,
    )
}

/// Messages of one log, in its order, and where reading it goes on behind them.
struct ReadPart {
    topic: String,
    position: Position,
    /// None for a message without a value.
    payloads: Vec<Option<PyBackedBytes>>,
}

/// Messages as they were read from logs, taken over from Python once, whatever becomes of them.
#[pyclass(module = "edgelake._rust", frozen)]
pub struct ReadMessages {
    parts: Vec<ReadPart>,
    bytes: usize,
    count: usize,
}

#[pymethods]
impl ReadMessages {
    /// `parts`: topic, name of the source, values in their order (bytes or None), and where reading goes on.
    #[new]
    fn new(parts: Vec<(String, String, Vec<Option<PyBackedBytes>>, i64)>) -> Self {
        let (mut read, mut bytes, mut count) = (Vec::with_capacity(parts.len()), 0, 0);
        for (topic, source, payloads, next) in parts {
            bytes += payloads.iter().flatten().map(|p| p.len()).sum::<usize>();
            count += payloads.len();
            let position = Position { source, next };
            read.push(ReadPart {
                topic,
                position,
                payloads,
            });
        }
        Self {
            parts: read,
            bytes,
            count,
        }
    }

    /// Bytes of all payloads.
    #[getter]
    fn bytes(&self) -> usize {
        self.bytes
    }

    fn __len__(&self) -> usize {
        self.count
    }
}

/// The message clients of a node: topics, how their messages are mapped, and what came.
#[pyclass(module = "edgelake._rust", frozen)]
pub struct MessageClients {
    inner: Arc<Clients>,
}

impl MessageClients {
    /// For the broker, whose messages don't pass through Python.
    pub fn inner(&self) -> Arc<Clients> {
        self.inner.clone()
    }
}

fn counters(counted: Counted) -> Counters {
    (
        counted.messages,
        counted.success,
        counted.errors,
        counted.last_message_us,
        counted.last_error_us,
        counted.last_error,
    )
}

#[pymethods]
impl MessageClients {
    #[new]
    #[pyo3(signature = (*, timezone = None))]
    fn new(timezone: Option<&str>) -> PyResult<Self> {
        Ok(Self {
            inner: Arc::new(Clients::new(to_zone(timezone)?)),
        })
    }

    #[pyo3(signature = (id, broker, spec_json, *, err_dir = None, log_dir = None, blobs_dir = None))]
    #[allow(clippy::too_many_arguments)]
    fn add(
        &self,
        py: Python<'_>,
        id: u32,
        broker: String,
        spec_json: &str,
        err_dir: Option<PathBuf>,
        log_dir: Option<PathBuf>,
        blobs_dir: Option<PathBuf>,
    ) -> PyResult<()> {
        let spec = serde_json::from_str(spec_json).map_err(|e| numbered(py, 6, &e.to_string()))?;
        let declaration = Declaration {
            id,
            broker,
            spec,
            directories: Directories {
                errors: err_dir,
                log: log_dir,
                blobs: blobs_dir,
            },
        };
        self.inner
            .add(declaration)
            .map(drop)
            .map_err(|e| refused(py, &e))
    }

    /// Other mappings of the same topics; the counters go on.
    fn update(&self, py: Python<'_>, id: u32, spec_json: &str) -> PyResult<bool> {
        let spec = serde_json::from_str(spec_json).map_err(|e| numbered(py, 6, &e.to_string()))?;
        self.inner.update(id, &spec).map_err(|e| refused(py, &e))
    }

    fn remove(&self, id: u32) -> bool {
        self.inner.remove(id)
    }

    /// Number of the topic of a client that takes a message.
    fn topic(&self, id: u32, name: &str) -> Option<usize> {
        self.inner.get(id)?.program.topic(name)
    }

    /// Ids of the clients of a broker that take a topic.
    fn takers(&self, broker: &str, topic: &str) -> Vec<u32> {
        let routes = self.inner.routes(broker, topic);
        routes.iter().map(|(client, _)| client.id).collect()
    }

    /// Map messages that were read from logs, and journal how far these are read with their rows.
    fn submit_read(
        &self,
        py: Python<'_>,
        pipeline: &Pipeline,
        read: &ReadMessages,
        client: u32,
    ) -> PyResult<(Vec<u64>, Vec<Unmapped>)> {
        let pipeline = pipeline.inner();
        pipeline.admit(read.bytes).map_err(|e| not_taken(py, &e))?;
        let work = || {
            let routes: Vec<Routes> = read
                .parts
                .iter()
                .map(|part| self.routes(Some(client), &part.topic))
                .collect();
            let arrival_us = now_us();
            let incoming = read.parts.iter().zip(&routes).flat_map(|(part, routes)| {
                part.payloads.iter().map(move |payload| Incoming {
                    topic: &part.topic,
                    payload: payload.as_deref().unwrap_or_default(),
                    arrival_us,
                    receipt: None,
                    routes,
                })
            });
            let mapped = self.inner.map(incoming, 0);
            if let Some(reason) = mapped.unwritten {
                return Err(reason);
            }
            let positions = read.parts.iter().map(|part| part.position.clone());
            let tickets = pipeline.submit_mapped_all(mapped.rows, positions.collect());
            for command in mapped.commands {
                pipeline.act(command.into());
            }
            Ok((tickets, mapped.unmapped.into_iter().map(told).collect()))
        };
        py.detach(work).map_err(StorageFullError::new_err)
    }

    #[pyo3(signature = (pipeline, messages, client = None))]
    #[allow(clippy::needless_pass_by_value)] // what PyO3 extracts is owned
    fn submit(
        &self,
        py: Python<'_>,
        pipeline: &Pipeline,
        messages: Vec<(PyBackedStr, PyBackedBytes)>,
        client: Option<u32>,
    ) -> PyResult<(Vec<u64>, Vec<Unmapped>)> {
        let bytes = messages.iter().map(|(_, payload)| payload.len()).sum();
        let pipeline = pipeline.inner();
        pipeline.admit(bytes).map_err(|e| not_taken(py, &e))?;
        let work = || {
            let routes: Vec<Routes> = messages
                .iter()
                .map(|(topic, _)| self.routes(client, topic))
                .collect();
            let arrival_us = now_us();
            let incoming = messages
                .iter()
                .zip(&routes)
                .map(|((topic, payload), routes)| Incoming {
                    topic,
                    payload,
                    arrival_us,
                    receipt: None,
                    routes,
                });
            let mapped = self.inner.map(incoming, 0);
            if let Some(reason) = mapped.unwritten {
                return Err(reason);
            }
            let tickets = pipeline.submit_mapped_all(mapped.rows, Vec::new());
            for command in mapped.commands {
                pipeline.act(command.into());
            }
            Ok((tickets, mapped.unmapped.into_iter().map(told).collect()))
        };
        let done = if bytes > DETACH_BYTES {
            py.detach(work)
        } else {
            work()
        };
        done.map_err(StorageFullError::new_err)
    }

    /// Counters of a client, and of its topics in the order of the declaration.
    fn counters(&self, id: u32) -> PyResult<(Counters, Vec<Counters>)> {
        let client = self.inner.get(id).ok_or_else(|| PyKeyError::new_err(id))?;
        let topics = client.topics.iter().map(|topic| counters(topic.read()));
        Ok((counters(client.counters.read()), topics.collect()))
    }

    /// Count a message that was refused before it was mapped.
    fn refuse(&self, id: u32, topic: Option<usize>, reason: &str) {
        if let Some(client) = self.inner.get(id) {
            let now = now_us();
            let of_topic = topic.and_then(|topic| client.topics.get(topic));
            for counters in [Some(&*client.counters), of_topic].into_iter().flatten() {
                counters.add(0, 1, now);
                counters.set_error(now, reason);
            }
        }
    }

    /// Threads that map large rounds of the node's own broker; None = as its command says.
    #[setter]
    fn set_threads(&self, threads: Option<usize>) {
        self.inner.set_threads(threads);
    }

    #[getter]
    fn threads(&self) -> Option<usize> {
        self.inner.threads()
    }

    /// Messages that failed since the last call: the first ones, and how many more there were.
    fn take_faults(&self) -> (Vec<Fault>, u64) {
        let (faults, more) = self.inner.take_faults();
        let shown = faults
            .into_iter()
            .map(|f| (f.client, f.topic, f.start, f.code, f.reason));
        (shown.collect(), more)
    }

    // ---- dynamic topics

    /// (client, dbms, topic) of those that came since the last call, and how many messages were of more.
    fn take_topics(&self) -> (Vec<(u32, String, String)>, u64) {
        let (topics, more) = self.inner.take_topics();
        let shown = topics.into_iter().map(|t| (t.client, t.dbms, t.topic));
        (shown.collect(), more)
    }

    fn collect_latest(&self, on: bool) {
        self.inner.collect_latest(on);
    }

    /// (client, dbms, topic, last message, its arrival in microseconds) of those that said something since.
    fn take_latest(&self) -> Vec<(u32, String, String, Vec<u8>, i64)> {
        let latest = self.inner.take_latest().into_iter();
        latest
            .map(|l| {
                (
                    l.topic.client,
                    l.topic.dbms,
                    l.topic.topic,
                    l.payload,
                    l.arrival_us,
                )
            })
            .collect()
    }

    // ---- lines on the broker's port

    /// `format`: bsd, ietf, or plain.
    #[pyo3(signature = (name, dbms, table, *, ip = None, port = None, header = None, format = "plain", extend_ip = false,
                        topic = None, included = false))]
    #[allow(clippy::too_many_arguments)]
    fn set_rule(
        &self,
        name: String,
        dbms: String,
        table: String,
        ip: Option<String>,
        port: Option<u16>,
        header: Option<String>,
        format: &str,
        extend_ip: bool,
        topic: Option<String>,
        included: bool,
    ) -> PyResult<()> {
        let format = match format {
            "bsd" => LineFormat::Bsd,
            "ietf" => LineFormat::Ietf,
            "plain" => LineFormat::Plain,
            other => return Err(PyValueError::new_err(format!("no format '{other}'"))),
        };
        self.inner.rules.set(LineRule {
            name,
            ip,
            port,
            header,
            dbms,
            table,
            format,
            extend_ip,
            topic,
            included,
        });
        Ok(())
    }

    fn remove_rule(&self, name: &str) -> bool {
        self.inner.rules.remove(name)
    }

    fn flush_log(&self, py: Python<'_>) {
        py.detach(|| self.inner.flush_log());
    }

    fn take_log_error(&self) -> String {
        self.inner.take_log_error()
    }
}

impl MessageClients {
    fn routes(&self, client: Option<u32>, topic: &str) -> Routes {
        match client {
            None => self.inner.routes(LOCAL, topic),
            Some(id) => {
                let client = self.inner.get(id);
                let taker = client.and_then(|client| {
                    let number = client.program.topic(topic)?;
                    Some((client, number))
                });
                taker.into_iter().collect()
            }
        }
    }
}
