//! What has to survive the process, as the broker hands it to the store: keyed and idempotent, so that a snapshot may
//! interleave with later changes and a replay may start anywhere at or before a snapshot's start.
//!
//! Only sessions that outlive their connection are recorded.

use std::sync::Arc;

use super::super::packet::{QoS, SubscriptionOptions, Version};
use super::message::{Message, StoredWill};
use super::seam::Inbound;

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    Session(Box<SessionRecord>),
    /// With all that hangs on it: subscriptions, queue, packet ids.
    SessionGone {
        session: u64,
    },
    /// Replaces a subscription of the same filter.
    Subscribed {
        session: u64,
        /// As the client wrote it, `$share/..` included.
        filter: Box<str>,
        options: SubscriptionOptions,
        subscription_id: Option<u32>,
    },
    Unsubscribed {
        session: u64,
        filter: Box<str>,
    },
    /// Comes before what refers to it. It is dropped by the store when nothing refers to it any more, but not before
    /// the end of a replay: a piece of a snapshot does not repeat what an earlier piece had.
    Message(Arc<Message>),
    /// A message waits for a client or is on its way to it. The packet id follows from `seq` (`packet_id_of`).
    Queued {
        session: u64,
        /// Ascending per session.
        seq: u64,
        message: u64,
        qos: QoS,
        /// The flag that the client gets.
        retain: bool,
        subscription_ids: Box<[u32]>,
    },
    /// Delivered, or given up (expired, too large, over a limit).
    Acked {
        session: u64,
        seq: u64,
    },
    /// PUBREC has come: only PUBREL is sent again.
    OutReceived {
        session: u64,
        seq: u64,
    },
    /// A QoS 2 message of the client is known by this id until it is released.
    Received {
        session: u64,
        packet_id: u16,
    },
    /// Of a QoS 2 message the rows are durable, and nobody else has got it yet.
    RowsKept {
        session: u64,
        packet_id: u16,
    },
    Released {
        session: u64,
        packet_id: u16,
    },
    /// The receipts of rounds up to this one, which stand in the intake's journal, are among the changes.
    Mapped {
        round: u64,
    },
    Retained {
        topic: Box<str>,
        message: u64,
    },
    RetainedGone {
        topic: Box<str>,
    },
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionRecord {
    /// Ascending, never used again.
    pub id: u64,
    pub client_id: Arc<str>,
    pub version: Version,
    /// `u32::MAX` = never ends.
    pub expiry_s: u32,
    /// None = connected.
    pub disconnected_unix_ms: Option<u64>,
    /// What was queued below it has been sent once at least (DUP is set when it is sent again).
    pub sent_seq: u64,
    /// The first `seq` not yet used.
    pub next_seq: u64,
    pub will: Option<Box<StoredWill>>,
}

/// The packet id that a queued message goes out with, the same after a restart.
pub fn packet_id_of(seq: u64) -> u16 {
    (seq % 65_535) as u16 + 1
}

/// All that a round has to have kept, to be handed over when it ends.
#[derive(Debug, Default)]
pub struct Round {
    pub number: u64,
    /// For the store, in order; `Broker::kept` answers (not called for a round without changes).
    pub changes: Vec<Change>,
    /// For the intake; `Broker::mapped` answers (not called for a round without messages).
    pub messages: Vec<Inbound>,
}

impl Round {
    /// Nothing to wait for.
    pub fn is_empty(&self) -> bool {
        self.changes.is_empty() && self.messages.is_empty()
    }
}
