//! The connections, and what the broker may do with them (`Host`).

use std::collections::VecDeque;
use std::io;
use std::net::{Shutdown, SocketAddr};

use mio::net::TcpStream;

use super::super::broker::{Cause, ConnId, Host, Intake, LineSink, Transport};
use super::super::packet::Version;
use super::layers::Layers;
use super::output::Output;

/// Buffers kept for the next output, and the largest that is kept.
const SPARE_BUFFERS: usize = 64;
const SPARE_BUFFER_BYTES: usize = 64 << 10;
const FIRST_BUFFER_BYTES: usize = 1 << 10;

/// How a connection ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ending {
    No,
    /// What is in the output goes out first.
    Flushing(Cause),
    /// The broker knows that it is gone; the peer has time to read the last bytes and to close.
    Lingering,
}

/// How far a connection is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    /// TLS or WebSocket handshake; unknown to the broker.
    Shaking,
    /// Known to the broker; its CONNECT is awaited.
    Opened,
    /// Its CONNECT has been handed over.
    Serving,
    /// Speaks lines instead of MQTT; the broker has forgotten it.
    Lines,
}

#[allow(clippy::struct_excessive_bools)] // independent facts about a socket
pub(super) struct Conn {
    pub(super) socket: TcpStream,
    pub(super) layers: Option<Box<Layers>>,
    pub(super) address: SocketAddr,
    pub(super) transport: Transport,
    /// Distinguishes the connections that used one slot.
    pub(super) stamp: u32,
    pub(super) version: Version,
    pub(super) stage: Stage,
    pub(super) ending: Ending,
    output: Output,
    /// A packet that has not come whole, or what came after a pause.
    input: Vec<u8>,
    /// Of a connection that speaks lines, and what it holds of one that has not come whole.
    pub(super) lines: Option<Box<dyn LineSink>>,
    pub(super) lines_held_bytes: usize,
    /// In its layers, of a WebSocket message that has not come whole.
    layers_held_bytes: usize,
    /// The socket may have bytes for us.
    pub(super) readable: bool,
    /// The peer closed its side: read on until that is seen.
    pub(super) half_closed: bool,
    /// The peer said so within TLS or WebSocket, while the connection had to wait with what came before.
    pub(super) has_ended: bool,
    pub(super) writable: bool,
    pub(super) paused: bool,
    /// Waits with a message for the intake.
    pub(super) held: bool,
    /// In the queue of those to be read.
    pub(super) queued: bool,
    /// Has a time by which it is dropped.
    pub(super) timed: bool,
    /// The broker knows that it is gone.
    pub(super) is_told: bool,
    dirty: bool,
}

impl Conn {
    pub(super) fn new(
        socket: TcpStream,
        address: SocketAddr,
        transport: Transport,
        layers: Option<Box<Layers>>,
        stamp: u32,
    ) -> Self {
        Self {
            socket,
            layers,
            address,
            transport,
            stamp,
            version: Version::V311,
            stage: Stage::Shaking,
            ending: Ending::No,
            output: Output::default(),
            input: Vec::new(),
            lines: None,
            lines_held_bytes: 0,
            layers_held_bytes: 0,
            readable: false, // an event comes with the first bytes
            half_closed: false,
            has_ended: false,
            writable: true,
            paused: false,
            held: false,
            queued: false,
            timed: false,
            is_told: false,
            dirty: false,
        }
    }

    /// Whether a packet of it may be handed over now.
    pub(super) fn takes_packets(&self) -> bool {
        !self.paused && !self.held && self.ending == Ending::No
    }

    /// Of what came and was not handed over yet.
    pub(super) fn first_byte(&self) -> Option<u8> {
        self.input.first().copied()
    }

    /// Whether it has shown what it speaks.
    pub(super) fn is_settled(&self) -> bool {
        matches!(self.stage, Stage::Serving | Stage::Lines)
    }

    fn backlog(&self) -> usize {
        self.output.len() + self.layers.as_ref().map_or(0, |l| l.backlog())
    }

    fn is_drained(&self) -> bool {
        self.output.is_empty() && self.layers.as_ref().is_none_or(|l| l.is_drained())
    }

    /// One attempt. Returns the bytes that were taken out of the output.
    fn write(&mut self) -> io::Result<usize> {
        match &mut self.layers {
            None => {
                let (taken, free) = self.output.write_to(&mut self.socket)?;
                self.writable = free;
                Ok(taken)
            }
            Some(layers) => {
                let taken = layers.write(&mut self.output, &mut self.socket)?;
                self.writable = layers.is_drained();
                layers.shrink();
                Ok(taken)
            }
        }
    }
}

/// What a write led to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Written {
    pub(super) taken: usize,
    pub(super) drained: bool,
}

pub(super) struct Sockets {
    slots: Vec<Option<Conn>>,
    free: Vec<ConnId>,
    count: usize,
    /// With something to write.
    pub(super) dirty: Vec<ConnId>,
    /// To be read, in this order.
    pub(super) ready: VecDeque<ConnId>,
    /// The same, of connections that have not sent their CONNECT yet, or that the peer has closed.
    pub(super) passing: VecDeque<ConnId>,
    pub(super) intake: Option<Box<dyn Intake>>,
    /// All that is in the inputs, and in layers and lines that have not come whole.
    pub(super) unread_bytes: usize,
    spare: Vec<Vec<u8>>,
    /// What is said to connections that are gone.
    sink: Vec<u8>,
}

impl Sockets {
    pub(super) fn new(intake: Option<Box<dyn Intake>>) -> Self {
        Self {
            slots: Vec::new(),
            free: Vec::new(),
            count: 0,
            dirty: Vec::new(),
            ready: VecDeque::new(),
            passing: VecDeque::new(),
            intake,
            unread_bytes: 0,
            spare: Vec::new(),
            sink: Vec::new(),
        }
    }

    pub(super) fn len(&self) -> usize {
        self.count
    }

    pub(super) fn get(&mut self, id: ConnId) -> Option<&mut Conn> {
        self.slots.get_mut(id as usize)?.as_mut()
    }

    pub(super) fn peek(&self, id: ConnId) -> Option<&Conn> {
        self.slots.get(id as usize)?.as_ref()
    }

    pub(super) fn ids(&self) -> Vec<ConnId> {
        let used = self.slots.iter().enumerate().filter(|(_, s)| s.is_some());
        used.map(|(id, _)| id as ConnId).collect()
    }

    /// The id that the next connection gets.
    pub(super) fn reserve(&mut self) -> ConnId {
        self.free.pop().unwrap_or_else(|| {
            self.slots.push(None);
            (self.slots.len() - 1) as ConnId
        })
    }

    pub(super) fn put(&mut self, id: ConnId, conn: Conn) {
        self.slots[id as usize] = Some(conn);
        self.count += 1;
    }

    /// Takes a connection out. Its id is not used again before `release`.
    pub(super) fn remove(&mut self, id: ConnId) -> Option<Conn> {
        let mut conn = self.slots.get_mut(id as usize)?.take()?;
        self.count -= 1;
        self.unread_bytes -= conn.input.len() + conn.lines_held_bytes + conn.layers_held_bytes;
        if conn.output.is_empty() {
            self.keep(conn.output.take_buffer());
        }
        Some(conn)
    }

    pub(super) fn release(&mut self, id: ConnId) {
        self.free.push(id);
    }

    /// To be read in this round or the next one.
    pub(super) fn queue(&mut self, id: ConnId) {
        if let Some(conn) = self.get(id)
            && !conn.queued
        {
            conn.queued = true;
            if conn.is_settled() && !conn.half_closed {
                self.ready.push_back(id);
            } else {
                self.passing.push_back(id);
            }
        }
    }

    pub(super) fn take_input(&mut self, id: ConnId) -> Vec<u8> {
        let Some(conn) = self.get(id) else {
            return Vec::new();
        };
        let input = std::mem::take(&mut conn.input);
        self.unread_bytes -= input.len();
        input
    }

    pub(super) fn put_input(&mut self, id: ConnId, input: Vec<u8>) {
        if let Some(conn) = self.get(id) {
            let n = input.len();
            conn.input = input;
            self.unread_bytes += n;
        }
    }

    /// Counts what its layers hold now. Returns it.
    pub(super) fn count_layers(&mut self, id: ConnId) -> usize {
        let Some(conn) = self.get(id) else { return 0 };
        let held = conn.layers.as_ref().map_or(0, |l| l.held_bytes());
        let before = std::mem::replace(&mut conn.layers_held_bytes, held);
        self.unread_bytes = self.unread_bytes - before + held;
        held
    }

    /// Has something to write, perhaps only what its layers hold.
    pub(super) fn mark(&mut self, id: ConnId) {
        if let Some(conn) = self.get(id)
            && !conn.dirty
        {
            conn.dirty = true;
            self.dirty.push(id);
        }
    }

    /// Ends a connection when its output has been written; the first cause stands.
    pub(super) fn end(&mut self, id: ConnId, cause: Cause) {
        let Some(conn) = self.get(id) else { return };
        if conn.ending != Ending::No {
            return;
        }
        conn.ending = Ending::Flushing(cause);
        drop(self.take_input(id));
        self.mark(id);
    }

    /// Writes what waits, as far as the socket takes it.
    pub(super) fn write(&mut self, id: ConnId) -> io::Result<Written> {
        let Some(conn) = self.slots.get_mut(id as usize).and_then(Option::as_mut) else {
            return Ok(Written {
                taken: 0,
                drained: false,
            });
        };
        conn.dirty = false;
        let taken = if conn.writable { conn.write()? } else { 0 };
        let drained = conn.is_drained();
        if drained && conn.output.has_buffer() {
            let buffer = conn.output.take_buffer();
            self.keep(buffer);
        }
        Ok(Written { taken, drained })
    }

    /// Our side is closed; the peer may still send, which is thrown away.
    pub(super) fn say_goodbye(&mut self, id: ConnId) -> io::Result<()> {
        let Some(conn) = self.get(id) else {
            return Ok(());
        };
        conn.ending = Ending::Lingering;
        if let Some(layers) = &mut conn.layers {
            layers.close()?;
            layers.write(&mut conn.output, &mut conn.socket)?;
        }
        conn.socket.shutdown(Shutdown::Write)?;
        self.queue(id);
        Ok(())
    }

    fn keep(&mut self, buffer: Vec<u8>) {
        if (FIRST_BUFFER_BYTES..=SPARE_BUFFER_BYTES).contains(&buffer.capacity())
            && self.spare.len() < SPARE_BUFFERS
        {
            self.spare.push(buffer);
        }
    }
}

impl Host for Sockets {
    fn output(&mut self, id: ConnId) -> &mut Vec<u8> {
        let conn = self.slots.get_mut(id as usize).and_then(Option::as_mut);
        let Some(conn) = conn.filter(|c| c.ending != Ending::Lingering) else {
            self.sink.clear();
            return &mut self.sink;
        };
        if !conn.dirty {
            conn.dirty = true;
            self.dirty.push(id);
        }
        if !conn.output.has_buffer() {
            let spare = self.spare.pop();
            conn.output
                .give_buffer(spare.unwrap_or_else(|| Vec::with_capacity(FIRST_BUFFER_BYTES)));
        }
        conn.output.buffer()
    }

    fn backlog(&self, id: ConnId) -> usize {
        self.peek(id).map_or(0, Conn::backlog)
    }

    fn close(&mut self, id: ConnId) {
        self.end(id, Cause::Broker);
    }

    fn pause(&mut self, id: ConnId, on: bool) {
        let Some(conn) = self.get(id) else { return };
        conn.paused = on;
        if !on {
            self.queue(id);
        }
    }

    fn takes(&self, topic: &str) -> bool {
        self.intake.as_ref().is_some_and(|i| i.takes(topic))
    }

    fn generation(&self) -> u64 {
        self.intake.as_ref().map_or(0, |i| i.generation())
    }
}
