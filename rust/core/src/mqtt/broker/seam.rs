//! What the broker and those around it say to each other: the host that owns the sockets, the intake that owns the
//! tables.

use std::net::SocketAddr;
use std::sync::Arc;

use super::acl::Acl;
use super::message::Message;

/// Index of a connection in the host's slab; not used again before `Broker::closed` has been called for it.
pub type ConnId = u32;

/// The host's clocks; the broker has none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Now {
    /// Never goes back; from any origin.
    pub mono_ms: u64,
    pub unix_ms: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    Tcp,
    Tls,
    WebSocket,
    WebSocketTls,
}

impl Transport {
    pub fn is_web_socket(self) -> bool {
        matches!(self, Self::WebSocket | Self::WebSocketTls)
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    pub address: SocketAddr,
    pub transport: Transport,
    /// Subject's common name of a verified client certificate.
    pub certificate: Option<String>,
}

/// Why a connection is gone; for the log and the event table (a will depends on the last packet, not on this).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// The peer closed it.
    Peer,
    /// Reading or writing failed.
    Failed,
    /// The broker asked for it (`Host::close`).
    Broker,
    /// A limit of the host: handshake time, memory.
    Limit,
    /// The node stops.
    Stopped,
    /// It speaks lines instead of MQTT: the host goes on with it alone.
    Lines,
}

/// The side that owns the sockets. Nothing here does I/O.
pub trait Host {
    /// Where whole packets for `conn` are appended; marks the connection dirty. For a connection that the host no
    /// longer has: any buffer that is thrown away.
    fn output(&mut self, conn: ConnId) -> &mut Vec<u8>;

    /// Bytes that the socket has not taken yet, those in the output buffer included.
    fn backlog(&self, conn: ConnId) -> usize;

    /// Closes the connection after its output has been written (with a short linger), then calls `Broker::closed`,
    /// never from inside this call. Packets that were read already are thrown away.
    fn close(&mut self, conn: ConnId);

    /// Stops or resumes reading. After `on` no packet of `conn` is handed over until it is resumed, also none that
    /// was read already. Calls are balanced by the broker: at most one pause is in force.
    fn pause(&mut self, conn: ConnId, on: bool);

    /// Whether a message client of this node takes messages of `topic`. Remembered until `generation` changes.
    fn takes(&self, topic: &str) -> bool;

    /// `Intake::generation`.
    fn generation(&self) -> u64;
}

/// The node's own message clients (`broker = local`): topics that become rows.
pub trait Intake: Send {
    /// Changes when `takes` may answer otherwise.
    fn generation(&self) -> u64;

    fn takes(&self, topic: &str) -> bool;

    /// False: the server stops reading from publishers of mapped topics until it is woken.
    fn has_room(&self) -> bool;

    /// Maps and journals; small rounds inline, large ones on workers, in order per topic. A message that does not fit
    /// is counted and logged here and is none of the broker's business.
    fn submit(&mut self, round: u64, messages: Vec<Inbound>);

    /// The highest round for which everything is durable, when there is news since the last call.
    fn completed(&mut self) -> Option<(u64, Result<(), Refusal>)>;

    /// The store has the receipts of rounds up to this one. Until then they are kept here.
    fn receipted(&mut self, _round: u64) {}

    /// What becomes of a connection of `peer` that begins with `first`, which is no MQTT. `is_all`: it has said all
    /// that it will say. `is_anonymous`: clients of its address need no name; otherwise the address itself must be
    /// known to the intake.
    fn open_lines(
        &self,
        _peer: SocketAddr,
        _first: &[u8],
        _is_all: bool,
        _is_anonymous: bool,
    ) -> Opening {
        Opening::Refused
    }
}

/// What becomes of a connection that does not speak MQTT.
pub enum Opening {
    Lines(Box<dyn LineSink>),
    /// More of its bytes will tell.
    Undecided,
    Refused,
}

/// The lines of one connection, on their way to rows.
pub trait LineSink: Send {
    /// Takes the next bytes. Returns how many lines they completed, or why the connection is to be closed.
    fn feed(&mut self, bytes: &[u8], now_us: i64) -> Result<usize, String>;

    /// The connection has ended: what is left is its last line.
    fn finish(&mut self, now_us: i64) -> Result<usize, String>;

    /// Memory of a line that has not come whole.
    fn held_bytes(&self) -> usize;
}

/// A message for the intake.
#[derive(Clone, Debug)]
pub struct Inbound {
    pub message: Arc<Message>,
    pub arrival_us: i64,
    /// QoS 2 of a session that outlives its connection: goes into the journal's record.
    pub receipt: Option<Receipt>,
}

/// A QoS 2 message that has been received, until its PUBREL.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Receipt {
    /// Id of the publisher's session: of another one of the same client it says nothing.
    pub session: u64,
    pub packet_id: u16,
}

/// Why the store or the intake could not keep a round.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// Disk full, or a limit of ours.
    Full,
    /// Writing failed.
    Failed,
}

/// A CONNECT that waits for a verdict; its connection is paused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Login {
    pub conn: ConnId,
    pub client_id: String,
    pub user: Option<String>,
    pub password: Option<Vec<u8>>,
    pub peer: Peer,
}

/// What a client may do.
#[derive(Clone, Debug)]
pub struct Grant {
    pub user: Option<Arc<str>>,
    pub acl: Arc<Acl>,
}
