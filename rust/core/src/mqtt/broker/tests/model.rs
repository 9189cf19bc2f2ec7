//! A model of clients that may do anything, for random tests and the fuzzer: nothing panics, what comes out is packets,
//! nothing is acknowledged before it is kept, QoS 2 messages come once, a replay gives the same state with and without
//! snapshots, and nothing is left over.

use std::collections::{HashMap, HashSet};

use super::*;

pub(super) const CLIENTS: usize = 4;
pub(super) const FILTERS: [&str; 7] = [
    "t/#",
    "t/+",
    "t/1",
    "#",
    "row",
    "$share/g/s/#",
    "$share/h/s/1",
];
pub(super) const TOPICS: [&str; 5] = ["t/1", "t/2", "row", "s/1", "s/2"];

#[derive(Clone, Debug)]
pub(super) enum Op {
    Connect {
        client: usize,
        is_new: bool,
        clean: bool,
        expiry_s: u32,
        receive_maximum: u16,
    },
    Lose {
        client: usize,
    },
    Leave {
        client: usize,
    },
    Subscribe {
        client: usize,
        filter: usize,
        qos: u8,
        flags: u8,
    },
    Unsubscribe {
        client: usize,
        filter: usize,
    },
    Publish {
        client: usize,
        topic: usize,
        qos: u8,
        retain: bool,
        expires: bool,
    },
    /// The client looks at what it got and answers, all of it or the first packet only.
    Answer {
        client: usize,
        all: bool,
    },
    /// Bytes that may be anything.
    Noise {
        client: usize,
        bytes: Vec<u8>,
    },
    Keep,
    Refuse,
    Wait {
        ms: u64,
    },
    Snapshot {
        limit_bytes: usize,
    },
    Crash,
}

/// Reads operations out of any bytes.
struct Bytes<'b>(std::slice::Iter<'b, u8>);

impl Bytes<'_> {
    fn byte(&mut self) -> Option<u8> {
        self.0.next().copied()
    }

    fn below(&mut self, end: usize) -> Option<usize> {
        Some(usize::from(self.byte()?) % end)
    }

    fn flag(&mut self) -> Option<bool> {
        Some(self.byte()? & 1 != 0)
    }

    fn op(&mut self) -> Option<Op> {
        let kind = self.byte()? % 16;
        let client = self.below(CLIENTS)?;
        Some(match kind {
            0 => Op::Connect {
                client,
                is_new: self.flag()?,
                clean: self.flag()?,
                expiry_s: [0, 5, u32::MAX][self.below(3)?],
                receive_maximum: 1 + u16::from(self.byte()? % 3),
            },
            1 => Op::Lose { client },
            2 => Op::Leave { client },
            3 => Op::Subscribe {
                client,
                filter: self.below(FILTERS.len())?,
                qos: self.byte()? % 3,
                flags: self.byte()?,
            },
            4 => Op::Unsubscribe {
                client,
                filter: self.below(FILTERS.len())?,
            },
            5..=7 => {
                let (topic, flags) = (self.below(TOPICS.len())?, self.byte()?);
                Op::Publish {
                    client,
                    topic,
                    qos: (flags >> 2) % 3,
                    retain: flags & 1 != 0,
                    expires: flags & 2 != 0,
                }
            }
            8 | 9 => Op::Answer { client, all: false },
            10 => Op::Answer { client, all: true },
            11 => {
                let count = 1 + self.below(19)?;
                let bytes: Vec<u8> = self.0.by_ref().take(count).copied().collect();
                (!bytes.is_empty()).then_some(Op::Noise { client, bytes })?
            }
            12 => Op::Keep,
            13 => match self.byte()? {
                0..=39 => Op::Crash,
                40..=79 => Op::Refuse,
                _ => Op::Keep,
            },
            14 => Op::Wait {
                ms: 1 + 32 * u64::from(self.byte()?),
            },
            _ => Op::Snapshot {
                limit_bytes: 1 + 8 * usize::from(self.byte()?),
            },
        })
    }
}

/// Operations in a run at most: longer ones find nothing more, only later.
const OPS_MAX: usize = 400;

/// A run of the clients that these bytes describe; panics where the broker breaks a promise.
pub fn check_bytes(bytes: &[u8]) {
    let mut bytes = Bytes(bytes.iter());
    check(std::iter::from_fn(|| bytes.op()).take(OPS_MAX));
}

/// The clients do this, then all of them go.
pub(super) fn check(ops: impl Iterator<Item = Op>) {
    let mut run = Run::new();
    for op in ops {
        run.step(op);
        let stats = run.world.broker.stats();
        let most = (CLIENTS * (20 + 3)) as u64 + 1_000;
        assert!(stats.queued <= most, "{stats:?}");
    }
    run.crash();
    for client in 0..CLIENTS {
        run.connect(client, (true, 0, 1), true);
        run.step(Op::Lose { client });
    }
    let stats = run.world.broker.stats();
    let known = (
        stats.connections,
        stats.clients_connected,
        stats.clients_offline,
        stats.subscriptions,
    );
    assert_eq!(known, (0, 0, 0, 0));
    let left = (stats.queued, stats.queued_bytes, stats.paused);
    assert_eq!(left, (0, 0, 0));
}

/// What a client knows, the way a good client does.
#[derive(Default)]
struct Client {
    conn: Option<ConnId>,
    /// CONNACK has come.
    is_greeted: bool,
    is_new: bool,
    inbox: Vec<Packet<'static>>,
    /// QoS 2 messages that came and were not released.
    received: HashSet<u16>,
    /// QoS 2 messages of this session.
    seen: HashSet<Vec<u8>>,
    next_id: u16,
    /// Round and payload of messages that were not acknowledged, by packet id.
    sent: HashMap<u16, (u64, Vec<u8>)>,
}

struct Run {
    world: World,
    clients: Vec<Client>,
    next_conn: ConnId,
    next_payload: u32,
    kept: u64,
    mapped: u64,
    /// Pieces of the snapshot that is under way, and where in the log each stands.
    pieces: Vec<(usize, Vec<Change>)>,
    cursor: Option<Cursor>,
    refused: bool,
}

fn client_id(client: usize) -> String {
    format!("client {client}")
}

fn qos_of(qos: u8) -> QoS {
    [Q0, Q1, Q2][usize::from(qos)]
}

impl Run {
    fn new() -> Self {
        let mut world = World::with(Options {
            sys_interval_s: 0,
            queue_messages: 20,
            ..Options::default()
        });
        world.net.mapped = vec!["row"];
        world.keeps = false;
        Self {
            world,
            clients: (0..CLIENTS).map(|_| Client::default()).collect(),
            next_conn: 0,
            next_payload: 0,
            kept: 0,
            mapped: 0,
            pieces: Vec::new(),
            cursor: None,
            refused: false,
        }
    }

    fn conn(&mut self, client: usize) -> Option<ConnId> {
        let conn = self.clients[client].conn?;
        if self.world.is_closed(conn) {
            self.world.lose(conn);
            self.clients[client].conn = None;
            return None;
        }
        self.clients[client].is_greeted.then_some(conn)
    }

    fn keep(&mut self, result: Result<(), Refusal>) {
        self.world.round();
        let round = self.world.ended;
        self.world
            .broker
            .mapped(round, result, self.world.now, &mut self.world.net);
        self.world
            .broker
            .kept(round, result, self.world.now, &mut self.world.net);
        (self.kept, self.mapped) = (round, round);
        self.refused |= result.is_err();
        self.world.round();
    }

    fn collect(&mut self, client: usize) {
        if let Some(conn) = self.clients[client].conn {
            let got = self.world.got(conn);
            for packet in &got {
                if let Packet::ConnAck(ack) = packet {
                    self.greet(client, ack);
                }
                if let Packet::Ack(Ack {
                    kind: AckKind::PubAck | AckKind::PubRec,
                    packet_id,
                    reason,
                }) = packet
                    && !reason.is_error()
                    && let Some((round, payload)) = self.clients[client].sent.get(packet_id)
                {
                    if payload.starts_with(b"row") {
                        assert!(*round <= self.mapped, "acknowledged before it was a row");
                    }
                    if let Some(round) = self.world.stored.get(&payload[..]) {
                        assert!(*round <= self.kept, "acknowledged before it was kept");
                    }
                }
            }
            self.clients[client].inbox.extend(got);
        }
    }

    fn greet(&mut self, client: usize, ack: &ConnAck<'_>) {
        let known = &mut self.clients[client];
        known.is_greeted = true;
        if !ack.session_present {
            known.received.clear();
            known.seen.clear();
        }
    }

    fn answer(&mut self, client: usize, all: bool) {
        self.collect(client);
        let count = if all {
            self.clients[client].inbox.len()
        } else {
            1
        };
        for _ in 0..count {
            if self.conn(client).is_none() || self.clients[client].inbox.is_empty() {
                return;
            }
            let packet = self.clients[client].inbox.remove(0);
            self.answer_one(client, &packet);
        }
    }

    fn answer_one(&mut self, client: usize, packet: &Packet<'_>) {
        let Some(conn) = self.conn(client) else {
            return;
        };
        let known = &mut self.clients[client];
        match packet {
            Packet::Publish(message) => match message.qos {
                Q0 => {}
                Q1 => self.world.ack(conn, AckKind::PubAck, message.packet_id),
                Q2 => {
                    let is_new = known.received.insert(message.packet_id);
                    // A retained message comes with each subscription, and groups hand messages on.
                    if is_new && !message.retain && message.payload.starts_with(b"t/") {
                        assert!(
                            known.seen.insert(message.payload.to_vec()),
                            "twice: {message:?}"
                        );
                    }
                    self.world.ack(conn, AckKind::PubRec, message.packet_id);
                }
            },
            Packet::Ack(got) => match got.kind {
                AckKind::PubRel => {
                    known.received.remove(&got.packet_id);
                    self.world.ack(conn, AckKind::PubComp, got.packet_id);
                }
                AckKind::PubRec if !got.reason.is_error() => {
                    self.world.ack(conn, AckKind::PubRel, got.packet_id);
                }
                AckKind::PubRec | AckKind::PubAck | AckKind::PubComp => {
                    known.sent.remove(&got.packet_id);
                }
            },
            _ => {}
        }
    }

    fn connect(
        &mut self,
        client: usize,
        (clean, expiry_s, receive_maximum): (bool, u32, u16),
        is_new: bool,
    ) {
        if self.conn(client).is_some() {
            self.collect(client);
        }
        let version = if is_new { Version::V5 } else { Version::V311 };
        let old = self.clients[client].conn.take();
        let conn = self.next_conn;
        self.next_conn += 1;
        let expiry_s = if is_new {
            expiry_s
        } else if clean {
            0
        } else {
            u32::MAX
        };
        let name = client_id(client);
        self.world.knock(
            conn,
            Connect {
                clean,
                session_expiry_s: expiry_s,
                receive_maximum: is_new.then_some(receive_maximum),
                topic_alias_maximum: if is_new { 3 } else { 0 },
                will: clean.then(|| will("t/1", "will")),
                ..connect(version, &name)
            },
        );
        if let Some(old) = old {
            self.world.lose(old);
        }
        let known = &mut self.clients[client];
        known.conn = Some(conn);
        known.is_new = is_new;
        known.is_greeted = false;
        known.inbox.clear();
        known.sent.clear();
    }

    fn publish(&mut self, client: usize, topic: usize, qos: QoS, (retain, expires): (bool, bool)) {
        let Some(conn) = self.conn(client) else {
            return;
        };
        self.next_payload += 1;
        let payload = format!("{} {}", TOPICS[topic], self.next_payload);
        let known = &mut self.clients[client];
        known.next_id = known.next_id % 60_000 + 1;
        let id = if qos == Q0 { 0 } else { known.next_id };
        let round = self.world.ended + 1;
        if qos != Q0 {
            known.sent.insert(id, (round, payload.clone().into_bytes()));
        }
        let expiry_s = (expires && known.is_new).then_some(3);
        let packet = Publish {
            retain,
            expiry_s,
            ..publish(TOPICS[topic], &payload, qos, id)
        };
        self.world.send(conn, &Packet::Publish(packet));
    }

    fn crash(&mut self) {
        self.keep(Ok(()));
        let from_log = replayed(&self.world, &self.world.log);
        if !self.refused {
            // With a complete snapshot the older log is not needed.
            if let Some(mut cursor) = self.cursor.take() {
                while !cursor.is_done() {
                    let piece = self.world.broker.snapshot(&mut cursor, 500);
                    self.pieces.push((self.world.log.len(), piece));
                }
                let mut cleaned = Vec::new();
                let mut at = self.pieces[0].0;
                for (place, piece) in std::mem::take(&mut self.pieces) {
                    cleaned.extend_from_slice(&self.world.log[at..place]);
                    cleaned.extend(piece);
                    at = place;
                }
                cleaned.extend_from_slice(&self.world.log[at..]);
                let (one, other) = (
                    state(&replayed(&self.world, &cleaned).broker),
                    state(&from_log.broker),
                );
                let only = |one: &[String], other: &[String]| {
                    one.iter()
                        .filter(|change| !other.contains(change))
                        .cloned()
                        .collect::<Vec<_>>()
                };
                assert_eq!(only(&one, &other), only(&other, &one));
            }
        }
        let log = self.world.log.clone();
        let net = std::mem::take(&mut self.world.net);
        self.world = from_log;
        self.world.log = log;
        self.world.net.mapped = net.mapped;
        (self.kept, self.mapped) = (0, 0);
        self.pieces.clear();
        self.cursor = None;
        self.refused = false;
        for client in &mut self.clients {
            client.conn = None;
            client.inbox.clear();
            client.sent.clear();
        }
        self.world.round();
    }

    fn step(&mut self, op: Op) {
        match op {
            Op::Connect {
                client,
                is_new,
                clean,
                expiry_s,
                receive_maximum,
            } => {
                self.connect(client, (clean, expiry_s, receive_maximum), is_new);
            }
            Op::Lose { client } => {
                if let Some(conn) = self.clients[client].conn.take() {
                    self.world.lose(conn);
                }
            }
            Op::Leave { client } => {
                if let Some(conn) = self.conn(client) {
                    self.clients[client].conn = None;
                    self.world
                        .send_only(conn, &Packet::Disconnect(disconnect(Reason::SUCCESS)));
                    self.world.lose(conn);
                }
            }
            Op::Subscribe {
                client,
                filter,
                qos,
                flags,
            } => {
                if let Some(conn) = self.conn(client) {
                    let is_new = self.clients[client].is_new;
                    let options = SubscriptionOptions {
                        qos: qos_of(qos),
                        no_local: is_new && flags & 1 != 0 && !FILTERS[filter].starts_with('$'),
                        retain_as_published: is_new && flags & 2 != 0,
                        retain_handling: RetainHandling::Send,
                    };
                    let packet = Subscribe {
                        packet_id: 1,
                        subscription_id: (is_new && flags & 4 != 0).then_some(u32::from(flags)),
                        filters: vec![Subscription {
                            filter: FILTERS[filter],
                            options,
                        }],
                    };
                    self.world.send_only(conn, &Packet::Subscribe(packet));
                }
            }
            Op::Unsubscribe { client, filter } => {
                if let Some(conn) = self.conn(client) {
                    let packet = Unsubscribe {
                        packet_id: 2,
                        filters: vec![FILTERS[filter]],
                    };
                    self.world.send_only(conn, &Packet::Unsubscribe(packet));
                }
            }
            Op::Publish {
                client,
                topic,
                qos,
                retain,
                expires,
            } => {
                self.publish(client, topic, qos_of(qos), (retain, expires));
            }
            Op::Answer { client, all } => self.answer(client, all),
            Op::Noise { client, bytes } => {
                if let Some(conn) = self.conn(client) {
                    self.world.feed_some(conn, &bytes);
                }
            }
            Op::Keep => self.keep(Ok(())),
            Op::Refuse => self.keep(Err(Refusal::Full)),
            Op::Wait { ms } => {
                self.world.now.mono_ms += ms;
                self.world.now.unix_ms += ms;
                self.world.broker.tick(self.world.now, &mut self.world.net);
            }
            Op::Snapshot { limit_bytes } => {
                // Also in the middle of a round: its changes stand behind the piece.
                let mut cursor = self.cursor.take().unwrap_or_default();
                let piece = self.world.broker.snapshot(&mut cursor, limit_bytes);
                self.pieces.push((self.world.log.len(), piece));
                self.cursor = Some(cursor);
            }
            Op::Crash => self.crash(),
        }
        for client in 0..CLIENTS {
            self.collect(client);
        }
    }
}

fn replayed(world: &World, log: &[Change]) -> World {
    let mut after = World::with(world.broker.options().clone());
    after.now = world.now;
    after.keeps = false;
    for change in log {
        after.broker.apply(change.clone());
    }
    after.broker.recovered(after.now);
    after
}
