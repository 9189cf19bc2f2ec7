//! Topic aliases.

use super::*;

fn aliased<'a>(topic: &'a str, payload: &'a str, alias: u16) -> Packet<'a> {
    Packet::Publish(Publish {
        topic_alias: Some(alias),
        ..publish(topic, payload, Q0, 0)
    })
}

#[test]
fn a_client_may_name_a_topic_by_number() {
    // [MQTT-3.3.2-7], [MQTT-3.3.2-12]
    let mut world = World::new();
    world.join(0, Version::V5, "a");
    world.subscribe(0, "#", Q0);
    for packet in [
        aliased("one", "1", 1),
        aliased("", "2", 1),
        aliased("two", "3", 1),
        aliased("", "4", 1),
    ] {
        world.send(0, &packet);
    }
    let messages = world.messages(0);
    let topics: Vec<_> = messages
        .iter()
        .map(|message| (message.topic, message.topic_alias))
        .collect();
    assert_eq!(
        topics,
        [("one", None), ("one", None), ("two", None), ("two", None)]
    );
}

#[test]
fn aliases_end_with_the_connection() {
    let mut world = World::new();
    world.connect(0, connect_lasting(Version::V5, "a"));
    world.send(0, &aliased("one", "1", 1));
    world.connect(1, connect_lasting(Version::V5, "a"));
    world.send(1, &aliased("", "2", 1));
    assert_eq!(reason_of(&world.got(1)), Reason::PROTOCOL_ERROR);
}

#[test]
fn numbers_out_of_range_are_refused() {
    // [MQTT-3.3.2-8], [MQTT-3.3.2-9]
    for alias in [0, 17, 65_535] {
        let mut world = World::new();
        assert_eq!(world.join(0, Version::V5, "a").topic_alias_maximum, 16);
        world.send(0, &aliased("t", "x", alias));
        assert_eq!(
            reason_of(&world.got(0)),
            Reason::TOPIC_ALIAS_INVALID,
            "{alias}"
        );
    }
    let mut world = World::new();
    world.join(0, Version::V5, "a");
    world.send(0, &aliased("t", "x", 16));
    world.got_nothing(0);
}

#[test]
fn topics_get_one_where_the_client_allows() {
    // [MQTT-3.1.2-26], [MQTT-3.1.2-27]
    let mut world = World::new();
    world.connect(
        0,
        Connect {
            topic_alias_maximum: 2,
            ..connect(Version::V5, "to")
        },
    );
    world.subscribe(0, "#", Q1);
    world.join(1, Version::V5, "from");
    let (mut aliases, mut known) = (Vec::new(), std::collections::HashMap::new());
    for topic in ["a", "a", "a", "once", "b", "b", "b", "c", "c", "c", "a"] {
        world.publish(1, topic, "x", Q0, 0);
        let message = world.messages(0).remove(0);
        if let (false, Some(alias)) = (message.topic.is_empty(), message.topic_alias) {
            known.insert(alias, message.topic);
        }
        // Whatever is sent means the right topic.
        let meant = if message.topic.is_empty() {
            known[&message.topic_alias.unwrap()]
        } else {
            message.topic
        };
        assert_eq!(meant, topic);
        aliases.push((message.topic.len(), message.topic_alias));
    }
    let (none, one, two) = (None, Some(1), Some(2));
    let first = [(1, one), (0, one), (0, one), (4, two), (1, none)];
    assert_eq!(aliases[..5], first);
    // A topic that comes again takes a place.
    assert!(aliases[5].0 == 1 && aliases[5].1.is_some(), "{aliases:?}");
    assert!(
        aliases[6].0 == 0 && aliases[6].1 == aliases[5].1,
        "{aliases:?}"
    );
    assert!(
        aliases
            .iter()
            .all(|(_, alias)| alias.is_none_or(|alias| alias <= 2))
    );
}
