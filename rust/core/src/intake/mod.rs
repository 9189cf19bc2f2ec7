//! Messages to the durable way of rows: the message clients of a node, and the entry for the messages of its own broker
//! (spec: brokers and mapping, sections 4, 5 and 15).
//!
//! `Clients` knows who takes which topic. Messages that come together are mapped together: their rows become one
//! record of the journal for each table and origin, and all of them wait for one sync. What cannot be mapped is
//! counted, logged and kept as its client says, and never holds up what can.

mod blobs;
mod clients;
mod counters;
mod dynamic;
mod faults;
mod files;
mod lines;
mod local;
mod log;
mod progress;
mod round;
mod stream;

pub use blobs::keep_blob;
pub use clients::{Client, Clients, Declaration, Routes};
pub use counters::{Counted, Counters};
pub use dynamic::{DynamicTopic, Latest};
pub use faults::Fault;
pub use files::Directories;
pub use lines::{LineFormat, LineRule, Lines, Rules};
pub use local::{LocalIntake, apply_receipts};
pub use round::{Incoming, Mapped, Unmapped};

/// The broker name of clients that take the messages of the node's own broker.
pub const LOCAL: &str = "local";

#[cfg(test)]
mod tests;
