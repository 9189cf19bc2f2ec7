//! Connections that send lines instead of MQTT.

use std::io::{Read, Write};
use std::net::Shutdown;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;

use super::super::super::broker::{Inbound, LineSink, Opening, Options, Refusal};
use super::super::super::packet::Version;
use super::super::Wake;
use super::client::{Client, Got, tcp};
use super::layers::{Authority, over, say_all};
use super::*;

/// Takes connections that begin with `<` or, once it is told, with anything.
#[derive(Clone, Default)]
struct Taker {
    taken: Arc<Mutex<Vec<u8>>>,
    is_full: Arc<AtomicBool>,
    fails: Arc<AtomicBool>,
}

impl Taker {
    fn text(&self) -> String {
        String::from_utf8_lossy(&self.taken.lock()).into_owned()
    }

    fn wait_for(&self, text: &str) {
        while self.text() != text {
            std::thread::yield_now();
        }
    }
}

impl LineSink for Taker {
    fn feed(&mut self, bytes: &[u8], now_us: i64) -> Result<usize, String> {
        assert!(now_us > 0);
        if self.fails.load(Ordering::SeqCst) {
            return Err("lines are lost".into());
        }
        self.taken.lock().extend_from_slice(bytes);
        Ok(memchr::memchr_iter(b'\n', bytes).count())
    }

    fn finish(&mut self, _now_us: i64) -> Result<usize, String> {
        self.taken.lock().push(b'$');
        Ok(1)
    }

    fn held_bytes(&self) -> usize {
        self.taken.lock().len()
    }
}

impl Intake for Taker {
    fn generation(&self) -> u64 {
        1
    }

    fn takes(&self, _topic: &str) -> bool {
        false
    }

    fn has_room(&self) -> bool {
        !self.is_full.load(Ordering::SeqCst)
    }

    fn submit(&mut self, _round: u64, _messages: Vec<Inbound>) {}

    fn completed(&mut self) -> Option<(u64, Result<(), Refusal>)> {
        None
    }

    fn open_lines(&self, _: SocketAddr, first: &[u8], is_all: bool, anonymous: bool) -> Opening {
        assert!(anonymous && !first.is_empty());
        match first {
            [b'?'] if !is_all => Opening::Undecided,
            [b'<' | b'?', ..] => Opening::Lines(Box::new(self.clone())),
            _ => Opening::Refused,
        }
    }
}

fn serve(taker: &Taker, unread_max_bytes: usize) -> (Started, Wake) {
    serve_on(plain(), taker, unread_max_bytes)
}

fn serve_on(listener: Listener, taker: &Taker, unread_max_bytes: usize) -> (Started, Wake) {
    let mut wake = None;
    let mut options = ServerOptions::new(vec![listener]);
    options.unread_max_bytes = unread_max_bytes;
    let started = start_with(options, Options::default(), |prepared| {
        wake = Some(prepared.waker());
        (Some(Box::new(taker.clone())), None)
    });
    (started, wake.expect("a waker"))
}

#[test]
fn lines_and_packets_share_a_port() {
    let taker = Taker::default();
    let (started, _) = serve(&taker, 1 << 20);
    let mut sender = tcp(started.address());
    sender.write_all(b"<34>one\n<34>tw").expect("written");
    taker.wait_for("<34>one\n<34>tw");
    let mut client = Client::join(started.address(), "c", Version::V5);
    client.ping();
    sender.write_all(b"o").expect("written");
    drop(sender);
    taker.wait_for("<34>one\n<34>two$");
    client.ping();
    let stats = started.server.stats();
    assert_eq!((stats.line_connections, stats.lines), (1, 2));
    assert_eq!(stats.unread_bytes, 0);
    assert_eq!(started.server.broker().stats().faults, 0);
}

#[test]
fn the_begin_of_a_header_waits_for_the_rest_or_the_end() {
    let taker = Taker::default();
    let (started, _) = serve(&taker, 1 << 20);
    let mut slow = tcp(started.address());
    slow.write_all(b"?").expect("written");
    while started.server.stats().unread_bytes < 1 {
        std::thread::yield_now();
    }
    slow.write_all(b"!").expect("written");
    taker.wait_for("?!");
    let mut short = tcp(started.address());
    short.write_all(b"?").expect("written");
    drop(short);
    taker.wait_for("?!?$");
}

#[test]
fn what_nobody_has_a_rule_for_ends_its_connection() {
    let taker = Taker::default();
    let (started, _) = serve(&taker, 1 << 20);
    let mut client = Client::new(tcp(started.address()), Version::V5);
    client
        .stream
        .write_all(b"GET / HTTP/1.1\r\n")
        .expect("written");
    while client.next() != Got::End {}
    assert_eq!(taker.text(), "");
    assert_eq!(started.server.stats().line_connections, 0);
}

#[test]
fn lines_wait_for_room() {
    let taker = Taker::default();
    taker.is_full.store(true, Ordering::SeqCst);
    let (started, wake) = serve(&taker, 1 << 20);
    let mut sender = tcp(started.address());
    sender.write_all(b"<34>one\n").expect("written");
    while started.server.stats().unread_bytes < 8 {
        std::thread::yield_now();
    }
    Client::join(started.address(), "c", Version::V5).ping();
    assert_eq!(taker.text(), "");
    taker.is_full.store(false, Ordering::SeqCst);
    wake();
    taker.wait_for("<34>one\n");
}

#[test]
fn lines_over_tls_whose_connection_ends_while_there_is_no_room_come_whole() {
    let authority = Authority::new();
    // Most clients close the socket behind their good-bye; others wait for ours.
    for closes in [true, false] {
        let taker = Taker::default();
        taker.is_full.store(true, Ordering::SeqCst);
        let listener = over(Some(authority.server(false)), false);
        let (started, wake) = serve_on(listener, &taker, 1 << 20);
        let mut sender = authority.client(started.address(), None);
        say_all(&mut sender, b"<34>one\n<34>two");
        if closes {
            sender.sock.shutdown(Shutdown::Write).expect("closed");
        }
        while started.server.stats().unread_bytes < 15 {
            std::thread::yield_now();
        }
        wake(); // Nothing changes as long as it is full.
        assert_eq!(taker.text(), "");
        taker.is_full.store(false, Ordering::SeqCst);
        wake();
        taker.wait_for("<34>one\n<34>two$");
        sender.sock.read_to_end(&mut Vec::new()).expect("closed");
        assert_eq!(started.server.stats().lines, 2);
        // A connection is counted out when it has been closed.
        while started.server.stats().unread_bytes > 0 {
            std::thread::yield_now();
        }
    }
}

#[test]
fn lost_lines_and_lines_that_never_end_close_their_connection() {
    let taker = Taker::default();
    let (started, _) = serve(&taker, 1_000);
    let mut endless = Client::new(tcp(started.address()), Version::V5);
    endless.stream.write_all(&[b'<'; 1_001]).expect("written");
    assert_eq!(endless.next(), Got::End);
    taker.fails.store(true, Ordering::SeqCst);
    let mut lost = Client::new(tcp(started.address()), Version::V5);
    lost.stream.write_all(b"<34>x\n").expect("written");
    assert_eq!(lost.next(), Got::End);
    assert_eq!(started.server.stats().lines_broken, 2);
    assert!(!started.server.take_reports().is_empty());
}
