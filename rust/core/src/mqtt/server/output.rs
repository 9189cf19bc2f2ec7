//! Bytes on their way to a socket.

use std::io::{self, Write};

/// Sent bytes in front are given up when they outweigh what is left.
const COMPACT_BYTES: usize = 64 << 10;

#[derive(Default)]
pub(super) struct Output {
    bytes: Vec<u8>,
    sent: usize,
}

impl Output {
    pub(super) fn len(&self) -> usize {
        self.bytes.len() - self.sent
    }

    pub(super) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub(super) fn pending(&self) -> &[u8] {
        &self.bytes[self.sent..]
    }

    /// Where new bytes are appended.
    pub(super) fn buffer(&mut self) -> &mut Vec<u8> {
        if self.sent > COMPACT_BYTES && self.sent > self.bytes.len() / 2 {
            self.bytes.drain(..self.sent);
            self.sent = 0;
        }
        &mut self.bytes
    }

    pub(super) fn has_buffer(&self) -> bool {
        self.bytes.capacity() > 0
    }

    /// An empty one gives its memory away.
    pub(super) fn take_buffer(&mut self) -> Vec<u8> {
        debug_assert!(self.is_empty());
        self.sent = 0;
        let mut buffer = std::mem::take(&mut self.bytes);
        buffer.clear();
        buffer
    }

    pub(super) fn give_buffer(&mut self, buffer: Vec<u8>) {
        debug_assert!(self.is_empty() && buffer.is_empty());
        self.bytes = buffer;
        self.sent = 0;
    }

    pub(super) fn advance(&mut self, n: usize) {
        self.sent += n;
        if self.sent == self.bytes.len() {
            self.bytes.clear();
            self.sent = 0;
        }
    }

    /// Writes as much as the socket takes. Returns the bytes and whether it may take more.
    pub(super) fn write_to(&mut self, socket: &mut impl Write) -> io::Result<(usize, bool)> {
        let mut taken = 0;
        while !self.is_empty() {
            match socket.write(self.pending()) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(n) => {
                    // A short write: the socket's buffer is full, a further call would only say so.
                    let short = n < self.len();
                    self.advance(n);
                    taken += n;
                    if short {
                        return Ok((taken, false));
                    }
                }
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Ok((taken, false)),
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
        Ok((taken, true))
    }
}
