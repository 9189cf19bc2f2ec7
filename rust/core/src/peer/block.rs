//! A block: header, command, authentication, data, zeros.

use super::header::{Header, Lengths};

/// A constant of the network.
pub const BLOCK_BYTES: usize = 2048;
pub const HEADER_BYTES: usize = 207;
/// For command, authentication and data of one block.
pub const CAPACITY: usize = BLOCK_BYTES - HEADER_BYTES;

/// The bytes are no block.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BlockError {
    #[error("a block has {BLOCK_BYTES} bytes, not {0}")]
    Size(usize),
    #[error("the payload ({0} bytes) does not hold its parts or does not fit its block")]
    Payload(usize),
    #[error("a source address of {0} bytes; it has 128 at most")]
    Address(u8),
    #[error("block {found} came where block {wanted} was to come")]
    Order { wanted: u32, found: u32 },
    #[error("segment {number}: {why}")]
    Segment { number: usize, why: &'static str },
    #[error("a message of more than {0} bytes")]
    TooLarge(usize),
    #[error("a frame of {0} bytes")]
    Frame(usize),
    #[error("another message begins within one")]
    Torn,
}

/// A block that was received; the parts are slices of its bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Block<'a> {
    pub header: Header,
    pub command: &'a [u8],
    pub authentication: &'a [u8],
    pub data: &'a [u8],
}

impl<'a> Block<'a> {
    pub fn read(bytes: &'a [u8]) -> Result<Self, BlockError> {
        if bytes.len() != BLOCK_BYTES {
            return Err(BlockError::Size(bytes.len()));
        }
        Self::parse(bytes)
    }

    /// Header and parts, whatever the size; bytes behind the payload are left out.
    pub(super) fn parse(bytes: &'a [u8]) -> Result<Self, BlockError> {
        let Some((head, payload)) = bytes.split_first_chunk() else {
            return Err(BlockError::Size(bytes.len()));
        };
        let (header, lengths) = Header::read(head)?;
        let wrong = || BlockError::Payload(lengths.payload);
        let payload = payload.get(..lengths.payload).ok_or_else(wrong)?;
        let (command, rest) = payload
            .split_at_checked(lengths.command)
            .ok_or_else(wrong)?;
        let (authentication, data) = rest
            .split_at_checked(lengths.authentication)
            .ok_or_else(wrong)?;
        Ok(Self {
            header,
            command,
            authentication,
            data,
        })
    }

    /// Append the block. Errors: the parts don't fit.
    pub fn write(&self, out: &mut Vec<u8>) -> Result<(), BlockError> {
        let payload = self.payload_bytes();
        if payload > CAPACITY {
            return Err(BlockError::Payload(payload));
        }
        let start = out.len();
        out.reserve(BLOCK_BYTES);
        self.put(out);
        // Zeros, not what an earlier message left in a buffer.
        out.resize(start + BLOCK_BYTES, 0);
        Ok(())
    }

    pub(super) fn payload_bytes(&self) -> usize {
        self.command.len() + self.authentication.len() + self.data.len()
    }

    /// Append header and parts. The command and the authentication have less than 64 KiB.
    pub(super) fn put(&self, out: &mut Vec<u8>) {
        let lengths = Lengths {
            command: self.command.len(),
            authentication: self.authentication.len(),
            payload: self.payload_bytes(),
        };
        self.header.write(out, lengths);
        out.extend_from_slice(self.command);
        out.extend_from_slice(self.authentication);
        out.extend_from_slice(self.data);
    }
}
