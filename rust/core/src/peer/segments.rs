//! Rows in the data of a block: segments (section 3.3).

use super::block::BlockError;

/// How much of a row a segment holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Part {
    Whole = 0,
    /// It begins or goes on; more follows in the next block.
    More = 1,
    Last = 2,
}

pub(super) const HEAD_BYTES: usize = 3;

/// Segments of one block, as (part, text). Texts are joined before they are decoded.
pub struct Segments<'a> {
    data: &'a [u8],
    left: usize,
    number: usize,
}

impl<'a> Segments<'a> {
    /// `count`: the header's.
    pub fn new(data: &'a [u8], count: u16) -> Self {
        Self {
            data,
            left: usize::from(count),
            number: 0,
        }
    }
}

impl<'a> Iterator for Segments<'a> {
    type Item = Result<(Part, &'a [u8]), BlockError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.left == 0 {
            return None;
        }
        self.left -= 1;
        self.number += 1;
        let number = self.number;
        let wrong = move |why| Some(Err(BlockError::Segment { number, why }));
        let Some((&[high, low, flag], rest)) = self.data.split_first_chunk() else {
            self.left = 0;
            return wrong("it is cut off");
        };
        let part = match flag {
            0 => Part::Whole,
            1 => Part::More,
            2 => Part::Last,
            _ => {
                self.left = 0;
                return wrong("an unknown part");
            }
        };
        let Some((text, rest)) =
            rest.split_at_checked(usize::from(u16::from_be_bytes([high, low])))
        else {
            self.left = 0;
            return wrong("it is longer than its block");
        };
        self.data = rest;
        Some(Ok((part, text)))
    }
}

/// Append a segment. `text` is at most what a block holds.
pub(super) fn write(out: &mut Vec<u8>, part: Part, text: &[u8]) {
    out.extend_from_slice(&(text.len() as u16).to_be_bytes());
    out.push(part as u8);
    out.extend_from_slice(text);
}
