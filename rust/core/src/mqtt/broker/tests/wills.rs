//! Wills.

use super::*;

fn watched(version: Version, connecting: Connect<'_>) -> World {
    let mut world = World::new();
    world.join(9, version, "watcher");
    world.subscribe(9, "will/#", Q2);
    world.connect(0, connecting);
    world
}

fn with_will(version: Version) -> Connect<'static> {
    Connect {
        will: Some(will("will/a", "gone")),
        ..connect(version, "a")
    }
}

fn delayed(delay_s: u32, session_expiry_s: u32) -> Connect<'static> {
    Connect {
        will: Some(Will {
            delay_s,
            ..will("will/a", "gone")
        }),
        clean: false,
        session_expiry_s,
        ..connect(Version::V5, "a")
    }
}

#[test]
fn a_lost_connection_leaves_its_will() {
    // [MQTT-3.1.2-8]
    for version in BOTH {
        let mut world = watched(version, with_will(version));
        world.lose(0);
        let messages = world.messages(9);
        assert_eq!(
            (messages[0].topic, messages[0].payload, messages[0].qos),
            ("will/a", &b"gone"[..], Q1)
        );
        assert_eq!(messages.len(), 1);
    }
}

#[test]
fn a_disconnect_discards_it() {
    // [MQTT-3.1.2-10], [MQTT-3.14.4-3]
    for version in BOTH {
        let mut world = watched(version, with_will(version));
        world.leave(0);
        world.advance(1_000);
        world.got_nothing(9);
    }
}

#[test]
fn a_disconnect_may_ask_for_it() {
    for reason in [Reason::DISCONNECT_WITH_WILL, Reason::UNSPECIFIED] {
        let mut world = watched(Version::V5, with_will(Version::V5));
        world.send(0, &Packet::Disconnect(disconnect(reason)));
        assert_eq!(world.payloads(9), ["gone"]);
    }
}

#[test]
fn faults_and_timeouts_leave_it() {
    for version in BOTH {
        let mut world = watched(
            version,
            Connect {
                keep_alive_s: 1,
                ..with_will(version)
            },
        );
        world.advance(1_600);
        assert_eq!(world.payloads(9), ["gone"]);
        let mut world = watched(version, with_will(version));
        world.send(0, &Packet::PingResp);
        assert_eq!(world.payloads(9), ["gone"]);
        world.lose(0);
        world.got_nothing(9);
    }
}

#[test]
fn a_take_over_leaves_it() {
    for version in BOTH {
        let mut world = watched(version, with_will(version));
        world.join(1, version, "a");
        assert_eq!(world.payloads(9), ["gone"]);
        world.leave(1);
        world.got_nothing(9);
    }
}

#[test]
fn it_is_retained_where_asked() {
    // [MQTT-3.1.2-14], [MQTT-3.1.2-15]
    for retain in [false, true] {
        let will = Will {
            retain,
            ..will("will/a", "gone")
        };
        let mut world = watched(
            Version::V311,
            Connect {
                will: Some(will),
                ..connect(Version::V311, "a")
            },
        );
        world.lose(0);
        assert_eq!(world.payloads(9), ["gone"]);
        assert_eq!(world.broker.stats().retained, u64::from(retain));
    }
}

#[test]
fn a_delay_is_waited_for() {
    // [MQTT-3.1.3-9]
    let mut world = watched(Version::V5, delayed(10, 100));
    world.lose(0);
    world.advance(9_000);
    world.got_nothing(9);
    world.advance(1_100);
    assert_eq!(world.payloads(9), ["gone"]);
    world.advance(200_000);
    world.got_nothing(9);
}

#[test]
fn who_comes_back_in_time_has_not_gone() {
    // [MQTT-3.1.3-9]
    let mut world = watched(Version::V5, delayed(10, 100));
    world.lose(0);
    world.advance(9_000);
    world.connect(
        1,
        Connect {
            will: None,
            ..delayed(0, 100)
        },
    );
    world.advance(60_000);
    world.got_nothing(9);
    // The same with a take-over.
    let mut world = watched(Version::V5, delayed(10, 100));
    world.connect(
        1,
        Connect {
            will: None,
            ..delayed(0, 100)
        },
    );
    world.lose(0);
    world.advance(60_000);
    world.got_nothing(9);
}

#[test]
fn the_end_of_the_session_ends_the_delay() {
    let mut world = watched(Version::V5, delayed(100, 10));
    world.lose(0);
    world.advance(9_000);
    world.got_nothing(9);
    world.advance(1_100);
    assert_eq!(world.payloads(9), ["gone"]);
    // A session without expiry ends at once, and a clean start ends the old one.
    let mut world = watched(Version::V5, delayed(100, 0));
    world.lose(0);
    assert_eq!(world.payloads(9), ["gone"]);
    let mut world = watched(Version::V5, delayed(100, 1_000));
    world.lose(0);
    world.got_nothing(9);
    world.join(1, Version::V5, "a");
    assert_eq!(world.payloads(9), ["gone"]);
    // Or a disconnect that sets the expiry to 0.
    let mut world = watched(Version::V5, delayed(100, 1_000));
    let packet = Disconnect {
        session_expiry_s: Some(0),
        ..disconnect(Reason::DISCONNECT_WITH_WILL)
    };
    world.send(0, &Packet::Disconnect(packet));
    assert_eq!(world.payloads(9), ["gone"]);
}

#[test]
fn its_properties_and_expiry_go_on() {
    let will = Will {
        expiry_s: Some(30),
        properties: Forwarded {
            encoded: b"\x03\x00\x01c".as_slice().into(),
            is_text: false,
        },
        ..will("will/a", "gone")
    };
    let mut world = watched(
        Version::V5,
        Connect {
            will: Some(will),
            ..connect(Version::V5, "a")
        },
    );
    world.advance(60_000);
    world.lose(0);
    let messages = world.messages(9);
    assert_eq!(
        (messages[0].expiry_s, &*messages[0].properties.encoded),
        (Some(30), &b"\x03\x00\x01c"[..])
    );
}

#[test]
fn a_will_may_become_a_row() {
    let mut world = watched(Version::V311, with_will(Version::V311));
    world.net.mapped = vec!["will/a"];
    world.net.generation = 1;
    world.lose(0);
    assert_eq!(world.inbound.len(), 1);
    assert_eq!(world.payloads(9), ["gone"]);
}
