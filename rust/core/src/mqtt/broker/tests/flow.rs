//! Limits: receive maximum both ways, packet sizes, clients that take nothing.

use super::*;

const LIMIT: usize = 10_000;

fn small() -> World {
    World::with(Options {
        backlog_bytes: LIMIT,
        queue_messages: 50,
        sys_interval_s: 0,
        ..Options::default()
    })
}

#[test]
fn a_client_gets_no_more_than_it_can_take() {
    // [MQTT-3.3.4-9]
    for qos in [Q1, Q2] {
        let mut world = World::new();
        world.connect(
            0,
            Connect {
                receive_maximum: Some(3),
                ..connect(Version::V5, "to")
            },
        );
        world.subscribe(0, "t", qos);
        world.join(1, Version::V5, "from");
        for id in 1..=10 {
            world.publish(1, "t", &id.to_string(), qos, id);
        }
        // QoS 0 is not counted.
        world.publish(1, "t", "zero", Q0, 0);
        assert_eq!(world.payloads(0), ["1", "2", "3", "zero"]);
        if qos == Q1 {
            world.ack(0, AckKind::PubAck, 2);
        } else {
            world.ack(0, AckKind::PubRec, 2);
            assert_eq!(world.got(0), [ack(AckKind::PubRel, 2, Reason::SUCCESS)]);
            world.ack(0, AckKind::PubComp, 2);
        }
        assert_eq!(world.payloads(0), ["4"]);
    }
}

#[test]
fn older_clients_have_a_limit_of_ours() {
    let mut world = World::with(Options {
        in_flight_old: 5,
        sys_interval_s: 0,
        ..Options::default()
    });
    world.join(0, Version::V311, "to");
    world.subscribe(0, "t", Q1);
    world.join(1, Version::V311, "from");
    for id in 1..=10 {
        world.publish(1, "t", "x", Q1, id);
    }
    assert_eq!(world.messages(0).len(), 5);
}

#[test]
fn a_client_that_sends_too_many_is_closed() {
    // [MQTT-3.3.4-7], [MQTT-3.3.4-8]
    let mut world = World::with(Options {
        receive_maximum: 3,
        sys_interval_s: 0,
        ..Options::default()
    });
    world.join(0, Version::V5, "a");
    for id in 1..=3 {
        world.publish(0, "t", "x", Q2, id);
    }
    assert_eq!(world.got(0).len(), 3);
    world.ack(0, AckKind::PubRel, 1);
    world.publish(0, "t", "x", Q2, 4);
    assert_eq!(world.got(0).len(), 2);
    world.publish(0, "t", "x", Q1, 5);
    assert_eq!(reason_of(&world.got(0)), Reason::RECEIVE_MAXIMUM_EXCEEDED);
}

#[test]
fn packets_are_not_larger_than_a_client_takes() {
    // [MQTT-3.1.2-24], [MQTT-3.1.2-25]
    let mut world = World::new();
    let limited = Connect {
        maximum_packet_bytes: Some(40),
        ..connect(Version::V5, "to")
    };
    world.connect(0, limited);
    world.subscribe(0, "t", Q1);
    world.join(1, Version::V5, "from");
    for (id, length) in [(1, 32), (2, 33), (3, 100), (4, 1)] {
        world.publish(1, "t", &"x".repeat(length), Q1, id);
    }
    let messages = world.messages(0);
    assert_eq!(
        messages
            .iter()
            .map(|message| message.payload.len())
            .collect::<Vec<_>>(),
        [32, 1]
    );
    assert_eq!(world.broker.stats().publishes_dropped, 2);
    assert_eq!(world.broker.stats().queued, 2);
}

#[test]
fn packet_ids_are_not_used_twice() {
    // [MQTT-2.2.1-4]: one message is never acknowledged, all others are.
    let mut world = World::new();
    world.connect(
        0,
        Connect {
            receive_maximum: Some(2),
            ..connect(Version::V5, "to")
        },
    );
    world.subscribe(0, "t", Q1);
    world.join(1, Version::V5, "from");
    let mut last = 0;
    for number in 1..=65_536_u32 {
        world.publish(1, "t", "x", Q1, 1);
        world.net.sockets[1].output.clear();
        let messages = world.messages(0);
        if messages.is_empty() {
            assert_eq!(number, 65_536);
            break;
        }
        last = messages[0].packet_id;
        assert_eq!(u32::from(last), number);
        if last != 1 {
            world.ack(0, AckKind::PubAck, last);
        }
    }
    assert_eq!(last, 65_535);
    // It is acknowledged at last: the numbers begin again.
    world.ack(0, AckKind::PubAck, 1);
    assert_eq!(world.messages(0)[0].packet_id, 1);
}

/// A subscriber (0) whose socket is full, and a publisher (1).
fn congested(world: &mut World, qos: QoS) {
    world.join(0, Version::V311, "to");
    world.subscribe(0, "t", qos);
    world.join(1, Version::V311, "from");
    world.join(2, Version::V311, "bystander");
    world.subscribe(2, "t", Q0);
    let payload = "x".repeat(1_000);
    let mut id = 0;
    while world.net.backlog(0) <= LIMIT {
        id += 1;
        world.publish(1, "t", &payload, qos, if qos == Q0 { 0 } else { id });
    }
    world.got(2);
}

#[test]
fn a_publisher_waits_for_a_subscriber_that_is_behind() {
    for qos in [Q0, Q1] {
        let mut world = small();
        congested(&mut world, qos);
        assert!(!world.net.sockets[1].is_paused);
        let full = world.net.backlog(0);
        world.publish(1, "t", "waits", qos, if qos == Q0 { 0 } else { 100 });
        assert!(world.net.sockets[1].is_paused);
        assert_eq!(world.net.backlog(0), full);
        assert_eq!(world.broker.stats().paused, 1);
        // Others get theirs.
        assert_eq!(world.payloads(2), ["waits"]);
        // The socket takes a little, then more than half.
        for (rest, is_paused) in [(LIMIT - 100, true), (LIMIT / 2 - 100, false)] {
            let output = &mut world.net.sockets[0].output;
            output.drain(..output.len() - rest);
            world.broker.progress(0, world.now, &mut world.net);
            assert_eq!(world.net.sockets[1].is_paused, is_paused);
        }
        assert_eq!(world.broker.stats().publishes_dropped, 0);
        assert!(world.net.sockets[0].output.ends_with(b"waits"));
    }
}

#[test]
fn nobody_waits_for_a_subscriber_that_takes_nothing() {
    let mut world = small();
    congested(&mut world, Q0);
    world.publish(1, "t", "waits", Q0, 0);
    assert!(world.net.sockets[1].is_paused);
    world.advance(1_100);
    assert!(!world.net.sockets[1].is_paused);
    // What comes now is lost for it, but for nobody else.
    for number in 0..20 {
        world.publish(1, "t", &number.to_string(), Q0, 0);
        assert!(!world.net.sockets[1].is_paused);
    }
    assert_eq!(world.broker.stats().publishes_dropped, 20);
    assert_eq!(world.messages(2).len(), 21);
    // It reads again: it is a subscriber like others.
    world.got(0);
    world.publish(1, "t", "again", Q0, 0);
    assert_eq!(world.payloads(0), ["again"]);
}

#[test]
fn a_stalled_subscriber_keeps_its_qos_1_messages_up_to_a_limit() {
    let mut world = small();
    congested(&mut world, Q1);
    world.advance(10);
    world.publish(1, "t", "waits", Q1, 99);
    world.advance(1_100);
    world.got(1);
    for id in 100..=200 {
        world.publish(1, "t", &id.to_string(), Q1, id);
    }
    assert_eq!(world.got(1).len(), 101, "its publisher is acknowledged");
    let stats = world.broker.stats();
    assert!(
        stats.publishes_dropped > 0 && stats.queued <= 50,
        "{stats:?}"
    );
    let messages = world.messages(0);
    assert!(messages.iter().any(|message| message.payload == b"100"));
}

#[test]
fn one_that_is_slow_for_long_is_waited_for_no_longer() {
    let mut world = small();
    congested(&mut world, Q0);
    world.publish(1, "t", "waits", Q0, 0);
    for _ in 0..25 {
        world.advance(500);
        world.net.sockets[0].output.drain(..10);
        world.broker.progress(0, world.now, &mut world.net);
    }
    assert!(!world.net.sockets[1].is_paused);
}

#[test]
fn a_subscriber_that_goes_lets_its_publishers_go() {
    let mut world = small();
    congested(&mut world, Q0);
    world.publish(1, "t", "waits", Q0, 0);
    world.lose(0);
    assert!(!world.net.sockets[1].is_paused);
    assert_eq!(world.broker.stats().paused, 0);
    assert_eq!(world.broker.stats().queued_bytes, 0);
}

#[test]
fn who_reads_no_replies_is_not_read_from() {
    let mut world = small();
    world.join(0, Version::V311, "a");
    let mut sent = 0;
    while !world.net.sockets[0].is_paused {
        sent += 1;
        world.publish(0, "t", "x", Q1, sent);
        assert!(sent < 5_000);
    }
    world.advance(5_000);
    assert!(world.net.sockets[0].is_paused);
    assert_eq!(world.got(0).len(), usize::from(sent));
    assert!(!world.net.sockets[0].is_paused);
}

#[test]
fn publishers_wait_for_acknowledgements_that_do_not_come_but_not_for_long() {
    let mut world = World::new();
    world.connect(
        0,
        Connect {
            receive_maximum: Some(1),
            ..connect(Version::V5, "to")
        },
    );
    world.subscribe(0, "t", Q1);
    world.join(1, Version::V311, "from");
    let mut sent = 0;
    while !world.net.sockets[1].is_paused {
        sent += 1;
        world.publish(1, "t", "x", Q1, sent);
        assert!(sent < 10_000);
    }
    world.advance(1_100);
    assert!(!world.net.sockets[1].is_paused);
    // All of them come, one by one.
    let mut received = 0;
    loop {
        let messages = world.messages(0);
        let Some(message) = messages.first() else {
            break;
        };
        received += 1;
        world.ack(0, AckKind::PubAck, message.packet_id);
    }
    assert_eq!(received, sent);
}
