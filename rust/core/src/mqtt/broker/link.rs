//! One connection: where it stands in the protocol, and what its client can take.

use std::collections::VecDeque;
use std::sync::Arc;

use foldhash::{HashMap, HashMapExt};

use super::super::packet::{AckKind, Packet, Version};
use super::acks::Pending;
use super::connect::Connecting;
use super::flow::Flow;
use super::seam::{ConnId, Peer};
use super::session::NONE;
use super::stats::Event;

/// Where a connection stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// Before its CONNECT.
    New,
    /// The login waits for its verdict.
    Login,
    /// Has its session; CONNACK waits for the store.
    Greeting,
    /// Between CONNACK and the end.
    Live,
    /// The host has been asked to close it: what still comes is thrown away.
    Closing,
}

/// Kinds of packets, by who may send them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Connect,
    Publish,
    Ack,
    Subscribe,
    Unsubscribe,
    Ping,
    Disconnect,
    Auth,
    /// Only a server sends it.
    OfServer,
}

/// What to do with a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    Handle,
    /// Close without a word [MQTT-3.1.0-1].
    Hang,
    /// Protocol error [MQTT-3.1.0-2], [MQTT-4.13.1-1].
    Fault,
    Ignore,
}

/// Step per phase (row) and kind (column).
const STEPS: [[Step; 9]; 5] = {
    use Step::{Fault, Handle, Hang, Ignore};
    [
        // Connect Publish Ack Subscribe Unsubscribe Ping Disconnect Auth OfServer
        [Handle, Hang, Hang, Hang, Hang, Hang, Hang, Hang, Hang],
        [Hang, Hang, Hang, Hang, Hang, Hang, Hang, Hang, Hang],
        [Hang, Hang, Hang, Hang, Hang, Hang, Hang, Hang, Hang],
        [
            Fault, Handle, Handle, Handle, Handle, Handle, Handle, Fault, Fault,
        ],
        [
            Ignore, Ignore, Ignore, Ignore, Ignore, Ignore, Ignore, Ignore, Ignore,
        ],
    ]
};

pub(super) fn step(phase: Phase, kind: Kind) -> Step {
    STEPS[phase as usize][kind as usize]
}

/// A packet's kind, and its line in the event table.
pub(super) fn kind_of(packet: &Packet<'_>) -> (Kind, Event) {
    match packet {
        Packet::Connect(_) => (Kind::Connect, Event::Connect),
        Packet::Publish(_) => (Kind::Publish, Event::Publish),
        Packet::Ack(ack) => (
            Kind::Ack,
            match ack.kind {
                AckKind::PubAck => Event::PubAck,
                AckKind::PubRec => Event::PubRec,
                AckKind::PubRel => Event::PubRel,
                AckKind::PubComp => Event::PubComp,
            },
        ),
        Packet::Subscribe(_) => (Kind::Subscribe, Event::Subscribe),
        Packet::Unsubscribe(_) => (Kind::Unsubscribe, Event::Unsubscribe),
        Packet::PingReq => (Kind::Ping, Event::PingReq),
        Packet::Disconnect(_) => (Kind::Disconnect, Event::Disconnect),
        Packet::Auth(_) => (Kind::Auth, Event::Auth),
        Packet::ConnAck(_) | Packet::SubAck(_) | Packet::UnsubAck(_) | Packet::PingResp => {
            (Kind::OfServer, Event::Malformed)
        }
    }
}

/// Aliases that we gave to topics. While there are any left every topic gets one; later a topic that comes again soon
/// takes over that of another.
#[derive(Debug)]
pub(super) struct AliasesOut {
    limit: u16,
    aliases: HashMap<Box<str>, u16>,
    /// By alias, from 1 on.
    topics: Vec<Box<str>>,
    /// Topics without alias that came of late, by hash.
    seen: [u64; 8],
    /// Whose place in `seen` and in `topics` is taken next.
    turn: usize,
}

impl AliasesOut {
    pub fn new(limit: u16) -> Self {
        Self {
            limit,
            aliases: HashMap::new(),
            topics: Vec::new(),
            seen: [0; 8],
            turn: 0,
        }
    }

    /// The alias of a topic, and whether the client knows it already.
    pub fn get(&mut self, topic: &str) -> Option<(u16, bool)> {
        if let Some(&alias) = self.aliases.get(topic) {
            return Some((alias, true));
        }
        let index = self.topics.len();
        if index < usize::from(self.limit) {
            self.topics.push(topic.into());
            self.aliases.insert(topic.into(), index as u16 + 1);
            return Some((index as u16 + 1, false));
        }
        self.turn = self.turn.wrapping_add(1);
        let hash = std::hash::BuildHasher::hash_one(self.aliases.hasher(), topic) | 1;
        if !self.seen.contains(&hash) {
            self.seen[self.turn % self.seen.len()] = hash;
            return None;
        }
        let index = self.turn % self.topics.len();
        let old = std::mem::replace(&mut self.topics[index], topic.into());
        self.aliases.remove(&old);
        self.aliases.insert(topic.into(), index as u16 + 1);
        Some((index as u16 + 1, false))
    }
}

#[derive(Debug)]
pub(super) struct Link {
    pub phase: Phase,
    pub version: Version,
    /// Index of its session, in `Phase::Greeting` and `Phase::Live`.
    pub session: u32,
    /// Never used again, unlike the connection's id.
    pub serial: u64,
    pub last_seen_ms: u64,
    /// Its last packet.
    pub last_event: Event,
    /// One and a half times what was agreed; 0 = none.
    pub keep_alive_ms: u64,
    pub keep_alive_timer: u64,
    /// QoS 1 and 2 messages that we may send without an acknowledgement.
    pub window: u16,
    /// `u32::MAX` = no limit.
    pub maximum_packet_bytes: u32,
    /// PUBLISHes of the client that we have not acknowledged to the end.
    pub unacknowledged: u32,
    /// Acknowledgements that wait, in order.
    pub pending: VecDeque<Pending>,
    /// Stands in the list of links with pending acknowledgements.
    pub is_awaiting: bool,
    pub aliases_in: Vec<Option<Arc<str>>>,
    pub aliases_out: Option<Box<AliasesOut>>,
    /// Stamp of the route that it was allowed to publish to last.
    pub allowed_route: u64,
    /// Subscribers that it waits for.
    pub held_by: u32,
    /// Set while the client does not take what we have for it.
    pub flow: Option<Box<Flow>>,
    /// Stands in the list of links that are behind.
    pub is_behind: bool,
    pub connecting: Option<Box<Connecting>>,
    pub peer: Box<Peer>,
    /// Place of its peer in the event table.
    pub row: u32,
}

impl Link {
    pub fn new(peer: Peer, serial: u64, row: u32, now_ms: u64) -> Self {
        Self {
            phase: Phase::New,
            version: Version::V311,
            session: NONE,
            serial,
            last_seen_ms: now_ms,
            last_event: Event::Malformed,
            keep_alive_ms: 0,
            keep_alive_timer: 0,
            window: 0,
            maximum_packet_bytes: u32::MAX,
            unacknowledged: 0,
            pending: VecDeque::new(),
            is_awaiting: false,
            aliases_in: Vec::new(),
            aliases_out: None,
            allowed_route: 0,
            held_by: 0,
            flow: None,
            is_behind: false,
            connecting: None,
            peer: Box::new(peer),
            row,
        }
    }

    /// Whether packets may go out to it.
    pub fn is_live(&self) -> bool {
        self.phase == Phase::Live
    }
}

/// All connections, by the host's index.
#[derive(Debug, Default)]
pub(super) struct Links {
    slab: Vec<Option<Box<Link>>>,
    len: usize,
}

impl Links {
    pub fn len(&self) -> usize {
        self.len
    }

    pub fn insert(&mut self, conn: ConnId, link: Link) {
        let index = conn as usize;
        if index >= self.slab.len() {
            self.slab.resize_with(index + 1, || None);
        }
        if self.slab[index].replace(Box::new(link)).is_none() {
            self.len += 1;
        }
    }

    pub fn remove(&mut self, conn: ConnId) -> Option<Box<Link>> {
        let link = self.slab.get_mut(conn as usize)?.take();
        self.len -= usize::from(link.is_some());
        link
    }

    pub fn get(&self, conn: ConnId) -> Option<&Link> {
        self.slab.get(conn as usize)?.as_deref()
    }

    pub fn get_mut(&mut self, conn: ConnId) -> Option<&mut Link> {
        self.slab.get_mut(conn as usize)?.as_deref_mut()
    }

    pub fn ids(&self) -> Vec<ConnId> {
        let used = self
            .slab
            .iter()
            .enumerate()
            .filter(|(_, link)| link.is_some());
        used.map(|(index, _)| index as ConnId).collect()
    }
}
