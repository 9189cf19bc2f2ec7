//! The broker's state machine, without sockets, clocks and threads. The host hands over packets and events and gets
//! bytes; what has to survive goes out in rounds.

mod acks;
mod acl;
mod change;
mod connect;
mod deliver;
mod events;
mod exactly_once;
mod expiry;
mod flow;
mod keep;
mod lifecycle;
mod link;
mod message;
mod options;
mod output;
mod publish;
mod queue;
mod recover;
mod retain;
mod route;
mod seam;
mod session;
mod snapshot;
mod stats;
mod subscribe;
mod sys;
mod timers;

#[cfg(any(test, fuzzing))] // the fuzzer runs the model of the tests
pub mod tests;

use std::sync::Arc;

pub use acl::{Access, Acl, Rule};
pub use change::{Change, Round, SessionRecord, packet_id_of};
pub use message::{Message, StoredWill};
pub use options::Options;
pub use seam::{
    Cause, ConnId, Grant, Host, Inbound, Intake, LineSink, Login, Now, Opening, Peer, Receipt,
    Refusal, Transport,
};
pub use snapshot::Cursor;
pub use stats::{Event, EventRow, SessionInfo, Stats};

use super::packet::{AckKind, Packet, Publish, Reason};
use link::{Kind, Link, Phase, Step};

/// The clocks and the host, for the time of one call.
struct Cx<'a, H> {
    now: Now,
    host: &'a mut H,
}

pub struct Broker {
    options: Options,
    links: link::Links,
    sessions: session::Sessions,
    router: route::Router,
    retained: retain::Retained,
    keep: keep::Keep,
    timers: timers::Timers,
    logins: Vec<Login>,
    /// Lines for the log.
    notices: Vec<String>,
    /// Links with acknowledgements that wait, and links that are behind, each with its serial.
    awaiting: Vec<(ConnId, u64)>,
    behind: Vec<(ConnId, u64)>,
    scratch: output::Scratch,
    stats: Stats,
    events: events::Events,
    sys: sys::Sys,
    serial: u64,
    /// Bytes in the queues of all sessions; a message counts in each.
    queued_bytes: usize,
    /// None = no recovery is under way.
    replay: Option<Box<recover::Replay>>,
}

impl Broker {
    pub fn new(options: Options) -> Self {
        Self {
            links: link::Links::default(),
            sessions: session::Sessions::default(),
            router: route::Router::new(options.routes_cached),
            retained: retain::Retained::new(),
            keep: keep::Keep::new(),
            timers: timers::Timers::default(),
            logins: Vec::new(),
            notices: Vec::new(),
            awaiting: Vec::new(),
            behind: Vec::new(),
            scratch: output::Scratch::default(),
            stats: Stats::default(),
            events: events::Events::default(),
            sys: sys::Sys::default(),
            serial: 0,
            queued_bytes: 0,
            replay: None,
            options,
        }
    }

    /// A connection has been accepted.
    pub fn opened(&mut self, conn: ConnId, peer: Peer, now: Now) {
        self.serial += 1;
        let row = self.events.open(peer.address.ip().to_canonical());
        self.links
            .insert(conn, Link::new(peer, self.serial, row, now.mono_ms));
    }

    /// A packet of `size_bytes` has come.
    pub fn received(
        &mut self,
        conn: ConnId,
        packet: &Packet<'_>,
        size_bytes: usize,
        now: Now,
        host: &mut impl Host,
    ) {
        let Some(link) = self.links.get_mut(conn) else {
            return;
        };
        let (kind, event) = link::kind_of(packet);
        link.last_seen_ms = now.mono_ms;
        link.last_event = event;
        self.stats.packets_received += 1;
        self.stats.bytes_received += size_bytes as u64;
        self.events.count(link.row, event, now.unix_ms);
        let step = link::step(link.phase, kind);
        let mut cx = Cx { now, host };
        match step {
            Step::Handle => self.handle(conn, packet, &mut cx),
            Step::Ignore => {}
            Step::Hang => {
                self.stats.faults += 1;
                self.event_failed(conn, Reason::PROTOCOL_ERROR, "before CONNACK", now);
                self.detach(conn, lifecycle::End::Broken, &mut cx);
                self.close(conn, &mut cx);
            }
            Step::Fault => self.fault(conn, Reason::PROTOCOL_ERROR, "unexpected packet", &mut cx),
        }
        if kind != Kind::Connect {
            self.check_replies(conn, &mut cx);
        }
    }

    fn handle<H: Host>(&mut self, conn: ConnId, packet: &Packet<'_>, cx: &mut Cx<'_, H>) {
        match packet {
            Packet::Publish(publish) => self.on_publish(conn, publish, cx),
            Packet::Ack(ack) if ack.kind == AckKind::PubRel => {
                self.on_release(conn, ack.packet_id, cx);
            }
            Packet::Ack(ack) => {
                if !self.on_ack(conn, *ack, cx) {
                    self.fault(
                        conn,
                        Reason::PROTOCOL_ERROR,
                        "acknowledgement of another QoS",
                        cx,
                    );
                }
            }
            Packet::Connect(connect) => self.on_connect(conn, connect, cx),
            Packet::Subscribe(subscribe) => self.on_subscribe(conn, subscribe, cx),
            Packet::Unsubscribe(unsubscribe) => self.on_unsubscribe(conn, unsubscribe, cx),
            Packet::PingReq => self.put_packet(conn, &Packet::PingResp, cx),
            Packet::Disconnect(disconnect) => self.on_disconnect(conn, disconnect, cx),
            // The table of steps lets none of these through.
            Packet::ConnAck(_)
            | Packet::SubAck(_)
            | Packet::UnsubAck(_)
            | Packet::PingResp
            | Packet::Auth(_) => {}
        }
    }

    /// What came is no packet (the fields of the codec's `Malformed`): version 5 is told, the connection closed.
    pub fn malformed(
        &mut self,
        conn: ConnId,
        reason: Reason,
        text: &str,
        now: Now,
        host: &mut impl Host,
    ) {
        let mut cx = Cx { now, host };
        let Some(link) = self
            .links
            .get_mut(conn)
            .filter(|link| link.phase != Phase::Closing)
        else {
            return;
        };
        link.last_event = Event::Malformed;
        self.events.count(link.row, Event::Malformed, now.unix_ms);
        if link.phase == Phase::New && reason == Reason::UNSUPPORTED_VERSION {
            // In the form that every version reads [MQTT-3.1.2-2].
            return self.refuse_connect(conn, reason, text, &mut cx);
        }
        self.fault(conn, reason, text, &mut cx);
    }

    /// The connection is gone; its id may be used again.
    pub fn closed(&mut self, conn: ConnId, cause: Cause, now: Now, host: &mut impl Host) {
        let mut cx = Cx { now, host };
        self.detach(conn, lifecycle::End::Broken, &mut cx);
        if let Some(link) = self.links.remove(conn) {
            if link.held_by > 0 {
                self.stats.paused -= 1;
            }
            self.stats.faults += u64::from(cause == Cause::Limit);
            self.events.close(link.row);
            self.logins.retain(|login| login.conn != conn);
        }
    }

    /// The host does not read from the connection for a reason of its own: its silence is not the client's.
    pub fn is_held(&mut self, conn: ConnId, now: Now) {
        if let Some(link) = self.links.get_mut(conn) {
            link.last_seen_ms = now.mono_ms;
        }
    }

    /// The socket took bytes: sends what waits.
    pub fn progress(&mut self, conn: ConnId, now: Now, host: &mut impl Host) {
        let mut cx = Cx { now, host };
        if let Some(session) = self
            .links
            .get(conn)
            .filter(|link| link.is_live())
            .map(|link| link.session)
        {
            self.pump(session, &mut cx);
            self.makes_progress(conn, &mut cx);
        }
    }

    /// Logins since the last call.
    pub fn take_logins(&mut self) -> Vec<Login> {
        std::mem::take(&mut self.logins)
    }

    /// What the log should say, since the last call.
    pub fn take_notices(&mut self) -> Vec<String> {
        std::mem::take(&mut self.notices)
    }

    /// The verdict on a login. One for a connection that is gone is ignored.
    pub fn login(
        &mut self,
        conn: ConnId,
        verdict: Result<Grant, Reason>,
        now: Now,
        host: &mut impl Host,
    ) {
        self.on_verdict(conn, verdict, &mut Cx { now, host });
    }

    /// Ends the round: what it returns is to be kept before `kept` and `mapped` say so.
    pub fn end_round(&mut self) -> Round {
        self.keep.end_round()
    }

    /// The store has synced the changes of all rounds up to `round`, or refused those since the last call.
    pub fn kept(
        &mut self,
        round: u64,
        result: Result<(), Refusal>,
        now: Now,
        host: &mut impl Host,
    ) {
        self.on_kept(round, result, &mut Cx { now, host });
    }

    /// The store has the receipts of rounds up to this one, which the intake need not keep any longer.
    pub fn receipts_kept(&self) -> u64 {
        self.keep.receipts_kept
    }

    /// The rows of all rounds up to `round` are durable, or those since the last call are refused.
    pub fn mapped(
        &mut self,
        round: u64,
        result: Result<(), Refusal>,
        now: Now,
        host: &mut impl Host,
    ) {
        self.on_mapped(round, result, &mut Cx { now, host });
    }

    /// About every 100 ms: keep alive, expiries, delayed wills, `$SYS`, subscribers that take nothing.
    pub fn tick(&mut self, now: Now, host: &mut impl Host) {
        self.on_tick(&mut Cx { now, host });
    }

    /// Publishes a message of the node itself; its topic is a whole one. Returns how many subscribers match and the
    /// round to wait for, if something of it is kept (`kept`) or becomes a row (`mapped`).
    pub fn publish(
        &mut self,
        publish: &Publish<'_>,
        now: Now,
        host: &mut impl Host,
    ) -> (usize, Option<u64>) {
        let message = Arc::new(Message {
            id: self.keep.message_id(),
            topic: publish.topic.into(),
            payload: publish.payload.into(),
            properties: publish.properties.encoded.as_ref().into(),
            is_text: publish.properties.is_text,
            qos: publish.qos,
            retain: publish.retain,
            expires_unix_ms: publish
                .expiry_s
                .map(|expiry_s| now.unix_ms + u64::from(expiry_s) * 1_000),
            publisher: None,
        });
        let (spread, is_mapped) = self.publish_message(&message, &mut Cx { now, host });
        (
            spread.reached,
            (spread.is_kept || is_mapped).then_some(self.keep.round),
        )
    }

    /// Closes the connection of a client. False: it has none.
    pub fn disconnect(
        &mut self,
        client_id: &str,
        reason: Reason,
        now: Now,
        host: &mut impl Host,
    ) -> bool {
        let found = self
            .sessions
            .find(client_id)
            .and_then(|index| self.sessions.get(index));
        let Some(conn) = found
            .filter(|session| session.is_connected())
            .map(|session| session.link)
        else {
            return false;
        };
        self.hang_up(
            conn,
            reason,
            "closed by the owner of the node",
            &mut Cx { now, host },
        );
        true
    }

    /// The node stops: tells version 5 clients (0x8B) and asks the host to close all.
    pub fn shut_down(&mut self, now: Now, host: &mut impl Host) {
        let mut cx = Cx { now, host };
        for conn in self.links.ids() {
            if self
                .links
                .get(conn)
                .is_some_and(|link| link.phase != Phase::Closing)
            {
                self.hang_up(
                    conn,
                    Reason::SERVER_SHUTTING_DOWN,
                    "the node stops",
                    &mut cx,
                );
            }
        }
    }

    /// Recovery: replays a change, before `recovered`.
    pub fn apply(&mut self, change: Change) {
        self.replay(change);
    }

    /// Recovery: a receipt out of the intake's journal, after the changes. Those that the changes have are passed over.
    pub fn apply_receipt(&mut self, round: u64, receipt: &Receipt) {
        self.replay_receipt(round, receipt);
    }

    /// Recovery is complete: sessions that were connected are no longer, and their wills come with the first `tick`
    /// that finds them due. Before the first connection; not needed when nothing was applied.
    pub fn recovered(&mut self, now: Now) {
        self.end_replay(now);
    }

    /// Recovery: rounds go on behind the last one that the store has. Before the receipts.
    pub fn continue_after(&mut self, round: u64) {
        self.keep.continue_after(round);
    }

    /// The next piece of the live state, about `limit_bytes`. What is live when the cursor passes is returned;
    /// changes of later rounds may stand between the pieces.
    pub fn snapshot(&self, cursor: &mut Cursor, limit_bytes: usize) -> Vec<Change> {
        self.snapshot_piece(cursor, limit_bytes)
    }

    pub fn stats(&self) -> Stats {
        let queued: usize = self
            .sessions
            .iter_from(0)
            .map(|(_, session)| session.queue.len())
            .sum();
        Stats {
            connections: self.links.len() as u64,
            clients_offline: self.sessions.len() as u64 - self.stats.clients_connected,
            subscriptions: self.router.subscriptions,
            shared_subscriptions: self.router.shared,
            retained: self.retained.len() as u64,
            retained_bytes: self.retained.bytes() as u64,
            queued: queued as u64,
            queued_bytes: self.queued_bytes as u64,
            ..self.stats
        }
    }

    /// Counts per peer and packet kind, for `get local broker`.
    pub fn events(&self) -> Vec<EventRow> {
        self.events.list()
    }

    /// Sessions, connected or not, for status commands; `limit` at most.
    pub fn sessions(&self, limit: usize) -> Vec<SessionInfo> {
        let info = |session: &session::Session| SessionInfo {
            client_id: Arc::clone(&session.client_id),
            user: session.user.clone(),
            version: session.version,
            address: self.links.get(session.link).map(|link| link.peer.address),
            subscriptions: session.subscriptions.len(),
            queued: session.queue.len(),
            in_flight: session.queue.in_flight(),
            expiry_s: session.expiry_s,
        };
        self.sessions
            .iter_from(0)
            .take(limit)
            .map(|(_, session)| info(session))
            .collect()
    }

    pub fn options(&self) -> &Options {
        &self.options
    }

    /// Whether clients of this machine and of others need no name from now on; those that are here stay.
    pub fn set_anonymous(&mut self, local: bool, remote: bool) {
        self.options.anonymous_local = local;
        self.options.anonymous_remote = remote;
    }
}
