//! Acknowledgements: when, in which order, and what is said when something could not be kept.

use super::*;

/// A publisher (1), a lasting session that is away and subscribed to `kept`, a mapped topic `row`; nothing is kept
/// until a test says so.
fn world(version: Version) -> World {
    let mut world = World::new();
    world.connect(0, connect_lasting(version, "away"));
    world.subscribe(0, "kept", Q2);
    world.lose(0);
    world.connect(1, connect_lasting(version, "from"));
    world.net.mapped = vec!["row"];
    world.keeps = false;
    world
}

fn ids(packets: &[Packet<'_>]) -> Vec<(AckKind, u16, bool)> {
    packets
        .iter()
        .map(|packet| match packet {
            Packet::Ack(ack) => (ack.kind, ack.packet_id, ack.reason.is_error()),
            other => panic!("{other:?}"),
        })
        .collect()
}

#[test]
fn nothing_kept_is_acknowledged_at_once() {
    for version in BOTH {
        let mut world = world(version);
        world.join(2, version, "live");
        world.subscribe(2, "live", Q2);
        world.publish(1, "nobody", "x", Q1, 1);
        world.publish(1, "nobody", "x", Q2, 2);
        world.publish(1, "live", "x", Q1, 3);
        world.publish(1, "live", "x", Q2, 4);
        let got = ids(&world.got(1));
        let rec = |id| (AckKind::PubRec, id, false);
        let ack = |id| (AckKind::PubAck, id, false);
        assert_eq!(got, [ack(1), rec(2), ack(3), rec(4)]);
        assert!(world.broker.end_round().is_empty());
    }
}

#[test]
fn what_is_kept_waits_and_what_follows_waits_too() {
    // [MQTT-4.6.0-2], [MQTT-4.6.0-3]
    for version in BOTH {
        let mut world = world(version);
        world.publish(1, "kept", "x", Q1, 1);
        let first = world.broker.end_round().number;
        world.publish(1, "nobody", "x", Q1, 2);
        world.publish(1, "kept", "x", Q2, 3);
        world.got_nothing(1);
        world.kept(first - 1, Ok(()));
        assert_eq!(
            ids(&world.got(1)),
            [(AckKind::PubAck, 1, false), (AckKind::PubAck, 2, false)]
        );
        world.kept(first, Ok(()));
        assert_eq!(ids(&world.got(1)), [(AckKind::PubRec, 3, false)]);
    }
}

#[test]
fn retained_messages_wait_for_the_store() {
    let mut world = world(Version::V311);
    world.send(1, &retained("r", "x", Q1, 1));
    world.got_nothing(1);
    let round = world.broker.end_round().number;
    world.kept(round - 1, Ok(()));
    assert_eq!(ids(&world.got(1)), [(AckKind::PubAck, 1, false)]);
}

#[test]
fn rows_wait_for_the_intake() {
    for version in BOTH {
        let mut world = world(version);
        world.publish(1, "row", "x", Q1, 1);
        let round = world.broker.end_round().number - 1;
        world.got_nothing(1);
        assert_eq!(&*world.inbound[0].message.topic, "row");
        assert_eq!(world.inbound[0].receipt, None);
        world.kept(round, Ok(()));
        world.got_nothing(1);
        world.mapped(round, Ok(()));
        assert_eq!(ids(&world.got(1)), [(AckKind::PubAck, 1, false)]);
    }
}

#[test]
fn qos_2_rows_are_known_before_pubrec() {
    for version in BOTH {
        let mut world = world(version);
        world.publish(1, "row", "x", Q2, 7);
        let receipt = world.inbound[0].receipt.clone().unwrap();
        assert_eq!(receipt.packet_id, 7);
        let first = world.broker.end_round().number - 1;
        world.mapped(first, Ok(()));
        world.got_nothing(1);
        let second = world.broker.end_round();
        assert!(matches!(
            second.changes[..],
            [
                Change::Mapped { round },
                Change::Received { packet_id: 7, .. }
            ] if round == first
        ));
        world.kept(second.number, Ok(()));
        assert_eq!(ids(&world.got(1)), [(AckKind::PubRec, 7, false)]);
        // After PUBCOMP the id may be used again, so that is kept first as well.
        world.ack(1, AckKind::PubRel, 7);
        world.got_nothing(1);
        let third = world.ended;
        world.kept(third, Ok(()));
        assert_eq!(ids(&world.got(1)), [(AckKind::PubComp, 7, false)]);
        assert!(
            world
                .log
                .iter()
                .any(|change| matches!(change, Change::Released { packet_id: 7, .. }))
        );
    }
}

#[test]
fn a_pubrec_that_was_asked_for_again_waits_as_well() {
    let mut world = world(Version::V311);
    world.publish(1, "row", "x", Q2, 7);
    world.lose(1);
    world.knock(2, connect_lasting(Version::V311, "from"));
    world.kept(world.ended, Ok(()));
    assert!(matches!(world.got_one(2), Packet::ConnAck(_)));
    world.send(
        2,
        &Packet::Publish(Publish {
            duplicate: true,
            ..publish("row", "x", Q2, 7)
        }),
    );
    world.got_nothing(2);
    assert_eq!(world.inbound.len(), 1);
    let round = world.broker.end_round().number;
    world.mapped(round, Ok(()));
    let round = world.round();
    world.got_nothing(2);
    world.kept(round, Ok(()));
    assert_eq!(ids(&world.got(2)), [(AckKind::PubRec, 7, false)]);
}

#[test]
fn a_refusal_is_told_or_the_connection_is_closed() {
    for (refusal, reason) in [
        (Refusal::Full, Reason::QUOTA_EXCEEDED),
        (Refusal::Failed, Reason::IMPLEMENTATION_SPECIFIC),
    ] {
        for topic in ["kept", "row"] {
            for version in BOTH {
                let mut world = world(version);
                world.publish(1, topic, "x", Q1, 1);
                world.publish(1, topic, "x", Q2, 2);
                let round = world.broker.end_round().number;
                if topic == "row" {
                    world.mapped(round, Err(refusal));
                } else {
                    world.kept(round, Err(refusal));
                }
                if refusal == Refusal::Failed && topic == "row" {
                    // The rows may turn out to be kept: the message is to come again as the same one.
                    assert!(world.is_closed(1));
                } else if version == Version::V5 {
                    assert_eq!(
                        world.got(1),
                        [
                            ack(AckKind::PubAck, 1, reason),
                            ack(AckKind::PubRec, 2, reason)
                        ]
                    );
                    // The id is free: the message was not taken.
                    world.publish(1, "nobody", "x", Q2, 2);
                    assert_eq!(ids(&world.got(1)), [(AckKind::PubRec, 2, false)]);
                } else {
                    world.got_nothing(1);
                    assert!(world.is_closed(1));
                }
            }
        }
    }
}

#[test]
fn a_release_that_was_refused_is_recorded_when_it_comes_again() {
    for version in BOTH {
        let mut world = world(version);
        world.publish(1, "kept", "x", Q2, 7);
        world.kept(world.ended, Ok(()));
        assert_eq!(ids(&world.got(1)), [(AckKind::PubRec, 7, false)]);
        world.ack(1, AckKind::PubRel, 7);
        world.kept(world.ended, Err(Refusal::Full));
        assert!(
            !world
                .got(1)
                .iter()
                .any(|packet| matches!(packet, Packet::Ack(_)))
        );
        assert!(world.is_closed(1));
        world.lose(1);
        world.keeps = true;
        world.connect(1, connect_lasting(version, "from"));
        world.keeps = false;
        world.log.clear();
        world.ack(1, AckKind::PubRel, 7);
        world.got_nothing(1);
        assert!(matches!(
            world.log[..],
            [Change::Released { packet_id: 7, .. }]
        ));
        world.kept(world.ended, Ok(()));
        assert_eq!(world.got(1).len(), 1);
    }
}

#[test]
fn a_qos_2_row_is_not_retained_over_a_later_message() {
    for later in ["new", ""] {
        let mut world = world(Version::V5);
        world.send(1, &retained("row", "old", Q2, 7));
        world.send(1, &retained("row", later, Q0, 0));
        world.mapped(world.ended, Ok(()));
        world.keeps = true;
        world.round();
        world.join(2, Version::V5, "reader");
        world.subscribe(2, "row", Q0);
        let expected: &[&str] = if later.is_empty() { &[] } else { &["new"] };
        assert_eq!(world.payloads(2), expected);
    }
}

#[test]
fn a_refusal_is_about_its_rounds_only() {
    let mut world = world(Version::V5);
    world.publish(1, "kept", "x", Q1, 1);
    let first = world.broker.end_round().number - 1;
    world.publish(1, "kept", "x", Q1, 2);
    world.kept(first, Err(Refusal::Full));
    assert_eq!(ids(&world.got(1)), [(AckKind::PubAck, 1, true)]);
    world.kept(first + 1, Ok(()));
    assert_eq!(ids(&world.got(1)), [(AckKind::PubAck, 2, false)]);
}

#[test]
fn a_refused_qos_2_message_does_not_come_to_its_subscriber() {
    let mut world = World::new();
    world.connect(0, connect_lasting(Version::V5, "to"));
    world.subscribe(0, "t", Q2);
    world.join(1, Version::V5, "from");
    world.keeps = false;
    for (id, result, expected) in [(1, Err(Refusal::Full), 0), (2, Ok(()), 1)] {
        world.publish(1, "t", "x", Q2, id);
        let round = world.broker.end_round().number - 1;
        world.broker.progress(0, world.now, &mut world.net);
        world.got_nothing(0);
        world.kept(round, result);
        assert_eq!(world.messages(0).len(), expected);
    }
}

#[test]
fn subscriptions_of_a_lasting_session_are_kept_before_suback() {
    for version in BOTH {
        let mut world = world(version);
        world.keeps = true;
        world.send(1, &retained("r", "x", Q0, 0));
        world.keeps = false;
        let filters = vec![Subscription {
            filter: "r",
            options: SubscriptionOptions::default(),
        }];
        world.send(
            1,
            &Packet::Subscribe(Subscribe {
                packet_id: 2,
                subscription_id: None,
                filters,
            }),
        );
        world.got_nothing(1);
        let round = world.broker.end_round().number - 1;
        world.kept(round, Ok(()));
        let got = world.got(1);
        assert!(
            matches!(&got[..], [Packet::SubAck(_), Packet::Publish(message)] if message.retain),
            "{got:?}"
        );
        world.send(
            1,
            &Packet::Unsubscribe(Unsubscribe {
                packet_id: 3,
                filters: vec!["r"],
            }),
        );
        world.got_nothing(1);
        let round = world.broker.end_round().number - 1;
        world.kept(round, Ok(()));
        assert!(matches!(world.got_one(1), Packet::UnsubAck(_)));
    }
}

#[test]
fn what_is_gone_meanwhile_is_not_acknowledged() {
    let mut world = world(Version::V311);
    world.publish(1, "kept", "x", Q1, 1);
    world.lose(1);
    world.join(1, Version::V311, "other");
    let round = world.broker.end_round().number - 1;
    world.kept(round, Ok(()));
    world.got_nothing(1);
}

#[test]
fn pubrec_of_a_lasting_subscriber_is_kept_before_pubrel() {
    for result in [Ok(()), Err(Refusal::Full)] {
        let mut world = World::new();
        world.connect(0, connect_lasting(Version::V5, "to"));
        world.subscribe(0, "t", Q2);
        world.join(1, Version::V5, "from");
        world.publish(1, "t", "x", Q2, 1);
        assert_eq!(world.messages(0).len(), 1);
        world.keeps = false;
        world.ack(0, AckKind::PubRec, 1);
        world.ack(0, AckKind::PubRec, 1);
        world.got_nothing(0);
        // A new connection does not change that.
        let round = world.ended;
        world.knock(2, connect_lasting(Version::V5, "to"));
        world.kept(round, result);
        world.broker.progress(2, world.now, &mut world.net);
        world.got_nothing(2);
        world.kept(world.ended, Ok(()));
        let got = world.got(2);
        assert!(matches!(&got[0], Packet::ConnAck(ack) if ack.session_present));
        assert_eq!(got[1..], [ack(AckKind::PubRel, 1, Reason::SUCCESS)]);
    }
}
