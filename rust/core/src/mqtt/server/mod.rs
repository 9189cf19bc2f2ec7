//! The broker on sockets: one thread with an event loop (mio), TCP, TLS and WebSocket listeners, limits.
//!
//! The state machine of `broker` stands behind a lock that is held for a round of the loop; status commands take it
//! briefly in between.

mod event_loop;
mod keep;
mod layers;
mod lines;
mod listen;
mod opening;
mod options;
mod output;
mod reading;
mod shared;
mod sockets;
mod tls;
mod web;
mod writing;

#[cfg(test)]
mod tests;

use std::any::Any;
use std::io;
use std::net::SocketAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::{Builder, JoinHandle};

use mio::{Poll, Waker};
use parking_lot::{Mutex, MutexGuard};

use super::broker::{Broker, Grant, Intake};
use super::packet::Reason;
use event_loop::EventLoop;
use shared::{Command, Shared};
use sockets::Sockets;

pub use keep::Keep;
pub use options::{Listener, ServerOptions};
pub use shared::{PendingLogin, Publication, Report, Severity, State};
pub use tls::{TlsConfig, TlsError};

/// Descriptors that are left to the rest of the process.
const OTHER_FILES: u64 = 256;

/// Called when somebody has something for the event loop.
pub type Wake = Arc<dyn Fn() + Send + Sync>;

/// Why the server could not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error("cannot listen on {address}: {source}")]
    Bind {
        address: SocketAddr,
        source: io::Error,
    },
    #[error("cannot start the event loop: {0}")]
    System(#[from] io::Error),
}

/// What is there before the server: the store and the intake are opened with its waker.
pub struct Prepared {
    poll: Poll,
    waker: Arc<Waker>,
}

impl Prepared {
    pub fn new() -> io::Result<Self> {
        let poll = Poll::new()?;
        let waker = Arc::new(Waker::new(poll.registry(), event_loop::WAKE)?);
        Ok(Self { poll, waker })
    }

    /// For the store and the intake, to call when they have completed something; from any thread.
    pub fn waker(&self) -> Wake {
        let waker = self.waker.clone();
        Arc::new(move || {
            // Fails only without memory; the loop looks again with its next tick.
            let _ = waker.wake();
        })
    }
}

/// What the server counts; packets and messages are counted by the broker.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ServerStats {
    /// Now, handshakes and closing ones included.
    pub connections: u64,
    pub accepted: u64,
    /// Closed at once: too many connections, no descriptors.
    pub over_limit: u64,
    /// Closed because no CONNECT came in time.
    pub timed_out: u64,
    /// TLS or WebSocket went wrong.
    pub handshakes_failed: u64,
    /// Connections that speak lines instead of MQTT, since the start.
    pub line_connections: u64,
    pub lines: u64,
    /// Closed because their lines could not be kept.
    pub lines_broken: u64,
    /// Now; bytes of packets and lines that have not come whole.
    pub unread_bytes: u64,
    pub rounds: u64,
}

/// A running broker.
pub struct Server {
    shared: Arc<Shared>,
    addresses: Vec<SocketAddr>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Server {
    /// Binds all listeners and starts the event loop.
    ///
    /// `broker` has been recovered. Without `keep` nothing survives the process. `notify` is called when there are
    /// logins or reports to take, or when the loop has ended; it must return at once.
    pub fn start(
        prepared: Prepared,
        mut options: ServerOptions,
        broker: Broker,
        intake: Option<Box<dyn Intake>>,
        keep: Option<Box<dyn Keep>>,
        notify: Box<dyn Fn() + Send + Sync>,
    ) -> Result<Self, StartError> {
        let files = listen::raise_file_limit();
        let most = files.saturating_sub(OTHER_FILES).max(OTHER_FILES) as usize;
        options.connections_max = options.connections_max.min(most);
        let mut listeners = Vec::new();
        for listener in &options.listeners {
            let address = listener.address;
            let bound = listen::bind(listener.clone());
            listeners.push(bound.map_err(|source| StartError::Bind { address, source })?);
        }
        let addresses = listeners.iter().map(|l| l.options.address).collect();
        let shared = Arc::new(Shared::new(broker, prepared.waker, notify));
        let sockets = Sockets::new(intake);
        let mut event_loop = EventLoop::new(
            shared.clone(),
            options,
            prepared.poll,
            listeners,
            sockets,
            keep,
        );
        let for_thread = shared.clone();
        let body = move || {
            let ended = catch_unwind(AssertUnwindSafe(|| event_loop.run()));
            let state = match ended {
                Ok(Ok(())) => State::Stopped,
                Ok(Err(error)) => State::Failed(format!("waiting for events failed: {error}")),
                Err(panic) => State::Failed(format!("internal error: {}", text_of(&*panic))),
            };
            // Sockets, store and intake go first: who is told may start another one.
            drop(event_loop);
            for_thread.ended(state);
        };
        let thread = Builder::new().name("mqtt".into()).spawn(body)?;
        Ok(Self {
            shared,
            addresses,
            thread: Mutex::new(Some(thread)),
        })
    }

    /// Addresses that are listened on, in the order of the options.
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// The state machine, for figures; not to be held for long.
    pub fn broker(&self) -> MutexGuard<'_, Broker> {
        self.shared.broker.lock()
    }

    pub fn state(&self) -> State {
        self.shared.state.lock().clone()
    }

    pub fn stats(&self) -> ServerStats {
        let counters = &self.shared.counters;
        ServerStats {
            connections: counters.connections.load(Ordering::Relaxed),
            accepted: counters.accepted.load(Ordering::Relaxed),
            over_limit: counters.over_limit.load(Ordering::Relaxed),
            timed_out: counters.timed_out.load(Ordering::Relaxed),
            handshakes_failed: counters.handshakes_failed.load(Ordering::Relaxed),
            line_connections: counters.line_connections.load(Ordering::Relaxed),
            lines: counters.lines.load(Ordering::Relaxed),
            lines_broken: counters.lines_broken.load(Ordering::Relaxed),
            unread_bytes: counters.unread_bytes.load(Ordering::Relaxed),
            rounds: counters.rounds.load(Ordering::Relaxed),
        }
    }

    /// Logins that wait for a verdict.
    pub fn take_logins(&self) -> Vec<PendingLogin> {
        self.shared.take_logins()
    }

    /// The verdict on a login; ignored when its connection is gone.
    pub fn answer(&self, ticket: u64, verdict: Result<Grant, Reason>) {
        self.shared.send(Command::Verdict(ticket, verdict));
    }

    /// News for the log since the last call.
    pub fn take_reports(&self) -> Vec<Report> {
        self.shared.take_reports()
    }

    /// Report connections that come and go, and why.
    pub fn set_debug(&self, on: bool) {
        self.shared.debug.store(on, Ordering::Relaxed);
    }

    /// Publishes a message of the node itself.
    pub fn publish(&self, publication: Publication) {
        self.shared.send(Command::Publish(publication));
    }

    /// Closes the connection of a client, if it has one.
    pub fn disconnect(&self, client_id: String, reason: Reason) {
        self.shared.send(Command::Disconnect(client_id, reason));
    }

    /// Stops: what was received is kept and acknowledged, clients are told, sockets closed. Waits for the end of the
    /// thread. Idempotent.
    pub fn stop(&self) {
        self.shared.send(Command::Stop);
        if let Some(thread) = self.thread.lock().take() {
            // A panic is in the state already.
            let _ = thread.join();
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop();
    }
}

fn text_of(panic: &(dyn Any + Send)) -> &str {
    panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("unknown")
}
