//! Shared subscriptions.

use super::*;

fn group(world: &mut World, members: u32, qos: QoS) {
    for conn in 0..members {
        world.join(conn, Version::V5, &format!("m{conn}"));
        assert!(!world.subscribe(conn, "$share/g/t/#", qos).is_error());
    }
    world.join(9, Version::V5, "from");
}

#[test]
fn members_take_turns() {
    // [MQTT-4.8.2-3]
    let mut world = World::new();
    group(&mut world, 3, Q1);
    world.join(4, Version::V5, "other group");
    world.subscribe(4, "$share/h/t/#", Q1);
    world.join(5, Version::V5, "alone");
    world.subscribe(5, "t/#", Q1);
    for number in 0..9 {
        world.publish(9, "t/x", &number.to_string(), Q1, number + 1);
    }
    let counts: Vec<usize> = (0..6)
        .map(|conn| {
            if conn == 3 {
                0
            } else {
                world.messages(conn).len()
            }
        })
        .collect();
    assert_eq!(counts, [3, 3, 3, 0, 9, 9]);
}

#[test]
fn no_local_is_no_option_for_them() {
    // [MQTT-3.8.3-4]
    let mut world = World::new();
    world.join(0, Version::V5, "a");
    let options = SubscriptionOptions {
        no_local: true,
        ..SubscriptionOptions::default()
    };
    let filters = vec![Subscription {
        filter: "$share/g/t",
        options,
    }];
    world.send(
        0,
        &Packet::Subscribe(Subscribe {
            packet_id: 1,
            subscription_id: None,
            filters,
        }),
    );
    assert_eq!(reason_of(&world.got(0)), Reason::PROTOCOL_ERROR);
}

#[test]
fn bad_names_are_refused() {
    // [MQTT-4.8.2-1], [MQTT-4.8.2-2]
    let mut world = World::new();
    world.join(0, Version::V5, "a");
    for filter in ["$share/g", "$share//t", "$share/g+/t", "$share/g/"] {
        assert_eq!(
            world.subscribe(0, filter, Q0),
            Reason::TOPIC_FILTER_INVALID,
            "{filter}"
        );
    }
}

#[test]
fn members_that_are_away_get_nothing_while_others_are_there() {
    let mut world = World::new();
    for conn in 0..2 {
        world.connect(conn, connect_lasting(Version::V5, &format!("m{conn}")));
        world.subscribe(conn, "$share/g/t", Q1);
    }
    world.join(9, Version::V5, "from");
    world.lose(0);
    for number in 1..=4 {
        world.publish(9, "t", &number.to_string(), Q1, number);
    }
    assert_eq!(world.payloads(1), ["1", "2", "3", "4"]);
    // All away: it waits for one of them.
    world.lose(1);
    world.publish(9, "t", "5", Q1, 5);
    world.publish(9, "t", "6", Q0, 0);
    assert_eq!(world.broker.stats().queued, 5);
    let mut late = Vec::new();
    for conn in 0..2 {
        world.open(conn);
        world.send(
            conn,
            &Packet::Connect(Box::new(connect_lasting(Version::V5, &format!("m{conn}")))),
        );
        for packet in world.got(conn) {
            if let Packet::Publish(message) = packet
                && !message.duplicate
            {
                late.push(String::from_utf8_lossy(message.payload).into_owned());
            }
        }
    }
    assert_eq!(late, ["5"]);
}

#[test]
fn what_a_member_leaves_behind_goes_to_another() {
    // [MQTT-4.8.2-4], [MQTT-4.8.2-5]
    let mut world = World::new();
    group(&mut world, 2, Q2);
    world.publish(9, "t/1", "one", Q1, 1);
    world.publish(9, "t/2", "two", Q1, 2);
    world.publish(9, "t/3", "three", Q2, 3);
    assert_eq!(world.payloads(0), ["one", "three"]);
    world.ack(1, AckKind::PubAck, 1);
    assert_eq!(world.payloads(1), ["two"]);
    world.lose(0);
    // What was sent with QoS 2 is not given to somebody else.
    assert_eq!(world.payloads(1), ["one"]);
}

#[test]
fn a_member_with_room_is_preferred() {
    let mut world = World::new();
    for conn in 0..2 {
        world.connect(
            conn,
            Connect {
                receive_maximum: Some(2),
                ..connect(Version::V5, &format!("m{conn}"))
            },
        );
        world.subscribe(conn, "$share/g/t", Q1);
    }
    world.join(9, Version::V5, "from");
    for number in 1..=4 {
        world.publish(9, "t", &number.to_string(), Q1, number);
    }
    assert_eq!(world.messages(0).len(), 2);
    world.ack(0, AckKind::PubAck, 1);
    world.ack(0, AckKind::PubAck, 2);
    for number in 5..=6 {
        world.publish(9, "t", &number.to_string(), Q1, number);
    }
    assert_eq!((world.messages(0).len(), world.messages(1).len()), (2, 2));
}

#[test]
fn leaving_a_group_is_leaving() {
    let mut world = World::new();
    group(&mut world, 2, Q0);
    world.send(
        0,
        &Packet::Unsubscribe(Unsubscribe {
            packet_id: 1,
            filters: vec!["$share/g/t/#"],
        }),
    );
    world.got(0);
    for _ in 0..4 {
        world.publish(9, "t/x", "x", Q0, 0);
    }
    assert_eq!((world.got(0).len(), world.messages(1).len()), (0, 4));
    world.lose(1);
    world.publish(9, "t/x", "x", Q1, 1);
    assert_eq!(
        world.got(9),
        [ack(AckKind::PubAck, 1, Reason::NO_MATCHING_SUBSCRIBERS)]
    );
    let stats = world.broker.stats();
    assert_eq!((stats.subscriptions, stats.shared_subscriptions), (0, 0));
}
