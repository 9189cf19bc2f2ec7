//! An application message once it is shared or kept.

use std::sync::Arc;

use super::super::packet::QoS;

/// One PUBLISH, shared by all that wait for it. Made only when somebody has to keep it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// Unique in the store, ascending; 0 = never kept (`$SYS`).
    pub id: u64,
    pub topic: Box<str>,
    pub payload: Box<[u8]>,
    /// `packet::Forwarded::encoded`.
    pub properties: Box<[u8]>,
    /// `packet::Forwarded::is_text`.
    pub is_text: bool,
    pub qos: QoS,
    pub retain: bool,
    pub expires_unix_ms: Option<u64>,
    /// Client id; none of the node's own.
    pub publisher: Option<Arc<str>>,
}

impl Message {
    /// What it takes in memory, about; the unit of the byte limits.
    pub fn size_bytes(&self) -> usize {
        MESSAGE_OVERHEAD_BYTES + self.topic.len() + self.payload.len() + self.properties.len()
    }

    pub fn is_expired(&self, unix_ms: u64) -> bool {
        self.expires_unix_ms.is_some_and(|at| at <= unix_ms)
    }
}

/// The struct, its reference counts, and what an allocator adds to four pieces.
const MESSAGE_OVERHEAD_BYTES: usize = 160;

/// A will, until it is published or discarded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredWill {
    /// `expires_unix_ms` is unused: the time runs from the publication.
    pub message: Arc<Message>,
    pub expiry_s: Option<u32>,
    pub delay_s: u32,
}
