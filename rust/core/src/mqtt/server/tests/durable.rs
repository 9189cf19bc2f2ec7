//! Acknowledgements wait for the store and the intake; both may be slow, fail, or break.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;

use super::super::super::broker::{Change, Inbound, Options, Refusal};
use super::super::super::packet::{Packet, Publish, QoS, Reason, Version};
use super::super::{State, Wake};
use super::client::{Client, Got, puback, publish};
use super::*;

type Told = VecDeque<(u64, Result<(), Refusal>)>;

/// Completes what it is told to.
#[derive(Clone, Default)]
struct Slow {
    handed: Arc<Mutex<Vec<u64>>>,
    told: Arc<Mutex<Told>>,
    is_full: Arc<AtomicBool>,
    breaks: bool,
}

impl Slow {
    /// Waits for a round, and completes it.
    fn complete(&self, wake: &Wake, result: Result<(), Refusal>) {
        let round = loop {
            if let Some(round) = self.handed.lock().pop() {
                break round;
            }
            std::thread::yield_now();
        };
        self.told.lock().push_back((round, result));
        wake();
    }
}

impl Keep for Slow {
    fn append(&mut self, round: u64, changes: &[Change]) {
        assert!(!changes.is_empty());
        self.handed.lock().push(round);
    }

    fn completed(&mut self) -> Option<(u64, Result<(), Refusal>)> {
        self.told.lock().pop_front()
    }
}

impl Intake for Slow {
    fn generation(&self) -> u64 {
        1
    }

    fn takes(&self, topic: &str) -> bool {
        topic.starts_with("rows/")
    }

    fn has_room(&self) -> bool {
        !self.is_full.load(Ordering::SeqCst)
    }

    fn submit(&mut self, round: u64, messages: Vec<Inbound>) {
        assert!(!self.breaks, "broken on purpose");
        assert!(!messages.is_empty());
        self.handed.lock().push(round);
    }

    fn completed(&mut self) -> Option<(u64, Result<(), Refusal>)> {
        self.told.lock().pop_front()
    }
}

fn with_keep(keep: &Slow) -> (Started, Wake) {
    let mut wake = None;
    let options = ServerOptions::new(vec![plain()]);
    let started = start_with(options, Options::default(), |prepared| {
        wake = Some(prepared.waker());
        (None, Some(Box::new(keep.clone())))
    });
    (started, wake.expect("waker"))
}

fn with_intake(intake: &Slow) -> (Started, Wake) {
    let mut wake = None;
    let options = ServerOptions::new(vec![plain()]);
    let started = start_with(options, Options::default(), |prepared| {
        wake = Some(prepared.waker());
        (Some(Box::new(intake.clone())), None)
    });
    (started, wake.expect("waker"))
}

fn retained(topic: &str, packet_id: u16) -> Packet<'_> {
    let Packet::Publish(publish) = publish(topic, b"x", packet_id) else {
        unreachable!("it is one")
    };
    Packet::Publish(Publish {
        retain: true,
        ..publish
    })
}

#[test]
fn a_retained_message_is_acknowledged_when_it_is_kept() {
    let keep = Slow::default();
    let (started, wake) = with_keep(&keep);
    let mut client = Client::join(started.address(), "c", Version::V5);
    client.send(&retained("kept", 1));
    // It answers meanwhile; no acknowledgement is before that.
    client.ping();
    keep.complete(&wake, Ok(()));
    assert_eq!(client.next(), puback(1, Reason::NO_MATCHING_SUBSCRIBERS));
}

#[test]
fn a_message_that_cannot_be_kept_is_refused() {
    let keep = Slow::default();
    let (started, wake) = with_keep(&keep);
    let mut client = Client::join(started.address(), "c", Version::V5);
    client.send(&retained("kept", 1));
    keep.complete(&wake, Err(Refusal::Full));
    assert_eq!(client.next(), puback(1, Reason::QUOTA_EXCEEDED));
    let mut old = Client::join(started.address(), "old", Version::V311);
    old.send(&retained("kept", 1));
    keep.complete(&wake, Err(Refusal::Full));
    assert_eq!(old.next(), Got::End);
    let texts = started.wait(|s| Some(s.take_reports()).filter(|r| !r.is_empty()));
    assert!(texts[0].text.contains("messages are refused"), "{texts:?}");
}

#[test]
fn without_a_store_nothing_waits() {
    let started = start(vec![plain()]);
    let mut client = Client::join(started.address(), "c", Version::V5);
    client.send(&retained("kept", 1));
    assert_eq!(client.next(), puback(1, Reason::NO_MATCHING_SUBSCRIBERS));
    client.subscribe("kept", QoS::AtMostOnce);
    assert_eq!(client.next(), Got::Publish("kept".into(), b"x".to_vec(), 0));
}

#[test]
fn a_mapped_message_is_acknowledged_when_its_rows_are_durable() {
    let intake = Slow::default();
    let (started, wake) = with_intake(&intake);
    let mut client = Client::join(started.address(), "c", Version::V5);
    client.send(&publish("rows/a", b"{}", 1));
    client.ping();
    intake.complete(&wake, Ok(()));
    assert!(matches!(client.next(), Got::Ack(ack) if ack.packet_id == 1 && !ack.reason.is_error()));
}

#[test]
fn publishers_of_mapped_topics_wait_for_room_and_others_do_not() {
    let intake = Slow::default();
    let (started, wake) = with_intake(&intake);
    let mut mapped = Client::join(started.address(), "m", Version::V5);
    let mut other = Client::join(started.address(), "o", Version::V5);
    intake.is_full.store(true, Ordering::SeqCst);
    mapped.send(&publish("rows/a", b"{}", 1));
    mapped.send(&Packet::PingReq);
    for n in 1..=50 {
        other.send(&publish("elsewhere", b"", n));
        assert_eq!(other.next(), puback(n, Reason::NO_MATCHING_SUBSCRIBERS));
    }
    assert!(intake.handed.lock().is_empty());
    intake.is_full.store(false, Ordering::SeqCst);
    wake();
    assert_eq!(mapped.next(), Got::PingResp);
    intake.complete(&wake, Ok(()));
    assert!(matches!(mapped.next(), Got::Ack(ack) if ack.packet_id == 1));
}

#[test]
fn what_was_received_is_acknowledged_before_the_stop() {
    let keep = Slow::default();
    let (started, wake) = with_keep(&keep);
    let mut client = Client::join(started.address(), "c", Version::V5);
    client.send(&retained("kept", 1));
    client.ping();
    std::thread::scope(|scope| {
        scope.spawn(|| started.server.stop());
        keep.complete(&wake, Ok(()));
        assert_eq!(client.next(), puback(1, Reason::NO_MATCHING_SUBSCRIBERS));
        assert_eq!(client.next(), Got::Disconnect(Reason::SERVER_SHUTTING_DOWN));
        drop(client);
    });
}

#[test]
fn a_panic_ends_the_server_and_is_told() {
    let intake = Slow {
        breaks: true,
        ..Slow::default()
    };
    let (started, _) = with_intake(&intake);
    let mut client = Client::join(started.address(), "c", Version::V5);
    client.send(&publish("rows/a", b"{}", 1));
    assert_eq!(client.next(), Got::End);
    let state = started.wait(|s| Some(s.state()).filter(|s| *s != State::Running));
    let State::Failed(text) = state else {
        panic!("{state:?}")
    };
    assert!(text.contains("broken on purpose"), "{text}");
    started.server.stop();
}

#[test]
fn the_node_publishes_and_learns_when_it_is_kept() {
    let keep = Slow::default();
    let (started, wake) = with_keep(&keep);
    let mut client = Client::join(started.address(), "c", Version::V5);
    client.subscribe("own/#", QoS::AtMostOnce);
    let (done, told) = channel();
    started.server.publish(super::super::Publication {
        topic: "own/1".into(),
        payload: b"x".to_vec(),
        qos: QoS::AtLeastOnce,
        retain: true,
        done: Box::new(move |result| done.send(result).expect("awaited")),
    });
    assert_eq!(
        client.next(),
        Got::Publish("own/1".into(), b"x".to_vec(), 0)
    );
    assert!(told.try_recv().is_err());
    keep.complete(&wake, Ok(()));
    assert_eq!(told.recv_timeout(Duration::from_secs(20)), Ok(Ok(1)));
}
