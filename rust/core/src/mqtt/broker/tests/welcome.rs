//! CONNACK waits for what it promises.

use super::*;

/// A world with the lasting session "c" that is away, in which nothing is kept until a test says so.
fn away(version: Version) -> World {
    let mut world = World::new();
    world.connect(0, connect_lasting(version, "c"));
    world.subscribe(0, "t", Q2);
    world.lose(0);
    world.keeps = false;
    world
}

#[test]
fn connack_waits_until_a_lasting_session_is_kept() {
    for version in BOTH {
        for (name, is_present) in [("c", true), ("new", false)] {
            let mut world = away(version);
            world.knock(1, connect_lasting(version, name));
            world.got_nothing(1);
            assert!(world.net.sockets[1].is_paused, "its packets wait as well");
            world.kept(world.ended, Ok(()));
            assert!(!world.net.sockets[1].is_paused);
            match world.got_one(1) {
                Packet::ConnAck(ack) => assert_eq!(ack.session_present, is_present),
                other => panic!("{other:?}"),
            }
        }
    }
}

#[test]
fn connack_of_a_clean_session_waits_only_for_the_end_of_a_lasting_one() {
    for version in BOTH {
        let mut world = away(version);
        world.knock(1, connect(version, "other"));
        assert!(matches!(world.got_one(1), Packet::ConnAck(_)));
        world.knock(2, connect(version, "c"));
        world.got_nothing(2);
        // The one that ended it is gone: the next one hears that there is no session, so it has to wait as well.
        world.knock(3, connect(version, "c"));
        world.got_nothing(3);
        world.kept(world.ended, Ok(()));
        assert!(matches!(world.got_one(3), Packet::ConnAck(ack) if !ack.session_present));
        world.got_nothing(2);
        assert!(world.is_closed(2));
    }
}

#[test]
fn nothing_goes_out_before_connack() {
    for version in BOTH {
        let mut world = away(version);
        world.join(1, version, "from");
        world.knock(2, connect_lasting(version, "c"));
        world.publish(1, "t", "zero", Q0, 0);
        world.publish(1, "t", "one", Q1, 1);
        world.publish(1, "t", "two", Q2, 2);
        world.got_nothing(2);
        world.kept(world.ended, Ok(()));
        let got = world.got(2);
        assert!(matches!(&got[0], Packet::ConnAck(ack) if ack.session_present));
        let payloads: Vec<&[u8]> = got[1..]
            .iter()
            .map(|packet| match packet {
                Packet::Publish(publish) => publish.payload,
                other => panic!("{other:?}"),
            })
            .collect();
        assert_eq!(payloads, [&b"zero"[..], b"one", b"two"]);
    }
}

#[test]
fn a_session_that_cannot_be_kept_is_refused_without_its_will() {
    for version in BOTH {
        let mut world = away(version);
        world.join(1, version, "watch");
        world.subscribe(1, "w", Q0);
        let connect = Connect {
            will: Some(will("w", "gone")),
            ..connect_lasting(version, "new")
        };
        world.knock(2, connect);
        world.kept(world.ended, Err(Refusal::Full));
        let reason = match version {
            Version::V5 => Reason::QUOTA_EXCEEDED,
            _ => Reason::SERVER_UNAVAILABLE,
        };
        assert!(matches!(world.got_one(2), Packet::ConnAck(ack) if ack.reason == reason));
        assert!(world.is_closed(2));
        world.lose(2);
        world.got_nothing(1);
    }
}

#[test]
fn the_keep_alive_runs_from_connack_on() {
    let mut world = away(Version::V5);
    let connect = Connect {
        keep_alive_s: 1,
        ..connect_lasting(Version::V5, "c")
    };
    world.knock(1, connect);
    for _ in 0..5 {
        world.now.mono_ms += 1_000;
        world.broker.tick(world.now, &mut world.net);
    }
    world.kept(world.ended, Ok(()));
    assert!(matches!(world.got_one(1), Packet::ConnAck(_)));
    assert!(!world.is_closed(1));
}
