//! One connection to a broker: opened with plain blocking calls, then driven by a poll.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use edgelake_core::mqtt::codec::{Split, decode, encode, split};
use edgelake_core::mqtt::packet::{
    Connect, Packet, QoS, Reason, Subscribe, Subscription, SubscriptionOptions, Version,
};
use mio::{Interest, Registry, Token};

use super::Target;

/// Largest packet that is taken.
const MAX_BYTES: usize = 1 << 20;
const ANSWER: Duration = Duration::from_secs(20);
/// Bytes that are gathered before they are written.
pub const FULL_BYTES: usize = 64 << 10;

pub fn other(text: impl Into<String>) -> io::Error {
    io::Error::other(text.into())
}

/// The CONNECT of a client whose session ends with its connection.
pub fn connect_bytes(version: Version, client_id: &str) -> Vec<u8> {
    let mut out = Vec::new();
    let connect = Connect::new(version, client_id);
    encode(&mut out, version, &Packet::Connect(Box::new(connect)));
    out
}

pub fn subscribe_bytes(version: Version, filter: &str, qos: QoS) -> Vec<u8> {
    let mut out = Vec::new();
    let options = SubscriptionOptions {
        qos,
        ..SubscriptionOptions::default()
    };
    let filters = vec![Subscription { filter, options }];
    let subscribe = Subscribe {
        packet_id: 1,
        subscription_id: None,
        filters,
    };
    encode(&mut out, version, &Packet::Subscribe(subscribe));
    out
}

/// Connects and waits for the CONNACK.
///
/// Returns the socket and how many messages the broker takes unacknowledged.
pub fn open(target: Target, client_id: &str) -> io::Result<(TcpStream, usize)> {
    let mut stream = TcpStream::connect(target.address)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(ANSWER))?;
    stream.write_all(&connect_bytes(target.version, client_id))?;
    let answer = read_packet(&mut stream)?;
    let connack = match decode(&answer, target.version) {
        Ok(Packet::ConnAck(connack)) => connack,
        instead => return Err(other(format!("instead of a CONNACK came {instead:?}"))),
    };
    if connack.reason != Reason::SUCCESS {
        return Err(other(format!(
            "the broker refused a connection: {:#04x}",
            connack.reason.0
        )));
    }
    Ok((stream, connack.receive_maximum.map_or(65_535, usize::from)))
}

/// Subscribes and waits for the SUBACK.
pub fn subscribe(
    stream: &mut TcpStream,
    version: Version,
    filter: &str,
    qos: QoS,
) -> io::Result<()> {
    stream.write_all(&subscribe_bytes(version, filter, qos))?;
    let answer = read_packet(stream)?;
    match decode(&answer, version) {
        Ok(Packet::SubAck(granted)) if granted.reasons == [Reason(qos as u8)] => Ok(()),
        instead => Err(other(format!("instead of a grant came {instead:?}"))),
    }
}

/// One packet from a blocking socket, and not a byte more.
pub fn read_packet(stream: &mut TcpStream) -> io::Result<Vec<u8>> {
    let mut packet = Vec::new();
    loop {
        match split(&packet, MAX_BYTES) {
            Ok(Split::Packet(_)) => return Ok(packet),
            Ok(Split::More(missing)) => {
                let start = packet.len();
                packet.resize(start + missing, 0);
                stream.read_exact(&mut packet[start..])?;
            }
            Err(error) => return Err(other(error.to_string())),
        }
    }
}

/// A connection that a poll drives.
pub struct Link {
    stream: mio::net::TcpStream,
    pub out: Vec<u8>,
    /// Bytes of `out` that are written.
    written: usize,
    /// Begin of a packet whose end is still to come.
    partial: Vec<u8>,
}

impl Link {
    pub fn new(stream: TcpStream, registry: &Registry, token: Token) -> io::Result<Self> {
        stream.set_nonblocking(true)?;
        Self::of(mio::net::TcpStream::from_std(stream), registry, token)
    }

    pub fn of(
        mut stream: mio::net::TcpStream,
        registry: &Registry,
        token: Token,
    ) -> io::Result<Self> {
        registry.register(&mut stream, token, Interest::READABLE | Interest::WRITABLE)?;
        Ok(Self {
            stream,
            out: Vec::new(),
            written: 0,
            partial: Vec::new(),
        })
    }

    /// Whether the socket has taken all.
    pub fn is_flushed(&self) -> bool {
        self.out.is_empty()
    }

    /// Writes what the socket takes; true when nothing is left.
    pub fn flush(&mut self) -> io::Result<bool> {
        while self.written < self.out.len() {
            match self.stream.write(&self.out[self.written..]) {
                Ok(bytes) => self.written += bytes,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
                Err(error) => return Err(error),
            }
        }
        self.out.clear();
        self.written = 0;
        Ok(true)
    }

    /// Reads all there is and calls `found` with each whole packet and the output.
    pub fn read(
        &mut self,
        buffer: &mut [u8],
        mut found: impl FnMut(&[u8], &mut Vec<u8>) -> io::Result<()>,
    ) -> io::Result<()> {
        loop {
            let kept = self.partial.len();
            buffer[..kept].copy_from_slice(&self.partial);
            let end = match self.stream.read(&mut buffer[kept..]) {
                Ok(0) => return Err(other("a connection was closed by the other side")),
                Ok(bytes) => kept + bytes,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            };
            let mut rest = &buffer[..end];
            while let Split::Packet(length) =
                split(rest, MAX_BYTES).map_err(|error| other(error.to_string()))?
            {
                let (packet, later) = rest.split_at(length);
                found(packet, &mut self.out)?;
                rest = later;
            }
            self.partial.clear();
            self.partial.extend_from_slice(rest);
        }
    }
}

/// A buffer for `Link::read`.
pub fn buffer() -> Vec<u8> {
    vec![0; 2 * MAX_BYTES]
}
