//! The broker without sockets: clients whose packets go through the codec in both directions.

#[cfg(test)]
mod acks;
#[cfg(test)]
mod acl;
#[cfg(test)]
mod alias;
#[cfg(test)]
mod connect;
#[cfg(test)]
mod flow;
#[cfg(test)]
mod lossless;
pub mod model;
#[cfg(test)]
mod publish;
#[cfg(test)]
mod random;
#[cfg(test)]
mod recovery;
#[cfg(test)]
mod retained;
#[cfg(test)]
mod sessions;
#[cfg(test)]
mod shared;
#[cfg(test)]
mod subscribe;
#[cfg(test)]
mod sys;
#[cfg(test)]
mod welcome;
#[cfg(test)]
mod wills;

use super::*;
use crate::mqtt::codec::{self, Split};
use crate::mqtt::packet::{
    Ack, ConnAck, Connect, Disconnect, Forwarded, QoS, RetainHandling, Subscribe, Subscription,
    SubscriptionOptions, Unsubscribe, Version, Will,
};

pub(super) const BOTH: [Version; 2] = [Version::V311, Version::V5];

#[derive(Default)]
pub(super) struct Socket {
    pub output: Vec<u8>,
    pub is_closed: bool,
    pub is_paused: bool,
    pub version: Option<Version>,
}

#[derive(Default)]
pub(super) struct Net {
    pub sockets: Vec<Socket>,
    pub mapped: Vec<&'static str>,
    pub generation: u64,
}

impl Net {
    fn socket(&mut self, conn: ConnId) -> &mut Socket {
        let at = conn as usize;
        if self.sockets.len() <= at {
            self.sockets.resize_with(at + 1, Socket::default);
        }
        &mut self.sockets[at]
    }
}

impl Host for Net {
    fn output(&mut self, conn: ConnId) -> &mut Vec<u8> {
        &mut self.socket(conn).output
    }
    fn backlog(&self, conn: ConnId) -> usize {
        self.sockets
            .get(conn as usize)
            .map_or(0, |socket| socket.output.len())
    }
    fn close(&mut self, conn: ConnId) {
        self.socket(conn).is_closed = true;
    }
    fn pause(&mut self, conn: ConnId, on: bool) {
        let socket = self.socket(conn);
        assert_ne!(socket.is_paused, on, "pauses are balanced");
        socket.is_paused = on;
    }
    fn takes(&self, topic: &str) -> bool {
        self.mapped.contains(&topic)
    }
    fn generation(&self) -> u64 {
        self.generation
    }
}

pub(super) struct World {
    pub broker: Broker,
    pub net: Net,
    pub now: Now,
    /// Rounds are kept and mapped when they end.
    pub keeps: bool,
    /// All changes so far.
    pub log: Vec<Change>,
    pub inbound: Vec<Inbound>,
    /// The last round that had something.
    pub ended: u64,
    /// Round in which the store was given a message, by its payload.
    pub stored: std::collections::HashMap<Box<[u8]>, u64>,
}

pub(super) fn peer() -> Peer {
    Peer {
        address: ([127, 0, 0, 1], 5000).into(),
        transport: Transport::Tcp,
        certificate: None,
    }
}

impl World {
    pub fn new() -> Self {
        Self::with(Options {
            sys_interval_s: 0,
            ..Options::default()
        })
    }

    pub fn with(options: Options) -> Self {
        Self {
            broker: Broker::new(options),
            net: Net::default(),
            now: Now {
                mono_ms: 1_000,
                unix_ms: 1_700_000_000_000,
            },
            keeps: true,
            log: Vec::new(),
            inbound: Vec::new(),
            ended: 0,
            stored: std::collections::HashMap::new(),
        }
    }

    /// A world after a crash: what was logged is there.
    pub fn restarted(&self) -> Self {
        self.restarted_with(&[])
    }

    /// The same, with receipts that the intake's journal has.
    pub fn restarted_with(&self, receipts: &[(u64, Receipt)]) -> Self {
        let mut world = Self::with(self.broker.options().clone());
        world.now = self.now;
        world.log.clone_from(&self.log);
        for change in &self.log {
            world.broker.apply(change.clone());
        }
        world.broker.continue_after(self.ended);
        for (round, receipt) in receipts {
            world.broker.apply_receipt(*round, receipt);
        }
        world.broker.recovered(world.now);
        world.round();
        world
    }

    pub fn open(&mut self, conn: ConnId) {
        *self.net.socket(conn) = Socket::default();
        self.broker.opened(conn, peer(), self.now);
    }

    /// Bytes of a client, as the server would hand them over.
    pub fn feed(&mut self, conn: ConnId, bytes: &[u8]) {
        self.feed_some(conn, bytes);
        self.round();
    }

    /// The same within a round.
    pub fn feed_some(&mut self, conn: ConnId, mut bytes: &[u8]) {
        let version = self.net.socket(conn).version.unwrap_or(Version::V311);
        while !bytes.is_empty() && !self.net.socket(conn).is_closed {
            let packet = match codec::split(bytes, 16 * 1024 * 1024) {
                Ok(Split::Packet(length)) => {
                    let (packet, rest) = bytes.split_at(length);
                    bytes = rest;
                    codec::decode(packet, version).map(|decoded| (decoded, length))
                }
                Ok(Split::More(_)) => return,
                Err(error) => Err(error),
            };
            match packet {
                Ok((packet, length)) => {
                    self.broker
                        .received(conn, &packet, length, self.now, &mut self.net);
                }
                Err(error) => {
                    self.broker
                        .malformed(conn, error.reason, "malformed", self.now, &mut self.net);
                    break;
                }
            }
        }
    }

    pub fn send(&mut self, conn: ConnId, packet: &Packet<'_>) {
        self.send_only(conn, packet);
        self.round();
    }

    /// The same within a round.
    pub fn send_only(&mut self, conn: ConnId, packet: &Packet<'_>) {
        if let Packet::Connect(connect) = packet {
            self.net.socket(conn).version = Some(connect.version);
        }
        let version = self.net.socket(conn).version.unwrap_or(Version::V311);
        let mut bytes = Vec::new();
        codec::encode(&mut bytes, version, packet);
        self.feed_some(conn, &bytes);
    }

    /// Ends the round. Returns its number.
    pub fn round(&mut self) -> u64 {
        let round = self.broker.end_round();
        let (number, kept, mapped) = (
            round.number,
            !round.changes.is_empty(),
            !round.messages.is_empty(),
        );
        if kept || mapped {
            self.ended = number;
        }
        for change in &round.changes {
            if let Change::Message(message) = change {
                self.stored.entry(message.payload.clone()).or_insert(number);
            }
        }
        self.log.extend(round.changes);
        self.inbound.extend(round.messages);
        if self.keeps && mapped {
            self.broker.mapped(number, Ok(()), self.now, &mut self.net);
        }
        if self.keeps && kept {
            self.broker.kept(number, Ok(()), self.now, &mut self.net);
        }
        if self.keeps && (kept || mapped) {
            self.round();
        }
        number
    }

    pub fn kept(&mut self, round: u64, result: Result<(), Refusal>) {
        self.broker.kept(round, result, self.now, &mut self.net);
    }

    pub fn mapped(&mut self, round: u64, result: Result<(), Refusal>) {
        self.broker.mapped(round, result, self.now, &mut self.net);
    }

    /// What a client got since the last look; its socket takes all of it.
    pub fn got(&mut self, conn: ConnId) -> Vec<Packet<'static>> {
        let version = self.net.socket(conn).version.unwrap_or(Version::V311);
        let mut all = Vec::new();
        loop {
            let bytes: &'static [u8] = std::mem::take(&mut self.net.socket(conn).output).leak();
            if bytes.is_empty() {
                return all;
            }
            let mut rest = bytes;
            while !rest.is_empty() {
                match codec::split(rest, usize::MAX) {
                    Ok(Split::Packet(length)) => {
                        all.push(codec::decode(&rest[..length], version).expect("output decodes"));
                        rest = &rest[length..];
                    }
                    _ => panic!("output is no packet"),
                }
            }
            self.broker.progress(conn, self.now, &mut self.net);
        }
    }

    pub fn got_one(&mut self, conn: ConnId) -> Packet<'static> {
        let mut all = self.got(conn);
        assert_eq!(all.len(), 1, "one packet: {all:?}");
        all.remove(0)
    }

    pub fn got_nothing(&mut self, conn: ConnId) {
        assert_eq!(self.got(conn), Vec::new());
    }

    /// The PUBLISHes that a client got; there was nothing else.
    pub fn messages(&mut self, conn: ConnId) -> Vec<Publish<'static>> {
        self.got(conn)
            .into_iter()
            .map(|packet| match packet {
                Packet::Publish(publish) => publish,
                other => panic!("a message: {other:?}"),
            })
            .collect()
    }

    pub fn payloads(&mut self, conn: ConnId) -> Vec<String> {
        let messages = self.messages(conn);
        messages
            .iter()
            .map(|publish| String::from_utf8_lossy(publish.payload).into_owned())
            .collect()
    }

    /// Opens and connects. Returns the CONNACK.
    pub fn connect(&mut self, conn: ConnId, connect: Connect<'_>) -> ConnAck<'static> {
        self.knock(conn, connect);
        match self.got(conn).into_iter().next() {
            Some(Packet::ConnAck(ack)) => *ack,
            other => panic!("a CONNACK first: {other:?}"),
        }
    }

    /// Opens and sends a CONNECT, whose answer may wait for the store.
    pub fn knock(&mut self, conn: ConnId, connect: Connect<'_>) {
        self.open(conn);
        self.send(conn, &Packet::Connect(Box::new(connect)));
    }

    /// The same, of a client with a name and nothing special.
    pub fn join(&mut self, conn: ConnId, version: Version, client_id: &str) -> ConnAck<'static> {
        self.connect(conn, connect(version, client_id))
    }

    /// The network breaks.
    pub fn lose(&mut self, conn: ConnId) {
        self.broker
            .closed(conn, Cause::Failed, self.now, &mut self.net);
        self.net.socket(conn).is_closed = true;
        self.round();
    }

    pub fn leave(&mut self, conn: ConnId) {
        self.send(conn, &Packet::Disconnect(disconnect(Reason::SUCCESS)));
        assert!(self.net.socket(conn).is_closed);
        self.lose(conn);
    }

    pub fn subscribe(&mut self, conn: ConnId, filter: &str, qos: QoS) -> Reason {
        self.subscribe_with(
            conn,
            filter,
            SubscriptionOptions {
                qos,
                ..SubscriptionOptions::default()
            },
            None,
        )
    }

    /// Returns the reason; what comes behind the SUBACK stays.
    pub fn subscribe_with(
        &mut self,
        conn: ConnId,
        filter: &str,
        options: SubscriptionOptions,
        id: Option<u32>,
    ) -> Reason {
        self.got(conn);
        self.send(
            conn,
            &Packet::Subscribe(Subscribe {
                packet_id: 9,
                subscription_id: id,
                filters: vec![Subscription { filter, options }],
            }),
        );
        let version = self.net.socket(conn).version.expect("its CONNECT");
        let output = std::mem::take(&mut self.net.socket(conn).output);
        let Ok(Split::Packet(length)) = codec::split(&output, usize::MAX) else {
            panic!("a SUBACK");
        };
        let Ok(Packet::SubAck(granted)) = codec::decode(&output[..length], version) else {
            panic!("a SUBACK first");
        };
        self.net.socket(conn).output = output[length..].to_vec();
        granted.reasons[0]
    }

    pub fn publish(&mut self, conn: ConnId, topic: &str, payload: &str, qos: QoS, packet_id: u16) {
        self.send(
            conn,
            &Packet::Publish(publish(topic, payload, qos, packet_id)),
        );
    }

    pub fn ack(&mut self, conn: ConnId, kind: AckKind, packet_id: u16) {
        self.send(conn, &ack(kind, packet_id, Reason::SUCCESS));
    }

    pub fn advance(&mut self, ms: u64) {
        self.now.mono_ms += ms;
        self.now.unix_ms += ms;
        self.broker.tick(self.now, &mut self.net);
        self.round();
    }

    pub fn is_closed(&mut self, conn: ConnId) -> bool {
        self.net.socket(conn).is_closed
    }
}

pub(super) fn connect(version: Version, client_id: &str) -> Connect<'_> {
    Connect::new(version, client_id)
}

/// Of a client whose session stays.
pub(super) fn connect_lasting(version: Version, client_id: &str) -> Connect<'_> {
    Connect {
        clean: false,
        session_expiry_s: u32::MAX,
        ..connect(version, client_id)
    }
}

pub(super) fn publish<'a>(
    topic: &'a str,
    payload: &'a str,
    qos: QoS,
    packet_id: u16,
) -> Publish<'a> {
    Publish {
        duplicate: false,
        qos,
        retain: false,
        topic,
        packet_id,
        topic_alias: None,
        expiry_s: None,
        subscription_ids: Vec::new(),
        properties: Forwarded::default(),
        payload: payload.as_bytes(),
    }
}

pub(super) fn retained<'a>(
    topic: &'a str,
    payload: &'a str,
    qos: QoS,
    packet_id: u16,
) -> Packet<'a> {
    Packet::Publish(Publish {
        retain: true,
        ..publish(topic, payload, qos, packet_id)
    })
}

pub(super) fn disconnect(reason: Reason) -> Disconnect<'static> {
    Disconnect {
        reason,
        session_expiry_s: None,
        reason_text: None,
    }
}

pub(super) fn ack(kind: AckKind, packet_id: u16, reason: Reason) -> Packet<'static> {
    Packet::Ack(Ack {
        kind,
        packet_id,
        reason,
    })
}

pub(super) fn will<'a>(topic: &'a str, payload: &'a str) -> Will<'a> {
    Will {
        topic,
        payload: payload.as_bytes(),
        qos: QoS::AtLeastOnce,
        retain: false,
        delay_s: 0,
        expiry_s: None,
        properties: Forwarded::default(),
    }
}

/// The reason of a DISCONNECT that is the only packet.
pub(super) fn reason_of(packets: &[Packet<'_>]) -> Reason {
    match packets {
        [Packet::Disconnect(disconnect)] => disconnect.reason,
        other => panic!("a DISCONNECT: {other:?}"),
    }
}

pub(super) const Q0: QoS = QoS::AtMostOnce;
pub(super) const Q1: QoS = QoS::AtLeastOnce;
pub(super) const Q2: QoS = QoS::ExactlyOnce;

/// All that is alive, in an order of its own.
pub(super) fn state(broker: &Broker) -> Vec<String> {
    let mut state: Vec<String> = broker
        .snapshot(&mut Cursor::default(), usize::MAX)
        .iter()
        .map(|change| format!("{change:?}"))
        .collect();
    state.sort();
    state
}
