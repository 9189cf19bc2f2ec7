//! Frames: what travels on a connection that two nodes of this kind keep open (spec: network protocol, section 14).
//!
//! A frame is its length (4 bytes), the header of a block, and a payload of up to 1 MiB and its command. Messages go
//! both ways; frames of one text follow each other, those of rows and files may have others between them.

use super::block::{Block, BlockError, HEADER_BYTES};
use super::header::{Header, Structure};
use super::message::{Message, cut};

const LENGTH_BYTES: usize = 4;
pub const MAX_FRAME_DATA_BYTES: usize = 1 << 20;
const MAX_FRAME_BYTES: usize = HEADER_BYTES + (u16::MAX as usize) + MAX_FRAME_DATA_BYTES;

/// Where a connection stands: in the first bytes of the header, which blocks leave zero.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Numbers {
    /// Of this message, from 1; 0 = it is not counted.
    pub number: u32,
    /// The last message that came from the other side.
    pub confirmed: u32,
}

impl Numbers {
    pub fn of(header: &Header) -> Self {
        let mut fields = header.hash.as_chunks().0.iter().copied();
        let mut next = || fields.next().map_or(0, u32::from_be_bytes);
        Self {
            number: next(),
            confirmed: next(),
        }
    }

    fn put(self, header: &mut Header) {
        header.hash[..4].copy_from_slice(&self.number.to_be_bytes());
        header.hash[4..8].copy_from_slice(&self.confirmed.to_be_bytes());
    }
}

/// Append one frame. Errors: it is too large.
pub fn frame(
    out: &mut Vec<u8>,
    mut header: Header,
    numbers: Numbers,
    command: &[u8],
    authentication: &[u8],
    data: &[u8],
) -> Result<(), BlockError> {
    if authentication.len() > usize::from(u16::MAX) {
        return Err(BlockError::Frame(authentication.len()));
    }
    if command.len() > usize::from(u16::MAX) || data.len() > MAX_FRAME_DATA_BYTES {
        return Err(BlockError::Frame(command.len() + data.len()));
    }
    numbers.put(&mut header);
    let block = Block {
        header,
        command,
        authentication,
        data,
    };
    let length = HEADER_BYTES + block.payload_bytes();
    out.reserve(LENGTH_BYTES + length);
    out.extend_from_slice(&(length as u32).to_be_bytes());
    block.put(out);
    Ok(())
}

/// Append the frames of a text, cut at borders of characters.
pub fn text_frames(
    out: &mut Vec<u8>,
    mut header: Header,
    numbers: Numbers,
    command: &[u8],
    authentication: &[u8],
    text: &str,
) -> Result<(), BlockError> {
    let mut rest = text;
    let mut first = authentication;
    loop {
        let (piece, left) = cut(rest, MAX_FRAME_DATA_BYTES);
        header.block_number += 1;
        header.is_last = left.is_empty();
        let shown = std::mem::take(&mut first);
        frame(out, header, numbers, command, shown, piece.as_bytes())?;
        if left.is_empty() {
            return Ok(());
        }
        rest = left;
    }
}

/// Joins the bytes of one connection to messages.
#[derive(Debug, Default)]
pub struct Frames {
    rest: Vec<u8>,
    /// Text of the message that is on its way, and where it belongs.
    text: Vec<u8>,
    authentication: Vec<u8>,
    begun: Option<Header>,
    limit_bytes: usize,
}

impl Frames {
    /// `limit_bytes`: of a text.
    pub fn new(limit_bytes: usize) -> Self {
        Self {
            limit_bytes,
            ..Self::default()
        }
    }

    /// Append to `found` what these bytes complete. After an error the connection is of no use.
    pub fn feed(&mut self, bytes: &[u8], found: &mut Vec<Message>) -> Result<(), BlockError> {
        // Mostly whole frames come, which are then copied once.
        if self.rest.is_empty() {
            let used = self.whole(bytes, found)?;
            self.rest.extend_from_slice(&bytes[used..]);
            return Ok(());
        }
        let mut rest = std::mem::take(&mut self.rest);
        rest.extend_from_slice(bytes);
        let used = self.whole(&rest, found)?;
        rest.drain(..used);
        self.rest = rest;
        Ok(())
    }

    /// The bytes that whole frames take.
    fn whole(&mut self, bytes: &[u8], found: &mut Vec<Message>) -> Result<usize, BlockError> {
        let mut used = 0;
        while let Some((head, rest)) = bytes[used..].split_first_chunk() {
            let length = u32::from_be_bytes(*head) as usize;
            if !(HEADER_BYTES..=MAX_FRAME_BYTES).contains(&length) {
                return Err(BlockError::Frame(length));
            }
            let Some(frame) = rest.get(..length) else {
                break;
            };
            found.extend(self.take(frame)?);
            used += LENGTH_BYTES + length;
        }
        Ok(used)
    }

    fn take(&mut self, bytes: &[u8]) -> Result<Option<Message>, BlockError> {
        let block = Block::parse(bytes)?;
        let header = block.header;
        let failed = header.error != 0 && header.error <= 1000;
        let mut message = Message {
            header,
            command: block.command.to_vec(),
            authentication: block.authentication.to_vec(),
            data: Vec::new(),
            rows: Vec::new(),
            is_complete: header.is_last || failed,
        };
        if matches!(
            header.structure,
            Structure::LINES | Structure::PRINTED | Structure::FILE
        ) {
            message.data = block.data.to_vec();
            return Ok(Some(message));
        }
        if self.begun.is_some_and(|begun| begun.flow != header.flow) {
            return Err(BlockError::Torn);
        }
        if self.text.len() + block.data.len() > self.limit_bytes {
            return Err(BlockError::TooLarge(self.limit_bytes));
        }
        self.text.extend_from_slice(block.data);
        if self.begun.is_none() {
            self.authentication = block.authentication.to_vec();
        }
        self.begun = Some(header);
        if !message.is_complete {
            return Ok(None);
        }
        self.begun = None;
        message.data = std::mem::take(&mut self.text);
        message.authentication = std::mem::take(&mut self.authentication);
        Ok(Some(message))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::peer::{Flow, Info};

    fn header(job_id: u32, structure: Structure) -> Header {
        Header {
            info: Info::TEXT,
            structure,
            flow: Flow {
                job_id,
                ..Flow::default()
            },
            ..Header::default()
        }
    }

    fn numbers(number: u32) -> Numbers {
        Numbers {
            number,
            confirmed: number / 2,
        }
    }

    /// All messages of these bytes, which come in pieces.
    fn read(bytes: &[u8], piece: usize, limit: usize) -> Result<Vec<Message>, BlockError> {
        let (mut frames, mut found) = (Frames::new(limit), Vec::new());
        for piece in bytes.chunks(piece) {
            frames.feed(piece, &mut found)?;
        }
        Ok(found)
    }

    #[test]
    fn messages_come_back_as_they_were_sent() {
        let long = "é".repeat(MAX_FRAME_DATA_BYTES);
        let mut bytes = Vec::new();
        text_frames(
            &mut bytes,
            header(1, Structure::NONE),
            numbers(1),
            b"print",
            &[],
            &long,
        )
        .unwrap();
        frame(
            &mut bytes,
            header(2, Structure::LINES),
            numbers(0),
            b"job reply",
            &[],
            b"{}\n",
        )
        .unwrap();
        text_frames(
            &mut bytes,
            header(3, Structure::NONE),
            numbers(2),
            b"get status",
            &[],
            "",
        )
        .unwrap();
        for piece in [7_919, 1 << 16, bytes.len()] {
            let found = read(&bytes, piece, 4 << 20).unwrap();
            let seen: Vec<_> = found
                .iter()
                .map(|m| {
                    (
                        m.header.flow.job_id,
                        Numbers::of(&m.header).number,
                        m.is_complete,
                    )
                })
                .collect();
            assert_eq!(seen, [(1, 1, true), (2, 0, false), (3, 2, true)]);
            assert_eq!(found[0].data, long.as_bytes());
            assert_eq!(found[1].data, b"{}\n");
            assert_eq!(found[2].command, b"get status");
        }
    }

    #[test]
    fn what_is_wrong_ends_the_connection() {
        let mut text = Vec::new();
        text_frames(
            &mut text,
            header(1, Structure::NONE),
            numbers(1),
            b"print",
            &[],
            "0123456789",
        )
        .unwrap();
        assert_eq!(read(&text, 64, 9), Err(BlockError::TooLarge(9)));
        assert_eq!(read(&[0, 0, 0, 3], 4, 9), Err(BlockError::Frame(3)));
        assert_eq!(
            read(&[255; 4], 4, 9),
            Err(BlockError::Frame(u32::MAX as usize))
        );
        let mut torn = Vec::new();
        for job in [1, 2] {
            frame(
                &mut torn,
                header(job, Structure::NONE),
                numbers(1),
                b"print",
                &[],
                b"x",
            )
            .unwrap();
        }
        assert_eq!(read(&torn, 64, 9), Err(BlockError::Torn));
        let large = vec![0; MAX_FRAME_DATA_BYTES + 1];
        assert!(
            frame(
                &mut Vec::new(),
                header(1, Structure::NONE),
                numbers(1),
                b"",
                &[],
                &large
            )
            .is_err()
        );
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_without_a_panic(bytes: Vec<u8>, piece in 1usize..64) {
            let _ = read(&bytes, piece, 1 << 16);
        }

        #[test]
        fn a_frame_that_is_changed_is_read_without_a_panic(at in 0usize..230, byte: u8) {
            let mut bytes = Vec::new();
            frame(&mut bytes, header(1, Structure::LINES), numbers(1), b"job reply", &[], b"{}\n").unwrap();
            let at = at % bytes.len();
            bytes[at] = byte;
            let _ = read(&bytes, 64, 1 << 16);
        }
    }
}
