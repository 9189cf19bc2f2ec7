//! A publisher and a subscriber with lasting sessions, a network that breaks and a node that is killed at any time:
//! what was acknowledged arrives, with QoS 2 exactly once.

use std::collections::{BTreeMap, HashMap, HashSet};

use proptest::prelude::*;

use super::*;

#[derive(Clone, Debug)]
enum Op {
    Publish {
        is_exact: bool,
    },
    /// The publisher, or the subscriber, handles what has come.
    Handle {
        is_publisher: bool,
        count: usize,
    },
    /// The round ends; with `keeps` it is durable.
    Round {
        keeps: bool,
    },
    Lose {
        is_publisher: bool,
    },
    Connect {
        is_publisher: bool,
    },
    Kill,
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        6 => any::<bool>().prop_map(|is_exact| Op::Publish { is_exact }),
        8 => (any::<bool>(), 1..6_usize).prop_map(|(is_publisher, count)| Op::Handle { is_publisher, count }),
        6 => any::<bool>().prop_map(|keeps| Op::Round { keeps }),
        1 => any::<bool>().prop_map(|is_publisher| Op::Lose { is_publisher }),
        3 => any::<bool>().prop_map(|is_publisher| Op::Connect { is_publisher }),
        1 => Just(Op::Kill),
    ]
}

const PUBLISHER: usize = 0;
const SUBSCRIBER: usize = 1;

/// What the publisher knows of a message without PUBACK or PUBCOMP.
#[derive(Clone, Copy)]
struct Sent {
    number: u16,
    qos: QoS,
    is_received: bool,
}

struct Run {
    world: World,
    version: Version,
    conns: [Option<ConnId>; 2],
    /// CONNACK has come.
    is_greeted: [bool; 2],
    inboxes: [Vec<Packet<'static>>; 2],
    next_conn: ConnId,
    /// By packet id. Ids are used again as soon as they may.
    sent: BTreeMap<u16, Sent>,
    next_number: u16,
    acknowledged: HashSet<(u16, QoS)>,
    /// The subscriber's.
    received: HashSet<u16>,
    delivered: HashMap<u16, usize>,
    /// What is on the disk, and what of the log is not.
    disk: usize,
}

impl Run {
    fn new(version: Version) -> Self {
        let mut world = World::new();
        world.connect(0, connect_lasting(version, "to"));
        world.subscribe(0, "t", Q2);
        world.connect(1, connect_lasting(version, "from"));
        world.keeps = false;
        let disk = world.log.len();
        Self {
            world,
            version,
            conns: [Some(1), Some(0)],
            is_greeted: [true, true],
            inboxes: [Vec::new(), Vec::new()],
            next_conn: 2,
            sent: BTreeMap::new(),
            next_number: 0,
            acknowledged: HashSet::new(),
            received: HashSet::new(),
            delivered: HashMap::new(),
            disk,
        }
    }

    fn send(&mut self, who: usize, packet: &Packet<'_>) {
        if let Some(conn) = self.conns[who].filter(|_| self.is_greeted[who]) {
            self.world.send_only(conn, packet);
        }
    }

    fn send_message(&mut self, id: u16, duplicate: bool) {
        let sent = self.sent[&id];
        if sent.is_received {
            return self.send(PUBLISHER, &ack(AckKind::PubRel, id, Reason::SUCCESS));
        }
        let payload = sent.number.to_string();
        let packet = Packet::Publish(Publish {
            duplicate,
            ..publish("t", &payload, sent.qos, id)
        });
        self.send(PUBLISHER, &packet);
    }

    fn round(&mut self, keeps: bool) {
        let round = self.world.round();
        let is_new = self.world.ended == round;
        if keeps && (is_new || self.world.ended > 0) {
            self.disk = self.world.log.len();
            let round = self.world.ended;
            self.world.kept(round, Ok(()));
        }
    }

    fn connect(&mut self, who: usize) {
        if self.conns[who].is_some() {
            return;
        }
        let conn = self.next_conn;
        self.next_conn += 1;
        self.world.open(conn);
        let name = ["from", "to"][who];
        self.world.send_only(
            conn,
            &Packet::Connect(Box::new(connect_lasting(self.version, name))),
        );
        self.conns[who] = Some(conn);
        self.is_greeted[who] = false;
    }

    fn handle_connack(&mut self, who: usize, ack: &ConnAck<'_>) {
        assert!(ack.session_present, "{ack:?}");
        self.is_greeted[who] = true;
        if who == PUBLISHER {
            for id in self.sent.keys().copied().collect::<Vec<_>>() {
                self.send_message(id, true);
            }
        }
    }

    fn lose(&mut self, who: usize) {
        if let Some(conn) = self.conns[who].take() {
            self.inboxes[who].clear();
            self.world
                .broker
                .closed(conn, Cause::Failed, self.world.now, &mut self.world.net);
        }
    }

    fn handle(&mut self, who: usize) -> bool {
        let Some(conn) = self.conns[who] else {
            return false;
        };
        let got = self.world.got(conn);
        self.inboxes[who].extend(got);
        if self.inboxes[who].is_empty() {
            return false;
        }
        let packet = self.inboxes[who].remove(0);
        match packet {
            Packet::Publish(message) => self.deliver(&message),
            Packet::Ack(got) => self.handle_ack(who, got),
            Packet::ConnAck(ack) => self.handle_connack(who, &ack),
            other => panic!("{other:?}"),
        }
        true
    }

    fn deliver(&mut self, message: &Publish<'_>) {
        let id: u16 = String::from_utf8_lossy(message.payload).parse().unwrap();
        if message.qos == Q1 || self.received.insert(message.packet_id) {
            *self.delivered.entry(id).or_default() += 1;
        }
        let kind = if message.qos == Q1 {
            AckKind::PubAck
        } else {
            AckKind::PubRec
        };
        self.send(SUBSCRIBER, &ack(kind, message.packet_id, Reason::SUCCESS));
    }

    fn handle_ack(&mut self, who: usize, got: Ack) {
        match (who, got.kind) {
            (PUBLISHER, AckKind::PubRec) => {
                if let Some(sent) = self.sent.get_mut(&got.packet_id) {
                    sent.is_received = true;
                    self.acknowledged.insert((sent.number, sent.qos));
                    self.send(
                        PUBLISHER,
                        &ack(AckKind::PubRel, got.packet_id, Reason::SUCCESS),
                    );
                }
            }
            (PUBLISHER, _) => {
                if let Some(sent) = self.sent.remove(&got.packet_id) {
                    self.acknowledged.insert((sent.number, sent.qos));
                }
            }
            _ => {
                self.received.remove(&got.packet_id);
                self.send(
                    SUBSCRIBER,
                    &ack(AckKind::PubComp, got.packet_id, Reason::SUCCESS),
                );
            }
        }
    }

    /// The process dies: what is not on the disk is gone.
    fn kill(&mut self) {
        self.world.round();
        self.world.log.truncate(self.disk);
        self.world = self.world.restarted();
        self.world.keeps = false;
        self.disk = self.world.log.len();
        self.conns = [None, None];
        self.inboxes = [Vec::new(), Vec::new()];
    }

    fn step(&mut self, op: &Op) {
        let who = |is_publisher| if is_publisher { PUBLISHER } else { SUBSCRIBER };
        match *op {
            Op::Publish { is_exact } => {
                self.next_number += 1;
                let number = self.next_number;
                let qos = if is_exact { Q2 } else { Q1 };
                let id = (1..=u16::MAX)
                    .find(|id| !self.sent.contains_key(id))
                    .unwrap();
                self.sent.insert(
                    id,
                    Sent {
                        number,
                        qos,
                        is_received: false,
                    },
                );
                self.send_message(id, false);
            }
            Op::Handle {
                is_publisher,
                count,
            } => {
                for _ in 0..count {
                    self.handle(who(is_publisher));
                }
            }
            Op::Round { keeps } => self.round(keeps),
            Op::Lose { is_publisher } => self.lose(who(is_publisher)),
            Op::Connect { is_publisher } => self.connect(who(is_publisher)),
            Op::Kill => self.kill(),
        }
    }
}

proptest! {
    #[test]
    fn what_is_acknowledged_arrives(ops in prop::collection::vec(op(), 1..150), is_new in any::<bool>()) {
        let mut run = Run::new(if is_new { Version::V5 } else { Version::V311 });
        for op in &ops {
            run.step(op);
        }
        let acknowledged = run.acknowledged.clone();
        // All is well from now on.
        for who in [SUBSCRIBER, PUBLISHER] {
            run.connect(who);
        }
        for _ in 0..20 {
            run.round(true);
            while run.handle(PUBLISHER) || run.handle(SUBSCRIBER) {
                run.round(true);
            }
        }
        for (id, qos) in acknowledged {
            let count = run.delivered.get(&id).copied().unwrap_or(0);
            prop_assert!(count >= 1, "{id} was acknowledged and is lost");
            prop_assert!(count == 1 || qos == Q1, "{id} came {count} times");
        }
        prop_assert!(run.sent.is_empty());
        for id in 1..=run.next_number {
            prop_assert!(run.delivered.contains_key(&id));
        }
        prop_assert_eq!(run.world.broker.stats().queued, 0);
    }
}
