//! What the broker keeps: changes of its state, in a journal of their own.
//!
//! A record holds the changes of one round. Changes are keyed and idempotent, so the log is cleaned while it is used:
//! when it has grown far beyond what is alive, the live state is written again in pieces between the rounds, and when
//! the last piece is durable, everything before the first one is deleted. A change that is made meanwhile stands
//! behind the piece that it concerns, or its subject is written by a later piece as it is then.

mod bytes;
mod encode;
mod log;

pub use log::{Options, Store, Wake};
