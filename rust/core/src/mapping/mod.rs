//! Messages to rows: topic parameters and mapping policies, compiled once, run per message
//! (spec: brokers and mapping, sections 5 to 9 and 15).
//!
//! The specification of a program is JSON: `{"topics": [{"name": filter, "dbms": .., "table": ..,
//! "columns": [{"name", "type", "value", "optional"}]} | {"name": filter, "policies": [{"mapping": {..}} |
//! {"transform": {..}}]} | {"name": filter, "dbms": .., "persist" or "dynamic": true}], "imported": {id: policy}}`.

mod bring;
mod columns;
mod condition;
mod definition;
mod json;
mod path;
mod pixels;
mod policy;
mod program;
mod raw;
mod script;
mod target;
mod topic;
mod transform;
mod types;

use std::fmt;

pub use bring::Bring;
pub use columns::{BlobSource, KeepBlob};
pub use condition::Condition;
pub use json::Json;
pub use program::{Arrival, Program};
pub use script::Command;
pub use target::{Mapped, Rejected, Tally, Target, Targets};
pub use types::Kind;

use crate::rows::LogicalType;

/// A specification that is no program.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct CompileError {
    /// The reference's number: 124 declaration, 188 type, 2 structure.
    pub code: u16,
    pub message: String,
}

impl CompileError {
    fn new(message: impl Into<String>) -> Self {
        Self {
            code: 124,
            message: message.into(),
        }
    }

    fn unknown_type(name: &str) -> Self {
        Self {
            code: 188,
            message: format!("unknown data type '{name}'"),
        }
    }

    fn within(mut self, place: impl fmt::Display) -> Self {
        self.message = format!("{place}: {}", self.message);
        self
    }
}

/// Why one message gives no rows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The reference's number (section 15).
    pub code: u16,
    pub reason: String,
}

impl Fault {
    fn new(code: u16, reason: impl Into<String>) -> Self {
        Self {
            code,
            reason: reason.into(),
        }
    }

    fn structure(reason: &str) -> Self {
        Self::new(6, reason)
    }

    fn cast(value: &str, kind: LogicalType) -> Self {
        Self::new(194, format!("'{}' is no {kind}", shorten(value)))
    }

    fn time(value: &str) -> Self {
        Self::new(124, format!("'{}' is no timestamp", shorten(value)))
    }

    /// The same fault with the column or name where it happened.
    fn at(mut self, place: &str) -> Self {
        self.reason = format!("{place}: {}", self.reason);
        self
    }
}

/// A payload of which nothing was mapped.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MapError {
    #[error("Failed to identify application data: {0}")]
    NotRows(String),
    #[error("Unrecognized MQTT topic: '{0}'")]
    UnknownTopic(String),
}

impl MapError {
    /// What is wrong, without the text of its number.
    pub fn detail(&self) -> String {
        match self {
            MapError::NotRows(detail) => detail.clone(),
            MapError::UnknownTopic(topic) => format!("'{topic}'"),
        }
    }

    /// The reference's number.
    pub fn code(&self) -> u16 {
        match self {
            MapError::NotRows(_) => 299,
            MapError::UnknownTopic(_) => 159,
        }
    }
}

/// At most 60 characters of a value, for messages.
fn shorten(text: &str) -> String {
    match text.char_indices().nth(60) {
        Some((at, _)) => format!("{}...", &text[..at]),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests;
