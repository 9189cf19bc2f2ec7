//! PostgreSQL's binary COPY format: rows out of a chunk, and rows as they come from the server.
//!
//! Source: PostgreSQL documentation, "COPY", section "Binary Format", and the binary forms of its types.

mod copy_in;
mod copy_out;
mod numeric;

pub use copy_in::{Automatic, Encoder, WrongValue};
pub use copy_out::{CopyReader, Field, NotCopyData};

use std::str::FromStr;

/// Microseconds between 1970 and 2000, where PostgreSQL's clock begins.
const EPOCH_US: i64 = 946_684_800_000_000;

const SIGNATURE: &[u8] = b"PGCOPY\n\xff\r\n\0";

/// Types of columns as they cross the wire. What has no own form here is text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wire {
    Bool,
    Int4,
    Int8,
    Float8,
    Numeric,
    Text,
    Timestamp,
}

/// A word that names none of them.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("'{0}' is no type of a copied column")]
pub struct UnknownWire(String);

impl FromStr for Wire {
    type Err = UnknownWire;

    fn from_str(text: &str) -> Result<Self, UnknownWire> {
        Ok(match text {
            "boolean" => Self::Bool,
            "integer" => Self::Int4,
            "bigint" => Self::Int8,
            "double precision" => Self::Float8,
            "numeric" => Self::Numeric,
            "text" => Self::Text,
            "timestamp" => Self::Timestamp,
            _ => return Err(UnknownWire(text.to_owned())),
        })
    }
}

#[cfg(test)]
mod tests;
