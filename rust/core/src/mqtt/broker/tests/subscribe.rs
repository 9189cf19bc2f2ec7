//! SUBSCRIBE and UNSUBSCRIBE.

use super::*;

fn plain(filter: &str, qos: QoS) -> Subscription<'_> {
    Subscription {
        filter,
        options: SubscriptionOptions {
            qos,
            ..SubscriptionOptions::default()
        },
    }
}

#[test]
fn every_filter_gets_its_reason_in_order() {
    // [MQTT-3.8.4-1], [MQTT-3.8.4-2], [MQTT-3.8.4-6], [MQTT-3.9.3-1]
    for version in BOTH {
        let mut world = World::new();
        world.join(0, version, "a");
        let filters = vec![
            plain("a", Q2),
            plain("a/#/b", Q1),
            plain("b+", Q0),
            plain("c/+", Q0),
            plain("d", Q1),
        ];
        world.send(
            0,
            &Packet::Subscribe(Subscribe {
                packet_id: 300,
                subscription_id: None,
                filters,
            }),
        );
        let Packet::SubAck(granted) = world.got_one(0) else {
            panic!("a SUBACK")
        };
        let invalid = if version == Version::V5 {
            Reason::TOPIC_FILTER_INVALID
        } else {
            Reason::UNSPECIFIED
        };
        assert_eq!(granted.packet_id, 300);
        assert_eq!(
            granted.reasons,
            [Reason(2), invalid, invalid, Reason(0), Reason(1)]
        );
        assert_eq!(world.broker.stats().subscriptions, 3);
    }
}

#[test]
fn a_subscription_is_replaced() {
    // [MQTT-3.8.4-3]
    let mut world = World::new();
    world.join(0, Version::V5, "a");
    let with_id = |id| {
        (
            SubscriptionOptions {
                qos: Q1,
                ..SubscriptionOptions::default()
            },
            Some(id),
        )
    };
    for (options, id) in [with_id(1), with_id(2)] {
        world.subscribe_with(0, "t", options, id);
    }
    world.subscribe(0, "t", Q0);
    world.publish(0, "t", "x", Q1, 1);
    let messages: Vec<_> = world.got(0);
    assert_eq!(messages.len(), 2);
    assert!(
        matches!(&messages[0], Packet::Publish(p) if p.qos == Q0 && p.subscription_ids.is_empty())
    );
}

#[test]
fn overlapping_subscriptions_give_one_message_of_the_highest_qos() {
    // [MQTT-3.3.5-1], [MQTT-3.3.4-2], [MQTT-3.3.4-3], [MQTT-3.3.4-4]
    for version in BOTH {
        let mut world = World::new();
        world.join(0, version, "a");
        for (id, (filter, qos)) in [("t/#", Q1), ("t/+", Q2), ("t/x", Q0)]
            .into_iter()
            .enumerate()
        {
            let options = SubscriptionOptions {
                qos,
                ..SubscriptionOptions::default()
            };
            world.subscribe_with(
                0,
                filter,
                options,
                (version == Version::V5).then_some(id as u32 + 1),
            );
        }
        world.join(1, version, "b");
        world.publish(1, "t/x", "x", Q2, 1);
        let mut messages = world.messages(0);
        assert_eq!((messages.len(), messages[0].qos), (1, Q2));
        messages[0].subscription_ids.sort_unstable();
        assert_eq!(
            messages[0].subscription_ids,
            if version == Version::V5 {
                vec![1, 2, 3]
            } else {
                vec![]
            }
        );
    }
}

#[test]
fn local_messages_are_held_back_where_asked() {
    // [MQTT-3.8.3-3]
    let mut world = World::new();
    world.join(0, Version::V5, "a");
    world.join(1, Version::V5, "b");
    let no_local = SubscriptionOptions {
        qos: Q1,
        no_local: true,
        ..SubscriptionOptions::default()
    };
    world.subscribe_with(0, "t", no_local, Some(1));
    world.publish(0, "t", "own", Q1, 1);
    assert_eq!(
        world.got(0),
        [ack(AckKind::PubAck, 1, Reason::NO_MATCHING_SUBSCRIBERS)]
    );
    world.publish(1, "t", "other", Q0, 0);
    assert_eq!(world.payloads(0), ["other"]);
    // Another subscription may want them.
    world.subscribe_with(0, "+", SubscriptionOptions::default(), Some(2));
    world.publish(0, "t", "own", Q1, 2);
    let got = world.got(0);
    assert!(matches!(&got[0], Packet::Publish(p) if p.qos == Q0 && p.subscription_ids == [2]));
    world.publish(1, "t", "other", Q1, 1);
    let messages = world.messages(0);
    assert_eq!(
        (messages[0].qos, messages[0].subscription_ids.len()),
        (Q1, 2)
    );
}

#[test]
fn unsubscribing_ends_delivery() {
    // [MQTT-3.10.4-1], [MQTT-3.10.4-4], [MQTT-3.10.4-5], [MQTT-3.11.3-1]
    for version in BOTH {
        let mut world = World::new();
        world.join(0, version, "a");
        world.subscribe(0, "t/+", Q0);
        let filters = vec!["t/#", "t/+", "t/+", "#/x"];
        world.send(
            0,
            &Packet::Unsubscribe(Unsubscribe {
                packet_id: 4,
                filters,
            }),
        );
        let Packet::UnsubAck(granted) = world.got_one(0) else {
            panic!("an UNSUBACK")
        };
        assert_eq!(granted.packet_id, 4);
        if version == Version::V5 {
            let none = Reason::NO_SUBSCRIPTION_EXISTED;
            assert_eq!(
                granted.reasons,
                [none, Reason::SUCCESS, none, Reason::TOPIC_FILTER_INVALID]
            );
        } else {
            assert_eq!(granted.reasons, []);
        }
        world.publish(0, "t/x", "x", Q0, 0);
        world.got_nothing(0);
        assert_eq!(world.broker.stats().subscriptions, 0);
    }
}

#[test]
fn messages_on_their_way_are_delivered_after_unsubscribing() {
    // [MQTT-3.10.4-2], [MQTT-3.10.4-3]
    let mut world = World::new();
    world.join(0, Version::V311, "a");
    world.subscribe(0, "t", Q2);
    world.publish(0, "t", "x", Q2, 1);
    world.send(
        0,
        &Packet::Unsubscribe(Unsubscribe {
            packet_id: 4,
            filters: vec!["t"],
        }),
    );
    world.got(0);
    world.ack(0, AckKind::PubRec, 1);
    assert_eq!(world.got(0), [ack(AckKind::PubRel, 1, Reason::SUCCESS)]);
}

#[test]
fn one_session_has_a_limit_of_subscriptions() {
    let mut world = World::with(Options {
        subscriptions_per_session: 2,
        sys_interval_s: 0,
        ..Options::default()
    });
    world.join(0, Version::V5, "a");
    let reasons = ["a", "b", "c", "a"].map(|filter| world.subscribe(0, filter, Q1));
    assert_eq!(
        reasons,
        [Reason(1), Reason(1), Reason::QUOTA_EXCEEDED, Reason(1)]
    );
}

#[test]
fn a_change_of_subscriptions_is_seen_by_the_next_message() {
    let mut world = World::new();
    world.join(0, Version::V311, "a");
    world.join(1, Version::V311, "b");
    for number in 0..3 {
        world.publish(0, "t", "nobody", Q0, 0);
        world.subscribe(1, "t", Q0);
        world.publish(0, "t", &number.to_string(), Q0, 0);
        assert_eq!(world.payloads(1), [number.to_string()]);
        world.send(
            1,
            &Packet::Unsubscribe(Unsubscribe {
                packet_id: 1,
                filters: vec!["t"],
            }),
        );
        world.got(1);
    }
    world.net.mapped = vec!["t"];
    world.net.generation += 1;
    world.publish(0, "t", "row", Q0, 0);
    assert_eq!(world.inbound.len(), 1);
}
