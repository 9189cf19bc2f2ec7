//! Blocks and messages of the protocol between nodes (spec: network protocol, sections 1 to 3). No sockets.
//!
//! A message is one or more blocks of 2,048 bytes over one connection, in one direction; every block repeats the
//! header and the command.

mod block;
mod frame;
mod header;
mod message;
mod segments;

pub use block::{BLOCK_BYTES, Block, BlockError, CAPACITY, HEADER_BYTES};
pub use frame::{Frames, MAX_FRAME_DATA_BYTES, Numbers, frame, text_frames};
pub use header::{Address, Flow, Header, Info, Structure};
pub use message::{Incoming, Message, Outgoing, OutgoingRows};
pub use segments::{Part, Segments};

#[cfg(test)]
mod tests;
