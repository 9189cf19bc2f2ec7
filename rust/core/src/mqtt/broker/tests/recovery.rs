//! A crash: what was kept is there, and the same goes on.

use super::*;

fn came_back(
    world: &mut World,
    conn: ConnId,
    version: Version,
    client_id: &str,
) -> Vec<Packet<'static>> {
    world.open(conn);
    world.send(
        conn,
        &Packet::Connect(Box::new(connect_lasting(version, client_id))),
    );
    let mut got = world.got(conn);
    assert!(
        matches!(&got[0], Packet::ConnAck(ack) if ack.session_present),
        "{got:?}"
    );
    got.remove(0);
    got
}

#[test]
fn sessions_and_what_waits_for_them_survive() {
    for version in BOTH {
        let mut world = World::new();
        world.connect(0, connect_lasting(version, "to"));
        world.subscribe(0, "t/+", Q2);
        world.subscribe(0, "gone", Q2);
        world.send(
            0,
            &Packet::Unsubscribe(Unsubscribe {
                packet_id: 1,
                filters: vec!["gone"],
            }),
        );
        world.got(0);
        world.join(1, version, "from");
        world.publish(1, "t/1", "done", Q1, 1);
        world.publish(1, "t/2", "sent 1", Q1, 2);
        world.publish(1, "t/3", "sent 2", Q2, 3);
        world.publish(1, "t/4", "received", Q2, 4);
        assert_eq!(world.messages(0).len(), 4);
        world.ack(0, AckKind::PubAck, 1);
        world.ack(0, AckKind::PubRec, 4);
        let mut world = world.restarted();
        world.join(1, version, "from");
        world.publish(1, "t/5", "after", Q1, 5);
        world.publish(1, "gone", "x", Q1, 6);
        let got = came_back(&mut world, 0, version, "to");
        let [
            Packet::Publish(one),
            Packet::Publish(two),
            release,
            Packet::Publish(after),
        ] = &got[..]
        else {
            panic!("{got:?}")
        };
        assert_eq!(
            (one.payload, one.packet_id, one.duplicate),
            (&b"sent 1"[..], 2, true)
        );
        assert_eq!(
            (two.payload, two.packet_id, two.duplicate),
            (&b"sent 2"[..], 3, true)
        );
        assert_eq!(*release, ack(AckKind::PubRel, 4, Reason::SUCCESS));
        assert_eq!(
            (after.payload, after.packet_id, after.duplicate),
            (&b"after"[..], 5, false)
        );
    }
}

#[test]
fn qos_2_of_publishers_is_known_again() {
    for version in BOTH {
        let mut world = World::new();
        world.connect(0, connect_lasting(version, "to"));
        world.subscribe(0, "t", Q2);
        world.lose(0);
        world.connect(1, connect_lasting(version, "from"));
        world.publish(1, "t", "one", Q2, 1);
        world.publish(1, "t", "two", Q2, 2);
        world.ack(1, AckKind::PubRel, 2);
        let mut world = world.restarted();
        came_back(&mut world, 1, version, "from");
        for (id, payload) in [(1, "one"), (2, "again with a free id")] {
            world.send(
                1,
                &Packet::Publish(Publish {
                    duplicate: true,
                    ..publish("t", payload, Q2, id)
                }),
            );
        }
        assert_eq!(world.got(1).len(), 2);
        let got = came_back(&mut world, 0, version, "to");
        assert_eq!(got.len(), 3);
    }
}

fn session_id(world: &World, client_id: &str) -> u64 {
    let mut records = world.log.iter().filter_map(|change| match change {
        Change::Session(record) if &*record.client_id == client_id => Some(record.id),
        _ => None,
    });
    records.next_back().expect("a session")
}

#[test]
fn a_receipt_counts_until_the_store_has_it_whatever_else_is_stored() {
    let mut before = World::new();
    before.connect(1, connect_lasting(Version::V311, "from"));
    let session = session_id(&before, "from");
    let receipt = |packet_id| Receipt { session, packet_id };
    let mut after = World::with(before.broker.options().clone());
    for change in &before.log {
        after.broker.apply(change.clone());
    }
    // Round 5 is stored; of the receipts it has those of the rounds up to 3.
    after.broker.apply(Change::Mapped { round: 3 });
    after.broker.continue_after(5);
    for (round, packet_id) in [(3, 7), (4, 8)] {
        after.broker.apply_receipt(round, &receipt(packet_id));
    }
    after.broker.recovered(after.now);
    let round = after.broker.end_round();
    assert_eq!(round.number, 6);
    let is_known = |id| {
        round
            .changes
            .iter()
            .any(|c| matches!(c, Change::RowsKept { packet_id, .. } if *packet_id == id))
    };
    assert!(is_known(8) && !is_known(7));
    assert!(round.changes.contains(&Change::Mapped { round: 4 }));
}

#[test]
fn the_intake_keeps_receipts_until_the_store_has_them() {
    let mut world = World::new();
    world.net.mapped = vec!["row"];
    for (packet_id, told) in [
        (1, Err(Refusal::Failed)),
        (2, Ok(())),
        (3, Err(Refusal::Full)),
    ] {
        let known = world.broker.receipts_kept();
        world.connect(1, connect_lasting(Version::V5, "from"));
        world.keeps = false;
        world.publish(1, "row", "x", Q2, packet_id);
        let row = world.ended;
        world.mapped(row, Ok(()));
        let receipts = world.round();
        assert_eq!(world.broker.receipts_kept(), known);
        world.kept(receipts, told);
        let expected = if told == Err(Refusal::Failed) {
            known
        } else {
            row
        };
        assert_eq!(world.broker.receipts_kept(), expected);
        // The row is there, so a refused message is to come again under its id.
        assert_eq!(world.is_closed(1), told.is_err());
        world.keeps = true;
        world.lose(1);
    }
}

#[test]
fn the_intake_is_told_after_a_restart_of_receipts_that_the_store_had() {
    let mut before = World::new();
    before.connect(1, connect_lasting(Version::V311, "from"));
    let mut after = World::with(before.broker.options().clone());
    for change in &before.log {
        after.broker.apply(change.clone());
    }
    after.broker.apply(Change::Mapped { round: 9 });
    after.broker.continue_after(9);
    let receipt = Receipt {
        session: session_id(&before, "from"),
        packet_id: 7,
    };
    after.broker.apply_receipt(9, &receipt);
    after.broker.recovered(after.now);
    assert_eq!(after.broker.receipts_kept(), 0);
    after.round();
    assert_eq!(after.broker.receipts_kept(), 9);
}

#[test]
fn a_row_in_the_journal_makes_its_id_known() {
    let mut world = World::new();
    world.net.mapped = vec!["row"];
    world.connect(1, connect_lasting(Version::V311, "from"));
    world.keeps = false;
    world.publish(1, "row", "x", Q2, 8);
    // The journal has the row, the store knows nothing of it.
    let receipt = world.inbound[0].receipt.clone().unwrap();
    let mut after = World::with(world.broker.options().clone());
    for change in &world.log {
        after.broker.apply(change.clone());
    }
    after.broker.apply_receipt(1, &receipt);
    after.broker.apply_receipt(
        1,
        &Receipt {
            session: receipt.session + 1,
            packet_id: 1,
        },
    );
    after.broker.recovered(after.now);
    after.net.mapped = vec!["row"];
    after.connect(1, connect_lasting(Version::V311, "from"));
    after.send(
        1,
        &Packet::Publish(Publish {
            duplicate: true,
            ..publish("row", "x", Q2, 8)
        }),
    );
    assert_eq!(after.got(1), [ack(AckKind::PubRec, 8, Reason::SUCCESS)]);
    assert!(after.inbound.is_empty());
    assert!(
        after
            .log
            .iter()
            .any(|change| matches!(change, Change::Received { packet_id: 8, .. }))
    );
}

#[test]
fn a_receipt_of_an_older_session_hides_no_message() {
    let mut world = World::new();
    world.net.mapped = vec!["row"];
    world.connect(1, connect_lasting(Version::V5, "from"));
    world.keeps = false;
    world.publish(1, "row", "old", Q2, 8);
    let receipt = world.inbound[0].receipt.clone().unwrap();
    world.keeps = true;
    world.lose(1);
    world.connect(
        1,
        Connect {
            clean: true,
            ..connect_lasting(Version::V5, "from")
        },
    );
    let mut after = world.restarted_with(&[(1, receipt)]);
    after.net.mapped = vec!["row"];
    after.connect(1, connect_lasting(Version::V5, "from"));
    after.publish(1, "row", "new", Q2, 8);
    assert_eq!(after.inbound.len(), 1);
}

/// A message that becomes a row and waits for a session: whichever log a crash has cut off, it comes once to each.
#[test]
fn a_mapped_message_comes_once_to_table_and_subscriber_whatever_a_crash_leaves() {
    for version in BOTH {
        for (is_mapped, is_kept) in [(false, false), (true, false), (true, true)] {
            let mut world = World::new();
            world.net.mapped = vec!["t"];
            world.connect(0, connect_lasting(version, "to"));
            world.subscribe(0, "t", Q2);
            world.lose(0);
            world.connect(1, connect_lasting(version, "from"));
            world.keeps = false;
            world.publish(1, "t", "x", Q2, 8);
            let (round, mut log) = (world.ended, world.log.len());
            let receipt = world.inbound[0].receipt.clone().unwrap();
            let receipts = [(round, receipt)];
            if is_kept {
                world.mapped(round, Ok(()));
                world.round();
                log = world.log.len();
            }
            world.log.truncate(log);
            world.got_nothing(1);
            let mut after = world.restarted_with(if is_mapped { &receipts } else { &[] });
            after.net.mapped = vec!["t"];
            after.connect(1, connect_lasting(version, "from"));
            // What the store knows of it survives, too.
            let mut after = after.restarted();
            after.net.mapped = vec!["t"];
            after.connect(1, connect_lasting(version, "from"));
            let again = Packet::Publish(Publish {
                duplicate: true,
                ..publish("t", "x", Q2, 8)
            });
            after.send(1, &again);
            assert_eq!(after.got(1), [ack(AckKind::PubRec, 8, Reason::SUCCESS)]);
            assert_eq!(after.inbound.len(), usize::from(!is_mapped));
            after.send(1, &again);
            assert_eq!(after.got(1), [ack(AckKind::PubRec, 8, Reason::SUCCESS)]);
            assert_eq!(came_back(&mut after, 0, version, "to").len(), 1);
        }
    }
}

#[test]
fn retained_messages_survive() {
    let mut world = World::new();
    world.join(0, Version::V5, "a");
    for (topic, payload) in [("r/1", "old"), ("r/1", "one"), ("r/2", "two"), ("r/2", "")] {
        world.send(0, &retained(topic, payload, Q0, 0));
    }
    let mut world = world.restarted();
    world.join(0, Version::V5, "a");
    world.subscribe(0, "#", Q0);
    assert_eq!(world.payloads(0), ["one"]);
}

#[test]
fn sessions_without_expiry_leave_nothing() {
    let mut world = World::new();
    world.join(0, Version::V5, "a");
    world.subscribe(0, "t", Q2);
    world.publish(0, "t", "x", Q2, 1);
    world.leave(0);
    assert_eq!(world.log, []);
    assert!(world.broker.end_round().is_empty());
}

#[test]
fn the_time_of_a_session_goes_on() {
    let mut world = World::new();
    let lasting = || Connect {
        clean: false,
        session_expiry_s: 100,
        ..connect(Version::V5, "a")
    };
    world.connect(0, lasting());
    world.lose(0);
    world.advance(60_000);
    let mut world = world.restarted();
    world.advance(30_000);
    assert_eq!(world.broker.stats().clients_offline, 1);
    world.advance(10_100);
    assert_eq!(world.broker.stats().clients_offline, 0);
    assert_eq!(world.restarted().broker.stats().clients_offline, 0);
}

#[test]
fn wills_of_lasting_sessions_survive() {
    let mut world = World::new();
    world.connect(0, connect_lasting(Version::V5, "watcher"));
    world.subscribe(0, "will", Q1);
    for (conn, client_id, delay_s) in [(1, "crashed", 0), (2, "delayed", 50), (3, "left", 50)] {
        let will = Will {
            delay_s,
            ..will("will", client_id)
        };
        world.connect(
            conn,
            Connect {
                will: Some(will),
                ..connect_lasting(Version::V5, client_id)
            },
        );
    }
    world.lose(2);
    world.leave(3);
    world.advance(30_000);
    world.got_nothing(0);
    let mut world = world.restarted();
    let mut seen = Vec::new();
    for ms in [100, 20_000, 40_000] {
        world.advance(ms);
        seen.push(world.broker.stats().queued);
    }
    assert_eq!(seen, [1, 2, 2]);
    let got = came_back(&mut world, 0, Version::V5, "watcher");
    assert_eq!(got.len(), 2);
    // A will is published once, whatever happens.
    let mut world = world.restarted();
    world.advance(100_000);
    assert_eq!(world.broker.stats().queued, 2);
}

#[test]
fn ids_go_on_behind_those_that_were_used() {
    let mut world = World::new();
    world.connect(0, connect_lasting(Version::V5, "a"));
    world.subscribe(0, "t", Q1);
    world.publish(0, "t", "one", Q1, 1);
    world.got(0);
    let mut world = world.restarted();
    world.broker.continue_after(500);
    assert_eq!(world.broker.end_round().number, 501);
    let before = world.log.len();
    world.connect(1, connect_lasting(Version::V5, "b"));
    world.publish(1, "t", "two", Q1, 1);
    let id = |change: &Change| match change {
        Change::Message(message) => Some(message.id),
        Change::Session(record) => Some(record.id),
        _ => None,
    };
    let old: Vec<u64> = world.log[..before].iter().filter_map(id).collect();
    let new: Vec<u64> = world.log[before..].iter().filter_map(id).collect();
    assert!(new.iter().min() > old.iter().max(), "{old:?} {new:?}");
}

#[test]
fn a_snapshot_is_the_state() {
    let mut world = World::new();
    for (conn, client_id) in [(0, "a"), (1, "b"), (2, "c")] {
        world.connect(conn, connect_lasting(Version::V5, client_id));
        world.subscribe(conn, "t/#", Q2);
        world.subscribe(conn, "$share/g/s", Q1);
        world.lose(conn);
    }
    world.join(3, Version::V5, "passing");
    for id in 1..=30 {
        world.publish(3, "t/x", "to all", Q2, id);
        world.got(3);
        world.ack(3, AckKind::PubRel, id);
        world.send(3, &retained(&format!("r/{id}"), "kept", Q0, 0));
    }
    for limit_bytes in [1, 1_000, usize::MAX] {
        let mut cursor = Cursor::default();
        let mut after = World::new();
        after.now = world.now;
        let mut messages = 0;
        while !cursor.is_done() {
            for change in world.broker.snapshot(&mut cursor, limit_bytes) {
                messages += usize::from(matches!(change, Change::Message(_)));
                after.broker.apply(change);
            }
        }
        after.broker.recovered(after.now);
        assert_eq!(messages, 60, "each message once");
        assert_eq!(state(&after.broker), state(&world.broker));
    }
}

#[test]
fn a_snapshot_knows_how_far_messages_of_qos_2_are() {
    for version in BOTH {
        let mut world = World::new();
        world.connect(0, connect_lasting(version, "both"));
        world.subscribe(0, "t", Q2);
        world.publish(0, "t", "x", Q2, 5);
        let id = 1;
        world.ack(0, AckKind::PubRec, id);
        let mut after = World::new();
        for change in world.broker.snapshot(&mut Cursor::default(), usize::MAX) {
            after.broker.apply(change);
        }
        after.broker.recovered(after.now);
        after.round();
        assert_eq!(
            came_back(&mut after, 0, version, "both"),
            [ack(AckKind::PubRel, id, Reason::SUCCESS)]
        );
        after.send(
            0,
            &Packet::Publish(Publish {
                duplicate: true,
                ..publish("t", "x", Q2, 5)
            }),
        );
        assert_eq!(after.got(0), [ack(AckKind::PubRec, 5, Reason::SUCCESS)]);
    }
}

#[test]
fn a_session_keeps_a_message_that_is_retained_no_longer() {
    // The snapshot has passed the session when it gets the retained message, and comes too late for that one.
    let mut world = World::new();
    world.join(1, Version::V5, "from");
    world.send(1, &retained("r", "first", Q1, 1));
    world.connect(0, connect_lasting(Version::V5, "to"));
    let mut cursor = Cursor::default();
    let mut log = world.broker.snapshot(&mut cursor, 1);
    assert!(!cursor.is_done());
    let from = world.log.len();
    world.subscribe(0, "r", Q1);
    world.send(1, &retained("r", "second", Q1, 2));
    log.extend_from_slice(&world.log[from..]);
    while !cursor.is_done() {
        log.extend(world.broker.snapshot(&mut cursor, 1));
    }
    let mut after = World::new();
    for change in log {
        after.broker.apply(change);
    }
    after.broker.recovered(after.now);
    let got = came_back(&mut after, 0, Version::V5, "to");
    let payloads: Vec<_> = got
        .iter()
        .map(|packet| match packet {
            Packet::Publish(message) => message.payload,
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(payloads, [&b"first"[..], b"second"]);
}
