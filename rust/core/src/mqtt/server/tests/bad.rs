//! Bad clients: one connection is lost at most, the others notice nothing.

use std::io::{Read, Write};
use std::time::Duration;

use super::super::super::broker::Options;
use super::super::super::packet::{Packet, QoS, Reason, Version};
use super::client::{Client, Got, connect, encoded, puback, publish, tcp};
use super::*;

#[test]
fn a_connection_without_connect_is_closed() {
    let mut options = ServerOptions::new(vec![plain()]);
    options.connect_timeout = Duration::from_millis(50);
    let started = start_with(options, Options::default(), |_| (None, None));
    let mut serving = Client::join(started.address(), "s", Version::V5);
    let mut silent = Client::new(tcp(started.address()), Version::V5);
    let mut half = Client::new(tcp(started.address()), Version::V5);
    half.stream.write_all(&[0x10, 30, 0]).expect("written");
    assert_eq!((silent.next(), half.next()), (Got::End, Got::End));
    serving.ping();
    assert_eq!(started.server.stats().timed_out, 2);
}

#[test]
fn a_packet_that_is_announced_too_large_ends_its_connection() {
    let started = start(vec![plain()]);
    let mut bystander = Client::join(started.address(), "b", Version::V5);
    let mut client = Client::join(started.address(), "c", Version::V5);
    client
        .stream
        .write_all(&[0x30, 0xff, 0xff, 0xff, 0x7f])
        .expect("written");
    assert_eq!(client.next(), Got::Disconnect(Reason::PACKET_TOO_LARGE));
    assert_eq!(client.next(), Got::End);
    bystander.ping();
}

#[test]
fn announced_bytes_take_no_memory_before_they_come() {
    let started = start(vec![plain()]);
    let mut announcing = Vec::new();
    for n in 0..20 {
        let mut client = Client::join(started.address(), &format!("c{n}"), Version::V5);
        // 16,000,000 bytes; three of them come.
        client
            .stream
            .write_all(&[0x30, 0x80, 0xc8, 0xd0, 0x07, 0, 1, b't'])
            .expect("written");
        announcing.push(client);
    }
    let mut bystander = Client::join(started.address(), "b", Version::V5);
    while started.server.stats().unread_bytes < 20 * 8 {
        bystander.ping();
    }
    assert_eq!(started.server.stats().unread_bytes, 20 * 8);
    drop(announcing);
    while started.server.stats().unread_bytes > 0 {
        bystander.ping();
    }
}

#[test]
fn unfinished_packets_have_a_limit_together() {
    let mut options = ServerOptions::new(vec![plain()]);
    options.unread_max_bytes = 150_000;
    let started = start_with(options, Options::default(), |_| (None, None));
    let mut clients: Vec<_> = (0..2)
        .map(|n| Client::join(started.address(), &format!("c{n}"), Version::V5))
        .collect();
    let mut part = encoded(Version::V5, &publish("t", &vec![0; 200_000], 0));
    part.truncate(100_000);
    clients[0].stream.write_all(&part).expect("written");
    while started.server.stats().unread_bytes < 100_000 {
        std::thread::yield_now();
    }
    clients[1].stream.write_all(&part).expect("written");
    assert_eq!(clients[1].next(), Got::Disconnect(Reason::SERVER_BUSY));
    clients[0]
        .stream
        .write_all(&vec![0; 100_010])
        .expect("written");
}

#[test]
fn bytes_that_are_no_packets_end_one_connection() {
    let started = start(vec![plain()]);
    let mut bystander = Client::join(started.address(), "b", Version::V5);
    for bytes in [
        &b"GET / HTTP/1.1\r\n\r\n"[..],
        b"\x00\x00",
        b"\xff\xff\xff\xff\xff\xff",
        b"\x30\x03\x00\x01t", // before CONNECT
    ] {
        let mut client = Client::new(tcp(started.address()), Version::V5);
        client.stream.write_all(bytes).expect("written");
        while client.next() != Got::End {}
        bystander.ping();
    }
    let mut client = Client::join(started.address(), "c", Version::V5);
    client.send(&Packet::Connect(Box::new(connect("c", Version::V5))));
    assert_eq!(client.next(), Got::Disconnect(Reason::PROTOCOL_ERROR));
}

#[test]
fn packets_behind_a_bad_one_are_not_handled() {
    let started = start(vec![plain()]);
    let mut subscriber = Client::join(started.address(), "s", Version::V5);
    subscriber.subscribe("#", QoS::AtMostOnce);
    let mut client = Client::join(started.address(), "c", Version::V5);
    let mut bytes = vec![0x36, 0x03, 0, 1, b't']; // QoS 3
    bytes.extend(encoded(Version::V5, &publish("late", b"", 0)));
    client.stream.write_all(&bytes).expect("written");
    assert_eq!(client.next(), Got::Disconnect(Reason::MALFORMED_PACKET));
    subscriber.ping();
}

#[test]
fn a_subscriber_that_reads_nothing_costs_a_bounded_amount() {
    let mut broker = Options::default();
    (broker.backlog_bytes, broker.queue_bytes) = (256 << 10, 1 << 20);
    let started = start_with(ServerOptions::new(vec![plain()]), broker, |_| (None, None));
    let mut stalled = Client::join(started.address(), "stalled", Version::V311);
    stalled.subscribe("t", QoS::AtMostOnce);
    let mut reader = Client::join(started.address(), "reader", Version::V311);
    reader.subscribe("t", QoS::AtMostOnce);
    let mut publisher = Client::join(started.address(), "p", Version::V311);
    let payload = vec![7; 60_000];
    for n in 1..=500 {
        publisher.send(&publish("t", &payload, n));
        assert_eq!(publisher.next(), puback(n, Reason::SUCCESS));
        assert_eq!(reader.next(), Got::Publish("t".into(), payload.clone(), 0));
    }
    let stats = started.server.broker().stats();
    assert!(stats.queued_bytes <= (1 << 20) + 120_000, "{stats:?}");
    assert!(stats.publishes_dropped > 100, "{stats:?}");
    publisher.ping();
    let mut one = [0; 1];
    stalled
        .stream
        .read_exact(&mut one)
        .expect("what was sent before");
}
