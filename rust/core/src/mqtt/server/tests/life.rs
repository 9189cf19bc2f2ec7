//! Connections come, talk and go.

use std::io::Write;

use super::super::super::broker::{Grant, Options, Transport};
use super::super::super::packet::{Packet, QoS, Reason, Version};
use super::super::super::{broker::Acl, server::State};
use super::client::{Client, Got, connect, encoded, puback, publish, tcp};
use super::*;

#[test]
fn packets_survive_any_split_of_the_stream() {
    let started = start(vec![plain()]);
    let mut client = Client::new(tcp(started.address()), Version::V5);
    let mut bytes = encoded(
        Version::V5,
        &Packet::Connect(Box::new(connect("a", Version::V5))),
    );
    bytes.extend(encoded(Version::V5, &publish("t", b"payload", 7)));
    bytes.extend(encoded(Version::V5, &Packet::PingReq));
    for byte in bytes {
        client.stream.write_all(&[byte]).expect("written");
    }
    assert_eq!(client.next(), Got::ConnAck(Reason::SUCCESS));
    assert_eq!(client.next(), puback(7, Reason::NO_MATCHING_SUBSCRIBERS));
    assert_eq!(client.next(), Got::PingResp);
}

#[test]
fn many_packets_in_one_write_are_answered_in_order() {
    let started = start(vec![plain()]);
    let mut subscriber = Client::join(started.address(), "s", Version::V311);
    subscriber.subscribe("t/#", QoS::AtMostOnce);
    let mut publisher = Client::join(started.address(), "p", Version::V311);
    // Some larger than what is read at a time.
    let payloads: Vec<Vec<u8>> = (0..300_usize)
        .map(|n| vec![n as u8; n * n % 90_000])
        .collect();
    let mut bytes = Vec::new();
    for (n, payload) in payloads.iter().enumerate() {
        bytes.extend(encoded(
            Version::V311,
            &publish("t/x", payload, n as u16 + 1),
        ));
    }
    let writer = publisher.stream.try_clone().expect("cloned");
    let writing = std::thread::spawn(move || (&writer).write_all(&bytes).expect("written"));
    let reading = std::thread::spawn(move || {
        for payload in payloads {
            assert_eq!(subscriber.next(), Got::Publish("t/x".into(), payload, 0));
        }
    });
    for n in 1..=300 {
        assert_eq!(publisher.next(), puback(n, Reason::SUCCESS));
    }
    writing.join().expect("written");
    reading.join().expect("received");
}

#[test]
fn a_storm_of_connections_is_served() {
    let started = start(vec![plain()]);
    let mut clients: Vec<_> = (0..400)
        .map(|n| {
            let mut client = Client::new(tcp(started.address()), Version::V311);
            let id = format!("c{n}");
            client.send(&Packet::Connect(Box::new(connect(&id, Version::V311))));
            client
        })
        .collect();
    for client in &mut clients {
        assert_eq!(client.next(), Got::ConnAck(Reason::SUCCESS));
    }
    assert_eq!(started.server.broker().stats().clients_connected, 400);
    assert_eq!(started.server.stats().accepted, 400);
}

#[test]
fn several_addresses_are_listened_on() {
    let started = start(vec![plain(), plain()]);
    for address in started.server.addresses() {
        Client::join(*address, "", Version::V5).ping();
    }
}

#[test]
fn an_address_in_use_is_an_error_that_names_it() {
    let started = start(vec![plain()]);
    let mut taken = plain();
    taken.address = started.address();
    let prepared = Prepared::new().expect("prepared");
    let broker = Broker::new(Options::default());
    let options = ServerOptions::new(vec![taken]);
    let refused = Server::start(prepared, options, broker, None, None, Box::new(|| ()));
    let text = refused.err().expect("refused").to_string();
    assert!(text.contains(&started.address().to_string()), "{text}");
}

#[test]
fn above_the_limit_connections_are_closed_until_one_has_gone() {
    let mut options = ServerOptions::new(vec![plain()]);
    options.connections_max = 1;
    let started = start_with(options, Options::default(), |_| (None, None));
    let mut first = Client::join(started.address(), "a", Version::V5);
    assert_eq!(
        Client::new(tcp(started.address()), Version::V5).next(),
        Got::End
    );
    first.ping();
    first.disconnect();
    assert_eq!(first.next(), Got::End);
    // The place is free when the socket is gone on the server's side, too.
    drop(first);
    while started.server.stats().connections > 0 {
        std::thread::yield_now();
    }
    Client::join(started.address(), "b", Version::V5).ping();
}

#[test]
fn version_5_clients_are_told_when_the_server_stops() {
    let started = start(vec![plain()]);
    let mut new = Client::join(started.address(), "new", Version::V5);
    let mut old = Client::join(started.address(), "old", Version::V311);
    let watching = std::thread::spawn(move || {
        assert_eq!(new.next(), Got::Disconnect(Reason::SERVER_SHUTTING_DOWN));
        assert_eq!((new.next(), old.next()), (Got::End, Got::End));
    });
    started.server.stop();
    watching.join().expect("told");
    assert_eq!(started.server.state(), State::Stopped);
    std::net::TcpListener::bind(started.address()).expect("the address is free again");
}

fn with_logins() -> Started {
    let mut broker = Options::default();
    (broker.anonymous_local, broker.anonymous_remote) = (false, false);
    start_with(ServerOptions::new(vec![plain()]), broker, |_| (None, None))
}

#[test]
fn a_login_waits_for_its_verdict() {
    let started = with_logins();
    let mut client = Client::new(tcp(started.address()), Version::V5);
    let mut asking = connect("c", Version::V5);
    (asking.user, asking.password) = (Some("u"), Some(&b"secret"[..]));
    // What follows in the same write waits, too.
    let mut bytes = encoded(Version::V5, &Packet::Connect(Box::new(asking)));
    bytes.extend(encoded(Version::V5, &Packet::PingReq));
    client.stream.write_all(&bytes).expect("written");
    let pending = started.wait(|s| s.take_logins().pop());
    assert_eq!(pending.login.user.as_deref(), Some("u"));
    assert_eq!(pending.login.password.as_deref(), Some(&b"secret"[..]));
    assert_eq!(pending.login.peer.transport, Transport::Tcp);
    let grant = Grant {
        user: Some("u".into()),
        acl: std::sync::Arc::new(Acl::open()),
    };
    started.server.answer(pending.ticket, Ok(grant));
    assert_eq!(client.next(), Got::ConnAck(Reason::SUCCESS));
    assert_eq!(client.next(), Got::PingResp);
}

#[test]
fn a_refused_login_is_told_and_a_late_verdict_harms_nobody() {
    let started = with_logins();
    let ask = |client: &mut Client<_>| {
        let mut asking = connect("c", Version::V5);
        (asking.user, asking.password) = (Some("u"), Some(&b"guess"[..]));
        client.send(&Packet::Connect(Box::new(asking)));
        started.wait(|s| s.take_logins().pop())
    };
    let mut gone = Client::new(tcp(started.address()), Version::V5);
    let late = ask(&mut gone);
    started
        .server
        .answer(late.ticket, Err(Reason::BAD_USER_OR_PASSWORD));
    assert_eq!(gone.next(), Got::ConnAck(Reason::BAD_USER_OR_PASSWORD));
    assert_eq!(gone.next(), Got::End);
    drop(gone);
    while started.server.stats().connections > 0 {
        std::thread::yield_now();
    }
    let mut next = Client::new(tcp(started.address()), Version::V5);
    let pending = ask(&mut next);
    assert_eq!(late.login.conn, pending.login.conn);
    let open = Grant {
        user: None,
        acl: std::sync::Arc::new(Acl::open()),
    };
    started.server.answer(late.ticket, Ok(open));
    started
        .server
        .answer(pending.ticket, Err(Reason::NOT_AUTHORIZED));
    assert_eq!(next.next(), Got::ConnAck(Reason::NOT_AUTHORIZED));
}

#[test]
fn the_node_closes_the_connection_of_a_client() {
    let started = start(vec![plain()]);
    let mut client = Client::join(started.address(), "c", Version::V5);
    let reason = Reason::ADMINISTRATIVE_ACTION;
    started.server.disconnect("c".into(), reason);
    assert_eq!(client.next(), Got::Disconnect(reason));
    assert_eq!(client.next(), Got::End);
}

#[test]
fn a_client_that_keeps_silent_longer_than_it_said_is_closed() {
    let started = start(vec![plain()]);
    let mut client = Client::new(tcp(started.address()), Version::V5);
    let mut asking = connect("c", Version::V5);
    asking.keep_alive_s = 1;
    client.send(&Packet::Connect(Box::new(asking)));
    assert_eq!(client.next(), Got::ConnAck(Reason::SUCCESS));
    assert_eq!(client.next(), Got::Disconnect(Reason::KEEP_ALIVE_TIMEOUT));
    assert_eq!(client.next(), Got::End);
}

#[test]
fn debug_reports_say_who_comes_and_goes() {
    let started = start(vec![plain()]);
    started.server.set_debug(true);
    let client = Client::join(started.address(), "c", Version::V5);
    let address = client.stream.local_addr().expect("address").to_string();
    drop(client);
    let mut texts = Vec::new();
    started.wait(|s| {
        texts.extend(s.take_reports().into_iter().map(|r| r.text));
        let told = |word: &str| {
            texts
                .iter()
                .any(|t| t.contains(word) && t.contains(&address))
        };
        (told(": connected") && told("disconnected")).then_some(())
    });
}
