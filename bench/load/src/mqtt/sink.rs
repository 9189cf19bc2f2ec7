//! A server that does what the protocol makes visible and nothing else: no sessions, no filters, no limits. It
//! acknowledges at once and hands every message to every subscriber. What the generator reaches with it is the
//! generator's own ceiling.

use std::io;
use std::net::TcpListener;

use edgelake_core::mqtt::codec::{decode, encode, encode_ack};
use edgelake_core::mqtt::packet::{Ack, AckKind, ConnAck, Granted, Packet, Reason, Version};
use mio::{Events, Interest, Poll, Token};

use super::link::{self, Link, other};
use super::message::packet_id_at;

const PUBLISH: u8 = 3;
const LISTENER: Token = Token(usize::MAX);

struct Client {
    link: Link,
    version: Version,
    subscribed: bool,
}

/// What a packet asks of the server beyond an answer to its sender.
#[derive(Default)]
struct Round {
    version: Option<Version>,
    subscribes: bool,
    /// Messages for all subscribers.
    broadcast: Vec<u8>,
}

/// Serves until the process ends.
pub fn serve(listener: TcpListener) -> io::Result<()> {
    listener.set_nonblocking(true)?;
    let mut listener = mio::net::TcpListener::from_std(listener);
    let mut poll = Poll::new()?;
    poll.registry()
        .register(&mut listener, LISTENER, Interest::READABLE)?;
    let mut events = Events::with_capacity(256);
    let mut clients: Vec<Option<Client>> = Vec::new();
    let mut buffer = link::buffer();
    let mut next_id = 0;
    loop {
        poll.poll(&mut events, None)?;
        for event in &events {
            if event.token() == LISTENER {
                accept(&listener, &poll, &mut clients)?;
                continue;
            }
            let at = event.token().0;
            let Some(client) = &mut clients[at] else {
                continue;
            };
            let Ok(round) = read(client, &mut buffer, &mut next_id) else {
                clients[at] = None; // gone, or not one of ours
                continue;
            };
            for subscriber in clients.iter_mut().flatten().filter(|one| one.subscribed) {
                if !round.broadcast.is_empty() {
                    subscriber.link.out.extend_from_slice(&round.broadcast);
                    subscriber.link.flush().ok(); // who is gone is seen when it is read
                }
            }
        }
    }
}

fn accept(
    listener: &mio::net::TcpListener,
    poll: &Poll,
    clients: &mut Vec<Option<Client>>,
) -> io::Result<()> {
    while let Ok((stream, _)) = listener.accept() {
        stream.set_nodelay(true)?;
        let link = Link::of(stream, poll.registry(), Token(clients.len()))?;
        clients.push(Some(Client {
            link,
            version: Version::V311,
            subscribed: false,
        }));
    }
    Ok(())
}

fn read(client: &mut Client, buffer: &mut [u8], next_id: &mut u16) -> io::Result<Round> {
    let mut round = Round::default();
    let before = client.version;
    let read = client.link.read(buffer, |packet, out| {
        let version = round.version.unwrap_or(before);
        if packet[0] >> 4 == PUBLISH {
            return publish(packet, version, out, &mut round, next_id);
        }
        let decoded = decode(packet, version).map_err(|error| other(error.to_string()))?;
        answer(&decoded, version, out, &mut round)
    });
    client.version = round.version.unwrap_or(before);
    client.subscribed |= round.subscribes;
    read?;
    client.link.flush()?;
    Ok(round)
}

/// Acknowledges a message and hands it on as it came, but for the packet id.
fn publish(
    packet: &[u8],
    version: Version,
    out: &mut Vec<u8>,
    round: &mut Round,
    next_id: &mut u16,
) -> io::Result<()> {
    let start = round.broadcast.len();
    round.broadcast.extend_from_slice(packet);
    let kind = match packet[0] >> 1 & 3 {
        0 => return Ok(()),
        1 => AckKind::PubAck,
        _ => AckKind::PubRec,
    };
    let at = packet_id_at(packet).ok_or(other("a message without a packet id"))?;
    let packet_id = u16::from_be_bytes([packet[at], packet[at + 1]]);
    encode_ack(
        out,
        version,
        Ack {
            kind,
            packet_id,
            reason: Reason::SUCCESS,
        },
    );
    *next_id = next_id.checked_add(1).unwrap_or(1);
    round.broadcast[start + at..start + at + 2].copy_from_slice(&next_id.to_be_bytes());
    Ok(())
}

fn answer(
    packet: &Packet<'_>,
    version: Version,
    out: &mut Vec<u8>,
    round: &mut Round,
) -> io::Result<()> {
    let mut acknowledge = |kind, packet_id| {
        let ack = Ack {
            kind,
            packet_id,
            reason: Reason::SUCCESS,
        };
        encode_ack(out, version, ack);
    };
    match packet {
        Packet::Ack(Ack {
            kind: AckKind::PubRec,
            packet_id,
            ..
        }) => {
            acknowledge(AckKind::PubRel, *packet_id);
        }
        Packet::Ack(Ack {
            kind: AckKind::PubRel,
            packet_id,
            ..
        }) => {
            acknowledge(AckKind::PubComp, *packet_id);
        }
        Packet::Ack(_) => {}
        Packet::Connect(connect) => {
            round.version = Some(connect.version);
            encode(out, connect.version, &Packet::ConnAck(Box::new(accepted())));
        }
        Packet::Subscribe(subscribe) => {
            round.subscribes = true;
            let reasons = subscribe
                .filters
                .iter()
                .map(|one| Reason(one.options.qos as u8))
                .collect();
            let granted = Granted {
                packet_id: subscribe.packet_id,
                reasons,
            };
            encode(out, version, &Packet::SubAck(granted));
        }
        Packet::PingReq => encode(out, version, &Packet::PingResp),
        _ => return Err(other("a packet that no load generator sends")),
    }
    Ok(())
}

fn accepted() -> ConnAck<'static> {
    ConnAck::new(Reason::SUCCESS)
}
