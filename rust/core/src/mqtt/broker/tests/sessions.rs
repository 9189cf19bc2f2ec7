//! Sessions: resumed, taken over, expired.

use super::*;

#[test]
fn a_lasting_session_keeps_subscriptions_and_messages() {
    // [MQTT-3.1.2-5], [MQTT-3.2.2-3], [MQTT-4.5.0-1]
    for version in BOTH {
        let mut world = World::new();
        assert!(
            !world
                .connect(0, connect_lasting(version, "to"))
                .session_present
        );
        world.subscribe(0, "t", Q2);
        world.lose(0);
        world.join(1, version, "from");
        for (number, qos) in [Q0, Q1, Q2].into_iter().enumerate() {
            world.publish(1, "t", &format!("m{number}"), qos, number as u16);
        }
        world.open(2);
        world.send(
            2,
            &Packet::Connect(Box::new(connect_lasting(version, "to"))),
        );
        let got = world.got(2);
        let [
            Packet::ConnAck(ack),
            Packet::Publish(one),
            Packet::Publish(two),
        ] = &got[..]
        else {
            panic!("{got:?}")
        };
        assert!(ack.session_present);
        assert_eq!(
            (one.payload, one.qos, one.packet_id, one.duplicate),
            (&b"m1"[..], Q1, 1, false)
        );
        assert_eq!(
            (two.payload, two.qos, two.packet_id, two.duplicate),
            (&b"m2"[..], Q2, 2, false)
        );
    }
}

#[test]
fn a_clean_start_forgets() {
    // [MQTT-3.1.2-4]
    for version in BOTH {
        let mut world = World::new();
        world.connect(0, connect_lasting(version, "to"));
        world.subscribe(0, "t", Q1);
        world.lose(0);
        assert!(!world.join(1, version, "to").session_present);
        world.publish(1, "t", "x", Q0, 0);
        world.got_nothing(1);
        world.leave(1);
        assert!(
            !world
                .connect(2, connect_lasting(version, "to"))
                .session_present
        );
    }
}

#[test]
fn what_was_not_acknowledged_comes_again_in_order() {
    // [MQTT-4.4.0-1], [MQTT-4.6.0-1], [MQTT-3.3.1-1]
    for version in BOTH {
        let mut world = World::new();
        world.connect(0, connect_lasting(version, "to"));
        world.join(1, version, "from");
        world.subscribe(0, "t", Q2);
        for (number, qos) in [(1, Q1), (2, Q2), (3, Q1), (4, Q2), (5, Q1)] {
            world.publish(1, "t", &number.to_string(), qos, number);
        }
        assert_eq!(world.payloads(0), ["1", "2", "3", "4", "5"]);
        world.ack(0, AckKind::PubAck, 3);
        world.ack(0, AckKind::PubRec, 4);
        world.got(0);
        world.lose(0);
        world.open(2);
        world.send(
            2,
            &Packet::Connect(Box::new(connect_lasting(version, "to"))),
        );
        let got = world.got(2);
        let [
            _,
            Packet::Publish(one),
            Packet::Publish(two),
            rel,
            Packet::Publish(five),
        ] = &got[..]
        else {
            panic!("{got:?}")
        };
        for (message, id) in [(one, 1), (two, 2), (five, 5)] {
            assert!(message.duplicate);
            assert_eq!(
                (message.packet_id, message.payload),
                (id, id.to_string().as_bytes())
            );
        }
        assert_eq!(*rel, ack(AckKind::PubRel, 4, Reason::SUCCESS));
        for (kind, id) in [
            (AckKind::PubAck, 1),
            (AckKind::PubComp, 4),
            (AckKind::PubAck, 5),
        ] {
            world.ack(2, kind, id);
        }
        world.got_nothing(2);
        assert_eq!(world.broker.stats().queued, 1);
    }
}

#[test]
fn qos_2_of_a_publisher_is_known_after_it_reconnects() {
    // [MQTT-4.3.3-10]
    for version in BOTH {
        let mut world = World::new();
        world.join(0, version, "to");
        world.subscribe(0, "t", Q0);
        world.connect(1, connect_lasting(version, "from"));
        world.publish(1, "t", "x", Q2, 6);
        assert_eq!(world.payloads(0), ["x"]);
        world.lose(1);
        world.connect(2, connect_lasting(version, "from"));
        world.send(
            2,
            &Packet::Publish(Publish {
                duplicate: true,
                ..publish("t", "x", Q2, 6)
            }),
        );
        assert_eq!(world.got(2), [ack(AckKind::PubRec, 6, Reason::SUCCESS)]);
        world.got_nothing(0);
        world.ack(2, AckKind::PubRel, 6);
        assert_eq!(world.got(2), [ack(AckKind::PubComp, 6, Reason::SUCCESS)]);
    }
}

#[test]
fn a_new_connection_takes_over() {
    // [MQTT-3.1.4-3]
    for version in BOTH {
        let mut world = World::new();
        world.connect(0, connect_lasting(version, "a"));
        world.subscribe(0, "t", Q1);
        assert!(
            world
                .connect(1, connect_lasting(version, "a"))
                .session_present
        );
        assert!(world.is_closed(0));
        if version == Version::V5 {
            assert_eq!(reason_of(&world.got(0)), Reason::SESSION_TAKEN_OVER);
        } else {
            world.got_nothing(0);
        }
        world.lose(0);
        world.publish(1, "t", "x", Q0, 0);
        assert_eq!(world.payloads(1), ["x"]);
        assert_eq!(world.broker.stats().clients_connected, 1);
        // A session that ends with its connection is not taken over, only the name is.
        world.join(2, version, "b");
        world.subscribe(2, "t", Q1);
        assert!(
            !world
                .connect(3, connect_lasting(version, "b"))
                .session_present
        );
    }
}

#[test]
fn sessions_expire() {
    // [MQTT-3.1.2-23]
    let mut world = World::new();
    let lasting = || Connect {
        clean: false,
        session_expiry_s: 10,
        ..connect(Version::V5, "a")
    };
    world.connect(0, lasting());
    world.advance(60_000);
    world.lose(0);
    world.advance(9_000);
    assert!(world.connect(1, lasting()).session_present);
    world.lose(1);
    world.advance(10_100);
    assert!(!world.connect(2, lasting()).session_present);
    assert_eq!(world.broker.stats().sessions_expired, 1);
}

#[test]
fn a_disconnect_may_change_the_expiry() {
    let mut world = World::new();
    let leave = |world: &mut World, conn, expiry| {
        let packet = Disconnect {
            session_expiry_s: Some(expiry),
            ..disconnect(Reason::SUCCESS)
        };
        world.send(conn, &Packet::Disconnect(packet));
    };
    // [MQTT-3.14.2-2]
    world.join(0, Version::V5, "a");
    leave(&mut world, 0, 10);
    assert_eq!(reason_of(&world.got(0)), Reason::PROTOCOL_ERROR);
    // To an end at once, and to a longer one.
    world.connect(1, connect_lasting(Version::V5, "b"));
    leave(&mut world, 1, 0);
    world.got_nothing(1);
    world.lose(1);
    assert_eq!(world.broker.stats().clients_offline, 0);
    world.connect(
        2,
        Connect {
            session_expiry_s: 1,
            ..connect(Version::V5, "c")
        },
    );
    leave(&mut world, 2, 100);
    world.lose(2);
    world.advance(50_000);
    assert!(
        world
            .connect(3, connect_lasting(Version::V5, "c"))
            .session_present
    );
}

#[test]
fn a_session_may_become_one_that_ends() {
    let mut world = World::new();
    world.connect(0, connect_lasting(Version::V5, "a"));
    world.subscribe(0, "t", Q1);
    world.lose(0);
    let ack = world.connect(
        1,
        Connect {
            clean: false,
            session_expiry_s: 0,
            ..connect(Version::V5, "a")
        },
    );
    assert!(ack.session_present);
    world.publish(1, "t", "x", Q1, 1);
    assert_eq!(world.got(1).len(), 2);
    world.lose(1);
    assert_eq!(world.broker.stats().clients_offline, 0);
    let after = world.restarted();
    assert_eq!(after.broker.stats().clients_offline, 0);
}

#[test]
fn queued_messages_have_limits() {
    let mut world = World::with(Options {
        queue_messages: 3,
        sys_interval_s: 0,
        ..Options::default()
    });
    world.connect(0, connect_lasting(Version::V311, "to"));
    world.subscribe(0, "t", Q1);
    world.lose(0);
    world.join(1, Version::V311, "from");
    for number in 1..=5 {
        world.publish(1, "t", &number.to_string(), Q1, number);
        assert_eq!(world.got(1).len(), 1);
    }
    assert_eq!(world.broker.stats().publishes_dropped, 2);
    world.open(2);
    world.send(
        2,
        &Packet::Connect(Box::new(connect_lasting(Version::V311, "to"))),
    );
    world.net.sockets[2].output.drain(..4);
    assert_eq!(world.payloads(2), ["1", "2", "3"]);
}

#[test]
fn a_publisher_is_told_when_nobody_has_room() {
    let mut world = World::with(Options {
        queue_messages: 1,
        sys_interval_s: 0,
        ..Options::default()
    });
    world.connect(0, connect_lasting(Version::V311, "to"));
    world.subscribe(0, "t", Q1);
    world.lose(0);
    world.join(1, Version::V5, "from");
    world.join(2, Version::V311, "old");
    let mut answers = Vec::new();
    for number in 1..=3 {
        world.publish(1, "t", "x", Q1, number);
        answers.push(world.got(1));
    }
    assert_eq!(answers[0], [ack(AckKind::PubAck, 1, Reason::SUCCESS)]);
    assert_eq!(
        answers[2],
        [ack(AckKind::PubAck, 3, Reason::QUOTA_EXCEEDED)]
    );
    // The message is not known by its id, either.
    world.publish(1, "t", "x", Q2, 4);
    assert_eq!(
        world.got(1),
        [ack(AckKind::PubRec, 4, Reason::QUOTA_EXCEEDED)]
    );
    // Older versions cannot be told.
    world.publish(2, "t", "x", Q1, 1);
    assert_eq!(world.got(2), [ack(AckKind::PubAck, 1, Reason::SUCCESS)]);
    let notices = world.broker.take_notices();
    assert_eq!(notices.len(), 1, "{notices:?}");
    assert!(notices[0].contains("'to'"));
    world.advance(61_000);
    world.publish(2, "t", "x", Q1, 2);
    assert!(world.broker.take_notices()[0].contains(" 4 messages"));
    // Somebody gets it, or it is retained: it is not lost.
    world.join(3, Version::V311, "live");
    world.subscribe(3, "t", Q1);
    world.publish(1, "t", "x", Q1, 5);
    assert!(
        world
            .got(1)
            .contains(&ack(AckKind::PubAck, 5, Reason::SUCCESS))
    );
    let stats = world.broker.stats();
    assert_eq!((stats.publishes_refused, stats.publishes_dropped), (3, 6));
}

#[test]
fn messages_expire_in_the_queue() {
    // [MQTT-3.3.2-5], [MQTT-3.3.2-6]
    let mut world = World::new();
    world.connect(0, connect_lasting(Version::V5, "to"));
    world.subscribe(0, "t", Q1);
    world.lose(0);
    world.join(1, Version::V5, "from");
    for (id, expiry_s) in [(1, Some(5)), (2, Some(60)), (3, None)] {
        world.send(
            1,
            &Packet::Publish(Publish {
                expiry_s,
                ..publish("t", "x", Q1, id)
            }),
        );
    }
    world.advance(10_000);
    world.open(2);
    world.send(
        2,
        &Packet::Connect(Box::new(connect_lasting(Version::V5, "to"))),
    );
    let got = world.got(2);
    let [_, Packet::Publish(two), Packet::Publish(three)] = &got[..] else {
        panic!("{got:?}")
    };
    assert_eq!((two.expiry_s, three.expiry_s), (Some(50), None));
    assert_eq!(world.broker.stats().publishes_expired, 1);
}

#[test]
fn a_live_message_keeps_its_expiry() {
    let mut world = World::new();
    world.join(0, Version::V5, "a");
    world.subscribe(0, "t", Q0);
    world.send(
        0,
        &Packet::Publish(Publish {
            expiry_s: Some(7),
            ..publish("t", "x", Q0, 0)
        }),
    );
    assert_eq!(world.messages(0)[0].expiry_s, Some(7));
}
