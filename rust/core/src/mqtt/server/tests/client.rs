//! A small blocking client for the tests.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use super::super::super::codec::{Split, decode, encode, split};
use super::super::super::packet::{
    Ack, AckKind, Connect, Disconnect, Forwarded, Packet, Publish, QoS, Reason, Subscribe,
    Subscription, SubscriptionOptions, Version,
};

/// Longer than anything here takes; a test that waits so long has failed.
const PATIENCE: Duration = Duration::from_secs(20);

pub(super) struct Client<S> {
    pub(super) stream: S,
    version: Version,
    input: Vec<u8>,
}

/// What came, owned.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Got {
    ConnAck(Reason),
    Publish(String, Vec<u8>, u16),
    Ack(Ack),
    SubAck(Vec<Reason>),
    PingResp,
    Disconnect(Reason),
    Other,
    /// The server closed the connection.
    End,
}

pub(super) fn tcp(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).expect("connected");
    stream.set_nodelay(true).expect("nodelay");
    stream.set_read_timeout(Some(PATIENCE)).expect("timeout");
    stream.set_write_timeout(Some(PATIENCE)).expect("timeout");
    stream
}

pub(super) fn connect(id: &str, version: Version) -> Connect<'_> {
    Connect::new(version, id)
}

pub(super) fn publish<'a>(topic: &'a str, payload: &'a [u8], packet_id: u16) -> Packet<'a> {
    let qos = if packet_id == 0 {
        QoS::AtMostOnce
    } else {
        QoS::AtLeastOnce
    };
    Packet::Publish(Publish {
        duplicate: false,
        qos,
        retain: false,
        topic,
        packet_id,
        topic_alias: None,
        expiry_s: None,
        subscription_ids: Vec::new(),
        properties: Forwarded::default(),
        payload,
    })
}

pub(super) fn encoded(version: Version, packet: &Packet<'_>) -> Vec<u8> {
    let mut out = Vec::new();
    encode(&mut out, version, packet);
    out
}

pub(super) fn puback(packet_id: u16, reason: Reason) -> Got {
    Got::Ack(Ack {
        kind: AckKind::PubAck,
        packet_id,
        reason,
    })
}

impl Client<TcpStream> {
    /// Connected and accepted.
    pub(super) fn join(address: SocketAddr, id: &str, version: Version) -> Self {
        let mut client = Self::new(tcp(address), version);
        client.send(&Packet::Connect(Box::new(connect(id, version))));
        assert_eq!(client.next(), Got::ConnAck(Reason::SUCCESS));
        client
    }
}

impl<S: Read + Write> Client<S> {
    pub(super) fn new(stream: S, version: Version) -> Self {
        Self {
            stream,
            version,
            input: Vec::new(),
        }
    }

    pub(super) fn send(&mut self, packet: &Packet<'_>) {
        let bytes = encoded(self.version, packet);
        self.stream.write_all(&bytes).expect("written");
        self.stream.flush().expect("flushed");
    }

    pub(super) fn subscribe(&mut self, filter: &str, qos: QoS) {
        self.send(&Packet::Subscribe(Subscribe {
            packet_id: 1,
            subscription_id: None,
            filters: vec![Subscription {
                filter,
                options: SubscriptionOptions {
                    qos,
                    ..SubscriptionOptions::default()
                },
            }],
        }));
        assert_eq!(self.next(), Got::SubAck(vec![Reason(qos as u8)]));
    }

    /// The server answers, so it has handled all that was sent before.
    pub(super) fn ping(&mut self) {
        self.send(&Packet::PingReq);
        assert_eq!(self.next(), Got::PingResp);
    }

    pub(super) fn disconnect(&mut self) {
        self.send(&Packet::Disconnect(Disconnect {
            reason: Reason::SUCCESS,
            session_expiry_s: None,
            reason_text: None,
        }));
    }

    pub(super) fn next(&mut self) -> Got {
        loop {
            if let Ok(Split::Packet(len)) = split(&self.input, 1 << 28) {
                let packet: Vec<u8> = self.input.drain(..len).collect();
                return owned(&decode(&packet, self.version).expect("a packet of the server"));
            }
            let mut buffer = [0; 4096];
            match self.stream.read(&mut buffer) {
                Ok(0) => return Got::End,
                Ok(n) => self.input.extend_from_slice(&buffer[..n]),
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e)
                    if matches!(
                        e.kind(),
                        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut
                    ) =>
                {
                    panic!("nothing came")
                }
                Err(_) => return Got::End,
            }
        }
    }
}

fn owned(packet: &Packet<'_>) -> Got {
    match packet {
        Packet::ConnAck(ack) => Got::ConnAck(ack.reason),
        Packet::Publish(p) => Got::Publish(p.topic.into(), p.payload.into(), p.packet_id),
        Packet::Ack(ack) => Got::Ack(*ack),
        Packet::SubAck(granted) => Got::SubAck(granted.reasons.clone()),
        Packet::PingResp => Got::PingResp,
        Packet::Disconnect(disconnect) => Got::Disconnect(disconnect.reason),
        _ => Got::Other,
    }
}
