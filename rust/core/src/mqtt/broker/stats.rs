//! Figures for status commands and `$SYS`.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use super::super::packet::{Reason, Version};

/// Counted since the start, unless they say "now".
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Now; before their CONNECT too.
    pub connections: u64,
    /// Now.
    pub clients_connected: u64,
    pub clients_connected_peak: u64,
    /// Now; sessions without a connection.
    pub clients_offline: u64,
    pub sessions_expired: u64,
    pub connects: u64,
    pub connects_refused: u64,
    /// Connections that ended by a fault of the client: malformed, protocol errors, keep alive.
    pub faults: u64,
    /// Packets of all kinds.
    pub packets_received: u64,
    pub packets_sent: u64,
    pub bytes_received: u64,
    pub bytes_sent: u64,
    pub publishes_received: u64,
    pub publishes_sent: u64,
    /// Payload bytes.
    pub publish_bytes_received: u64,
    pub publish_bytes_sent: u64,
    /// Messages that a subscriber did not get: stalled, over a limit, too large for it.
    pub publishes_dropped: u64,
    pub publishes_expired: u64,
    /// Messages of topics that a message client takes.
    pub publishes_mapped: u64,
    /// Messages that nobody wanted, neither subscriber nor message client.
    pub publishes_unmatched: u64,
    pub publishes_unauthorized: u64,
    /// Refused because the store or the intake could not keep them.
    pub publishes_refused: u64,
    /// Now.
    pub subscriptions: u64,
    /// Now.
    pub shared_subscriptions: u64,
    /// Now.
    pub retained: u64,
    /// Now.
    pub retained_bytes: u64,
    /// Now; waiting or unacknowledged, all sessions.
    pub queued: u64,
    /// Now.
    pub queued_bytes: u64,
    /// Now; publishers that are not read from because a subscriber is behind.
    pub paused: u64,
}

/// Kind of a line in the event table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Event {
    Connect,
    Publish,
    PubAck,
    PubRec,
    PubRel,
    PubComp,
    Subscribe,
    Unsubscribe,
    PingReq,
    Disconnect,
    Auth,
    /// Bytes that are no packet.
    Malformed,
}

impl Event {
    pub fn name(self) -> &'static str {
        [
            "CONNECT",
            "PUBLISH",
            "PUBACK",
            "PUBREC",
            "PUBREL",
            "PUBCOMP",
            "SUBSCRIBE",
            "UNSUBSCRIBE",
            "PINGREQ",
            "DISCONNECT",
            "AUTH",
            "MALFORMED",
        ][self as usize]
    }
}

/// A line of `get local broker`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EventRow {
    pub ip: IpAddr,
    pub event: Event,
    pub succeeded: u64,
    pub last_unix_ms: u64,
    pub failed: u64,
    pub last_failure_unix_ms: u64,
    pub failure: Reason,
    pub failure_text: String,
}

/// A session, for status commands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionInfo {
    pub client_id: Arc<str>,
    pub user: Option<Arc<str>>,
    pub version: Version,
    /// None = not connected.
    pub address: Option<SocketAddr>,
    pub subscriptions: usize,
    pub queued: usize,
    pub in_flight: usize,
    pub expiry_s: u32,
}
