//! Latency of acknowledgements: at a fixed rate, and with one message in flight.

use std::io::{self, Write};
use std::thread;
use std::time::{Duration, Instant};

use edgelake_core::mqtt::codec::decode;
use edgelake_core::mqtt::packet::{AckKind, Packet, QoS, Version};
use mio::{Events, Poll, Token};

use super::Target;
use super::link::{self, Link, other};
use super::message::Template;

/// Wait for the last acknowledgements.
const LAST: Duration = Duration::from_secs(10);

#[derive(Clone, Debug)]
pub struct Pace {
    pub target: Target,
    pub publishers: usize,
    /// Messages a second of all publishers together.
    pub rate: u32,
    pub messages: u64,
    pub payload_bytes: usize,
    pub topic: String,
}

/// Publishes at the times of a schedule, whatever the broker does, and takes the time from there to the PUBACK: a
/// message that could not be sent in time counts as late as it is (no coordinated omission).
///
/// Returns the latencies in nanoseconds, sorted.
pub fn run(pace: &Pace) -> io::Result<Vec<u64>> {
    let mut senders = Vec::new();
    let mut receivers = Vec::new();
    for at in 0..pace.publishers {
        let (stream, _) = link::open(pace.target, &format!("bench-pace-{at}"))?;
        senders.push(stream.try_clone()?);
        receivers.push(stream);
    }
    let begin = Instant::now() + Duration::from_millis(20);
    let due =
        |number: u64| begin + Duration::from_nanos(number * 1_000_000_000 / u64::from(pace.rate));
    thread::scope(|scope| {
        let publishers = pace.publishers as u64;
        let receiver = scope
            .spawn(move || receive(pace, receivers, &|at, count| due(count * publishers + at)));
        let templates: Vec<Template> = (0..pace.publishers).map(|at| template(pace, at)).collect();
        let mut packet = Vec::new();
        for number in 0..pace.messages {
            let (at, count) = ((number % publishers) as usize, number / publishers);
            packet.clear();
            templates[at].write(&mut packet, count, id_of(count));
            thread::sleep(due(number).saturating_duration_since(Instant::now()));
            write_all(&mut senders[at], &packet)?;
        }
        receiver
            .join()
            .map_err(|_| other("the receiving thread failed"))?
    })
}

/// The sockets don't block, for the sake of the other thread.
fn write_all(stream: &mut std::net::TcpStream, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        match stream.write(bytes) {
            Ok(written) => bytes = &bytes[written..],
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                thread::sleep(Duration::from_micros(100));
            }
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

fn template(pace: &Pace, at: usize) -> Template {
    let topic = format!("{}/{at}", pace.topic);
    Template::new(
        pace.target.version,
        &topic,
        QoS::AtLeastOnce,
        at,
        pace.payload_bytes,
    )
}

fn id_of(count: u64) -> u16 {
    (count % 65_535) as u16 + 1
}

/// `due`: when message `count` of a publisher was to be sent.
fn receive(
    pace: &Pace,
    streams: Vec<std::net::TcpStream>,
    due: &dyn Fn(u64, u64) -> Instant,
) -> io::Result<Vec<u64>> {
    let mut poll = Poll::new()?;
    let mut events = Events::with_capacity(64);
    let mut links = Vec::new();
    for (at, stream) in streams.into_iter().enumerate() {
        links.push((Link::new(stream, poll.registry(), Token(at))?, 0_u64));
    }
    let mut buffer = link::buffer();
    let mut latencies = Vec::with_capacity(pace.messages as usize);
    let mut last = Instant::now();
    while latencies.len() < pace.messages as usize {
        poll.poll(&mut events, Some(Duration::from_millis(100)))?;
        let now = Instant::now();
        for event in &events {
            let at = event.token().0;
            let (link, count) = &mut links[at];
            link.read(&mut buffer, |packet, _| {
                check_puback(packet, pace.target.version, id_of(*count))?;
                let late = now.saturating_duration_since(due(at as u64, *count));
                latencies.push(late.as_nanos() as u64);
                *count += 1;
                last = now;
                Ok(())
            })?;
        }
        if last.elapsed() > LAST {
            let got = latencies.len();
            return Err(other(format!(
                "{got} of {} messages were acknowledged",
                pace.messages
            )));
        }
    }
    latencies.sort_unstable();
    Ok(latencies)
}

fn check_puback(packet: &[u8], version: Version, id: u16) -> io::Result<()> {
    match decode(packet, version) {
        Ok(Packet::Ack(ack))
            if ack.kind == AckKind::PubAck && ack.packet_id == id && !ack.reason.is_error() =>
        {
            Ok(())
        }
        instead => Err(other(format!(
            "instead of the PUBACK of {id} came {instead:?}"
        ))),
    }
}

/// Publishes one message after the other, each when the one before is acknowledged.
///
/// Returns the latencies in nanoseconds, sorted.
pub fn one_by_one(pace: &Pace) -> io::Result<Vec<u64>> {
    let (mut stream, _) = link::open(pace.target, "bench-one")?;
    let template = template(pace, 0);
    let mut latencies = Vec::with_capacity(pace.messages as usize);
    let mut packet = Vec::new();
    for count in 0..pace.messages {
        packet.clear();
        template.write(&mut packet, count, id_of(count));
        let begin = Instant::now();
        stream.write_all(&packet)?;
        let answer = link::read_packet(&mut stream)?;
        latencies.push(begin.elapsed().as_nanos() as u64);
        check_puback(&answer, pace.target.version, id_of(count))?;
    }
    latencies.sort_unstable();
    Ok(latencies)
}
