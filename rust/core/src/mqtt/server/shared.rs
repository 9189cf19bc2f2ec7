//! What the event loop shares with those who start, watch and stop it.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use mio::Waker;
use parking_lot::Mutex;

use super::super::broker::{Broker, Grant, Login, Refusal};
use super::super::packet::{QoS, Reason};

/// Reports that wait to be taken; the oldest go first.
const REPORTS_MAX: usize = 200;
/// Logins that wait for a verdict; further ones are told that the server is busy.
pub(super) const LOGINS_MAX: usize = 10_000;

/// A login and the ticket that its verdict has to show.
#[derive(Debug)]
pub struct PendingLogin {
    pub ticket: u64,
    pub login: Login,
}

/// A message of the node itself.
pub struct Publication {
    pub topic: String,
    pub payload: Vec<u8>,
    pub qos: QoS,
    pub retain: bool,
    /// Called once on the event loop: how many sessions get it, when what is kept of it is durable.
    pub done: Box<dyn FnOnce(Result<usize, Refusal>) + Send>,
}

pub(super) enum Command {
    Verdict(u64, Result<Grant, Reason>),
    Publish(Publication),
    Disconnect(String, Reason),
    Stop,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Severity {
    Debug,
    Warning,
    Error,
}

/// Something that the owner should know, for the log.
#[derive(Clone, Debug)]
pub struct Report {
    pub severity: Severity,
    pub text: String,
}

/// Counted by the server; the broker counts packets.
#[derive(Debug, Default)]
pub(super) struct Counters {
    pub(super) connections: AtomicU64,
    pub(super) accepted: AtomicU64,
    pub(super) over_limit: AtomicU64,
    pub(super) timed_out: AtomicU64,
    pub(super) handshakes_failed: AtomicU64,
    pub(super) line_connections: AtomicU64,
    pub(super) lines: AtomicU64,
    pub(super) lines_broken: AtomicU64,
    pub(super) unread_bytes: AtomicU64,
    pub(super) rounds: AtomicU64,
}

impl Counters {
    pub(super) fn add_many(counter: &AtomicU64, n: u64) {
        counter.fetch_add(n, Ordering::Relaxed);
    }

    pub(super) fn add(counter: &AtomicU64) {
        counter.fetch_add(1, Ordering::Relaxed);
    }
}

/// How the event loop fares.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum State {
    Running,
    Stopped,
    /// It ended by itself; the text says why.
    Failed(String),
}

pub(super) struct Shared {
    pub(super) broker: Mutex<Broker>,
    inbox: Mutex<Vec<Command>>,
    logins: Mutex<VecDeque<PendingLogin>>,
    reports: Mutex<VecDeque<Report>>,
    pub(super) state: Mutex<State>,
    pub(super) debug: AtomicBool,
    pub(super) counters: Counters,
    waker: Arc<Waker>,
    /// The owner has something to take.
    notify: Box<dyn Fn() + Send + Sync>,
}

impl Shared {
    pub(super) fn new(
        broker: Broker,
        waker: Arc<Waker>,
        notify: Box<dyn Fn() + Send + Sync>,
    ) -> Self {
        Self {
            broker: Mutex::new(broker),
            inbox: Mutex::default(),
            logins: Mutex::default(),
            reports: Mutex::default(),
            state: Mutex::new(State::Running),
            debug: AtomicBool::new(false),
            counters: Counters::default(),
            waker,
            notify,
        }
    }

    pub(super) fn send(&self, command: Command) {
        self.inbox.lock().push(command);
        // Fails only without descriptors or memory; the loop looks at its inbox with every tick, too.
        let _ = self.waker.wake();
    }

    pub(super) fn take_commands(&self) -> Vec<Command> {
        std::mem::take(&mut *self.inbox.lock())
    }

    pub(super) fn has_room_for_login(&self) -> bool {
        self.logins.lock().len() < LOGINS_MAX
    }

    pub(super) fn add_login(&self, login: PendingLogin) {
        self.logins.lock().push_back(login);
        (self.notify)();
    }

    pub(super) fn take_logins(&self) -> Vec<PendingLogin> {
        self.logins.lock().drain(..).collect()
    }

    pub(super) fn is_debug(&self) -> bool {
        self.debug.load(Ordering::Relaxed)
    }

    pub(super) fn report(&self, severity: Severity, text: String) {
        let mut reports = self.reports.lock();
        if reports.len() >= REPORTS_MAX {
            reports.pop_front();
        }
        reports.push_back(Report { severity, text });
        drop(reports);
        (self.notify)();
    }

    pub(super) fn take_reports(&self) -> Vec<Report> {
        self.reports.lock().drain(..).collect()
    }

    /// The loop has ended; the owner is told.
    pub(super) fn ended(&self, state: State) {
        *self.state.lock() = state;
        (self.notify)();
    }
}
