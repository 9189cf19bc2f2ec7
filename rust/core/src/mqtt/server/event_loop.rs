//! The event loop: one thread that owns the sockets and drives the broker, in rounds. A round reads what is there,
//! hands it over, lets the store and the intake have what must be kept, and writes what has come up.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use mio::{Events, Interest, Poll, Token};

use super::super::broker::{Broker, Cause, ConnId, Grant, Now, Refusal};
use super::super::packet::{Forwarded, Publish, QoS, Reason};
use super::keep::Keep;
use super::listen::{Listening, Reserve};
use super::opening::Deadlines;
use super::options::ServerOptions;
use super::shared::{Command, Counters, PendingLogin, Publication, Severity, Shared};
use super::sockets::Sockets;

pub(super) const WAKE: Token = Token(usize::MAX);
pub(super) const TICK: Duration = Duration::from_millis(100);
const IDLE_TICK: Duration = Duration::from_secs(1);
const EVENTS: usize = 1024;
/// A connection is read from once per round, so much at most.
const READ_BYTES: usize = 64 << 10;
/// A round ends after so many bytes even if others wait: they are first in the next one.
const ROUND_BYTES: usize = 1 << 20;
const READS_PER_ROUND: usize = 512;
/// Connections that begin or end take longer than others; many of them must not hold up those that are there. As few as
/// that: whoever comes while they are served waits for all of them.
const PASSING_PER_ROUND: usize = 4;
/// Handshakes with asymmetric cryptography per round, for the same reason.
const HANDSHAKES_PER_ROUND: usize = 8;

/// Rounds on their way to the disk.
#[derive(Default)]
struct Waiting {
    kept: VecDeque<u64>,
    mapped: VecDeque<u64>,
}

impl Waiting {
    fn is_empty(&self) -> bool {
        self.kept.is_empty() && self.mapped.is_empty()
    }

    fn settle(rounds: &mut VecDeque<u64>, through: u64) {
        while rounds.front().is_some_and(|r| *r <= through) {
            rounds.pop_front();
        }
    }
}

/// A message of the node itself that waits until its round is kept and mapped.
struct Published {
    round: u64,
    result: Result<usize, Refusal>,
    publication: Publication,
}

/// Steps of the end: what is on its way to the disk, then the clients, then the last changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stopping {
    No,
    /// Nothing is read; acknowledgements still go out. Until when.
    Draining(u64),
    /// Clients are told and have time to close. Until when.
    Closing(u64),
    Done,
}

pub(super) struct EventLoop {
    pub(super) shared: Arc<Shared>,
    pub(super) sockets: Sockets,
    pub(super) now: Now,
    pub(super) options: ServerOptions,
    pub(super) poll: Poll,
    pub(super) listeners: Vec<Listening>,
    keep: Option<Box<dyn Keep>>,
    pub(super) reserve: Reserve,
    origin: Instant,
    pub(super) next_tick_ms: u64,
    waiting: Waiting,
    publications: VecDeque<Published>,
    stopping: Stopping,
    pub(super) next_stamp: u32,
    /// When an accepted connection must have sent its CONNECT, in this order.
    pub(super) connect_by: Deadlines,
    /// When a connection that we close is dropped, in this order.
    pub(super) gone_by: Deadlines,
    /// With a message for the intake, which has no room.
    pub(super) held: Vec<ConnId>,
    pub(super) buffer: Vec<u8>,
    pub(super) plain: Vec<u8>,
    pub(super) packet_max_bytes: usize,
    pub(super) handshakes_left: usize,
    /// Connections that may be accepted in the millisecond `accepts_of_ms`.
    pub(super) accepts_left: usize,
    pub(super) accepts_of_ms: u64,
    warned_ms: Option<u64>,
}

impl EventLoop {
    pub(super) fn new(
        shared: Arc<Shared>,
        options: ServerOptions,
        poll: Poll,
        listeners: Vec<Listening>,
        sockets: Sockets,
        keep: Option<Box<dyn Keep>>,
    ) -> Self {
        let packet_max_bytes = shared.broker.lock().options().maximum_packet_bytes as usize;
        Self {
            shared,
            sockets,
            now: Now::default(),
            options,
            poll,
            listeners,
            keep,
            reserve: Reserve::new(),
            origin: Instant::now(),
            next_tick_ms: 0,
            waiting: Waiting::default(),
            publications: VecDeque::new(),
            stopping: Stopping::No,
            next_stamp: 0,
            connect_by: VecDeque::new(),
            gone_by: VecDeque::new(),
            held: Vec::new(),
            buffer: vec![0; READ_BYTES],
            plain: Vec::new(),
            packet_max_bytes,
            handshakes_left: 0,
            accepts_left: 1,
            accepts_of_ms: 0,
            warned_ms: None,
        }
    }

    /// Until it is told to stop. Fails only when the system refuses to wait for events.
    pub(super) fn run(&mut self) -> io::Result<()> {
        for (n, listening) in self.listeners.iter_mut().enumerate() {
            let token = Token(WAKE.0 - 1 - n);
            self.poll
                .registry()
                .register(&mut listening.socket, token, Interest::READABLE)?;
        }
        let mut events = Events::with_capacity(EVENTS);
        let shared = self.shared.clone();
        while self.stopping != Stopping::Done {
            let timeout = self.timeout();
            match self.poll.poll(&mut events, Some(timeout)) {
                Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
                other => other?,
            }
            self.now = self.clock();
            self.note(&events);
            let mut broker = shared.broker.lock();
            self.round(&mut broker);
        }
        if let Some(keep) = &mut self.keep {
            keep.close();
        }
        Ok(())
    }

    fn clock(&self) -> Now {
        let unix = SystemTime::now().duration_since(UNIX_EPOCH);
        Now {
            mono_ms: self.origin.elapsed().as_millis() as u64,
            unix_ms: unix.map_or(0, |d| d.as_millis() as u64),
        }
    }

    fn timeout(&self) -> Duration {
        let accepting = self.stopping == Stopping::No && self.listeners.iter().any(|l| l.ready);
        let sockets = &self.sockets;
        let waits = !(sockets.ready.is_empty() && sockets.passing.is_empty());
        if waits || !sockets.dirty.is_empty() {
            return Duration::ZERO;
        }
        if accepting {
            return Duration::from_millis(u64::from(self.accepts_left == 0));
        }
        Duration::from_millis(self.next_tick_ms).saturating_sub(self.origin.elapsed())
    }

    /// Remembers what the sockets are ready for; the round acts on it.
    fn note(&mut self, events: &Events) {
        for event in events {
            let Token(token) = event.token();
            if token == WAKE.0 {
                continue;
            }
            if let Some(listening) = self.listeners.get_mut(WAKE.0 - 1 - token) {
                listening.ready = true;
                continue;
            }
            let id = token as ConnId;
            let Some(conn) = self.sockets.get(id) else {
                continue;
            };
            conn.half_closed |= event.is_read_closed() || event.is_error();
            conn.readable |= event.is_readable() || conn.half_closed;
            let (readable, writable) = (conn.readable, event.is_writable() && !conn.writable);
            conn.writable |= event.is_writable();
            if readable {
                self.sockets.queue(id);
            }
            if writable {
                self.sockets.mark(id);
            }
        }
    }

    fn round(&mut self, broker: &mut Broker) {
        Counters::add(&self.shared.counters.rounds);
        self.commands(broker);
        if self.stopping == Stopping::No {
            self.release_held();
        }
        self.handshakes_left = HANDSHAKES_PER_ROUND;
        if self.serve_ready(broker) && self.has_passing() {
            // What the others are answered goes out first.
            self.hand_over(broker);
            self.flush(broker);
        }
        if self.stopping == Stopping::No {
            self.accept(broker);
        }
        for _ in 0..self.sockets.passing.len().min(PASSING_PER_ROUND) {
            if let Some(id) = self.sockets.passing.pop_front() {
                self.serve(broker, id);
            }
        }
        if self.now.mono_ms >= self.next_tick_ms {
            let is_idle = self.sockets.len() == 0 && self.stopping == Stopping::No;
            let interval = if is_idle { IDLE_TICK } else { TICK };
            self.next_tick_ms = self.now.mono_ms + interval.as_millis() as u64;
            self.tick(broker);
        }
        self.logins(broker);
        for notice in broker.take_notices() {
            self.shared.report(Severity::Warning, notice);
        }
        self.hand_over(broker);
        self.flush(broker);
        self.stop_step(broker);
        let (counters, sockets) = (&self.shared.counters, &self.sockets);
        let unread = sockets.unread_bytes as u64;
        counters.unread_bytes.store(unread, Ordering::Relaxed);
        let connections = sockets.len() as u64;
        counters.connections.store(connections, Ordering::Relaxed);
    }

    /// Reads from connections that are neither new nor about to end. Whether there were any.
    fn serve_ready(&mut self, broker: &mut Broker) -> bool {
        let count = self.sockets.ready.len().min(READS_PER_ROUND);
        let mut bytes = 0;
        for _ in 0..count {
            let Some(id) = self.sockets.ready.pop_front() else {
                break;
            };
            bytes += self.serve(broker, id);
            if bytes >= ROUND_BYTES {
                break;
            }
        }
        count > 0
    }

    /// Whether connections begin or end in this round.
    fn has_passing(&self) -> bool {
        !self.sockets.passing.is_empty() || self.listeners.iter().any(|l| l.ready)
    }

    fn commands(&mut self, broker: &mut Broker) {
        let now = self.now;
        for command in self.shared.take_commands() {
            match command {
                Command::Verdict(ticket, verdict) => self.verdict(broker, ticket, verdict),
                Command::Disconnect(client_id, reason) => {
                    broker.disconnect(&client_id, reason, now, &mut self.sockets);
                }
                Command::Publish(publication) => self.publish(broker, publication),
                Command::Stop if self.stopping == Stopping::No => {
                    self.listeners.clear();
                    let until = now.mono_ms + self.options.stop_timeout.as_millis() as u64;
                    self.stopping = Stopping::Draining(until);
                    self.next_tick_ms = now.mono_ms;
                }
                Command::Stop => {}
            }
        }
    }

    fn verdict(&mut self, broker: &mut Broker, ticket: u64, verdict: Result<Grant, Reason>) {
        let (id, stamp) = (ticket as ConnId, (ticket >> 32) as u32);
        if self.sockets.peek(id).is_some_and(|c| c.stamp == stamp) {
            broker.login(id, verdict, self.now, &mut self.sockets);
        }
    }

    fn publish(&mut self, broker: &mut Broker, publication: Publication) {
        let packet = Publish {
            duplicate: false,
            qos: publication.qos,
            retain: publication.retain,
            topic: &publication.topic,
            packet_id: u16::from(publication.qos != QoS::AtMostOnce),
            topic_alias: None,
            expiry_s: None,
            subscription_ids: Vec::new(),
            properties: Forwarded::default(),
            payload: &publication.payload,
        };
        match broker.publish(&packet, self.now, &mut self.sockets) {
            (reached, Some(round)) => self.publications.push_back(Published {
                round,
                result: Ok(reached),
                publication,
            }),
            (reached, None) => (publication.done)(Ok(reached)),
        }
    }

    /// Connections that waited for the intake go on.
    fn release_held(&mut self) {
        if self.held.is_empty() || !self.intake_has_room() {
            return;
        }
        for id in std::mem::take(&mut self.held) {
            if let Some(conn) = self.sockets.get(id) {
                conn.held = false;
            }
            self.sockets.queue(id);
        }
    }

    pub(super) fn intake_has_room(&self) -> bool {
        self.sockets.intake.as_ref().is_none_or(|i| i.has_room())
    }

    /// At most one warning of this kind in ten seconds.
    pub(super) fn warn(&mut self, text: impl FnOnce() -> String) {
        if self
            .warned_ms
            .is_none_or(|at| self.now.mono_ms >= at + 10_000)
        {
            self.warned_ms = Some(self.now.mono_ms);
            self.shared.report(Severity::Warning, text());
        }
    }

    fn tick(&mut self, broker: &mut Broker) {
        self.drop_late(broker);
        self.reserve.restore();
        for listening in &mut self.listeners {
            listening.ready |= std::mem::take(&mut listening.retry);
        }
        for id in &self.held {
            broker.is_held(*id, self.now);
        }
        broker.tick(self.now, &mut self.sockets);
    }

    fn logins(&mut self, broker: &mut Broker) {
        for login in broker.take_logins() {
            let id = login.conn;
            let Some(conn) = self.sockets.peek(id) else {
                continue;
            };
            if self.shared.has_room_for_login() {
                let ticket = u64::from(conn.stamp) << 32 | u64::from(id);
                self.shared.add_login(PendingLogin { ticket, login });
            } else {
                broker.login(id, Err(Reason::SERVER_BUSY), self.now, &mut self.sockets);
            }
        }
    }

    // ---- rounds

    /// Ends the round: what must be kept goes to the store and the intake, what has become durable to the broker.
    fn hand_over(&mut self, broker: &mut Broker) {
        loop {
            let round = broker.end_round();
            let number = round.number;
            let is_last = round.is_empty();
            if !round.messages.is_empty()
                && let Some(intake) = &mut self.sockets.intake
            {
                self.waiting.mapped.push_back(number);
                intake.submit(number, round.messages);
            }
            if !round.changes.is_empty() {
                match &mut self.keep {
                    Some(keep) => {
                        self.waiting.kept.push_back(number);
                        keep.append(number, &round.changes);
                    }
                    // Nothing is to survive the process.
                    None => self.kept(broker, number, Ok(())),
                }
            }
            let news = self.completed(broker);
            if is_last && !news {
                break;
            }
        }
        if let Some(keep) = &mut self.keep {
            keep.tidy(broker);
        }
    }

    /// Whether something has become durable, or was refused.
    fn completed(&mut self, broker: &mut Broker) -> bool {
        let mut news = false;
        while let Some((round, result)) = self.sockets.intake.as_mut().and_then(|i| i.completed()) {
            Waiting::settle(&mut self.waiting.mapped, round);
            self.refuse_publications(round, result);
            broker.mapped(round, result, self.now, &mut self.sockets);
            news = true;
        }
        while let Some((round, result)) = self.keep.as_mut().and_then(|k| k.completed()) {
            Waiting::settle(&mut self.waiting.kept, round);
            self.kept(broker, round, result);
            news = true;
        }
        self.settle_publications();
        news
    }

    fn refuse_publications(&mut self, round: u64, result: Result<(), Refusal>) {
        let Err(refusal) = result else {
            return;
        };
        for published in &mut self.publications {
            if published.round <= round {
                published.result = Err(refusal);
            }
        }
    }

    /// Tells those whose messages are kept and mapped.
    fn settle_publications(&mut self) {
        let waits = |rounds: &VecDeque<u64>, round| rounds.front().is_some_and(|r| *r <= round);
        while let Some(first) = self.publications.front()
            && !waits(&self.waiting.kept, first.round)
            && !waits(&self.waiting.mapped, first.round)
        {
            if let Some(published) = self.publications.pop_front() {
                (published.publication.done)(published.result);
            }
        }
    }

    fn kept(&mut self, broker: &mut Broker, round: u64, result: Result<(), Refusal>) {
        if let Err(refusal) = result {
            let why = match refusal {
                Refusal::Full => "the disk, or the limit of its log, is full",
                Refusal::Failed => "writing failed",
            };
            self.warn(|| format!("messages are refused: {why}"));
        }
        self.refuse_publications(round, result);
        broker.kept(round, result, self.now, &mut self.sockets);
        if let Some(intake) = &mut self.sockets.intake {
            intake.receipted(broker.receipts_kept());
        }
    }

    // ---- the end

    fn stop_step(&mut self, broker: &mut Broker) {
        match self.stopping {
            Stopping::Draining(until) => {
                if self.waiting.is_empty() || self.now.mono_ms >= until {
                    broker.shut_down(self.now, &mut self.sockets);
                    for id in self.sockets.ids() {
                        self.sockets.end(id, Cause::Stopped);
                    }
                    let until = self.now.mono_ms + self.options.stop_timeout.as_millis() as u64;
                    self.stopping = Stopping::Closing(until);
                }
            }
            Stopping::Closing(until) => {
                if self.sockets.len() > 0 && self.now.mono_ms < until {
                    return;
                }
                for id in self.sockets.ids() {
                    self.drop_conn(broker, id, Cause::Stopped);
                }
                self.hand_over(broker);
                let last = until + self.options.stop_timeout.as_millis() as u64;
                if self.waiting.is_empty() || self.now.mono_ms >= last {
                    self.stopping = Stopping::Done;
                }
            }
            Stopping::No | Stopping::Done => {}
        }
    }

    pub(super) fn is_stopping(&self) -> bool {
        self.stopping != Stopping::No
    }
}
