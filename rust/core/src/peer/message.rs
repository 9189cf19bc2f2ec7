//! Messages of several blocks: cutting and joining.

use super::block::{Block, BlockError, CAPACITY};
use super::header::{Header, Structure};
use super::segments::{self, HEAD_BYTES, Part, Segments};

/// Below this a row begins in the next block.
const SMALLEST_PART: usize = 10;

/// Cuts what is sent into blocks. The header is that of every block; numbers, last flag and segments are set here.
pub struct Outgoing<'a> {
    header: Header,
    command: &'a [u8],
    /// Stands in the first block alone.
    authentication: &'a [u8],
}

impl<'a> Outgoing<'a> {
    /// Errors: the command leaves no room for data.
    pub fn new(header: Header, command: &'a str) -> Result<Self, BlockError> {
        let command = command.as_bytes();
        if command.len() + HEAD_BYTES + SMALLEST_PART > CAPACITY {
            return Err(BlockError::Payload(command.len()));
        }
        Ok(Self {
            header,
            command,
            authentication: &[],
        })
    }

    /// With what says who sends it. Errors: it leaves no room for data.
    pub fn authenticated(mut self, authentication: &'a [u8]) -> Result<Self, BlockError> {
        let taken = self.command.len() + authentication.len();
        if taken + HEAD_BYTES + SMALLEST_PART > CAPACITY {
            return Err(BlockError::Payload(taken));
        }
        self.authentication = authentication;
        Ok(self)
    }

    fn room(&self) -> usize {
        CAPACITY - self.command.len() - self.authentication.len()
    }

    fn block(
        &mut self,
        out: &mut Vec<u8>,
        data: &[u8],
        segments: u16,
        is_last: bool,
    ) -> Result<(), BlockError> {
        self.header.block_number += 1;
        self.header.segments = segments;
        self.header.is_last = is_last;
        let block = Block {
            header: self.header,
            command: self.command,
            authentication: std::mem::take(&mut self.authentication),
            data,
        };
        block.write(out)
    }

    /// A text, cut at borders of characters.
    pub fn text(mut self, text: &str) -> Result<Vec<u8>, BlockError> {
        let mut out = Vec::new();
        let mut rest = text;
        loop {
            let (piece, left) = cut(rest, self.room());
            self.block(&mut out, piece.as_bytes(), 0, left.is_empty())?;
            if left.is_empty() {
                return Ok(out);
            }
            rest = left;
        }
    }

    /// Bytes of a file. As in the reference the last block is one that is not full, an empty one if need be.
    pub fn bytes(mut self, bytes: &[u8]) -> Result<Vec<u8>, BlockError> {
        let mut out = Vec::new();
        let mut rest = bytes;
        loop {
            let room = self.room();
            let (piece, left) = rest.split_at(rest.len().min(room));
            let is_last = piece.len() < room;
            self.block(&mut out, piece, 0, is_last)?;
            if is_last {
                return Ok(out);
            }
            rest = left;
        }
    }

    /// Rows, one JSON text each, a segment each; long ones go over several blocks, cut at borders of characters.
    pub fn rows<'r>(self, rows: impl IntoIterator<Item = &'r str>) -> Result<Vec<u8>, BlockError> {
        let mut out = Vec::new();
        let mut stream = OutgoingRows::new(self);
        for row in rows {
            stream.row(&mut out, row)?;
        }
        stream.finish(&mut out, 0)?;
        Ok(out)
    }
}

/// Rows of a reply, put into blocks as they become known.
pub struct OutgoingRows<'a> {
    blocks: Outgoing<'a>,
    data: Vec<u8>,
    count: u16,
}

impl<'a> OutgoingRows<'a> {
    pub fn new(mut blocks: Outgoing<'a>) -> Self {
        blocks.header.structure = Structure::SEGMENTS;
        Self {
            blocks,
            data: Vec::with_capacity(CAPACITY),
            count: 0,
        }
    }

    /// Append the blocks that a row fills.
    pub fn row(&mut self, out: &mut Vec<u8>, row: &str) -> Result<(), BlockError> {
        let (mut rest, mut is_begun) = (row, false);
        loop {
            // None: not even for an empty segment.
            let free = self.blocks.room().checked_sub(self.data.len() + HEAD_BYTES);
            if free.is_some_and(|free| rest.len() <= free) {
                let part = if is_begun { Part::Last } else { Part::Whole };
                segments::write(&mut self.data, part, rest.as_bytes());
                self.count += 1;
                return Ok(());
            }
            if let Some(free) = free.filter(|free| *free >= SMALLEST_PART) {
                let (piece, left) = cut(rest, free);
                segments::write(&mut self.data, Part::More, piece.as_bytes());
                self.count += 1;
                (rest, is_begun) = (left, true);
            }
            self.flush(out, false)?;
        }
    }

    /// Append the last block. `error`: the rows break off.
    pub fn finish(&mut self, out: &mut Vec<u8>, error: u16) -> Result<(), BlockError> {
        self.blocks.header.error = error;
        if error != 0 {
            self.data.clear();
            self.count = 0;
        }
        self.flush(out, true)
    }

    fn flush(&mut self, out: &mut Vec<u8>, is_last: bool) -> Result<(), BlockError> {
        let (data, count) = (std::mem::take(&mut self.data), self.count);
        self.count = 0;
        let written = self.blocks.block(out, &data, count, is_last);
        self.data = data;
        self.data.clear();
        written
    }
}

/// Cut a text after `max` bytes at most, at the border of a character.
pub(super) fn cut(text: &str, max: usize) -> (&str, &str) {
    let mut at = max.min(text.len());
    while !text.is_char_boundary(at) {
        at -= 1;
    }
    text.split_at(at)
}

/// What a block adds to its message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// Of this block.
    pub header: Header,
    /// Text of the command, blanks as they came.
    pub command: Vec<u8>,
    /// What its first block says about who sends it.
    pub authentication: Vec<u8>,
    /// Data of all blocks so far, when they were gathered.
    pub data: Vec<u8>,
    /// Rows that this block completes.
    pub rows: Vec<Vec<u8>>,
    /// Nothing follows: the last block, or an error.
    pub is_complete: bool,
}

/// Joins the blocks of one connection.
#[derive(Debug, Default)]
pub struct Incoming {
    blocks: u32,
    authentication: Vec<u8>,
    data: Vec<u8>,
    row: Vec<u8>,
    limit_bytes: usize,
}

impl Incoming {
    /// `limit_bytes`: of a text, and of a single row.
    pub fn new(limit_bytes: usize) -> Self {
        Self {
            limit_bytes,
            ..Self::default()
        }
    }

    /// Take the next block. Data of text is returned with the last block; rows and pieces of files at once. After an
    /// error the connection is of no use.
    pub fn take(&mut self, bytes: &[u8]) -> Result<Message, BlockError> {
        let block = Block::read(bytes)?;
        self.blocks += 1;
        if block.header.block_number != self.blocks {
            return Err(BlockError::Order {
                wanted: self.blocks,
                found: block.header.block_number,
            });
        }
        if self.blocks == 1 {
            self.authentication = block.authentication.to_vec();
        }
        let is_complete =
            block.header.is_last || (block.header.error != 0 && block.header.error <= 1000);
        let mut message = Message {
            header: block.header,
            command: block.command.to_vec(),
            authentication: self.authentication.clone(),
            data: Vec::new(),
            rows: Vec::new(),
            is_complete,
        };
        if is_rows(&block) {
            self.rows(&block, &mut message.rows)?;
        } else if block.command.starts_with(b"file write ") {
            message.data = block.data.to_vec();
        } else {
            self.check(self.data.len() + block.data.len())?;
            self.data.extend_from_slice(block.data);
            if is_complete {
                message.data = std::mem::take(&mut self.data);
            }
        }
        Ok(message)
    }

    fn check(&self, bytes: usize) -> Result<(), BlockError> {
        if bytes > self.limit_bytes {
            return Err(BlockError::TooLarge(self.limit_bytes));
        }
        Ok(())
    }

    fn rows(&mut self, block: &Block<'_>, rows: &mut Vec<Vec<u8>>) -> Result<(), BlockError> {
        for segment in Segments::new(block.data, block.header.segments) {
            let (part, text) = segment?;
            self.check(self.row.len() + text.len())?;
            match part {
                Part::Whole => {
                    // The end of an earlier row never came.
                    self.row.clear();
                    rows.push(text.to_vec());
                }
                Part::More => self.row.extend_from_slice(text),
                Part::Last => {
                    self.row.extend_from_slice(text);
                    rows.push(std::mem::take(&mut self.row));
                }
            }
        }
        Ok(())
    }
}

/// Requests may hold a structure that an earlier message left: only replies to jobs have rows.
fn is_rows(block: &Block<'_>) -> bool {
    block.header.structure == Structure::SEGMENTS && block.command.starts_with(b"job reply")
}
