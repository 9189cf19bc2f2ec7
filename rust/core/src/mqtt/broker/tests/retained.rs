//! Retained messages.

use super::*;

fn options(
    qos: QoS,
    retain_handling: RetainHandling,
    retain_as_published: bool,
) -> SubscriptionOptions {
    SubscriptionOptions {
        qos,
        no_local: false,
        retain_as_published,
        retain_handling,
    }
}

#[test]
fn a_new_subscription_gets_them() {
    // [MQTT-3.3.1-5], [MQTT-3.3.1-8], [MQTT-3.3.1-9]
    for version in BOTH {
        let mut world = World::new();
        world.join(0, version, "a");
        world.send(0, &retained("r/1", "old", Q1, 1));
        world.send(0, &retained("r/1", "one", Q2, 2));
        world.send(0, &retained("r/2", "two", Q0, 0));
        world.publish(0, "r/3", "not", Q0, 0);
        world.join(1, version, "b");
        world.subscribe(1, "r/#", Q1);
        let mut messages = world.messages(1);
        messages.sort_by_key(|message| message.topic);
        let seen: Vec<_> = messages
            .iter()
            .map(|m| (m.topic, m.payload, m.qos, m.retain))
            .collect();
        assert_eq!(
            seen,
            [("r/1", &b"one"[..], Q1, true), ("r/2", b"two", Q0, true)]
        );
        assert_eq!(world.broker.stats().retained, 2);
    }
}

#[test]
fn an_empty_one_removes() {
    // [MQTT-3.3.1-6], [MQTT-3.3.1-7], [MQTT-3.3.1-10], [MQTT-3.3.1-11]
    for version in BOTH {
        let mut world = World::new();
        world.join(0, version, "a");
        world.subscribe(0, "r", Q0);
        world.send(0, &retained("r", "one", Q0, 0));
        world.send(0, &retained("r", "", Q0, 0));
        // Who is subscribed gets it like any message.
        assert_eq!(world.payloads(0), ["one", ""]);
        world.subscribe(0, "r", Q0);
        world.got_nothing(0);
        assert_eq!(
            (
                world.broker.stats().retained,
                world.broker.stats().retained_bytes
            ),
            (0, 0)
        );
    }
}

#[test]
fn the_flag_is_for_new_subscriptions_or_as_published() {
    // [MQTT-3.3.1-12], [MQTT-3.3.1-13]
    let mut world = World::new();
    world.join(0, Version::V5, "plain");
    world.join(1, Version::V5, "as published");
    world.subscribe_with(0, "r", options(Q1, RetainHandling::Send, false), None);
    world.subscribe_with(1, "r", options(Q1, RetainHandling::Send, true), None);
    world.send(0, &retained("r", "x", Q0, 0));
    world.publish(0, "r", "y", Q0, 0);
    let flags = |messages: Vec<Publish<'_>>| {
        messages
            .iter()
            .map(|message| message.retain)
            .collect::<Vec<_>>()
    };
    assert_eq!(flags(world.messages(0)), [false, false]);
    assert_eq!(flags(world.messages(1)), [true, false]);
}

#[test]
fn retain_handling_is_followed() {
    // [MQTT-3.3.1-9] to [MQTT-3.3.1-11], [MQTT-3.8.4-4]
    let mut world = World::new();
    world.join(0, Version::V5, "a");
    world.send(0, &retained("r", "x", Q0, 0));
    let mut count = |filter: &str, handling| {
        world.subscribe_with(0, filter, options(Q0, handling, false), None);
        world.messages(0).len()
    };
    assert_eq!(count("r", RetainHandling::DoNotSend), 0);
    assert_eq!(count("r", RetainHandling::SendIfNew), 0);
    assert_eq!(count("+", RetainHandling::SendIfNew), 1);
    assert_eq!(count("+", RetainHandling::SendIfNew), 0);
    assert_eq!(count("+", RetainHandling::Send), 1);
    assert_eq!(count("#", RetainHandling::Send), 1);
    // A group gets none.
    assert_eq!(count("$share/g/r", RetainHandling::Send), 0);
}

#[test]
fn a_subscription_id_comes_with_them() {
    let mut world = World::new();
    world.join(0, Version::V5, "a");
    world.send(0, &retained("r", "x", Q0, 0));
    world.subscribe_with(0, "r", options(Q0, RetainHandling::Send, false), Some(12));
    assert_eq!(world.messages(0)[0].subscription_ids, [12]);
}

#[test]
fn own_ones_are_not_sent_where_local_ones_are_not_wanted() {
    // [MQTT-3.8.3-3]
    let mut world = World::new();
    world.join(0, Version::V5, "a");
    world.send(0, &retained("r", "x", Q0, 0));
    let no_local = SubscriptionOptions {
        no_local: true,
        ..SubscriptionOptions::default()
    };
    world.subscribe_with(0, "r", no_local, None);
    world.got_nothing(0);
    world.join(1, Version::V5, "b");
    world.subscribe_with(1, "r", no_local, None);
    assert_eq!(world.payloads(1), ["x"]);
}

#[test]
fn they_expire() {
    let mut world = World::new();
    world.join(0, Version::V5, "a");
    let Packet::Publish(message) = retained("r", "x", Q0, 0) else {
        unreachable!()
    };
    world.send(
        0,
        &Packet::Publish(Publish {
            expiry_s: Some(10),
            ..message
        }),
    );
    world.advance(4_000);
    world.subscribe(0, "r", Q0);
    assert_eq!(world.messages(0)[0].expiry_s, Some(6));
    world.now.unix_ms += 7_000;
    world.subscribe(0, "r", Q0);
    world.got_nothing(0);
    assert_eq!(world.broker.stats().retained, 1);
    world.advance(100);
    assert_eq!(world.broker.stats().retained, 0);
    assert!(
        world
            .log
            .iter()
            .any(|change| matches!(change, Change::RetainedGone { .. }))
    );
}

#[test]
fn they_have_a_limit() {
    let mut world = World::with(Options {
        retained_max: 1,
        sys_interval_s: 0,
        ..Options::default()
    });
    world.join(0, Version::V5, "a");
    world.send(0, &retained("r/1", "x", Q1, 1));
    world.send(0, &retained("r/2", "x", Q1, 2));
    world.send(0, &retained("r/1", "y", Q1, 3));
    let reasons: Vec<_> = world
        .got(0)
        .iter()
        .map(|packet| match packet {
            Packet::Ack(ack) => ack.reason,
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(
        reasons,
        [
            Reason::NO_MATCHING_SUBSCRIBERS,
            Reason::QUOTA_EXCEEDED,
            Reason::NO_MATCHING_SUBSCRIBERS
        ]
    );
    // An older client is not told that it is kept.
    world.join(1, Version::V311, "b");
    world.send(1, &retained("r/2", "x", Q1, 2));
    world.got_nothing(1);
    assert!(world.is_closed(1));
}

#[test]
fn a_lasting_session_gets_them_once() {
    let mut world = World::new();
    world.join(0, Version::V311, "a");
    world.send(0, &retained("r", "x", Q2, 1));
    world.connect(1, connect_lasting(Version::V311, "b"));
    world.subscribe(1, "r", Q2);
    assert_eq!(world.payloads(1), ["x"]);
    world.ack(1, AckKind::PubRec, 1);
    world.ack(1, AckKind::PubComp, 1);
    world.lose(1);
    assert!(
        world
            .connect(2, connect_lasting(Version::V311, "b"))
            .session_present
    );
    world.got_nothing(2);
}
