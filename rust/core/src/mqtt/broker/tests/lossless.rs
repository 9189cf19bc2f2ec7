//! A publisher and a subscriber with lasting sessions, a network that breaks and a node that is killed at any time:
//! what was acknowledged arrives, with QoS 2 exactly once, at the subscriber and, where it is mapped, in the table.
//! Store and journal may be full at times.

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
    Round,
    /// What has ended is on the disk of the store, or of the intake's journal; with `tells` the broker hears of it.
    Sync {
        is_store: bool,
        tells: bool,
    },
    /// What has ended does not get there.
    Refuse {
        is_store: bool,
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
        3 => Just(Op::Round),
        7 => (any::<bool>(), any::<bool>()).prop_map(|(is_store, tells)| Op::Sync { is_store, tells }),
        1 => any::<bool>().prop_map(|is_store| Op::Refuse { is_store }),
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
    refused: HashSet<u16>,
    /// The subscriber's.
    received: HashSet<u16>,
    delivered: HashMap<u16, usize>,
    is_mapped: bool,
    /// Of the log, what is on the disk, and the last round of that.
    disk: usize,
    disk_round: u64,
    /// Rows with their rounds, and how many are on the disk.
    journal: Vec<(u64, Inbound)>,
    journal_disk: usize,
    /// How many of those the broker has been told of.
    journal_told: usize,
    /// Receipts up to this round have been forgotten.
    forgotten: u64,
}

impl Run {
    fn new(version: Version, is_mapped: bool) -> Self {
        let mut world = World::new();
        if is_mapped {
            world.net.mapped = vec!["t"];
        }
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
            refused: HashSet::new(),
            received: HashSet::new(),
            delivered: HashMap::new(),
            is_mapped,
            disk,
            disk_round: 0,
            journal: Vec::new(),
            journal_disk: 0,
            journal_told: 0,
            forgotten: 0,
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

    fn round(&mut self) {
        let number = self.world.round();
        let rows = std::mem::take(&mut self.world.inbound);
        self.journal
            .extend(rows.into_iter().map(|inbound| (number, inbound)));
    }

    fn sync(&mut self, is_store: bool, tells: bool) {
        let round = self.world.ended;
        if is_store {
            self.disk = self.world.log.len();
            self.disk_round = round;
        } else {
            self.journal_disk = self.journal.len();
        }
        match (is_store, tells && round > 0) {
            (_, false) => {}
            (true, true) => self.world.kept(round, Ok(())),
            (false, true) => {
                self.world.mapped(round, Ok(()));
                self.journal_told = self.journal_disk;
            }
        }
        self.forgotten = self.forgotten.max(self.world.broker.receipts_kept());
    }

    fn refuse(&mut self, is_store: bool) {
        let round = self.world.ended;
        if round == 0 {
            return;
        }
        if is_store {
            self.world.kept(round, Err(Refusal::Full));
            // What is in memory is written anew, before anything else.
            self.round();
            let all = usize::MAX;
            self.world.log = self.world.broker.snapshot(&mut Cursor::default(), all);
            self.sync(true, false);
        } else if self.journal_told == self.journal_disk {
            // What is on the disk is not refused.
            self.journal.truncate(self.journal_disk);
            self.world.mapped(round, Err(Refusal::Full));
        }
        self.forgotten = self.forgotten.max(self.world.broker.receipts_kept());
    }

    fn all_is_kept(&mut self) {
        self.round();
        self.sync(false, true);
        self.round();
        self.sync(true, true);
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
        if self.world.is_closed(conn) {
            self.lose(who);
            return true;
        }
        let got = self.world.got(conn);
        self.inboxes[who].extend(got);
        if self.inboxes[who].is_empty() {
            return false;
        }
        let packet = self.inboxes[who].remove(0);
        match packet {
            Packet::Publish(message) => self.deliver(&message),
            Packet::Ack(got) => self.handle_ack(who, got),
            Packet::ConnAck(ack) if ack.reason.is_error() => self.lose(who),
            Packet::ConnAck(ack) => self.handle_connack(who, &ack),
            Packet::Disconnect(_) => self.lose(who),
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
            (PUBLISHER, _) if got.reason.is_error() => {
                // PUBCOMP may not know the id: then all has been done before.
                if let Some(sent) = self.sent.remove(&got.packet_id)
                    && got.kind != AckKind::PubComp
                {
                    self.refused.insert(sent.number);
                }
            }
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
        self.round();
        self.world.log.truncate(self.disk);
        self.journal.truncate(self.journal_disk);
        self.journal_told = self.journal_disk;
        let receipts: Vec<(u64, Receipt)> = self
            .journal
            .iter()
            .filter(|(round, _)| *round > self.forgotten)
            .filter_map(|(round, inbound)| Some((*round, inbound.receipt.clone()?)))
            .collect();
        self.world.ended = self.disk_round;
        self.world = self.world.restarted_with(&receipts);
        self.world.keeps = false;
        if self.is_mapped {
            self.world.net.mapped = vec!["t"];
        }
        self.forgotten = self.forgotten.max(self.world.broker.receipts_kept());
        self.disk = self.world.log.len();
        self.disk_round = self.world.ended;
        self.conns = [None, None];
        self.inboxes = [Vec::new(), Vec::new()];
    }

    fn rows(&self, number: u16) -> usize {
        let payload = number.to_string();
        let rows = self.journal.iter();
        rows.filter(|(_, row)| *row.message.payload == *payload.as_bytes())
            .count()
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
            Op::Round => self.round(),
            Op::Sync { is_store, tells } => self.sync(is_store, tells),
            Op::Refuse { is_store } => self.refuse(is_store),
            Op::Lose { is_publisher } => self.lose(who(is_publisher)),
            Op::Connect { is_publisher } => self.connect(who(is_publisher)),
            Op::Kill => self.kill(),
        }
    }
}

proptest! {
    #[test]
    fn what_is_acknowledged_arrives(
        ops in prop::collection::vec(op(), 1..150),
        is_new in any::<bool>(),
        is_mapped in any::<bool>(),
    ) {
        let mut run = Run::new(if is_new { Version::V5 } else { Version::V311 }, is_mapped);
        for op in &ops {
            run.step(op);
        }
        let acknowledged = run.acknowledged.clone();
        // All is well from now on.
        for _ in 0..20 {
            for who in [SUBSCRIBER, PUBLISHER] {
                run.connect(who);
            }
            run.all_is_kept();
            while run.handle(PUBLISHER) || run.handle(SUBSCRIBER) {
                run.all_is_kept();
            }
        }
        for (id, qos) in acknowledged {
            let count = run.delivered.get(&id).copied().unwrap_or(0);
            prop_assert!(count >= 1, "{id} was acknowledged and is lost");
            prop_assert!(count == 1 || qos == Q1, "{id} came {count} times");
            let rows = run.rows(id);
            prop_assert!(rows >= usize::from(is_mapped), "the row of {id} is lost");
            prop_assert!(rows <= 1 || qos == Q1, "the row of {id} is there {rows} times");
        }
        prop_assert!(run.sent.is_empty());
        for id in 1..=run.next_number {
            prop_assert!(run.delivered.contains_key(&id) || run.refused.contains(&id));
        }
        prop_assert_eq!(run.world.broker.stats().queued, 0);
    }
}
