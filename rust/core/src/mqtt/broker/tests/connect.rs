//! CONNECT, keep alive, login, and what must not come when.

use super::*;

#[test]
fn a_client_is_welcomed_first_of_all() {
    for version in [Version::V31, Version::V311, Version::V5] {
        let mut world = World::new();
        let ack = world.join(0, version, "a"); // [MQTT-3.2.0-1]
        assert_eq!((ack.reason, ack.session_present), (Reason::SUCCESS, false));
    }
}

#[test]
fn a_packet_before_connect_closes_without_a_word() {
    // [MQTT-3.1.0-1]
    let mut world = World::new();
    world.open(0);
    world.send(0, &Packet::PingReq);
    assert!(world.is_closed(0));
    world.got_nothing(0);
}

#[test]
fn a_second_connect_is_a_protocol_error() {
    // [MQTT-3.1.0-2]
    let mut world = World::new();
    world.join(0, Version::V5, "a");
    world.send(0, &Packet::Connect(Box::new(connect(Version::V5, "a"))));
    assert_eq!(reason_of(&world.got(0)), Reason::PROTOCOL_ERROR);
    assert!(world.is_closed(0));

    world.join(1, Version::V311, "b");
    world.send(1, &Packet::Connect(Box::new(connect(Version::V311, "b"))));
    world.got_nothing(1);
    assert!(world.is_closed(1));
}

#[test]
fn packets_of_servers_are_protocol_errors() {
    for packet in [
        Packet::PingResp,
        Packet::SubAck(crate::mqtt::packet::Granted {
            packet_id: 1,
            reasons: vec![Reason::SUCCESS],
        }),
    ] {
        let mut world = World::new();
        world.join(0, Version::V5, "a");
        world.send(0, &packet);
        assert_eq!(reason_of(&world.got(0)), Reason::PROTOCOL_ERROR);
        assert!(world.is_closed(0));
    }
}

#[test]
fn an_unknown_version_is_refused_in_the_old_form() {
    // [MQTT-3.1.2-2]
    let mut world = World::new();
    world.open(0);
    world.feed(0, b"\x10\x0d\x00\x04MQTT\x02\x02\x00\x00\x00\x01a");
    assert_eq!(world.net.sockets[0].output, b"\x20\x02\x00\x01");
    assert!(world.is_closed(0));
}

#[test]
fn a_client_without_id_gets_one_where_it_may() {
    let mut world = World::new();
    // [MQTT-3.1.3-6], [MQTT-3.1.3-7], [MQTT-3.2.2-16]
    let first = world.join(0, Version::V5, "").assigned_client_id.unwrap();
    let second = world.join(1, Version::V5, "").assigned_client_id.unwrap();
    assert_ne!(first, second);
    assert_eq!(world.join(2, Version::V311, "").reason, Reason::SUCCESS);
    // [MQTT-3.1.3-8]
    let ack = world.connect(3, connect_lasting(Version::V311, ""));
    assert_eq!(ack.reason, Reason::CLIENT_ID_NOT_VALID);
    assert!(world.is_closed(3));
    let ack = world.connect(4, connect_lasting(Version::V5, ""));
    assert!(ack.assigned_client_id.is_some());
}

#[test]
fn a_client_with_an_assigned_id_comes_back_by_it() {
    let mut world = World::new();
    let id = world
        .connect(0, connect_lasting(Version::V5, ""))
        .assigned_client_id
        .unwrap();
    world.lose(0);
    assert!(
        world
            .connect(1, connect_lasting(Version::V5, id))
            .session_present
    );
}

#[test]
fn limits_are_told() {
    let mut world = World::with(Options {
        keep_alive_max_s: 60,
        receive_maximum: 20,
        topic_alias_maximum: 7,
        maximum_packet_bytes: 4_096,
        session_expiry_max_s: 100,
        sys_interval_s: 0,
        ..Options::default()
    });
    let ack = world.connect(
        0,
        Connect {
            keep_alive_s: 600,
            session_expiry_s: 1_000,
            ..connect(Version::V5, "a")
        },
    );
    assert_eq!(ack.server_keep_alive_s, Some(60)); // [MQTT-3.1.2-21]
    assert_eq!(ack.receive_maximum, Some(20));
    assert_eq!(ack.topic_alias_maximum, 7);
    assert_eq!(ack.maximum_packet_bytes, Some(4_096));
    assert_eq!(ack.session_expiry_s, Some(100));
    // What was agreed as asked is not repeated, and no keep alive stays none.
    let ack = world.connect(
        1,
        Connect {
            keep_alive_s: 30,
            ..connect(Version::V5, "b")
        },
    );
    assert_eq!(
        (ack.server_keep_alive_s, ack.session_expiry_s),
        (None, None)
    );
    assert_eq!(world.join(2, Version::V5, "c").server_keep_alive_s, None);
}

#[test]
fn response_information_is_given_to_those_who_ask() {
    let mut world = World::new();
    // [MQTT-3.1.2-28]
    assert_eq!(world.join(0, Version::V5, "a").response_information, None);
    let asking = Connect {
        request_response_information: true,
        ..connect(Version::V5, "b")
    };
    assert_eq!(
        world.connect(1, asking).response_information,
        Some("response/b")
    );
}

#[test]
fn authentication_methods_are_refused() {
    let mut world = World::new();
    let with_method = Connect {
        authentication_method: Some("SCRAM-SHA-1"),
        ..connect(Version::V5, "a")
    };
    assert_eq!(
        world.connect(0, with_method).reason,
        Reason::BAD_AUTHENTICATION_METHOD
    );
    assert!(world.is_closed(0));
    // [MQTT-4.12.0-6]
    world.join(1, Version::V5, "b");
    world.send(
        1,
        &Packet::Auth(crate::mqtt::packet::Auth {
            reason: Reason(0x18),
            method: Some("x"),
            data: None,
        }),
    );
    assert_eq!(reason_of(&world.got(1)), Reason::PROTOCOL_ERROR);
}

#[test]
fn a_silent_client_is_closed_after_one_and_a_half_keep_alives() {
    // [MQTT-3.1.2-22]
    for version in BOTH {
        let mut world = World::new();
        world.connect(
            0,
            Connect {
                keep_alive_s: 2,
                ..connect(version, "a")
            },
        );
        world.join(1, version, "without");
        world.advance(2_900);
        assert!(!world.is_closed(0));
        world.send(0, &Packet::PingReq); // [MQTT-3.12.4-1]
        assert_eq!(world.got(0), vec![Packet::PingResp]);
        world.advance(2_900);
        assert!(!world.is_closed(0));
        world.advance(200);
        assert!(world.is_closed(0));
        if version == Version::V5 {
            assert_eq!(reason_of(&world.got(0)), Reason::KEEP_ALIVE_TIMEOUT);
        }
        world.advance(100_000_000);
        assert!(!world.is_closed(1));
    }
}

#[test]
fn a_server_keep_alive_holds() {
    let mut world = World::with(Options {
        keep_alive_max_s: 10,
        sys_interval_s: 0,
        ..Options::default()
    });
    world.connect(
        0,
        Connect {
            keep_alive_s: 600,
            ..connect(Version::V5, "a")
        },
    );
    world.connect(
        1,
        Connect {
            keep_alive_s: 600,
            ..connect(Version::V311, "b")
        },
    );
    world.advance(15_100);
    assert!(world.is_closed(0) && !world.is_closed(1));
}

#[test]
fn a_login_waits_for_its_verdict() {
    for version in BOTH {
        let mut world = World::new();
        for (conn, verdict) in [
            (
                0,
                Ok(Grant {
                    user: Some("u".into()),
                    acl: Arc::new(Acl::open()),
                }),
            ),
            (1, Err(Reason::BAD_USER_OR_PASSWORD)),
        ] {
            world.open(conn);
            let packet = Connect {
                user: Some("u"),
                password: Some(b"p"),
                ..connect(version, "a")
            };
            world.send(conn, &Packet::Connect(Box::new(packet)));
            assert!(world.net.sockets[conn as usize].is_paused);
            assert_eq!(world.net.sockets[conn as usize].output, b"");
            let logins = world.broker.take_logins();
            assert_eq!((logins.len(), &*logins[0].client_id), (1, "a"));
            assert_eq!(
                (logins[0].user.as_deref(), logins[0].password.as_deref()),
                (Some("u"), Some(&b"p"[..]))
            );
            let is_ok = verdict.is_ok();
            world.broker.login(conn, verdict, world.now, &mut world.net);
            assert!(!world.net.sockets[conn as usize].is_paused);
            let Packet::ConnAck(ack) = world.got_one(conn) else {
                panic!("a CONNACK")
            };
            assert_eq!(ack.reason == Reason::SUCCESS, is_ok);
            assert_eq!(world.is_closed(conn), !is_ok);
        }
    }
}

#[test]
fn without_anonymous_clients_all_need_a_verdict() {
    let mut world = World::with(Options {
        anonymous_local: false,
        sys_interval_s: 0,
        ..Options::default()
    });
    world.open(0);
    world.send(0, &Packet::Connect(Box::new(connect(Version::V311, "a"))));
    assert_eq!(world.broker.take_logins()[0].user, None);
    // One that is gone meanwhile is nobody's any more.
    world.open(1);
    world.send(1, &Packet::Connect(Box::new(connect(Version::V311, "b"))));
    world.lose(1);
    assert_eq!(world.broker.take_logins().len(), 0);
    let grant = Grant {
        user: None,
        acl: Arc::new(Acl::open()),
    };
    world.broker.login(1, Ok(grant), world.now, &mut world.net);
    assert_eq!(world.broker.stats().clients_connected, 0);
}

#[test]
fn a_client_may_leave_and_is_not_answered() {
    for version in BOTH {
        let mut world = World::new();
        world.join(0, version, "a");
        world.leave(0); // [MQTT-3.14.4-1]
        world.got_nothing(0);
        assert_eq!(world.broker.stats().clients_connected, 0);
    }
}

#[test]
fn a_malformed_packet_costs_its_connection_only() {
    let mut world = World::new();
    world.join(0, Version::V5, "a");
    world.join(1, Version::V5, "b");
    world.subscribe(1, "t", Q0);
    world.feed(0, b"\x36\x03\x00\x01t"); // QoS 3 [MQTT-3.3.1-4]
    let reason = reason_of(&world.got(0));
    assert!(
        reason == Reason::MALFORMED_PACKET || reason == Reason::PROTOCOL_ERROR,
        "{reason:?}"
    );
    assert!(world.is_closed(0));
    world.publish(1, "t", "x", Q0, 0);
    assert_eq!(world.payloads(1), ["x"]);
    assert_eq!(world.broker.stats().faults, 1);
    let events = world.broker.events();
    let malformed = events
        .iter()
        .find(|row| row.event == Event::Malformed)
        .unwrap();
    assert_eq!((malformed.succeeded, malformed.failed), (0, 1));
}

#[test]
fn a_stop_is_told() {
    let mut world = World::new();
    world.join(0, Version::V5, "a");
    world.join(1, Version::V311, "b");
    world.broker.shut_down(world.now, &mut world.net);
    assert_eq!(reason_of(&world.got(0)), Reason::SERVER_SHUTTING_DOWN);
    world.got_nothing(1);
    assert!(world.is_closed(0) && world.is_closed(1));
}

#[test]
fn an_owner_may_disconnect_a_client() {
    let mut world = World::new();
    world.join(0, Version::V5, "a");
    assert!(world.broker.disconnect(
        "a",
        Reason::ADMINISTRATIVE_ACTION,
        world.now,
        &mut world.net
    ));
    assert_eq!(reason_of(&world.got(0)), Reason::ADMINISTRATIVE_ACTION);
    assert!(!world.broker.disconnect(
        "a",
        Reason::ADMINISTRATIVE_ACTION,
        world.now,
        &mut world.net
    ));
}

#[test]
fn sessions_have_a_limit() {
    let mut world = World::with(Options {
        sessions_max: 1,
        sys_interval_s: 0,
        ..Options::default()
    });
    world.join(0, Version::V5, "a");
    assert_eq!(
        world.join(1, Version::V5, "b").reason,
        Reason::QUOTA_EXCEEDED
    );
    assert_eq!(world.join(2, Version::V5, "a").reason, Reason::SUCCESS);
}

#[test]
fn time_in_which_a_client_is_not_read_from_is_no_silence() {
    let mut world = World::with(Options {
        backlog_bytes: 1_000,
        sys_interval_s: 0,
        ..Options::default()
    });
    world.join(0, Version::V311, "slow");
    world.subscribe(0, "t", Q0);
    world.connect(
        1,
        Connect {
            keep_alive_s: 1,
            ..connect(Version::V311, "from")
        },
    );
    let payload = "x".repeat(900);
    while !world.net.sockets[1].is_paused {
        world.publish(1, "t", &payload, Q0, 0);
    }
    for _ in 0..4 {
        world.advance(900);
        world.net.sockets[0].output.drain(..10);
        world.broker.progress(0, world.now, &mut world.net);
    }
    assert!(world.net.sockets[1].is_paused && !world.is_closed(1));
    while world.net.sockets[1].is_paused {
        world.net.sockets[0].output.clear();
        world.broker.progress(0, world.now, &mut world.net);
    }
    world.advance(1_400);
    assert!(!world.is_closed(1));
    world.advance(200);
    assert!(world.is_closed(1));
}

#[test]
fn a_broker_may_move_to_its_thread() {
    fn is_send<T: Send>() {}
    is_send::<Broker>();
}

#[test]
fn all_packets_keep_to_the_size_that_a_client_takes() {
    // [MQTT-3.1.2-24], [MQTT-3.2.2-19], [MQTT-3.14.2-3]
    let mut world = World::new();
    let small = |client_id| Connect {
        maximum_packet_bytes: Some(20),
        request_response_information: true,
        ..connect(Version::V5, client_id)
    };
    let ack = world.connect(0, small("a client with a rather long name"));
    assert_eq!(
        (ack.reason, ack.response_information),
        (Reason::SUCCESS, None)
    );
    world.send(0, &Packet::PingResp);
    assert!(world.net.sockets[0].output.len() <= 20);
    assert_eq!(reason_of(&world.got(0)), Reason::PROTOCOL_ERROR);
    let refused = Connect {
        authentication_method: Some("x"),
        ..small("b")
    };
    let ack = world.connect(1, refused);
    assert_eq!(
        (ack.reason, ack.reason_text),
        (Reason::BAD_AUTHENTICATION_METHOD, None)
    );
}
