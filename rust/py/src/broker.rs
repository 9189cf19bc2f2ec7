//! `MqttBroker`: the Python face of the broker on sockets.

use std::io::{self, Read, Write};
use std::net::{IpAddr, SocketAddr};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use edgelake_core::intake::{Clients, LocalIntake, apply_receipts};
use edgelake_core::mqtt::broker::{
    Access, Acl, Broker, Grant, Intake, Now, Options, Refusal, Rule, SessionInfo, Stats, Transport,
};
use edgelake_core::mqtt::packet::{QoS, Reason};
use edgelake_core::mqtt::server::{
    Keep, Listener, Prepared, Publication, Server, ServerOptions, ServerStats, Severity,
    StartError, State, TlsConfig, TlsError,
};
use edgelake_core::mqtt::store;
use edgelake_core::pipeline::Pipeline as CorePipeline;
use parking_lot::Mutex;
use pyo3::exceptions::PyValueError;
use pyo3::import_exception;
use pyo3::prelude::*;
use pyo3::types::PyDict;

use crate::clients::MessageClients;
use crate::pipeline::{Pipeline, journal_error};

import_exception!(edgelake.errors, AddressInUseError);
import_exception!(edgelake.errors, ServiceError);

/// (ticket, client id, user, password, ip, transport, name in the client's certificate)
type AskedLogin = (
    u64,
    String,
    Option<String>,
    Option<Vec<u8>>,
    String,
    &'static str,
    Option<String>,
);
/// (ip, port, WebSocket, TLS)
type Address = (String, u16, bool, bool);
/// (ip, packet, successes, last unix ms, failures, last unix ms, reason code, its text)
type CountedEvent = (String, &'static str, u64, u64, u64, u64, u8, String);
/// (client id, user, version, ip:port or None, subscriptions, queued, in flight, session expiry in seconds)
type ShownClient = (
    String,
    Option<String>,
    &'static str,
    Option<String>,
    usize,
    usize,
    usize,
    u32,
);
/// (ticket, sessions reached, why it could not be kept)
type Published = (u64, usize, Option<&'static str>);

/// Rights of clients: rules in order, the first that fits decides; none fits = denied.
#[pyclass(module = "edgelake._rust", frozen)]
pub struct MqttAcl {
    inner: Arc<Acl>,
}

#[pymethods]
impl MqttAcl {
    /// `rules`: (topic filter, read, write, readwrite or deny); None = everything is allowed.
    #[new]
    #[pyo3(signature = (rules = None))]
    fn new(rules: Option<Vec<(String, String)>>) -> PyResult<Self> {
        let Some(rules) = rules else {
            return Ok(Self {
                inner: Arc::new(Acl::open()),
            });
        };
        let rule = |(pattern, access): (String, String)| {
            let access = match access.as_str() {
                "deny" => Access::Deny,
                "read" => Access::Read,
                "write" => Access::Write,
                "readwrite" => Access::ReadWrite,
                other => return Err(PyValueError::new_err(format!("no access '{other}'"))),
            };
            Ok(Rule {
                pattern: pattern.into(),
                access,
            })
        };
        let rules = rules.into_iter().map(rule).collect::<PyResult<_>>()?;
        Ok(Self {
            inner: Arc::new(Acl::new(rules)),
        })
    }
}

/// A broker that runs until `stop`.
#[pyclass(module = "edgelake._rust", frozen)]
pub struct MqttBroker {
    server: Server,
    awake: UnixStream,
    /// Of its listeners with TLS.
    tls: Option<TlsConfig>,
    published: Arc<Mutex<Vec<Published>>>,
    last_ticket: AtomicU64,
    notify: Arc<dyn Fn() + Send + Sync>,
}

#[pymethods]
impl MqttBroker {
    #[new]
    #[pyo3(signature = (listeners, *, certificate = None, key = None, client_authority = None, directory = None,
                        clients = None, pipeline = None, threads = 0,
                        anonymous_local = true, anonymous_remote = true, anonymous_acl = None, foreign_pages = false,
                        version = "", keep_alive_max_s = 0, packet_max_bytes = 16_777_216, connections_max = 100_000,
                        session_expiry_max_s = 4_294_967_295, queue_messages = 100_000, queue_bytes = 33_554_432,
                        queue_total_bytes = 134_217_728, sys_interval_s = 10, connect_timeout_s = 10.0))]
    #[allow(clippy::too_many_arguments, clippy::needless_pass_by_value)] // what PyO3 extracts is owned
    fn new(
        py: Python<'_>,
        listeners: Vec<Address>,
        certificate: Option<Vec<u8>>,
        key: Option<Vec<u8>>,
        client_authority: Option<Vec<u8>>,
        directory: Option<PathBuf>,
        clients: Option<&MessageClients>,
        pipeline: Option<&Pipeline>,
        threads: usize,
        anonymous_local: bool,
        anonymous_remote: bool,
        anonymous_acl: Option<&MqttAcl>,
        foreign_pages: bool,
        version: &str,
        keep_alive_max_s: u16,
        packet_max_bytes: u32,
        connections_max: usize,
        session_expiry_max_s: u32,
        queue_messages: usize,
        queue_bytes: usize,
        queue_total_bytes: usize,
        sys_interval_s: u32,
        connect_timeout_s: f64,
    ) -> PyResult<Self> {
        let tls = match (&certificate, &key) {
            (Some(certificate), Some(key)) => {
                let authority = client_authority.as_deref();
                let made = TlsConfig::new(certificate, key, authority);
                Some(made.map_err(|e| tls_error(&e))?)
            }
            (None, None) => None,
            _ => return Err(PyValueError::new_err("certificate and key go together")),
        };
        let mut options = ServerOptions::new(to_listeners(&listeners, tls.as_ref())?);
        options.connections_max = connections_max;
        options.foreign_pages = foreign_pages;
        options.connect_timeout = Duration::try_from_secs_f64(connect_timeout_s)
            .map_err(|e| PyValueError::new_err(e.to_string()))?;
        let mut broker = Options {
            anonymous_local,
            anonymous_remote,
            keep_alive_max_s,
            maximum_packet_bytes: packet_max_bytes,
            session_expiry_max_s,
            queue_messages,
            queue_bytes,
            queue_total_bytes,
            sys_interval_s,
            ..Options::default()
        };
        if let Some(acl) = anonymous_acl {
            broker.anonymous_acl = acl.inner.clone();
        }
        if !version.is_empty() {
            version.clone_into(&mut broker.version_text);
        }
        let (awake, waker) = UnixStream::pair()?;
        awake.set_nonblocking(true)?;
        waker.set_nonblocking(true)?;
        let notify: Arc<dyn Fn() + Send + Sync> = Arc::new(move || {
            // A full socket means that the reader has been woken already.
            let _ = (&waker).write(&[1]);
        });
        let told = notify.clone();
        let behind = Behind {
            directory,
            rows: clients
                .zip(pipeline)
                .map(|(clients, pipeline)| (clients.inner(), pipeline.inner())),
            threads,
        };
        let server = py.detach(|| open(options, broker, &behind, Box::new(move || told())))?;
        Ok(Self {
            server,
            awake,
            tls,
            published: Arc::default(),
            last_ticket: AtomicU64::new(0),
            notify,
        })
    }

    /// Becomes readable when there are logins, reports or publications to take, or when the broker has ended.
    fn fileno(&self) -> i32 {
        self.awake.as_raw_fd()
    }

    /// To be called when `fileno` is readable, before the `take_...` calls.
    fn drain(&self) {
        let mut sink = [0_u8; 256];
        while matches!((&self.awake).read(&mut sink), Ok(n) if n == sink.len()) {}
    }

    /// (ip, port) of each listener.
    fn addresses(&self) -> Vec<(String, u16)> {
        let addresses = self.server.addresses().iter();
        addresses.map(|a| (a.ip().to_string(), a.port())).collect()
    }

    /// None while it runs; what ended it, or "" after `stop`.
    fn ended(&self) -> Option<String> {
        match self.server.state() {
            State::Running => None,
            State::Stopped => Some(String::new()),
            State::Failed(text) => Some(text),
        }
    }

    /// Show another certificate to clients that connect from now on. Raises ServiceError for what cannot be used;
    /// then the old one stays.
    #[pyo3(signature = (certificate, key, client_authority = None))]
    fn renew(
        &self,
        certificate: &[u8],
        key: &[u8],
        client_authority: Option<&[u8]>,
    ) -> PyResult<()> {
        let used = self
            .tls
            .as_ref()
            .ok_or_else(|| PyValueError::new_err("this broker has no TLS"))?;
        let newer =
            TlsConfig::new(certificate, key, client_authority).map_err(|e| tls_error(&e))?;
        used.renew(&newer);
        Ok(())
    }

    fn stop(&self, py: Python<'_>) {
        py.detach(|| self.server.stop());
    }

    // ---- logins

    fn take_logins(&self) -> Vec<AskedLogin> {
        self.server
            .take_logins()
            .into_iter()
            .map(|pending| {
                let login = pending.login;
                (
                    pending.ticket,
                    login.client_id,
                    login.user,
                    login.password,
                    login.peer.address.ip().to_string(),
                    transport_name(login.peer.transport),
                    login.peer.certificate,
                )
            })
            .collect()
    }

    /// Accepts a login.
    #[pyo3(signature = (ticket, user, acl))]
    fn grant(&self, ticket: u64, user: Option<&str>, acl: &MqttAcl) {
        let grant = Grant {
            user: user.map(Into::into),
            acl: acl.inner.clone(),
        };
        self.server.answer(ticket, Ok(grant));
    }

    /// Refuses a login with a reason code of MQTT 5 (0x86 bad user name or password).
    fn refuse(&self, ticket: u64, reason: u8) {
        self.server.answer(ticket, Err(Reason(reason)));
    }

    // ---- status

    /// Lines for the log: (debug, warning or error; text).
    fn take_reports(&self) -> Vec<(&'static str, String)> {
        let reports = self.server.take_reports().into_iter();
        reports
            .map(|r| (severity_name(r.severity), r.text))
            .collect()
    }

    fn set_debug(&self, on: bool) {
        self.server.set_debug(on);
    }

    /// Whether clients of this machine and of others need no name from now on.
    fn set_anonymous(&self, py: Python<'_>, local: bool, remote: bool) {
        py.detach(|| self.server.broker().set_anonymous(local, remote));
    }

    /// Counters, and figures of now.
    fn stats<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let (broker, server) = py.detach(|| (self.server.broker().stats(), self.server.stats()));
        let made = PyDict::new(py);
        for (name, value) in figures(&broker).into_iter().chain(socket_figures(&server)) {
            made.set_item(name, value)?;
        }
        Ok(made)
    }

    fn events(&self, py: Python<'_>) -> Vec<CountedEvent> {
        let events = py.detach(|| self.server.broker().events());
        events
            .into_iter()
            .map(|e| {
                (
                    e.ip.to_string(),
                    e.event.name(),
                    e.succeeded,
                    e.last_unix_ms,
                    e.failed,
                    e.last_failure_unix_ms,
                    e.failure.0,
                    e.failure_text,
                )
            })
            .collect()
    }

    /// Sessions, connected or not; `limit` at most.
    fn clients(&self, py: Python<'_>, limit: usize) -> Vec<ShownClient> {
        let sessions = py.detach(|| self.server.broker().sessions(limit));
        sessions.iter().map(shown).collect()
    }

    /// Closes the connection of a client, if it has one.
    fn disconnect(&self, client_id: String, reason: u8) {
        self.server.disconnect(client_id, Reason(reason));
    }

    // ---- messages of the node

    /// Publishes; `take_published` says what became of it.
    fn publish(&self, topic: String, payload: &[u8], qos: u8, retain: bool) -> PyResult<u64> {
        let qos = match qos {
            0 => QoS::AtMostOnce,
            1 => QoS::AtLeastOnce,
            2 => QoS::ExactlyOnce,
            _ => return Err(PyValueError::new_err("qos is 0, 1 or 2")),
        };
        let ticket = self.last_ticket.fetch_add(1, Ordering::Relaxed) + 1;
        let (published, notify) = (self.published.clone(), self.notify.clone());
        self.server.publish(Publication {
            topic,
            payload: payload.to_vec(),
            qos,
            retain,
            done: Box::new(move |result| {
                published.lock().push(match result {
                    Ok(reached) => (ticket, reached, None),
                    Err(Refusal::Full) => (ticket, 0, Some("full")),
                    Err(Refusal::Failed) => (ticket, 0, Some("failed")),
                });
                notify();
            }),
        });
        Ok(ticket)
    }

    fn take_published(&self) -> Vec<Published> {
        std::mem::take(&mut *self.published.lock())
    }
}

/// What stands behind the broker.
struct Behind {
    /// Of the store; None: nothing survives the process.
    directory: Option<PathBuf>,
    /// For messages that become rows.
    rows: Option<(Arc<Clients>, Arc<CorePipeline>)>,
    /// That map large rounds.
    threads: usize,
}

/// Recovers what was kept, and starts.
fn open(
    options: ServerOptions,
    broker: Options,
    behind: &Behind,
    notify: Box<dyn Fn() + Send + Sync>,
) -> PyResult<Server> {
    let prepared = Prepared::new()?;
    let mut broker = Broker::new(broker);
    let mut keep: Option<Box<dyn Keep>> = None;
    if let Some(directory) = &behind.directory {
        let options = store::Options::new(directory);
        let mut apply = |change| broker.apply(change);
        let store = store::Store::open(&options, prepared.waker(), &mut apply)
            .map_err(|e| journal_error(&e))?;
        broker.continue_after(store.last_round());
        if let Some((_, pipeline)) = &behind.rows {
            apply_receipts(&mut broker, pipeline);
        }
        broker.recovered(now());
        keep = Some(Box::new(store));
    }
    let mut intake: Option<Box<dyn Intake>> = None;
    if let Some((clients, pipeline)) = &behind.rows {
        let (clients, pipeline) = (clients.clone(), pipeline.clone());
        let made = LocalIntake::new(clients, pipeline, behind.threads, prepared.waker())
            .map_err(|e| journal_error(&e))?;
        intake = Some(Box::new(made));
    }
    Server::start(prepared, options, broker, intake, keep, notify).map_err(|e| start_error(&e))
}

fn now() -> Now {
    let unix = SystemTime::now().duration_since(UNIX_EPOCH);
    Now {
        mono_ms: 0, // the server's clock begins with it
        unix_ms: unix.map_or(0, |d| d.as_millis() as u64),
    }
}

fn to_listeners(addresses: &[Address], tls: Option<&TlsConfig>) -> PyResult<Vec<Listener>> {
    addresses
        .iter()
        .map(|(ip, port, web_socket, with_tls)| {
            let ip: IpAddr = ip
                .parse()
                .map_err(|_| PyValueError::new_err(format!("'{ip}' is no ip address")))?;
            if *with_tls && tls.is_none() {
                return Err(PyValueError::new_err("TLS needs a certificate and a key"));
            }
            Ok(Listener {
                address: SocketAddr::new(ip, *port),
                web_socket: *web_socket,
                tls: tls.filter(|_| *with_tls).cloned(),
            })
        })
        .collect()
}

fn tls_error(error: &TlsError) -> PyErr {
    ServiceError::new_err(format!("SSL Connection: {error}"))
}

fn start_error(error: &StartError) -> PyErr {
    let text = error.to_string();
    match error {
        StartError::Bind { source, .. } if source.kind() == io::ErrorKind::AddrInUse => {
            AddressInUseError::new_err(text)
        }
        _ => ServiceError::new_err(text),
    }
}

fn transport_name(transport: Transport) -> &'static str {
    match transport {
        Transport::Tcp => "tcp",
        Transport::Tls => "tls",
        Transport::WebSocket => "websocket",
        Transport::WebSocketTls => "websocket over tls",
    }
}

fn severity_name(severity: Severity) -> &'static str {
    match severity {
        Severity::Debug => "debug",
        Severity::Warning => "warning",
        Severity::Error => "error",
    }
}

fn shown(session: &SessionInfo) -> ShownClient {
    use edgelake_core::mqtt::packet::Version;
    let version = match session.version {
        Version::V31 => "3.1",
        Version::V311 => "3.1.1",
        Version::V5 => "5",
    };
    (
        session.client_id.to_string(),
        session.user.as_deref().map(str::to_owned),
        version,
        session.address.map(|a| a.to_string()),
        session.subscriptions,
        session.queued,
        session.in_flight,
        session.expiry_s,
    )
}

fn figures(stats: &Stats) -> Vec<(&'static str, u64)> {
    vec![
        ("clients", stats.clients_connected),
        ("clients_peak", stats.clients_connected_peak),
        ("clients_offline", stats.clients_offline),
        ("sessions_expired", stats.sessions_expired),
        ("connects", stats.connects),
        ("connects_refused", stats.connects_refused),
        ("faults", stats.faults),
        ("packets_received", stats.packets_received),
        ("packets_sent", stats.packets_sent),
        ("bytes_received", stats.bytes_received),
        ("bytes_sent", stats.bytes_sent),
        ("messages_received", stats.publishes_received),
        ("messages_sent", stats.publishes_sent),
        ("message_bytes_received", stats.publish_bytes_received),
        ("message_bytes_sent", stats.publish_bytes_sent),
        ("messages_dropped", stats.publishes_dropped),
        ("messages_expired", stats.publishes_expired),
        ("messages_mapped", stats.publishes_mapped),
        ("messages_unmatched", stats.publishes_unmatched),
        ("messages_unauthorized", stats.publishes_unauthorized),
        ("messages_refused", stats.publishes_refused),
        ("subscriptions", stats.subscriptions),
        ("shared_subscriptions", stats.shared_subscriptions),
        ("retained", stats.retained),
        ("retained_bytes", stats.retained_bytes),
        ("queued", stats.queued),
        ("queued_bytes", stats.queued_bytes),
        ("paused", stats.paused),
    ]
}

fn socket_figures(stats: &ServerStats) -> Vec<(&'static str, u64)> {
    vec![
        ("connections", stats.connections),
        ("connections_accepted", stats.accepted),
        ("connections_over_limit", stats.over_limit),
        ("connections_timed_out", stats.timed_out),
        ("handshakes_failed", stats.handshakes_failed),
        ("line_connections", stats.line_connections),
        ("lines", stats.lines),
        ("lines_broken", stats.lines_broken),
        ("unread_bytes", stats.unread_bytes),
        ("rounds", stats.rounds),
    ]
}
