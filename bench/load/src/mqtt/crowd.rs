//! Many connections at once, and clients that no broker likes; and how a bystander fares meanwhile.

use std::io::{self, ErrorKind, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use edgelake_core::mqtt::codec::{PublishHead, encode_publish};
use edgelake_core::mqtt::packet::QoS;
use mio::{Events, Poll, Token};

use super::Target;
use super::link::{self, Link, other};
use super::pace::{self, Pace};

/// Connections that are being opened at the same time.
const OPENING: usize = 500;
/// Quiet begin of a bystander's run.
const SETTLE: Duration = Duration::from_millis(300);
const CLAIMED: [u8; 5] = [0x30, 0xFF, 0xFF, 0xFF, 0x7F];
/// What a claimant sends of what it claims.
const SENT_BYTES: usize = 32 << 10;
const FLOOD_BYTES: usize = 4 << 10;

/// Connections that are held until this is dropped.
pub struct Crowd {
    _links: Vec<Link>,
    _poll: Poll,
    pub seconds: f64,
}

/// Opens `count` connections as fast as the broker answers, each with a subscription of its own if `subscribe`.
pub fn open(target: Target, count: usize, subscribe: bool, limit: Duration) -> io::Result<Crowd> {
    let begin = Instant::now();
    let mut poll = Poll::new()?;
    let mut events = Events::with_capacity(OPENING);
    let mut links: Vec<Link> = Vec::with_capacity(count);
    let mut buffer = link::buffer();
    let answers = 1 + usize::from(subscribe);
    let mut missing: Vec<usize> = Vec::with_capacity(count); // answers that each still waits for
    let mut ready = 0;
    while ready < count {
        while links.len() < count && links.len() - ready < OPENING {
            let at = links.len();
            let stream = mio::net::TcpStream::connect(target.address)?;
            let mut link = Link::of(stream, poll.registry(), Token(at))?;
            let id = format!("bench-crowd-{at}");
            link.out = link::connect_bytes(target.version, &id);
            if subscribe {
                let filter = format!("crowd/{at}/cmd");
                link.out.extend(link::subscribe_bytes(
                    target.version,
                    &filter,
                    QoS::AtLeastOnce,
                ));
            }
            links.push(link);
            missing.push(answers);
        }
        if begin.elapsed() > limit {
            return Err(other(format!(
                "only {ready} of {count} connections after {limit:?}"
            )));
        }
        poll.poll(&mut events, Some(Duration::from_millis(100)))?;
        for event in &events {
            let at = event.token().0;
            match links[at].flush() {
                Err(error) if error.kind() == ErrorKind::NotConnected => continue,
                flushed => flushed?,
            };
            let left = &mut missing[at];
            let read = links[at].read(&mut buffer, |packet, _| {
                let fits = matches!((packet[0], packet[3]), (0x20, 0)) || packet[0] == 0x90;
                *left = left
                    .checked_sub(1)
                    .filter(|_| fits)
                    .ok_or(other("an answer is wrong"))?;
                ready += usize::from(*left == 0);
                Ok(())
            });
            read?;
            if *left == 0 {
                links[at].out = Vec::new();
            }
        }
    }
    Ok(Crowd {
        _links: links,
        _poll: poll,
        seconds: begin.elapsed().as_secs_f64(),
    })
}

/// What happens around a bystander.
#[derive(Clone, Copy, Debug)]
pub enum Disturbance {
    None,
    /// So many connect.
    Storm(usize),
    /// One subscriber reads nothing, while another client publishes so many bytes a second for it.
    Stalled(usize),
    /// So many clients announce a packet of 256 MB and send a little of it.
    Claims(usize),
}

/// As `pace::run`, while something else goes on. Also the seconds until a storm's last connection was there.
pub fn bystander(pace: &Pace, disturbance: Disturbance) -> io::Result<(Vec<u64>, f64)> {
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        let disturbing = scope.spawn(|| {
            thread::sleep(SETTLE);
            disturb(pace.target, disturbance, &over)
        });
        let latencies = pace::run(pace);
        over.store(true, Ordering::Relaxed);
        let seconds = disturbing
            .join()
            .map_err(|_| other("the disturbing thread failed"))??;
        Ok((latencies?, seconds))
    })
}

fn disturb(target: Target, what: Disturbance, over: &AtomicBool) -> io::Result<f64> {
    let hold = || {
        while !over.load(Ordering::Relaxed) {
            thread::sleep(Duration::from_millis(5));
        }
    };
    match what {
        Disturbance::None => Ok(0.0),
        Disturbance::Storm(count) => {
            let crowd = open(target, count, false, Duration::from_secs(60))?;
            hold();
            Ok(crowd.seconds)
        }
        Disturbance::Stalled(bytes_s) => flood(target, bytes_s, over).map(|()| 0.0),
        Disturbance::Claims(count) => {
            let mut claimants = Vec::new();
            for at in 0..count {
                let (mut stream, _) = link::open(target, &format!("bench-claim-{at}"))?;
                // A broker may close such a connection at any moment.
                let _ = stream.write_all(&CLAIMED);
                let _ = stream.write_all(&vec![0; SENT_BYTES]);
                claimants.push(stream);
            }
            hold();
            Ok(0.0)
        }
    }
}

/// Publishes for a subscriber that reads nothing.
fn flood(target: Target, bytes_s: usize, over: &AtomicBool) -> io::Result<()> {
    let (mut deaf, _) = link::open(target, "bench-deaf")?;
    link::subscribe(&mut deaf, target.version, "flood/#", QoS::AtMostOnce)?;
    let (mut stream, _) = link::open(target, "bench-flood")?;
    stream.set_write_timeout(Some(Duration::from_millis(20)))?;
    let mut packet = Vec::new();
    let head = PublishHead {
        topic: "flood/x",
        duplicate: false,
        qos: QoS::AtMostOnce,
        retain: false,
        packet_id: 0,
        topic_alias: None,
        expiry_s: None,
        subscription_ids: &[],
        properties: &[],
        payload: &[b'x'; FLOOD_BYTES],
    };
    encode_publish(&mut packet, target.version, &head);
    let (begin, mut sent) = (Instant::now(), 0);
    while !over.load(Ordering::Relaxed) {
        let due = (begin.elapsed().as_secs_f64() * bytes_s as f64) as usize;
        while sent < due && !over.load(Ordering::Relaxed) {
            sent += write_some(&mut stream, &packet, over)?;
        }
        thread::sleep(Duration::from_millis(1));
    }
    Ok(())
}

/// Writes a packet as far as it goes while this is not over: a broker may stop reading.
fn write_some(stream: &mut TcpStream, packet: &[u8], over: &AtomicBool) -> io::Result<usize> {
    let mut written = 0;
    while written < packet.len() && !over.load(Ordering::Relaxed) {
        match stream.write(&packet[written..]) {
            Ok(bytes) => written += bytes,
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(packet.len())
}
