//! `$SYS` and what the broker knows about itself.

use super::*;

#[test]
fn figures_are_published() {
    let mut world = World::with(Options {
        version_text: "test 1".into(),
        ..Options::default()
    });
    world.advance(100);
    world.join(0, Version::V311, "a");
    world.subscribe(0, "$SYS/broker/version", Q2);
    let messages = world.messages(0);
    assert_eq!(
        (messages[0].payload, messages[0].retain, messages[0].qos),
        (&b"test 1"[..], true, Q0)
    );
    world.subscribe(0, "$SYS/broker/#", Q0);
    let first = world.messages(0);
    assert!(first.len() > 40);
    world.advance(5_000);
    world.got_nothing(0);
    world.advance(5_000);
    let second = world.messages(0);
    let value = |topic: &str| {
        let found = second.iter().find(|message| message.topic == topic);
        found.map(|message| String::from_utf8_lossy(message.payload).into_owned())
    };
    assert_eq!(value("$SYS/broker/clients/connected").as_deref(), Some("1"));
    assert_eq!(value("$SYS/broker/uptime").as_deref(), Some("10 seconds"));
    assert_eq!(
        value("$SYS/broker/subscriptions/count").as_deref(),
        Some("2")
    );
    assert!(value("$SYS/broker/load/connections/1min").is_some());
    assert_eq!(
        value("$SYS/broker/version"),
        None,
        "what has not changed is not repeated"
    );
}

#[test]
fn they_are_not_kept() {
    let mut world = World::with(Options::default());
    world.connect(0, connect_lasting(Version::V5, "a"));
    world.subscribe(0, "$SYS/#", Q2);
    world.lose(0);
    let before = world.log.len();
    world.advance(100);
    world.advance(20_000);
    assert_eq!(world.log.len(), before);
}

#[test]
fn events_are_counted_by_peer_and_kind() {
    let mut world = World::new();
    world.join(0, Version::V5, "a");
    world.subscribe(0, "t", Q1);
    for id in 1..=3 {
        world.publish(0, "t", "x", Q1, id);
    }
    world.publish(0, "$SYS/x", "x", Q1, 4);
    let events = world.broker.events();
    let row = |event| events.iter().find(|row| row.event == event).unwrap();
    assert_eq!(
        (row(Event::Publish).succeeded, row(Event::Publish).failed),
        (3, 1)
    );
    assert_eq!(row(Event::Publish).failure, Reason::NOT_AUTHORIZED);
    assert_eq!(
        (
            row(Event::Connect).succeeded,
            row(Event::Subscribe).succeeded
        ),
        (1, 1)
    );
    assert_eq!(row(Event::Connect).ip, peer().address.ip());
    assert_eq!(row(Event::Connect).event.name(), "CONNECT");
}

#[test]
fn the_table_of_events_is_bounded() {
    let mut world = World::new();
    for number in 0..3_000_u32 {
        let mut peer = peer();
        peer.address
            .set_ip(std::net::Ipv4Addr::from(0x0A00_0000 + number).into());
        *world.net.socket(0) = Socket::default();
        world.broker.opened(0, peer, world.now);
        world.send(0, &Packet::Connect(Box::new(connect(Version::V311, "a"))));
        world.lose(0);
    }
    assert_eq!(world.broker.events().len(), 1_024);
    // Also when all are connected.
    let mut world = World::new();
    for number in 0..1_100_u32 {
        let mut peer = peer();
        peer.address
            .set_ip(std::net::Ipv4Addr::from(0x0A00_0000 + number).into());
        world.broker.opened(number, peer, world.now);
        world.net.socket(number);
        world.send(
            number,
            &Packet::Connect(Box::new(connect(Version::V311, &number.to_string()))),
        );
    }
    let events = world.broker.events();
    assert_eq!(events.len(), 1_025);
    assert_eq!(
        events.iter().map(|row| row.succeeded).max(),
        Some(1_100 - 1_024)
    );
}

#[test]
fn sessions_are_listed() {
    let mut world = World::new();
    world.connect(0, connect_lasting(Version::V5, "a"));
    world.subscribe(0, "t", Q1);
    world.lose(0);
    world.join(1, Version::V311, "b");
    world.publish(1, "t", "x", Q1, 1);
    let sessions = world.broker.sessions(10);
    assert_eq!(sessions.len(), 2);
    assert_eq!(
        (
            &*sessions[0].client_id,
            sessions[0].address,
            sessions[0].queued
        ),
        ("a", None, 1)
    );
    assert_eq!(
        (&*sessions[1].client_id, sessions[1].address),
        ("b", Some(peer().address))
    );
    assert_eq!(world.broker.sessions(1).len(), 1);
    let stats = world.broker.stats();
    assert_eq!(
        (stats.clients_connected, stats.clients_offline, stats.queued),
        (1, 1, 1)
    );
}

#[test]
fn an_idle_client_is_small() {
    use super::super::{link, queue, session};
    // The structs of a client with one subscription; texts and tables beside it are a few dozen bytes.
    let structs = size_of::<link::Link>() + size_of::<Peer>() + size_of::<session::Session>();
    assert!(structs <= 512, "{structs}");
    assert!(
        size_of::<queue::Entry>() <= 32,
        "{}",
        size_of::<queue::Entry>()
    );
}
