//! PUBLISH at every QoS, both ways.

use super::*;

#[test]
fn messages_come_at_the_lower_qos_of_both() {
    // [MQTT-3.8.4-8]
    for version in BOTH {
        for (sent, granted) in [
            (Q0, Q0),
            (Q0, Q2),
            (Q1, Q0),
            (Q1, Q1),
            (Q1, Q2),
            (Q2, Q1),
            (Q2, Q2),
        ] {
            let mut world = World::new();
            world.join(0, version, "to");
            world.join(1, version, "from");
            assert_eq!(world.subscribe(0, "a/+", granted), Reason(granted as u8));
            world.publish(1, "a/b", "x", sent, if sent == Q0 { 0 } else { 5 });
            let messages = world.messages(0);
            assert_eq!(messages.len(), 1);
            assert_eq!((messages[0].topic, messages[0].payload), ("a/b", &b"x"[..]));
            assert_eq!(messages[0].qos, sent.min(granted));
            assert_eq!((messages[0].duplicate, messages[0].retain), (false, false));
            assert_eq!(messages[0].packet_id, u16::from(sent.min(granted) != Q0));
        }
    }
}

#[test]
fn qos_1_is_acknowledged() {
    // [MQTT-4.3.2-4]
    let mut world = World::new();
    world.join(0, Version::V311, "a");
    world.publish(0, "t", "x", Q1, 77);
    assert_eq!(world.got(0), [ack(AckKind::PubAck, 77, Reason::SUCCESS)]);
    world.join(1, Version::V5, "b");
    world.publish(1, "t", "x", Q1, 77);
    assert_eq!(
        world.got(1),
        [ack(AckKind::PubAck, 77, Reason::NO_MATCHING_SUBSCRIBERS)]
    );
    world.subscribe(0, "t", Q0);
    world.publish(1, "t", "x", Q1, 78);
    assert_eq!(world.got(1), [ack(AckKind::PubAck, 78, Reason::SUCCESS)]);
}

#[test]
fn qos_2_comes_once_however_often_it_is_sent() {
    // [MQTT-4.3.3-8], [MQTT-4.3.3-9], [MQTT-4.3.3-10], [MQTT-4.3.3-11], [MQTT-4.3.3-12]
    for version in BOTH {
        let mut world = World::new();
        world.join(0, version, "to");
        world.join(1, version, "from");
        world.subscribe(0, "t", Q0);
        for duplicate in [false, true, true] {
            world.send(
                1,
                &Packet::Publish(Publish {
                    duplicate,
                    ..publish("t", "x", Q2, 3)
                }),
            );
            assert_eq!(world.got(1), [ack(AckKind::PubRec, 3, Reason::SUCCESS)]);
        }
        assert_eq!(world.payloads(0), ["x"]);
        world.ack(1, AckKind::PubRel, 3);
        assert_eq!(world.got(1), [ack(AckKind::PubComp, 3, Reason::SUCCESS)]);
        // The id is free again.
        world.publish(1, "t", "y", Q2, 3);
        assert_eq!(world.payloads(0), ["y"]);
    }
}

#[test]
fn an_unknown_release_is_answered() {
    // [MQTT 5.0, 3.7.2.1]
    let mut world = World::new();
    world.join(0, Version::V5, "a");
    world.ack(0, AckKind::PubRel, 9);
    assert_eq!(
        world.got(0),
        [ack(AckKind::PubComp, 9, Reason::PACKET_ID_NOT_FOUND)]
    );
    world.ack(0, AckKind::PubRec, 9);
    assert_eq!(
        world.got(0),
        [ack(AckKind::PubRel, 9, Reason::PACKET_ID_NOT_FOUND)]
    );
    world.ack(0, AckKind::PubAck, 9);
    world.ack(0, AckKind::PubComp, 9);
    world.got_nothing(0);
    world.join(1, Version::V311, "b");
    world.ack(1, AckKind::PubRel, 9);
    assert_eq!(world.got(1), [ack(AckKind::PubComp, 9, Reason::SUCCESS)]);
}

#[test]
fn qos_2_goes_out_in_four_steps() {
    // [MQTT-4.3.3-1] to [MQTT-4.3.3-6]
    for version in BOTH {
        let mut world = World::new();
        world.join(0, version, "to");
        world.join(1, version, "from");
        world.subscribe(0, "t", Q2);
        world.publish(1, "t", "x", Q2, 1);
        assert_eq!(world.messages(0)[0].packet_id, 1);
        world.ack(0, AckKind::PubRec, 1);
        assert_eq!(world.got(0), [ack(AckKind::PubRel, 1, Reason::SUCCESS)]);
        world.ack(0, AckKind::PubComp, 1);
        world.got_nothing(0);
        assert_eq!(world.broker.stats().queued, 0);
    }
}

#[test]
fn a_refusing_pubrec_ends_a_message() {
    let mut world = World::new();
    world.connect(
        0,
        Connect {
            receive_maximum: Some(1),
            ..connect(Version::V5, "to")
        },
    );
    world.join(1, Version::V5, "from");
    world.subscribe(0, "t", Q2);
    world.publish(1, "t", "x", Q2, 1);
    world.publish(1, "t", "y", Q2, 2);
    assert_eq!(world.payloads(0), ["x"]);
    world.send(0, &ack(AckKind::PubRec, 1, Reason::QUOTA_EXCEEDED));
    assert_eq!(world.payloads(0), ["y"]);
}

#[test]
fn an_acknowledgement_of_another_qos_is_a_fault() {
    for (qos, kind) in [
        (Q2, AckKind::PubAck),
        (Q2, AckKind::PubComp),
        (Q1, AckKind::PubRec),
        (Q1, AckKind::PubComp),
    ] {
        for version in BOTH {
            let mut world = World::new();
            world.join(0, version, "to");
            world.subscribe(0, "t", qos);
            world.publish(0, "t", "x", qos, 1);
            world.got(0);
            world.ack(0, kind, 1);
            assert!(world.is_closed(0));
            if version == Version::V5 {
                assert_eq!(reason_of(&world.got(0)), Reason::PROTOCOL_ERROR);
            }
        }
    }
}

#[test]
fn properties_go_on_as_they_are() {
    // [MQTT-3.3.2-4], [MQTT-3.3.2-17]: payload format, content type, response topic, correlation data, user properties
    let mut world = World::new();
    world.join(0, Version::V5, "new");
    world.join(1, Version::V311, "old");
    world.subscribe(0, "t", Q0);
    world.subscribe(1, "t", Q0);
    let encoded = b"\x01\x01\x03\x00\x01c\x08\x00\x01r\x09\x00\x02\x00\xff\x26\x00\x01k\x00\x01v\x26\x00\x01k\x00\x01w";
    let packet = Publish {
        properties: Forwarded {
            encoded: encoded.as_slice().into(),
            is_text: true,
        },
        ..publish("t", "x", Q0, 0)
    };
    world.send(0, &Packet::Publish(packet.clone()));
    assert_eq!(world.messages(0), [packet]);
    assert_eq!(world.messages(1), [publish("t", "x", Q0, 0)]);
}

#[test]
fn many_subscribers_get_the_same_message() {
    let mut world = World::new();
    for conn in 0..6 {
        let version = if conn % 2 == 0 {
            Version::V5
        } else {
            Version::V311
        };
        world.join(conn, version, &format!("c{conn}"));
        world.subscribe(conn, "t", [Q0, Q1, Q2][conn as usize / 2]);
    }
    world.join(6, Version::V5, "from");
    for round in 0..3 {
        let payload = "x".repeat(round * 200);
        world.publish(6, "t", &payload, Q2, 1 + round as u16);
        for conn in 0..6 {
            let qos = [Q0, Q1, Q2][conn as usize / 2];
            let packet_id = if qos == Q0 { 0 } else { round as u16 + 1 };
            assert_eq!(
                world.messages(conn),
                [publish("t", &payload, qos, packet_id)]
            );
        }
    }
}

#[test]
fn topics_of_the_broker_are_not_for_clients() {
    let mut world = World::new();
    world.join(0, Version::V5, "a");
    world.publish(0, "$SYS/broker/version", "mine", Q1, 1);
    assert_eq!(
        world.got(0),
        [ack(AckKind::PubAck, 1, Reason::NOT_AUTHORIZED)]
    );
    world.publish(0, "$SYS/broker/version", "mine", Q2, 2);
    assert_eq!(
        world.got(0),
        [ack(AckKind::PubRec, 2, Reason::NOT_AUTHORIZED)]
    );
    // [MQTT-3.3.5-2]
    world.join(1, Version::V311, "b");
    world.publish(1, "$SYS/broker/version", "mine", Q1, 1);
    assert_eq!(world.got(1), [ack(AckKind::PubAck, 1, Reason::SUCCESS)]);
}

#[test]
fn wildcards_do_not_match_dollar_topics() {
    // [MQTT-4.7.2-1]
    let mut world = World::new();
    world.join(0, Version::V311, "a");
    for filter in ["#", "+/x"] {
        world.subscribe(0, filter, Q0);
    }
    world.publish(0, "$own/x", "hidden", Q0, 0);
    world.got_nothing(0);
    world.subscribe(0, "$own/#", Q0);
    world.publish(0, "$own/x", "seen", Q0, 0);
    assert_eq!(world.payloads(0), ["seen"]);
}

#[test]
fn messages_of_one_publisher_keep_their_order() {
    // [MQTT-4.6.0-6]
    for qos in [Q0, Q1, Q2] {
        let mut world = World::new();
        world.connect(
            0,
            Connect {
                receive_maximum: Some(2),
                ..connect(Version::V5, "to")
            },
        );
        world.join(1, Version::V5, "from");
        world.subscribe(0, "t", qos);
        for number in 1..=20_u16 {
            world.publish(
                1,
                "t",
                &number.to_string(),
                qos,
                if qos == Q0 { 0 } else { number },
            );
        }
        let mut numbers = Vec::new();
        loop {
            let packets = world.got(0);
            if packets.is_empty() {
                break;
            }
            for packet in packets {
                match packet {
                    Packet::Publish(message) => {
                        numbers.push(
                            String::from_utf8_lossy(message.payload)
                                .parse::<u16>()
                                .unwrap(),
                        );
                        match qos {
                            Q0 => {}
                            Q1 => world.ack(0, AckKind::PubAck, message.packet_id),
                            Q2 => world.ack(0, AckKind::PubRec, message.packet_id),
                        }
                    }
                    Packet::Ack(got) => world.ack(0, AckKind::PubComp, got.packet_id),
                    other => panic!("{other:?}"),
                }
            }
        }
        assert_eq!(numbers, (1..=20).collect::<Vec<_>>());
    }
}

#[test]
fn the_nodes_own_messages_are_published() {
    let mut world = World::new();
    world.net.mapped = vec!["rows"];
    world.join(0, Version::V311, "a");
    world.subscribe(0, "t", Q1);
    let (reached, round) =
        world
            .broker
            .publish(&publish("t", "x", Q1, 0), world.now, &mut world.net);
    assert_eq!((reached, round), (1, None));
    assert_eq!(world.payloads(0), ["x"]);
    let (reached, round) =
        world
            .broker
            .publish(&publish("rows", "x", Q0, 0), world.now, &mut world.net);
    assert_eq!((reached, round.is_some()), (0, true));
    assert_eq!(world.broker.end_round().messages.len(), 1);
}
