//! From the socket to packets.

use std::io::{self, Read};

use super::super::broker::{Broker, Cause, ConnId, Host};
use super::super::codec::{Split, decode, split};
use super::super::packet::{Packet, Publish, Reason};
use super::event_loop::EventLoop;
use super::layers::Received;
use super::shared::{Counters, Severity};
use super::sockets::{Ending, Stage};
use super::web::MESSAGE_SLACK_BYTES;

/// The largest packet of a client that is not known yet: a CONNECT with a will of some size.
const FIRST_PACKET_BYTES: usize = 1 << 20;
/// A buffer that has grown beyond it is given back.
const PLAIN_BYTES: usize = 256 << 10;

impl EventLoop {
    /// Reads once from a connection and hands over the packets that are whole. Returns how many bytes came.
    pub(super) fn serve(&mut self, broker: &mut Broker, id: ConnId) -> usize {
        let Some(conn) = self.sockets.get(id) else {
            return 0;
        };
        conn.queued = false;
        if conn.ending == Ending::Lingering {
            self.discard(broker, id);
            return 0;
        }
        if self.is_stopping() {
            return 0;
        }
        // What a pause has left.
        self.deliver(broker, id, &[]);
        let Some(conn) = self.sockets.get(id) else {
            return 0;
        };
        if !conn.takes_packets() {
            return 0;
        }
        if conn.has_ended {
            self.peer_ended(broker, id);
            return 0;
        }
        if !conn.readable {
            return 0;
        }
        if conn.layers.as_ref().is_some_and(|l| l.is_costly()) {
            if self.handshakes_left == 0 {
                self.sockets.queue(id);
                return 0;
            }
            self.handshakes_left -= 1;
        }
        let mut buffer = std::mem::take(&mut self.buffer);
        let read = conn.socket.read(&mut buffer);
        match &read {
            // A short read has emptied the socket; the end of the stream is still to be seen, though.
            Ok(n) => conn.readable = *n == buffer.len() || conn.half_closed,
            Err(e) => conn.readable = e.kind() == io::ErrorKind::Interrupted,
        }
        if conn.readable {
            self.sockets.queue(id);
        }
        let n = match read {
            Ok(0) => {
                self.peer_ended(broker, id);
                0
            }
            Ok(n) => {
                self.take(broker, id, &buffer[..n]);
                n
            }
            Err(e)
                if matches!(
                    e.kind(),
                    io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted
                ) =>
            {
                0
            }
            Err(_) => {
                self.drop_conn(broker, id, Cause::Failed);
                0
            }
        };
        self.buffer = buffer;
        n
    }

    /// What a peer sends after our good-bye.
    fn discard(&mut self, broker: &mut Broker, id: ConnId) {
        let Some(conn) = self.sockets.get(id) else {
            return;
        };
        match conn.socket.read(&mut self.buffer) {
            Ok(n) if n > 0 => self.sockets.queue(id),
            Err(e) if e.kind() == io::ErrorKind::Interrupted => self.sockets.queue(id),
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => {}
            Ok(_) | Err(_) => self.drop_conn(broker, id, Cause::Broker),
        }
    }

    /// Bytes of the socket, through the layers.
    fn take(&mut self, broker: &mut Broker, id: ConnId, raw: &[u8]) {
        let Some(conn) = self.sockets.get(id) else {
            return;
        };
        let Some(layers) = &mut conn.layers else {
            self.deliver(broker, id, raw);
            return;
        };
        let mut plain = std::mem::take(&mut self.plain);
        let received = layers.received(raw, &mut plain);
        // Answers of the handshake, alerts, pongs.
        self.sockets.mark(id);
        let held_bytes = self.sockets.count_layers(id);
        match received {
            Ok(received) => self.layered(broker, id, received, &plain),
            Err(error) => self.broken(id, &error.to_string()),
        }
        if held_bytes > 0 {
            self.limit_held(broker, id, held_bytes);
        }
        plain.clear();
        plain.shrink_to(PLAIN_BYTES);
        self.plain = plain;
    }

    fn layered(&mut self, broker: &mut Broker, id: ConnId, received: Received, plain: &[u8]) {
        if received.opened {
            self.introduce(broker, id);
        }
        let is_known = |c: &super::sockets::Conn| c.stage != Stage::Shaking;
        let known = self.sockets.peek(id).is_some_and(is_known);
        if known {
            self.deliver(broker, id, plain);
        }
        if !received.ended {
            return;
        }
        if !known {
            self.broken(id, "the handshake was given up or refused");
        } else if let Some(conn) = self.sockets.get(id)
            && conn.ending == Ending::No
            && !conn.takes_packets()
        {
            // One that waits has not been read whole: its end comes when it goes on.
            conn.has_ended = true;
        } else {
            self.peer_ended(broker, id);
        }
    }

    /// TLS or WebSocket went wrong: what they have to say about it is sent.
    fn broken(&mut self, id: ConnId, why: &str) {
        Counters::add(&self.shared.counters.handshakes_failed);
        if self.shared.is_debug()
            && let Some(conn) = self.sockets.peek(id)
        {
            let text = format!("{} ({:?}): {why}", conn.address, conn.transport);
            self.shared.report(Severity::Debug, text);
        }
        self.sockets.end(id, Cause::Failed);
    }

    /// Hands over whole packets out of what was left and what is new; the rest is kept.
    fn deliver(&mut self, broker: &mut Broker, id: ConnId, mut fresh: &[u8]) {
        if self.lines(broker, id, fresh, false) {
            return;
        }
        let mut held = self.sockets.take_input(id);
        if !held.is_empty() {
            // Only the packet that has begun is put together; those behind it are read where they are.
            let max = self.packet_limit(id);
            while let Ok(Split::More(more)) = split(&held, max)
                && !fresh.is_empty()
            {
                let n = more.min(fresh.len());
                held.extend_from_slice(&fresh[..n]);
                fresh = &fresh[n..];
            }
            let used = self.packets(broker, id, &held);
            if used < held.len() {
                held.drain(..used);
                held.extend_from_slice(fresh);
                self.put_back(broker, id, held);
                return;
            }
            held = Vec::new();
        }
        let used = self.packets(broker, id, fresh);
        if used < fresh.len() {
            held.extend_from_slice(&fresh[used..]);
            self.put_back(broker, id, held);
        }
    }

    pub(super) fn put_back(&mut self, broker: &mut Broker, id: ConnId, input: Vec<u8>) {
        if self.is_ending(id) {
            return;
        }
        self.sockets.put_input(id, input);
        self.limit_unread(broker, id);
    }

    fn is_ending(&self, id: ConnId) -> bool {
        self.sockets.peek(id).is_none_or(|c| c.ending != Ending::No)
    }

    /// A WebSocket message may be as large as the largest packet, but not before its client is known.
    fn limit_held(&mut self, broker: &mut Broker, id: ConnId, held_bytes: usize) {
        if self.is_ending(id) {
            return;
        }
        if held_bytes > self.packet_limit(id) + MESSAGE_SLACK_BYTES {
            let text = "a WebSocket message that is larger than the largest packet";
            self.fault(broker, id, Reason::PACKET_TOO_LARGE, text);
        } else {
            self.limit_unread(broker, id);
        }
    }

    fn limit_unread(&mut self, broker: &mut Broker, id: ConnId) {
        if self.sockets.unread_bytes > self.options.unread_max_bytes {
            self.warn(|| "too much memory in unfinished packets: a connection is closed".into());
            self.fault(
                broker,
                id,
                Reason::SERVER_BUSY,
                "too many bytes of unfinished packets",
            );
        }
    }

    fn packet_limit(&self, id: ConnId) -> usize {
        let serving = |c: &super::sockets::Conn| c.stage == Stage::Serving;
        if self.sockets.peek(id).is_some_and(serving) {
            self.packet_max_bytes
        } else {
            self.packet_max_bytes.min(FIRST_PACKET_BYTES)
        }
    }

    /// Hands over the whole packets at the start of `bytes`, until the connection has to stop. Returns their length.
    fn packets(&mut self, broker: &mut Broker, id: ConnId, bytes: &[u8]) -> usize {
        let is_full = !self.intake_has_room();
        let mut at = 0;
        while at < bytes.len() {
            let Some(conn) = self.sockets.peek(id).filter(|c| c.takes_packets()) else {
                break;
            };
            let version = conn.version;
            let len = match split(&bytes[at..], self.packet_limit(id)) {
                Ok(Split::Packet(len)) => len,
                Ok(Split::More(_)) => break,
                Err(error) => {
                    self.fault(broker, id, error.reason, error.text);
                    return bytes.len();
                }
            };
            match decode(&bytes[at..at + len], version) {
                Ok(packet) => {
                    if is_full && self.must_wait(id, &packet) {
                        break;
                    }
                    if let Packet::Connect(connect) = &packet
                        && let Some(conn) = self.sockets.get(id)
                        && conn.stage == Stage::Opened
                    {
                        conn.version = connect.version;
                        conn.stage = Stage::Serving;
                    }
                    broker.received(id, &packet, len, self.now, &mut self.sockets);
                }
                Err(error) => {
                    self.fault(broker, id, error.reason, error.text);
                    return bytes.len();
                }
            }
            at += len;
        }
        at
    }

    /// A message for the intake while it has no room: its connection waits.
    fn must_wait(&mut self, id: ConnId, packet: &Packet<'_>) -> bool {
        let Packet::Publish(Publish { topic, .. }) = packet else {
            return false;
        };
        // The topic of an alias is known to the broker only.
        if !topic.is_empty() && !self.sockets.takes(topic) {
            return false;
        }
        if let Some(conn) = self.sockets.get(id) {
            conn.held = true;
        }
        self.held.push(id);
        true
    }

    /// What came is no packet: the broker says so, and the connection ends.
    fn fault(&mut self, broker: &mut Broker, id: ConnId, reason: Reason, text: &str) {
        if self.shared.is_debug()
            && let Some(conn) = self.sockets.peek(id)
        {
            let text = format!("{}: [0x{:02x}] {text}", conn.address, reason.0);
            self.shared.report(Severity::Debug, text);
        }
        broker.malformed(id, reason, text, self.now, &mut self.sockets);
        self.sockets.end(id, Cause::Broker);
    }
}
