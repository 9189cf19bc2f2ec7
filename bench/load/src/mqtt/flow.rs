//! A number of messages from publishers through a broker to subscribers, each of which gets all of them.

use std::io;
use std::time::{Duration, Instant};

use edgelake_core::mqtt::codec::{decode, encode_ack};
use edgelake_core::mqtt::packet::{Ack, AckKind, Packet, QoS, Reason, Version};
use mio::{Events, Poll, Token};

use super::Target;
use super::link::{self, FULL_BYTES, Link, other};
use super::message::{LEAST_BYTES, MOST_PUBLISHERS, Template, packet_id_at, read};

#[derive(Clone, Debug)]
pub struct Flow {
    pub target: Target,
    pub publishers: usize,
    pub subscribers: usize,
    pub qos: QoS,
    pub payload_bytes: usize,
    /// Messages that each publisher may have on the way: unacknowledged ones, with QoS 0 those that not all
    /// subscribers have got.
    pub window: usize,
    /// Of each publisher.
    pub messages: u64,
    /// Publisher `n` writes to `<topic>/<n>`.
    pub topic: String,
    pub limit: Duration,
}

#[derive(Clone, Copy, Debug, Default)]
pub struct Report {
    pub seconds: f64,
    pub acknowledged: u64,
    /// At all subscribers together.
    pub delivered: u64,
}

struct Publisher {
    link: Link,
    template: Template,
    sent: u64,
    /// Acknowledged; with QoS 0, what all subscribers have.
    done: u64,
    window: u64,
}

struct Subscriber {
    link: Link,
    /// Number of the next message of each publisher.
    next: Vec<u64>,
}

struct Run<'a> {
    flow: &'a Flow,
    publishers: Vec<Publisher>,
    subscribers: Vec<Subscriber>,
}

/// Runs a flow. Fails on a message that is lost, doubled or out of order, and after `limit`.
pub fn run(flow: &Flow) -> io::Result<Report> {
    if flow.publishers > MOST_PUBLISHERS || flow.payload_bytes < LEAST_BYTES {
        return Err(other(format!(
            "at most {MOST_PUBLISHERS} publishers, and payloads of {LEAST_BYTES} bytes or more"
        )));
    }
    let mut poll = Poll::new()?;
    let mut events = Events::with_capacity(256);
    let mut run = Run::open(flow, &poll)?;
    let mut buffer = link::buffer();
    let begin = Instant::now();
    for at in 0..flow.publishers {
        run.send(at)?;
    }
    while !run.is_done() {
        if begin.elapsed() > flow.limit {
            return Err(other(format!("not finished in time: {}", run.state())));
        }
        poll.poll(&mut events, Some(Duration::from_millis(100)))?;
        for event in &events {
            run.ready(event.token().0, &mut buffer)?;
        }
        if flow.qos == QoS::AtMostOnce {
            run.settle();
            for at in 0..flow.publishers {
                run.send(at)?;
            }
        }
    }
    let seconds = begin.elapsed().as_secs_f64();
    let acknowledged = run.publishers.iter().map(|one| one.done).sum();
    let delivered = run.subscribers.iter().flat_map(|one| &one.next).sum();
    Ok(Report {
        seconds,
        acknowledged,
        delivered,
    })
}

impl<'a> Run<'a> {
    fn open(flow: &'a Flow, poll: &Poll) -> io::Result<Self> {
        let Target { version, .. } = flow.target;
        let mut run = Self {
            flow,
            publishers: Vec::new(),
            subscribers: Vec::new(),
        };
        for at in 0..flow.subscribers {
            let (mut stream, _) = link::open(flow.target, &format!("bench-subscriber-{at}"))?;
            link::subscribe(&mut stream, version, &format!("{}/#", flow.topic), flow.qos)?;
            let link = Link::new(stream, poll.registry(), Token(flow.publishers + at))?;
            run.subscribers.push(Subscriber {
                link,
                next: vec![0; flow.publishers],
            });
        }
        for at in 0..flow.publishers {
            let (stream, limit) = link::open(flow.target, &format!("bench-publisher-{at}"))?;
            let link = Link::new(stream, poll.registry(), Token(at))?;
            let topic = format!("{}/{at}", flow.topic);
            let template = Template::new(version, &topic, flow.qos, at, flow.payload_bytes);
            let limit = if flow.qos == QoS::AtMostOnce {
                usize::MAX
            } else {
                limit
            };
            let window = flow.window.min(limit) as u64;
            run.publishers.push(Publisher {
                link,
                template,
                sent: 0,
                done: 0,
                window,
            });
        }
        Ok(run)
    }

    fn is_done(&self) -> bool {
        let all = self.flow.messages;
        let sent = |one: &Publisher| one.done == all && one.link.is_flushed();
        let arrived = |one: &Subscriber| one.next.iter().all(|&next| next == all);
        self.publishers.iter().all(sent) && self.subscribers.iter().all(arrived)
    }

    fn state(&self) -> String {
        let sum = |of: fn(&Publisher) -> u64| self.publishers.iter().map(of).sum::<u64>();
        let delivered: u64 = self.subscribers.iter().flat_map(|one| &one.next).sum();
        let (sent, done) = (sum(|one| one.sent), sum(|one| one.done));
        format!("{sent} sent, {done} acknowledged or complete, {delivered} delivered")
    }

    /// Publishes what the window and the socket take.
    fn send(&mut self, at: usize) -> io::Result<()> {
        let Publisher {
            link,
            template,
            sent,
            done,
            window,
        } = &mut self.publishers[at];
        loop {
            let until = self.flow.messages.min(*done + *window);
            while *sent < until && link.out.len() < FULL_BYTES {
                template.write(&mut link.out, *sent, id_of(*sent));
                *sent += 1;
            }
            if !link.flush()? || *sent == until {
                return Ok(());
            }
        }
    }

    fn ready(&mut self, token: usize, buffer: &mut [u8]) -> io::Result<()> {
        let version = self.flow.target.version;
        let Some(at) = token.checked_sub(self.publishers.len()) else {
            let Publisher { link, done, .. } = &mut self.publishers[token];
            link.read(buffer, |packet, out| {
                acknowledged(packet, out, version, done)
            })?;
            return self.send(token);
        };
        let Subscriber { link, next } = &mut self.subscribers[at];
        link.read(buffer, |packet, out| arrived(packet, out, self.flow, next))?;
        link.flush().map(|_| ())
    }

    /// QoS 0: what is done is what the slowest subscriber has.
    fn settle(&mut self) {
        for (at, publisher) in self.publishers.iter_mut().enumerate() {
            let slowest = self.subscribers.iter().map(|one| one.next[at]).min();
            publisher.done = slowest.unwrap_or(publisher.sent);
        }
    }
}

/// Packet id of message `number`: 1 to 65,535, over and over.
fn id_of(number: u64) -> u16 {
    (number % 65_535) as u16 + 1
}

/// A packet for a publisher: acknowledgements in the order of the messages [MQTT-4.6.0-2].
fn acknowledged(
    packet: &[u8],
    out: &mut Vec<u8>,
    version: Version,
    done: &mut u64,
) -> io::Result<()> {
    match decode(packet, version) {
        Ok(Packet::Ack(ack)) if !ack.reason.is_error() => match ack.kind {
            AckKind::PubRec => {
                let kind = AckKind::PubRel;
                let release = Ack {
                    kind,
                    packet_id: ack.packet_id,
                    reason: Reason::SUCCESS,
                };
                encode_ack(out, version, release);
            }
            _ if ack.packet_id == id_of(*done) => *done += 1,
            _ => return Err(other(format!("{ack:?} out of order, {} are done", *done))),
        },
        instead => return Err(other(format!("a publisher got {instead:?}"))),
    }
    Ok(())
}

/// A packet for a subscriber.
fn arrived(packet: &[u8], out: &mut Vec<u8>, flow: &Flow, next: &mut [u64]) -> io::Result<()> {
    let first = packet[0];
    if first >> 4 != 3 {
        return released(packet, out, flow.target.version);
    }
    // Not `decode`: of all a subscriber could check, only this counts here, and it is on the hottest path.
    let payload = packet.len().saturating_sub(flow.payload_bytes);
    let Some((publisher, number)) = read(&packet[payload..]) else {
        return Err(other("a subscriber got a message that nobody sent"));
    };
    match next.get_mut(publisher) {
        Some(expected) if *expected == number => *expected += 1,
        expected => {
            return Err(other(format!(
                "message {number} of publisher {publisher} came instead of {expected:?}"
            )));
        }
    }
    let kind = match first >> 1 & 3 {
        0 => return Ok(()),
        1 => AckKind::PubAck,
        _ => AckKind::PubRec,
    };
    let at = packet_id_at(packet).ok_or(other("a message without a packet id"))?;
    let packet_id = u16::from_be_bytes([packet[at], packet[at + 1]]);
    encode_ack(
        out,
        flow.target.version,
        Ack {
            kind,
            packet_id,
            reason: Reason::SUCCESS,
        },
    );
    Ok(())
}

/// A PUBREL is answered.
fn released(packet: &[u8], out: &mut Vec<u8>, version: Version) -> io::Result<()> {
    match decode(packet, version) {
        Ok(Packet::Ack(Ack {
            kind: AckKind::PubRel,
            packet_id,
            ..
        })) => {
            let reason = Reason::SUCCESS;
            encode_ack(
                out,
                version,
                Ack {
                    kind: AckKind::PubComp,
                    packet_id,
                    reason,
                },
            );
            Ok(())
        }
        instead => Err(other(format!("a subscriber got {instead:?}"))),
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;
    use std::thread;

    use super::*;
    use crate::mqtt::{qos, sink, version};

    #[test]
    fn every_message_reaches_every_subscriber_in_order() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("its address");
        thread::spawn(|| sink::serve(listener));
        for (level, number) in [(4, 0), (4, 1), (4, 2), (5, 1)] {
            let flow = Flow {
                target: Target {
                    address,
                    version: version(level).expect("a version"),
                },
                publishers: 3,
                subscribers: 2,
                qos: qos(number).expect("a QoS"),
                payload_bytes: 64,
                window: 50,
                messages: 2000,
                topic: "t".to_owned(),
                limit: Duration::from_secs(60),
            };
            let report = run(&flow).expect("a report");
            assert_eq!((report.acknowledged, report.delivered), (6000, 12_000));
        }
    }
}
